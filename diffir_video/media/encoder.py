"""`VideoEncoder`: RGB `Frame`s to packets, in any codec FFmpeg encodes, without a container."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from array import array
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.error
from av.codec.context import CodecContext
from av.codec.context import Flags as CodecFlags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from diffir_video.errors import DiffirVideoError, EncoderError, OutputError, UsageError
from diffir_video.frame import ColorTags, Frame, StreamInfo
from diffir_video.media.captions import carries_captions, with_captions
from diffir_video.media.color import PictureEncoder
from diffir_video.media.encoders import made_repeatable, with_defaults, with_stream_settings
from diffir_video.media.ffmpeg_log import WARNING, logged_messages
from diffir_video.media.hdr import with_hdr_metadata
from diffir_video.media.pixel_choice import PixelChoice, choose_pixel_format
from diffir_video.media.scheduling import ordinary_scheduling
from diffir_video.media.siting import location_option

# Of a clip that tells none: what encoders reckon with, where they would take a tick for a frame.
_UNKNOWN_RATE = Fraction(25)

# Frame threads change what x264 and x265 decide: a fixed number gives equal files on unequal machines.
ENCODER_THREADS = 4
_X265_FRAME_THREADS = 2

# What the wrappers of libx264, libx265 and libsvtav1 log of a setting that they go on without.
_LEFT_OUT = re.compile(
    r"(?:Error parsing option|Unknown option:|Invalid value for) '?([^\s=:]+?)\.?(?:[\s:]|$)"
)


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """FFmpeg's name of an encoder, and its options over DEFAULT_ENCODER_OPTIONS."""

    name: str = "libx264"
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"encoder {self.name!r}: expected FFmpeg's name of one, such as 'libx264'")
        if not isinstance(self.options, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"encoder options {self.options!r}: expected a mapping such as {{'crf': '18'}}")
        # FFmpeg takes texts; numbers are what one writes.
        texts = {name: str(value) for name, value in self.options.items()}
        object.__setattr__(self, "options", texts)


class VideoEncoder:
    """Encodes the frames of one stream; packets come out in decoding order, with pts and durations.

    info: what the frames are; all must have its size and time_base, and their pts must increase.
    Raises EncoderError for an encoder that is unknown, refuses its options, or can't take a frame.
    """

    def __init__(
        self,
        info: StreamInfo,
        settings: EncoderSettings,
        context: VideoCodecContext,
        choice: PixelChoice | None = None,
    ) -> None:
        """`context`: not open yet; a stream's in an output container, or one by `separate_context`.

        choice: how pixels are written, by `choose_pixel_format` for packets without a container if None.
        """
        choice = choice or choose_pixel_format(settings.name, info)
        self.info = info
        self.choice = choice
        self.pts: array[int] = array("q")
        self.end: int | None = None
        self.context = context
        self._durations: dict[int, int] = {}
        self._captions: dict[int, bytes] = {}
        self._name = settings.name
        self._pictures = PictureEncoder(choice.layout.name, info.width, info.height, choice.color)
        self.context.thread_count = ENCODER_THREADS
        open_context(self.context, info, choice, all_options(settings, info), asked=settings.options)

    @property
    def color_meant(self) -> ColorTags:
        """The tags with those decided that the stream leaves open, as the codes are made."""
        return self._pictures.tags

    def encode(self, frame: Frame) -> list[Packet[Any]]:
        """Take one frame; returns what is ready. Blocks while the encoder is busy."""
        return self.encode_picture(self.picture(frame))

    def picture(self, frame: Frame) -> VideoFrame:
        """The next frame of the stream in the encoder's pixel format, for `encode_picture`."""
        self._check(frame)
        picture = self._pictures.encode(frame.data)
        picture.pts = frame.pts
        picture.time_base = frame.time_base
        if frame.duration is not None:
            picture.duration = frame.duration
            self._durations[frame.pts] = frame.duration
        if frame.captions and carries_captions(self._name):
            self._captions[frame.pts] = frame.captions
        self.pts.append(frame.pts)
        self.end = None if frame.duration is None else frame.pts + frame.duration
        return picture

    def encode_picture(self, picture: VideoFrame) -> list[Packet[Any]]:
        """Take one picture; returns what is ready. Blocks while the encoder is busy."""
        return self._timed(self.context.encode(picture))

    def finish(self) -> list[Packet[Any]]:
        """The packets still inside; no frame may follow."""
        packets = self._timed(self.context.encode(None))
        if len(self.pts) <= 2:
            # x265 leaves the dts of such short streams uninitialised; no B-frame fits into them.
            for packet in packets:
                packet.dts = packet.pts
        return packets

    def _timed(self, packets: list[Packet[Any]]) -> list[Packet[Any]]:
        for packet in packets:
            if packet.pts is not None and packet.pts in self._durations:
                packet.duration = self._durations.pop(packet.pts)
        return [self._captioned(packet) for packet in packets]

    def _captioned(self, packet: Packet[Any]) -> Packet[Any]:
        captions = None if packet.pts is None else self._captions.pop(packet.pts, None)
        return packet if captions is None else with_captions(packet, captions, self._name)

    def _check(self, frame: Frame) -> None:
        _, height, width = frame.data.shape
        if (width, height) != (self.info.width, self.info.height):
            raise EncoderError(
                f"the stream is {self.info.width}x{self.info.height}, a frame came with {width}x{height}"
            )
        if frame.time_base != self.info.time_base:
            raise EncoderError(f"the stream ticks in {self.info.time_base} s, a frame in {frame.time_base} s")
        if self.pts and frame.pts <= self.pts[-1]:
            raise EncoderError(f"pts must increase, got {frame.pts} after {self.pts[-1]}")


def separate_context(encoder: str, *, global_header: bool) -> VideoCodecContext:
    """A codec without a container; `global_header`: headers beside the packets, not in them."""
    context = CodecContext.create(encoder, "w")
    assert isinstance(context, VideoCodecContext)
    # As in a stream: no rate but the one that the options ask for.
    context.bit_rate = 0
    if global_header:
        context.flags |= CodecFlags.global_header.value
    return context


@contextmanager
def translating_write_errors(path: Path, encoder: str) -> Generator[None]:
    """FFmpeg's errors inside the block become OutputError or EncoderError, one line with the path."""
    try:
        yield
    except DiffirVideoError:
        raise
    except OSError as exc:
        raise OutputError(f"can't write {str(path)!r}: {exc.strerror}") from exc
    except (av.error.FFmpegError, ValueError) as exc:
        # FFmpeg's own text names a part of the output that nobody else has heard of.
        reason = exc.strerror if isinstance(exc, av.error.FFmpegError) else exc
        raise EncoderError(
            f"can't encode {str(path)!r}: {encoder} or the container refused its settings ({reason})"
        ) from exc


def open_context(
    context: VideoCodecContext,
    info: StreamInfo,
    choice: PixelChoice,
    options: Mapping[str, str],
    *,
    asked: Mapping[str, str],
) -> None:
    """Tell a codec what its frames are, and open it with `options`.

    asked: those of them that a user gave. Raises EncoderError where the encoder doesn't know one, doesn't
    take a setting inside one ("x264-params" and the like), or can't be opened.
    """
    context.width, context.height = info.width, info.height
    context.pix_fmt = choice.layout.name
    context.time_base = info.time_base
    context.framerate = info.average_rate or _UNKNOWN_RATE
    if info.sample_aspect_ratio is not None:
        context.sample_aspect_ratio = info.sample_aspect_ratio
    context.color_range = choice.color.color_range
    context.colorspace = choice.color.matrix
    context.color_primaries = choice.color.primaries
    context.color_trc = choice.color.transfer
    context.options = {**location_option(choice.color.chroma_location), **options}
    private = {name: text for name, text in asked.items() if name.endswith("-params")}
    capture = logged_messages(WARNING) if private else nullcontext(list[tuple[str, str]]())
    try:
        with ordinary_scheduling(), capture as messages:
            context.open()
    except av.error.FFmpegError as exc:
        given = ", ".join(f"{name}={text}" for name, text in asked.items())
        raise EncoderError(
            f"encoder {context.name} refused its settings, or this machine lacks what it needs "
            f"({exc.strerror}); {f'check {given}, or ' if given else ''}choose another encoder"
        ) from exc
    _check_private_options(context.name, private, [text for _, text in messages])
    if unknown := sorted(set(context.options) & set(asked)):
        raise EncoderError(f"encoder {context.name} has no option {', '.join(unknown)}")


def _check_private_options(encoder: str, private: Mapping[str, str], messages: Iterable[str]) -> None:
    """Raise EncoderError for the settings that FFmpeg left out with nothing but a warning."""
    left_out = {found[1] for text in messages if (found := _LEFT_OUT.match(text))}
    for name, text in private.items():
        settings = [setting for setting in text.split(":") if setting.partition("=")[0].strip() in left_out]
        if settings:
            raise EncoderError(f"encoder {encoder} doesn't take {', '.join(settings)} of {name}")


def all_options(settings: EncoderSettings, info: StreamInfo) -> dict[str, str]:
    """What an encoder is opened with: the caller's options, the defaults, the stream's HDR metadata, closed
    GOPs, and what makes it repeatable."""
    options = with_hdr_metadata(settings.name, with_defaults(settings.name, settings.options), info)
    options = with_stream_settings(settings.name, options)
    return made_repeatable(settings.name, options, x265_frame_threads=_X265_FRAME_THREADS)

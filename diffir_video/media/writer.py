"""`VideoWriter`: RGB `Frame`s to a video file that keeps the source's time, colour and other tracks."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import errno
import os
import secrets
from array import array
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import av.error
from av.codec import Codec
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from diffir_video.errors import DiffirVideoError, EncoderError, OutputError
from diffir_video.frame import ColorTags, Frame, StreamInfo
from diffir_video.media.color import (
    MATRIX_RGB,
    MATRIX_UNSPECIFIED,
    PictureEncoder,
    PixelLayout,
    native_layout,
    resolved_tags,
    unpacked_layout,
)
from diffir_video.media.encoders import made_repeatable, with_defaults
from diffir_video.media.probe import StrPath
from diffir_video.media.remux import TrackCopier, copy_stream_tags

# Containers that hold arbitrary timestamps; AVI and raw streams have a frame rate instead.
CONTAINERS: Mapping[str, str] = {
    ".m2ts": "mpegts",
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mp4",
    ".mts": "mpegts",
    ".ts": "mpegts",
    ".webm": "webm",
}

# Frame threads change what x264 and x265 decide: a fixed number gives equal files on unequal machines.
_ENCODER_THREADS = 4
_X265_FRAME_THREADS = 2

_ENCODERS_OF_ODD_SIZES = frozenset({"ffv1", "libvpx", "libvpx-vp9"})


class VideoWriter:
    """Encodes frames to `path` and copies every other track of `copy_from` beside them.

    The file appears under its name when `close()` has finished it, at once and whole; until then, and
    after `abort()` or an exception inside `with`, nothing of that name is created or changed.

    info: the stream to write; frames must have its size and time_base. pts and durations are written as
        they are wherever the container can (Matroska and WebM tick in milliseconds, MPEG-TS in 1/90000 s).
    encoder: FFmpeg's name. Bit depth and chroma subsampling follow `info.pixel_format` where the encoder
        has them; an odd width or height that the encoder can't subsample (libx264: 641x481 in 4:2:0) gets
        a pixel format with full-resolution chroma, never a crop. `notes` tells of such changes.
    encoder_options: FFmpeg's, over DEFAULT_ENCODER_OPTIONS (libx264: crf 16, preset medium).
    copy_from: the file whose audio, subtitles, attachments, chapters and metadata are copied.

    Raises OutputError before any work: the output exists (without `overwrite`), is the input, is in a
    missing folder, has an unknown container, or its container can't hold an audio or subtitle track.
    Raises EncoderError for an unknown encoder, one that refuses its options, or a frame it can't take.
    """

    def __init__(
        self,
        path: StrPath,
        info: StreamInfo,
        *,
        encoder: str = "libx264",
        encoder_options: Mapping[str, str] | None = None,
        copy_from: StrPath | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.info = info
        self._overwrite = overwrite
        check_output(path, copy_from=copy_from, overwrite=overwrite)
        choice = choose_pixel_format(encoder, info)
        self.pixel_format = choice.layout.name
        self.color = choice.color
        self._picture_encoder = PictureEncoder(choice.layout.name, info.width, info.height, choice.color)
        self._durations: dict[int, int] = {}
        self._pts: array[int] = array("q")
        self._end: int | None = None
        self._copier = TrackCopier(copy_from) if copy_from is not None else None
        self._part = _create_part_file(self.path)
        self._container: OutputContainer | None = None
        self._stream: VideoStream
        try:
            with _translating_errors(self.path, encoder):
                self._container = self._open_container()
                self._add_tracks(encoder, {**(encoder_options or {})})
                self._set_container_options()
                self._container.start_encoding()
        except BaseException:
            self.abort()
            raise
        dropped = self._copier.dropped if self._copier else ()
        self.dropped: tuple[str, ...] = dropped
        self.notes: tuple[str, ...] = choice.notes

    @property
    def written_pts(self) -> array[int]:
        """pts of every frame written, in `info.time_base` units."""
        return self._pts

    @property
    def written_end(self) -> int | None:
        """When the last frame ends, in `info.time_base` units; None without frames or its duration."""
        return self._end

    @property
    def copied_packets(self) -> dict[int, int]:
        """Packets copied so far for each track index of the source."""
        return dict(self._copier.copied) if self._copier else {}

    @property
    def copy_source_unreadable(self) -> bool:
        """Whether the source's other tracks ended in a read error."""
        return self._copier.unreadable if self._copier else False

    def write(self, frame: Frame) -> None:
        """Encode one frame; pts must increase. Blocks while the encoder is busy."""
        self._check_frame(frame)
        picture = self._picture_encoder.encode(frame.data)
        picture.pts = frame.pts
        picture.time_base = frame.time_base
        if frame.duration is not None:
            picture.duration = frame.duration
            self._durations[frame.pts] = frame.duration
        self._pts.append(frame.pts)
        self._end = None if frame.duration is None else frame.pts + frame.duration
        with _translating_errors(self.path, self._stream.codec_context.name):
            self._mux(self._stream.encode(picture))

    def close(self) -> None:
        """Flush the encoder, copy what is left, finish the file and give it its name. Once is enough."""
        if self._container is None:
            return
        try:
            with _translating_errors(self.path, self._stream.codec_context.name):
                self._mux(self._flush())
                if self._copier is not None:
                    self._copier.copy_rest(self._container)
                self._container.close()
                self._container = None
                _publish(self._part, self.path, overwrite=self._overwrite)
        except BaseException:
            self.abort()
            raise
        self._release()

    def abort(self) -> None:
        """Drop everything written; leaves no file behind. Safe to call at any time, also after `close`."""
        container, self._container = self._container, None
        if container is not None:
            with suppress(av.error.FFmpegError, ValueError):
                container.close()
        with suppress(FileNotFoundError):
            self._part.unlink()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _release(self) -> None:
        if self._copier is not None:
            self._copier.close()

    def _open_container(self) -> OutputContainer:
        return av.open(f"file:{self._part}", "w", format=CONTAINERS[self.path.suffix.lower()])

    def _add_tracks(self, encoder: str, options: dict[str, str]) -> None:
        assert self._container is not None
        if self._copier is None:
            self._stream = self._add_video(encoder, options)
            return

        def add_video(source: Stream) -> None:
            self._stream = self._add_video(encoder, options)
            copy_stream_tags(source, self._stream)

        self._copier.attach(self._container, add_video)

    def _add_video(self, encoder: str, options: dict[str, str]) -> VideoStream:
        assert self._container is not None
        try:
            stream = self._container.add_stream(encoder, rate=self.info.average_rate)
        except ValueError as exc:
            raise OutputError(
                f"{self._container.format.name} can't hold the video of encoder {encoder}; "
                "choose another --encoder or another ending of the output's name"
            ) from exc
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = self.info.width, self.info.height
        context.pix_fmt = self.pixel_format
        context.time_base = stream.time_base = self.info.time_base
        context.thread_count = _ENCODER_THREADS
        if self.info.sample_aspect_ratio is not None:
            context.sample_aspect_ratio = self.info.sample_aspect_ratio
        context.color_range = self.color.color_range
        context.colorspace = self.color.matrix
        context.color_primaries = self.color.primaries
        context.color_trc = self.color.transfer
        context.options = made_repeatable(
            encoder, with_defaults(encoder, options), x265_frame_threads=_X265_FRAME_THREADS
        )
        context.open()
        unknown = sorted(set(context.options) & set(options))
        if unknown:
            raise EncoderError(f"encoder {encoder} has no option {', '.join(unknown)}")
        return stream

    def _set_container_options(self) -> None:
        assert self._container is not None
        options = self._container.container_options
        match self._container.format.name:
            case "mp4" | "mov":
                options["video_track_timescale"] = str(self.info.time_base.denominator)
                if self._copier is not None:
                    options["movie_timescale"] = str(self._copier.movie_timescale(self.info.time_base))
                else:
                    options["movie_timescale"] = str(self.info.time_base.denominator)
            case "mpegts":
                # Keep the source's clock instead of starting a new one.
                options["mpegts_copyts"] = "1"
                options["avoid_negative_ts"] = "disabled"
            case "matroska" | "webm":
                options["avoid_negative_ts"] = "disabled"
            case _:
                pass

    def _check_frame(self, frame: Frame) -> None:
        _, height, width = frame.data.shape
        if (width, height) != (self.info.width, self.info.height):
            raise EncoderError(
                f"the stream is {self.info.width}x{self.info.height}, a frame came with {width}x{height}"
            )
        if frame.time_base != self.info.time_base:
            raise EncoderError(f"the stream ticks in {self.info.time_base} s, a frame in {frame.time_base} s")
        if self._pts and frame.pts <= self._pts[-1]:
            raise EncoderError(f"pts must increase, got {frame.pts} after {self._pts[-1]}")

    def _mux(self, packets: Iterable[Packet[Any]]) -> None:
        assert self._container is not None
        for packet in packets:
            if packet.pts is not None and packet.pts in self._durations:
                packet.duration = self._durations.pop(packet.pts)
            if self._copier is not None and packet.dts is not None:
                self._copier.copy_until(self._container, packet.dts * packet.time_base)
            self._container.mux_one(packet)

    def _flush(self) -> list[Packet[Any]]:
        packets: list[Packet[Any]] = self._stream.encode(None)  # pyright: ignore[reportUnknownVariableType]
        if len(self._pts) <= 2:
            # x265 leaves the dts of such short streams uninitialised; no B-frame fits into them.
            for packet in packets:
                packet.dts = packet.pts
        return packets


@dataclass(frozen=True, slots=True)
class PixelChoice:
    """The pixel format an encoder is given, the colour tags that go with it, and what changed."""

    layout: PixelLayout
    color: ColorTags
    notes: tuple[str, ...] = ()


def choose_pixel_format(encoder: str, info: StreamInfo) -> PixelChoice:
    """The encoder's pixel format closest to the source's: nothing lost if possible, then nothing wasted.

    Raises EncoderError for an unknown encoder and for one that can't hold this size exactly.
    """
    source = unpacked_layout(info.pixel_format)
    candidates = [layout for name in _formats_of(encoder) if (layout := native_layout(name))]
    candidates = [layout for layout in candidates if not layout.forces_full_range]
    if encoder not in _ENCODERS_OF_ODD_SIZES:
        candidates = [layout for layout in candidates if _divides(layout, info.width, info.height)]
    if not candidates:
        raise EncoderError(
            f"encoder {encoder} has no pixel format for {info.width}x{info.height}; try libx264 or libvpx-vp9"
        )
    layout = min(candidates, key=lambda candidate: _distance(source, candidate))
    color, notes = _color_for(layout, source, info), list[str]()
    if layout.bit_depth < source.bit_depth:
        notes.append(f"{encoder} holds {layout.bit_depth} bits, the source has {source.bit_depth}")
    if layout.name != source.name and not source.forces_full_range:
        notes.append(f"pixel format {info.pixel_format} becomes {layout.name}")
    return PixelChoice(layout, color, tuple(notes))


def _divides(layout: PixelLayout, width: int, height: int) -> bool:
    log2_x, log2_y = layout.log2_chroma
    return width % (1 << log2_x) == 0 and height % (1 << log2_y) == 0


def _formats_of(encoder: str) -> list[str]:
    try:
        codec = Codec(encoder, "w")
    except (av.error.FFmpegError, ValueError) as exc:
        raise EncoderError(f"this build of FFmpeg has no encoder {encoder!r}") from exc
    if codec.type != "video":
        raise EncoderError(f"{encoder!r} is no video encoder")
    return [format.name for format in codec.video_formats or []]


def _distance(source: PixelLayout, candidate: PixelLayout) -> tuple[int, int, int, int]:
    """Orders candidates: lost components, lost bits, lost chroma, then what is needlessly spent."""
    models = {"gray": 0, "yuv": 1, "rgb": 1}
    lost_model = int(models[candidate.model] < models[source.model])
    other_model = int(candidate.model != source.model)
    depth = candidate.bit_depth - source.bit_depth
    if source.model == "gray":
        lost_chroma, spent_chroma = 0, 4 - sum(candidate.log2_chroma)
    else:
        chroma = [c - s for c, s in zip(candidate.log2_chroma, source.log2_chroma, strict=True)]
        lost_chroma, spent_chroma = sum(max(c, 0) for c in chroma), sum(max(-c, 0) for c in chroma)
    return lost_model * 8 + max(-depth, 0), lost_chroma, other_model * 5 + spent_chroma, max(depth, 0)


def _color_for(layout: PixelLayout, source: PixelLayout, info: StreamInfo) -> ColorTags:
    """The source's tags; those that its pixel format implied are spelled out where the new one doesn't."""
    color = info.color
    if source.forces_full_range or (source.model == "gray" and layout.model != "gray"):
        color_range = resolved_tags(color, source, info.width, info.height).color_range
        color = replace(color, color_range=color_range)
    if layout.model == "rgb":
        return replace(color, matrix=MATRIX_RGB)
    if source.model == "rgb":
        color = replace(color, matrix=MATRIX_UNSPECIFIED, color_range=0)
        return replace(
            color, matrix=resolved_tags(color, layout, info.width, info.height).matrix, color_range=1
        )
    return color


def check_output(path: StrPath, *, copy_from: StrPath | None = None, overwrite: bool = False) -> None:
    """Raise OutputError if `path` can't or mustn't be written; touches nothing."""
    target = Path(path)
    if target.suffix.lower() not in CONTAINERS:
        raise OutputError(
            f"can't write {str(path)!r}: no container for {target.suffix or 'a name without ending'!r}; "
            f"use one of {' '.join(sorted(CONTAINERS))}"
        )
    if not target.parent.is_dir():
        raise OutputError(f"can't write {str(path)!r}: there is no folder {str(target.parent)!r}")
    if copy_from is not None and _is_same_file(target, Path(copy_from)):
        raise OutputError(f"output {str(path)!r} is the input; choose another name")
    if target.is_dir():
        raise OutputError(f"can't write {str(path)!r}: it is a folder")
    if os.path.lexists(target) and not overwrite:
        raise OutputError(f"output {str(path)!r} exists; choose another name or use --overwrite")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"can't write {str(path)!r}: no permission in {str(target.parent)!r}")


def _is_same_file(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:
        return a.resolve() == b.resolve()


def _create_part_file(path: Path) -> Path:
    part = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as exc:
        raise OutputError(f"can't write in {str(path.parent)!r}: {exc.strerror}") from exc
    return part


def _publish(part: Path, path: Path, *, overwrite: bool) -> None:
    """Give the finished file its name in one step; a name taken meanwhile is an error, never replaced."""
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    if overwrite:
        part.replace(path)
        return
    try:
        os.link(part, path)
    except FileExistsError as exc:
        raise OutputError(f"output {str(path)!r} appeared while it was being made; nothing replaced") from exc
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without hard links: the check just before is the best there is.
        check_output(path)
        part.rename(path)
        return
    part.unlink()


@contextmanager
def _translating_errors(path: Path, encoder: str) -> Generator[None]:
    """FFmpeg's errors inside the block become OutputError or EncoderError, one line with the path."""
    try:
        yield
    except DiffirVideoError:
        raise
    except OSError as exc:
        raise OutputError(f"can't write {str(path)!r}: {exc.strerror}") from exc
    except (av.error.FFmpegError, ValueError) as exc:
        raise EncoderError(
            f"can't encode {str(path)!r}: {encoder} or the container refused its settings ({exc})"
        ) from exc

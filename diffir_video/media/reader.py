"""`VideoReader`: a file's video as `Frame`s in RGB, upright, each with the timestamp it came with."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import chain
from math import ceil
from types import TracebackType
from typing import Self

import av
import av.error
import torch
from av.packet import Packet
from av.video.stream import VideoStream
from torch import Tensor

from diffir_video.errors import MediaInputError
from diffir_video.frame import ColorTags, Frame, StreamInfo
from diffir_video.media.captions import captions_of
from diffir_video.media.color import PictureDecoder
from diffir_video.media.deinterlace import (
    Deinterlace,
    Deinterlacer,
    FieldOrder,
    is_interlaced,
    is_second_field,
    makes_fields,
    untold_order,
)
from diffir_video.media.geometry import Crop
from diffir_video.media.hardware import Hwaccel, device_here, hardware_of, notes_on_decoder
from diffir_video.media.hdr import content_light_of, mastering_display_of, notes_on_dynamic_metadata
from diffir_video.media.inputs import StrPath
from diffir_video.media.losses import ReadLosses
from diffir_video.media.opacity import has_alpha, shows_through
from diffir_video.media.orientation import Orientation
from diffir_video.media.picture_clock import PictureClock, begin_of_untimed, own_pts
from diffir_video.media.pixel_layout import wait_for
from diffir_video.media.probe import (
    frame_rate,
    largest_pixel_count,
    main_video_stream,
    open_input,
    stream_duration,
)
from diffir_video.media.read_options import ReadOptions, check_path, check_read_options
from diffir_video.media.resets import ContinuousClock
from diffir_video.media.siting import chroma_location_of
from diffir_video.media.skipping import needed_packets
from diffir_video.media.video_packets import VideoPackets

_DEINTERLACED = "interlaced pictures are made progressive (bwdif)"
_FIELDS_MADE_FRAMES = "each field of interlaced pictures is made a frame (bwdif)"
_LEFT_INTERLACED = "the pictures are interlaced and stay so, but the output does not say it"


class VideoReader:
    """Frames of a file's video stream, once, in presentation order.

    Each `Frame` holds (3, H, W) float32 RGB in [0, 1], full range, gamma-coded as in the source, turned
    upright by the display matrix; pts and time_base are the source's, where its clock is reset those of a
    `ContinuousClock`. Matrix and range come from the stream; unspecified ones are taken as players take
    them (see `color.resolved_tags`). No source goes through fewer bits than it has.

    info: the stream, read from the headers and the first frame, which is decoded at once.
    losses: what could not be read; complete after the last frame.
    has_alpha: whether the first frame has an alpha channel; `losses` tell whether anything showed through.
    has_captions: whether closed captions lay in any frame so far.
    other_tracks: how many tracks the file has beside the video that is read.
    deinterlace: "auto" makes interlaced pictures progressive if the stream says it has them, "bwdif" all
        pictures whatever they say, "off" none. "auto-fields" and "bwdif-fields" make two of each, one of
        every field at its time: `info` has half the time_base then, and twice the rate if it is interlaced.
    field_order: which field of a picture is the earlier; "auto" is what the picture says, "top" if nothing.
    start, end: seconds of that clock; frames before `start`, and from `end` on, are left out. What lies
        before `start` is read and, up to a keyframe near it, not decoded.
    crop: the part of each upright picture that is delivered.
    excursions: keep colours outside the RGB cube, as values outside [0, 1]; else they are clamped.
    device: where the frames are made. A GPU is sent a picture as it is coded, a fraction of its RGB, by the
        current stream of the thread that iterates; frames are complete when they come.
    hwaccel: "cuda" has a GPU decode, that of `device` or else the first; what it can't decode is left to the
        processor, and `notes` says so. What a GPU patches up of a damaged video is not counted.
    strict: leave out, and count, what the decoder would patch up or pass by.

    Raises MediaInputError for a file that is missing, empty, no video or too large for memory, and,
    while iterating, when the frame size changes; UsageError for an argument that is none of these, and for a
    crop that lies outside of the pictures.
    Use as a context manager, or `close()`.
    """

    def __init__(
        self,
        path: StrPath,
        *,
        deinterlace: Deinterlace = "off",
        field_order: FieldOrder = "auto",
        start: Fraction | None = None,
        end: Fraction | None = None,
        crop: Crop | None = None,
        excursions: bool = False,
        device: torch.device | str = "cpu",
        hwaccel: Hwaccel = "off",
        strict: bool = False,
    ) -> None:
        check_path(path)
        options = ReadOptions(
            deinterlace=deinterlace, field_order=field_order, start=start, end=end, crop=crop
        )
        check_read_options(**options, hwaccel=hwaccel)
        self._path, self._end, self._excursions = path, end, excursions
        self._device = device_here(device)
        self._container = open_input(path, hardware=hardware_of(hwaccel, self._device.index or 0))
        try:
            self._stream = main_video_stream(self._container, path)
            # It is asked for when all is done, and a closed container has no streams.
            self.other_tracks = len(self._container.streams) - 1
            # Each thread of whole frames would have pictures of its own in a GPU's memory.
            self._stream.codec_context.thread_type = "AUTO" if hwaccel == "off" else "SLICE"
            options = {"max_pixels": str(largest_pixel_count())}
            if strict:
                options["err_detect"] = "crccheck+bitstream+buffer+explode"
            self._stream.codec_context.options = options
            self._counts = ReadLosses()
            self._continuous = ContinuousClock(self._container)
            self._packets = VideoPackets(path, self._container, self._stream, self._counts, self._continuous)
            self.has_captions = False
            self._undecoded_before: int | None = None
            self._ticks = 2 if makes_fields(deinterlace) else 1
            self._decoded = self._decode()
            self._first = next(self._decoded, None)
            if self._first is None:
                limit = largest_pixel_count() / 1e6
                is_webp = self._container.format.name == "webp_pipe"
                animated = " an animation, which FFmpeg does not read from WebP," if is_webp else ""
                raise MediaInputError(
                    f"no frame of {str(path)!r} can be decoded: it is damaged,{animated} or its frames are "
                    f"larger than this machine's memory can hold ({limit:.0f} megapixels)"
                )
            self._notes_on_decoder = notes_on_decoder(hwaccel, self._stream.codec_context)
            self._notes: list[str] = []
            self._says_interlaced = deinterlace == "off"
            self._deinterlacer = self._deinterlace(self._first, deinterlace, field_order)
            self._decoded = self._deinterlacer.all_of(chain([self._first], self._decoded))
            self._first = next(self._decoded)
            self._notes_on_hdr = notes_on_dynamic_metadata(self._first)
            self._orientation = Orientation.of(self._first)
            self._crop = crop
            self._converter = self._converter_for(self._first)
            self.has_alpha = self._counts.alpha or has_alpha(self._first.format.name)
            self.info = self._describe(self._first)
            self._first_pts: int | None = None
            if start is not None:
                self.skip_before(ceil(start / self.info.time_base), decode=False)
            self._frames = self._deliver()
        except BaseException:
            self._container.close()
            raise

    @property
    def notes(self) -> tuple[str, ...]:
        """Who decodes, if not who was asked; what was done, or not, about interlacing and a reset clock; and
        HDR metadata that is lost. Complete after the last frame.
        """
        return (*self._notes_on_decoder, *self._notes, *self._notes_on_hdr, *self._continuous.notes)

    def skip_before(self, pts: int, *, decode: bool) -> None:
        """Leave out the frames before `pts`; to be called before the first frame is asked for.

        decode: have them decoded nevertheless, so that `losses` counts what is wrong with them.
        """
        self._first_pts = max(pts, self._first_pts or pts)
        if not decode:
            self._undecoded_before = self._first_pts // self._ticks

    @property
    def is_intact(self) -> bool:
        """Whether nothing was lost or had to be guessed so far, not even a timestamp."""
        losses = self.losses
        return not losses and not losses.inferred_pts

    @property
    def losses(self) -> ReadLosses:
        """So far; what is counted later doesn't change it."""
        # Where the last packet before a reset is damaged indeed, the decoder tells.
        only_counted_wrong = len(self._continuous.corrupt_before_reset(self._stream.index))
        corrupt = max(self._counts.corrupt_packets - only_counted_wrong, 0)
        return replace(self._counts, corrupt_packets=corrupt)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        self._frames.close()
        self._decoded.close()
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _deinterlace(self, first: av.VideoFrame, how: Deinterlace, field_order: FieldOrder) -> Deinterlacer:
        """Notes what is done, now or, with "auto", when the first interlaced picture comes."""
        found, untold = is_interlaced(self._stream, first), untold_order(self._stream)
        if how == "off" and found:
            self._notes.append(_LEFT_INTERLACED)
        begins = how != "off" and (found or how.startswith("bwdif"))
        made = _FIELDS_MADE_FRAMES if makes_fields(how) else _DEINTERLACED
        if begins:
            self._notes.append(made)
        return Deinterlacer(
            how,
            self._stream.time_base,
            # Nothing of this object in it: a circle would keep the decoder and its threads.
            partial(self._notes.append, made),
            field_order=untold if untold and field_order == "auto" else field_order,
            begins=begins,
            all_are=untold is not None,
        )

    def _deliver(self) -> Generator[Frame]:
        assert self._first is not None
        picture, self._first = self._first, None
        clock = self._clock_from(picture)
        while picture is not None:
            frame = self._restamp(picture, clock)
            if frame is not None and self._end is not None and frame.pts_seconds >= self._end:
                return
            if frame is not None:
                yield frame
            picture = next(self._decoded, None)

    def _clock_from(self, first: av.VideoFrame) -> PictureClock:
        tick, rate = self.info.time_base, self.info.average_rate
        begin = 0
        if own_pts(first) is None:
            begin = self._ticks * begin_of_untimed(self._path, self._ticks * tick, frame_rate(self._stream))
        return PictureClock(tick, rate, begin=begin)

    def _restamp(self, picture: av.VideoFrame, clock: PictureClock) -> Frame | None:
        pts, inferred = clock.pts_of(picture)
        self._counts.inferred_pts += inferred
        if pts is None:
            self._counts.unordered_frames += 1
            return None
        is_past = self._end is not None and pts * self.info.time_base >= self._end
        is_wanted = self._is_wanted(pts // self._ticks) and not is_past
        if has_alpha(picture.format.name) and is_wanted and not self._counts.alpha:
            self._counts.alpha = shows_through(picture)
        if self._first_pts is not None and pts < self._first_pts:
            return None
        if self._says_interlaced and picture.interlaced_frame and not self._notes:
            self._notes.append(_LEFT_INTERLACED)
        captions = None if is_second_field(picture) else captions_of(picture)
        self.has_captions = self.has_captions or captions is not None
        return Frame(
            self._convert(picture, pts),
            pts,
            self.info.time_base,
            picture.duration or None,
            is_keyframe=bool(picture.key_frame),
            captions=captions,
        )

    def _convert(self, picture: av.VideoFrame, pts: int) -> Tensor:
        if (picture.width, picture.height) != self._coded_size:
            width, height = self._coded_size
            raise MediaInputError(
                f"{str(self._path)!r} changes its frame size from {width}x{height} to "
                f"{picture.width}x{picture.height} at {float(pts * self.info.time_base):.3f} s; "
                "split the file there"
            )
        if picture.format.name != self._pixel_format:
            self._converter = self._converter_for(picture)
        data = self._orientation.apply(self._converter.decode(picture))
        if self._crop is not None:
            data = self._crop.apply(data)
        wait_for(self._device)
        return data

    def _converter_for(self, picture: av.VideoFrame) -> PictureDecoder:
        self._coded_size = (picture.width, picture.height)
        self._pixel_format = picture.format.name
        # VP8 and VP9 have their transparency beside the pictures, and FFmpeg's own decoders pass it by.
        if self._stream.metadata.get("alpha_mode") == "1":
            self._counts.alpha = True
        self._tags = self._tags_of(picture)
        return PictureDecoder(
            self._pixel_format,
            picture.width,
            picture.height,
            self._tags,
            excursions=self._excursions,
            device=self._device,
        )

    def _describe(self, picture: av.VideoFrame) -> StreamInfo:
        stream = self._stream
        width, height = picture.width, picture.height
        aspect = stream.sample_aspect_ratio or None
        if self._orientation.transpose:
            width, height = height, width
            aspect = 1 / aspect if aspect else None
        if self._crop is not None:
            self._crop = self._crop.placed_in(width, height)
            width, height = self._crop.width, self._crop.height
        assert stream.time_base is not None
        rate, times = frame_rate(stream), self._deinterlacer.pictures_of_each
        return StreamInfo(
            width=width,
            height=height,
            time_base=stream.time_base / self._ticks,
            pixel_format=self._pixel_format,
            bit_depth=self._converter.layout.bit_depth,
            color=self._tags,
            mastering_display=mastering_display_of(picture),
            content_light=content_light_of(picture),
            sample_aspect_ratio=aspect,
            average_rate=None if rate is None else times * rate,
            frame_count=times * stream.frames or None,
            frames_of_each=times,
            duration_seconds=stream_duration(self._container, stream),
            has_captions=captions_of(picture) is not None,
        )

    def _tags_of(self, picture: av.VideoFrame) -> ColorTags:
        """The picture's own tags; where it has none, the container's."""
        context = self._stream.codec_context
        return ColorTags(
            matrix=_specified(picture.colorspace, context.colorspace, unspecified=2),
            primaries=_specified(picture.color_primaries, context.color_primaries, unspecified=2),
            transfer=_specified(picture.color_trc, context.color_trc, unspecified=2),
            color_range=_specified(picture.color_range, context.color_range, unspecified=0),
            chroma_location=chroma_location_of(picture, context.codec.canonical_name),
        )

    def _decode(self) -> Generator[av.VideoFrame]:
        """Pictures in presentation order, the decoder flushed at the end."""
        packets = needed_packets(
            self._packets, lambda: self._undecoded_before, self._stream.codec_context.flush_buffers
        )
        for packet in packets:
            yield from self._decode_packet(packet)
        yield from self._decode_packet(None)

    def _decode_packet(self, packet: Packet[VideoStream] | None) -> Iterator[av.VideoFrame]:
        try:
            pictures = self._stream.codec_context.decode(packet)
        except (av.error.EOFError, av.error.BlockingIOError):
            return
        except av.error.FFmpegError:
            self._counts.undecodable_packets += packet is not None and self._is_wanted(packet.pts)
            return
        for picture in pictures:
            self._counts.concealed_frames += picture.is_corrupt and self._is_wanted(picture.pts)
            yield picture

    def _is_wanted(self, pts: int | None) -> bool:
        """Whether damage at `pts` is a loss; before a skipped part's end it comes of the skipping."""
        return self._undecoded_before is None or pts is None or pts >= self._undecoded_before


def _specified(first: int, second: int, *, unspecified: int) -> int:
    return int(first) if first != unspecified else int(second)

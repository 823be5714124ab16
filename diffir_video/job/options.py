"""`JobOptions`: how a file is to be restored, whatever kind of job restores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, get_args

from diffir_video.errors import UsageError
from diffir_video.job.cutting import SEGMENT_FRAMES
from diffir_video.media import Crop, Deinterlace, EncoderSettings, FieldOrder, Hwaccel, TimeRange
from diffir_video.media.read_options import check_read_options

Alpha = Literal["refuse", "drop"]

# After how many frames an encoder makes a keyframe unless told otherwise, where a segment may be longer.
_KEYFRAME_INTERVALS: Mapping[str, int] = {"libvpx-vp9": 128, "libvpx": 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """How a file is to be restored.

    encoder, encoder_options: FFmpeg's names, the options over its defaults here.
    deinterlace: "auto" makes interlaced pictures progressive, "bwdif" all of them, "off" none; "auto-fields"
        and "bwdif-fields" make a frame of each field, so that the output has twice the rate.
    field_order: the earlier field of a picture, "top" or "bottom"; "auto" believes the picture.
    start, end: restore only what is from the one up to the other, in seconds of the input's clock; the
        output, all its tracks, begins at 0 if `start` is given.
    rate: frames per second of pictures, by default 25; a video has timestamps of its own.
    alpha: "refuse" an input with transparency, which would be lost, or "drop" it.
    crop: restore only this part of every picture.
    size: width and height of the output, shown in the shape of the input all the same.
    max_size: the most that width and height may be; a smaller output isn't enlarged.
    overwrite: replace an existing output.
    segment_frames: no segment of a job is longer. A crash costs the one at work, and the one before it where
        its encoder is not through. They end at scene cuts, or after a multiple of the encoder's own keyframe
        interval (g).
    restart: throw away what an unfinished job left, instead of going on.
    verify: decode the finished file to its end.
    hwaccel: "cuda" has a GPU decode the input, as far as it can; "off" the processor.
    isolate: decode a video in another process, which a crash of its decoder ends instead of the job.

    Raises UsageError for a value that is none of these, and for `size` together with `max_size`.
    """

    encoder: str = "libx264"
    encoder_options: Mapping[str, str] = field(default_factory=dict[str, str])
    deinterlace: Deinterlace = "auto"
    field_order: FieldOrder = "auto"
    start: Fraction | None = None
    end: Fraction | None = None
    rate: Fraction | None = None
    alpha: Alpha = "refuse"
    crop: Crop | None = None
    size: tuple[int, int] | None = None
    max_size: tuple[int, int] | None = None
    overwrite: bool = False
    segment_frames: int = SEGMENT_FRAMES
    restart: bool = False
    verify: bool = False
    isolate: bool = False
    hwaccel: Hwaccel = "off"

    def __post_init__(self) -> None:
        check_read_options(
            deinterlace=self.deinterlace,
            field_order=self.field_order,
            start=self.start,
            end=self.end,
            crop=self.crop,
            rate=self.rate,
            hwaccel=self.hwaccel,
        )
        if self.alpha not in get_args(Alpha):
            raise UsageError(f"alpha {self.alpha!r}: expected one of {get_args(Alpha)}")
        if not _is_count(self.segment_frames):
            raise UsageError(f"segment_frames {self.segment_frames!r}: expected a whole number, 1 or more")
        for name, size in (("size", self.size), ("max_size", self.max_size)):
            if size is not None and not _is_size(size):
                raise UsageError(f"{name} {size!r}: expected (width, height), whole numbers, 1 or more")
        for name in ("overwrite", "restart", "verify", "isolate"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} {getattr(self, name)!r}: expected True or False")
        if self.isolate and self.hwaccel != "off":
            raise UsageError(f"hwaccel {self.hwaccel!r} decodes in this process; drop it or isolate")
        object.__setattr__(self, "encoder_options", self.encoding.options)
        if self.size is not None and self.max_size is not None:
            raise UsageError("a size and a largest size were given; give one of them")

    @property
    def encoding(self) -> EncoderSettings:
        return EncoderSettings(self.encoder, self.encoder_options)

    @property
    def longest_segment(self) -> int:
        """`segment_frames`, or the last multiple below it of the encoder's keyframe interval."""
        given = self.encoder_options.get("g", "")
        interval = int(given) if given.isdecimal() else _KEYFRAME_INTERVALS.get(self.encoder, 0)
        is_shorter = 0 < interval < self.segment_frames
        return self.segment_frames // interval * interval if is_shorter else self.segment_frames

    @property
    def part(self) -> TimeRange:
        return TimeRange(self.start, self.end)

    @property
    def settings(self) -> dict[str, str]:
        """All of them that decide what the finished file holds."""
        return {
            "encoder": self.encoder,
            **{f"encoder option {key}": value for key, value in self.encoder_options.items()},
            "start": str(self.start),
            "end": str(self.end),
            "deinterlace": self.deinterlace,
            "field order": self.field_order,
            "rate": str(self.rate),
            "alpha": self.alpha,
            "hwaccel": self.hwaccel,
            "crop": str(self.crop),
            "size": str(self.size),
            "largest size": str(self.max_size),
            "frames per segment": str(self.segment_frames),
        }


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_size(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_count, value))  # pyright: ignore[reportUnknownArgumentType]

"""Value types of the loop: `Frame`, `Clip`, `ColorTags`, `StreamInfo`. No I/O and no network here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Integral, Rational
from typing import Self

import torch
from torch import Tensor

from diffir_video.errors import UsageError

# No excursion out of [0, 1] comes near; code values of 8 bits are above it.
_LARGEST_VALUE = 4.0


def _check_picture(data: Tensor, ndim: int) -> None:
    if not isinstance(data, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"expected a torch tensor, got {type(data).__name__}; torch.from_numpy makes one")
    if data.ndim != ndim or data.shape[-3] != 3:
        expected = "(3, H, W)" if ndim == 3 else "(T, 3, H, W)"
        raise UsageError(f"expected RGB data of shape {expected}, got {tuple(data.shape)}")
    if not data.is_floating_point():
        raise UsageError(f"expected floating-point data in [0, 1], got {data.dtype}")
    if 0 in data.shape:
        raise UsageError(f"expected at least one pixel and one frame, got shape {tuple(data.shape)}")


def _check_time(pts: int, time_base: Fraction) -> None:
    if not isinstance(pts, Integral):
        raise UsageError(f"pts {pts!r}: expected a whole number of units of time_base, {time_base} s")
    if not isinstance(time_base, Rational) or time_base <= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"time_base must be positive, and a Fraction, got {time_base!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture and its place in time.

    data: (3, H, W) RGB, float in [0, 1], nonlinear (gamma-coded) as in the source, full range. Outside of
        [0, 1] lie colours outside the RGB cube, where a reader was asked to keep them.
    pts, duration: in units of `time_base` seconds; `duration` is None where the container has none.
    is_keyframe: it was decoded by itself: a stream may be entered, or cut, before it.
    captions: the closed captions that lie in it, constructs of three bytes (cc_data of CTA-708), or None.
    Two frames are equal only where they are one. Raises UsageError on another shape or dtype, a pts that is
    no whole number, or a `time_base` that is no positive fraction.
    """

    data: Tensor
    pts: int
    time_base: Fraction
    duration: int | None = None
    is_keyframe: bool = False
    captions: bytes | None = None

    def __post_init__(self) -> None:
        _check_picture(self.data, 3)
        _check_time(self.pts, self.time_base)

    @property
    def pts_seconds(self) -> Fraction:
        return self.pts * self.time_base

    def with_data(self, data: Tensor) -> Self:
        """The same place in time with another picture."""
        return replace(self, data=data)


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """T consecutive frames of one size on one device.

    data: (T, 3, H, W) RGB, float in [0, 1]. pts: T ints in `time_base` units, strictly increasing.
    Two clips are equal only where they are one. Raises UsageError on another shape or dtype, code values such
    as 0 to 255, or timestamps that do not increase.
    """

    data: Tensor
    pts: tuple[int, ...]
    time_base: Fraction

    def __post_init__(self) -> None:
        _check_picture(self.data, 4)
        if (largest := float(self.data.detach().amax())) > _LARGEST_VALUE:
            raise UsageError(f"expected values in [0, 1], got {largest:g}; divide codes of 8 bits by 255")
        if len(self.pts) != len(self.data):
            raise UsageError(f"{len(self.data)} frames need as many pts, got {len(self.pts)}")
        for pts in self.pts:
            _check_time(pts, self.time_base)
        for earlier, later in zip(self.pts, self.pts[1:], strict=False):
            if later <= earlier:
                raise UsageError(f"pts must strictly increase, got {later} after {earlier}")

    def __len__(self) -> int:
        return len(self.pts)

    @classmethod
    def from_frames(cls, frames: Sequence[Frame]) -> Self:
        """Stack frames of one size and one time_base; raises UsageError for none or unequal ones."""
        if not frames:
            raise UsageError("a clip needs at least one frame")
        first = frames[0]
        for frame in frames:
            if frame.data.shape != first.data.shape or frame.time_base != first.time_base:
                raise UsageError(
                    f"frames of one clip share size and time_base: {tuple(first.data.shape)} at "
                    f"{first.time_base}, then {tuple(frame.data.shape)} at {frame.time_base}"
                )
        return cls(torch.stack([f.data for f in frames]), tuple(f.pts for f in frames), first.time_base)

    def frames(self) -> list[Frame]:
        """The frames one by one; their data are views of this clip's."""
        return [Frame(d, p, self.time_base) for d, p in zip(self.data, self.pts, strict=True)]


@dataclass(frozen=True, slots=True)
class ColorTags:
    """How a stream's code values mean colour: code points of ITU-T H.273, FFmpeg's integers.

    `matrix` (AVColorSpace), `primaries`, `transfer`: 2 is unspecified. `color_range` (AVColorRange):
    0 unspecified, 1 limited ("tv"), 2 full ("pc"). `chroma_location` (AVChromaLocation):
    0 unspecified, which is left; 1 left, 2 centre, 3 top left, 4 top, 5 bottom left, 6 bottom.
    """

    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    color_range: int = 0
    chroma_location: int = 0


@dataclass(frozen=True, slots=True)
class MasteringDisplay:
    """The display that HDR material was graded on (SMPTE ST 2086).

    red, green, blue, white: CIE 1931 (x, y). max_luminance, min_luminance: in cd/m².
    """

    red: tuple[Fraction, Fraction]
    green: tuple[Fraction, Fraction]
    blue: tuple[Fraction, Fraction]
    white: tuple[Fraction, Fraction]
    max_luminance: Fraction
    min_luminance: Fraction


@dataclass(frozen=True, slots=True)
class ContentLight:
    """The brightest pixel and the brightest frame's mean of HDR material (CTA-861.3), in cd/m²."""

    max_pixel: int
    max_frame_average: int


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What is known of a video stream before its first frame.

    width, height: pixels of the frames as delivered (after rotation). `frame_count` and
    `duration_seconds` are the container's word, None where it has none. `average_rate` is frames per
    second, None where unknown (0/0); pts, never this, says when a frame is shown. has_captions: closed
    captions lie in the first frame; a live stream, where that may change, doesn't say. frames_of_each: how
    many are made of each coded picture, 2 where each field is one.
    """

    width: int
    height: int
    time_base: Fraction
    pixel_format: str
    bit_depth: int = 8
    color: ColorTags = ColorTags()
    mastering_display: MasteringDisplay | None = None
    content_light: ContentLight | None = None
    sample_aspect_ratio: Fraction | None = None
    average_rate: Fraction | None = None
    frame_count: int | None = None
    duration_seconds: float | None = None
    has_captions: bool = False
    frames_of_each: int = 1

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"width and height must be positive, got {self.width}x{self.height}")
        if self.time_base <= 0:
            raise ValueError(f"time_base must be positive, got {self.time_base}")

    def scaled(self, scale: int) -> Self:
        """The stream after a network that enlarges by `scale`."""
        return replace(self, width=self.width * scale, height=self.height * scale)

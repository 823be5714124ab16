"""The arguments that all readers share, checked where they come in."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from numbers import Real
from typing import Any, TypedDict, get_args

from diffir_video.errors import UsageError
from diffir_video.media.deinterlace import Deinterlace, FieldOrder
from diffir_video.media.geometry import Crop
from diffir_video.media.hardware import Hwaccel


class ReadOptions(TypedDict, total=False):
    """What readers of a video, in this process or another, take alike; see `VideoReader`."""

    deinterlace: Deinterlace
    field_order: FieldOrder
    start: Fraction | None
    end: Fraction | None
    crop: Crop | None


def check_path(path: Any, name: str = "path") -> None:
    """Raise UsageError for what is no path, or one in bytes; name: of the argument."""
    if isinstance(path, bytes):
        raise UsageError(f"{name} {path!r}: expected a path, as text or a Path; os.fsdecode makes text of it")
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"{name} {path!r}: expected a path, as text or a Path")


def check_read_options(
    *,
    deinterlace: Deinterlace = "off",
    field_order: FieldOrder = "auto",
    start: Fraction | None = None,
    end: Fraction | None = None,
    crop: Crop | None = None,
    rate: Fraction | None = None,
    hwaccel: Hwaccel = "off",
) -> None:
    """Raise UsageError for a value that is none of those that `VideoReader` and `open_video` name."""
    if deinterlace not in get_args(Deinterlace):
        raise UsageError(f"deinterlace {deinterlace!r}: expected one of {get_args(Deinterlace)}")
    if field_order not in get_args(FieldOrder):
        raise UsageError(f"field_order {field_order!r}: expected one of {get_args(FieldOrder)}")
    if field_order != "auto" and deinterlace == "off":
        raise UsageError(f"field_order {field_order!r} is for deinterlacing, and deinterlace is 'off'")
    if hwaccel not in get_args(Hwaccel):
        raise UsageError(f"hwaccel {hwaccel!r}: expected one of {get_args(Hwaccel)}")
    for name, seconds in (("start", start), ("end", end)):
        if seconds is not None and not _is_finite(seconds):
            raise UsageError(f"{name} {seconds!r}: expected seconds, as a Fraction")
    if crop is not None and not isinstance(crop, Crop):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"crop {crop!r}: expected a Crop, such as Crop(640, 360)")
    if rate is not None and not (_is_finite(rate) and rate > 0):
        raise UsageError(f"rate {rate!r}: expected frames per second, as a Fraction above 0")


def _is_finite(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)

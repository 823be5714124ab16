"""How the values of options are written: times, sizes, counts, settings of an encoder."""

from __future__ import annotations

from argparse import ArgumentTypeError
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffir_video.media import Crop


def auto_or_count(text: str) -> str | int:
    """`auto`, or a whole number."""
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f"expected auto or a whole number, got {text!r}") from None


def size(text: str) -> tuple[int, int]:
    """`640x360` as (width, height)."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ArgumentTypeError(f"expected WxH, got {text!r}")
    return int(width), int(height)


def crop(text: str) -> Crop:
    """`640x360+20+10`, or `640x360` for the middle of the picture."""
    from diffir_video.media import Crop

    extent, *corner = text.split("+")
    if len(corner) not in (0, 2) or not all(part.isdecimal() for part in corner):
        raise ArgumentTypeError(f"expected WxH or WxH+X+Y, got {text!r}")
    return Crop(*size(extent), *map(int, corner))


def duration(text: str) -> Fraction:
    """`5s`, `5` or `1:05`, in seconds."""
    return seconds(text.removesuffix("s"))


def rate(text: str) -> Fraction:
    """`25` or `30000/1001` frames per second."""
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise ArgumentTypeError(f"expected a number of frames per second, got {text!r}")
    return value


def seconds(text: str) -> Fraction:
    """`1:30`, `0:01:30.5` or `90.5`, in seconds."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    try:
        parts = [Fraction(part) for part in digits.split(":")]
    except (ValueError, ZeroDivisionError):
        parts = []
    if not 1 <= len(parts) <= 3 or min(parts) < 0:
        raise ArgumentTypeError(f"expected [hours:][minutes:]seconds, got {text!r}")
    return sign * sum((part * 60**place for place, part in enumerate(reversed(parts))), Fraction(0))


def key_and_value(text: str) -> tuple[str, str]:
    """`crf=20` as ("crf", "20")."""
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise ArgumentTypeError(f"expected k=v, got {text!r}")
    return key, value


def auto_off_or_count(text: str) -> str | int:
    """`auto`, `off`, or a whole number."""
    return text if text == "off" else auto_or_count(text)

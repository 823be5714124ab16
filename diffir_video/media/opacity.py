"""Whether anything shows through a picture: an alpha channel alone says only that something might."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

# Packed samples are named by their order: rgba, bgra64le, ya8.
_PACKED = re.compile(r"([rgbyuva]+)(?:8|16[bl]e|64[bl]e)?")

# FFmpeg makes 65532 of 16 bits of what was opaque in 8.
_EXACT_BITS = 12


def has_alpha(pixel_format: str) -> bool:
    return any(component.is_alpha for component in VideoFormat(pixel_format, 16, 16).components)


def shows_through(picture: VideoFrame) -> bool:
    """Whether a picture with an alpha channel is anywhere less than fully opaque.

    True also where samples lie in a way that isn't known here, such as floating point.
    """
    alpha = next(component for component in picture.format.components if component.is_alpha)
    plane = picture.planes[alpha.plane]
    kind = np.dtype("u1") if alpha.bits <= 8 else np.dtype(">u2" if picture.format.is_big_endian else "<u2")
    place, step = 0, 1
    if len({component.plane for component in picture.format.components}) == 1:
        named = _PACKED.fullmatch(picture.format.name)
        if named is None or "a" not in named[1]:
            return True
        place, step = named[1].index("a"), len(named[1])
    elif not picture.format.name.startswith(("yuva", "gbrap")) or "f" in picture.format.name:
        return True
    buffer: Any = plane
    stride = plane.line_size // kind.itemsize
    samples: NDArray[np.uint8 | np.uint16] = np.frombuffer(buffer, kind)
    rows = samples[: picture.height * stride].reshape(picture.height, stride)
    least, largest = int(rows[:, place : step * picture.width : step].min()), 2**alpha.bits - 1
    return least < largest - (largest >> _EXACT_BITS)


def palette_shows_through(path: Path) -> bool:
    """Whether a picture has a pixel of a colour that its file calls less than opaque; True if unreadable."""
    try:
        with Image.open(path) as image:
            return image.convert("RGBA").getchannel("A").getextrema() != (255, 255)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return True

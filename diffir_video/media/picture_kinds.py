"""What kinds of pictures a sequence holds: by their headers, so that thousands are looked at in a second."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image


@dataclass(frozen=True, slots=True)
class PictureKind:
    """What a header says of a picture; pictures of one kind are decoded into one pixel format.

    mode, samples: Pillow's names of the pixels it makes and of those in the file; empty where it doesn't know
    the format. has_transparent_color: a colour is, which FFmpeg's pixel formats tell of no palette.
    is_animated: there are more pictures in the file. is_opaque: nothing shows through, though FFmpeg may
    decode it into a format with alpha, as it does every lossless WebP and JPEGs of four inks.
    """

    suffix: str
    mode: str = ""
    samples: str = ""
    has_transparent_color: bool = False
    is_animated: bool = False
    is_opaque: bool = False


def kinds_of(paths: Sequence[Path]) -> Mapping[PictureKind, int]:
    """The kinds there are among the pictures, each with the index of its first one."""
    first: dict[PictureKind, int] = {}
    for index, path in enumerate(paths):
        first.setdefault(kind_of(path), index)
    return first


def kind_of(path: Path) -> PictureKind:
    """The kind of one picture; that of its name alone where the header can't be read."""
    suffix = path.suffix.lower()
    try:
        with warnings.catch_warnings():
            # Nothing is decoded here, however large it is.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return PictureKind(
                    suffix,
                    image.mode,
                    _samples_of(image),
                    _has_transparent_color(image),
                    _is_animated(image),
                    _is_opaque(image),
                )
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return PictureKind(suffix)


def _samples_of(image: Image.Image) -> str:
    # (decoder, where, offset, its arguments), the first of which is how samples are packed.
    tiles: Any = getattr(image, "tile", ())
    arguments: tuple[str, ...] | str = tiles[0][3] if tiles else ""
    return arguments[0] if isinstance(arguments, tuple) else str(arguments)


def _has_transparent_color(image: Image.Image) -> bool:
    # The opacity of each entry of a palette, or the one colour that isn't there.
    transparency: object = image.info.get("transparency")
    if isinstance(transparency, bytes):
        return any(opacity < 255 for opacity in transparency)
    return transparency is not None


def _is_animated(image: Image.Image) -> bool:
    # Phones put previews into their JPEGs; those are no pictures of their own.
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def _is_opaque(image: Image.Image) -> bool:
    return image.format == "JPEG" or (image.format == "WEBP" and image.mode == "RGB")

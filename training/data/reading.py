"""Files of material read: pictures of any depth as 8-bit RGB, pictures and clips upright."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from diffir_video.media import VideoReader

# What Pillow raises for a file that is no picture, or breaks off.
PICTURE_ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)

# Integer samples of more than 8 bits: "I" is what some versions of Pillow make of 16-bit files.
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_LARGEST = 65535


def as_rgb(image: Image.Image) -> Image.Image:
    """The picture upright, in mode RGB.

    Samples of 16 bits are taken by their value over 257; Pillow would clip them to white. Raises ValueError
    for samples of floating point or of more than 16 bits, whose white no file tells.
    """
    check_depth(image)
    image = upright(image)
    if image.mode not in _DEEP_MODES:
        return image.convert("RGB")
    samples = np.asarray(image).astype(np.int64)
    if samples.size and not 0 <= samples.min() <= samples.max() <= _LARGEST:
        raise ValueError(
            f"samples from {samples.min()} to {samples.max()} are not of 16 bits; convert it to 8 or 16"
        )
    return Image.fromarray(((samples + 128) // 257).astype(np.uint8)).convert("RGB")


def check_depth(image: Image.Image) -> None:
    """Raise ValueError for a picture that `as_rgb` refuses by its mode, before anything is decoded."""
    if image.mode == "F":
        raise ValueError("samples of floating point (mode F) have no white; convert it to 8 or 16 bits")


def upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says that it is looked at, and as the engine decodes it."""
    return ImageOps.exif_transpose(image) if _orientation(image) > 1 else image


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of `upright`, before anything is decoded."""
    width, height = image.size
    # From the fifth on orientations are quarter turns.
    return (height, width) if _orientation(image) > 4 else (width, height)


def _orientation(image: Image.Image) -> int:
    """1 to 8, as EXIF counts them; 1 is upright."""
    # Pillow turns a TIFF by itself, and to look behind the pixels of a PNG it would decode all of it.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    found = image.getexif().get(ExifTags.Base.Orientation, 1)
    return found if found in range(1, 9) else 1


def is_turned(path: Path) -> bool:
    """Whether `upright` changes a picture file. Raises one of PICTURE_ERRORS."""
    with Image.open(path) as image:
        return _orientation(image) > 1


def is_deep(path: Path) -> bool:
    """Whether a picture file has integer samples of more than 8 bits. Raises one of PICTURE_ERRORS."""
    with Image.open(path) as image:
        return image.mode in _DEEP_MODES


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture file as (H, W, 3) uint8 RGB; see `as_rgb`. Raises one of PICTURE_ERRORS."""
    with Image.open(path) as image:
        return np.asarray(as_rgb(image))


def read_clip(
    path: Path, *, limit: int | None = None, step: int = 1, at_once: int = 32
) -> Iterator[NDArray[np.uint8]]:
    """Every `step`-th of the first `limit` frames, `at_once` at a time: (n, H, W, 3) uint8 RGB.

    What decord refuses, such as some clips with a rotation in their metadata, the engine's reader decodes,
    upright. Raises RuntimeError or MediaInputError for a file that neither can read.
    """
    import decord  # pyright: ignore[reportMissingTypeStubs]

    wanted = range(0, sys.maxsize if limit is None else limit, step)
    try:
        reader: Any = decord.VideoReader(str(path), num_threads=1)
        wanted = range(0, min(wanted.stop, len(reader)), step)
    except decord.DECORDError:
        yield from _read_by_engine(path, wanted, at_once)
        return
    for start in range(0, len(wanted), at_once):
        try:
            batch: NDArray[np.uint8] = reader.get_batch(wanted[start : start + at_once]).asnumpy()
        except decord.DECORDError:
            yield from _read_by_engine(path, wanted[start:], at_once)
            return
        yield batch


def _read_by_engine(path: Path, wanted: range, at_once: int) -> Iterator[NDArray[np.uint8]]:
    held: list[NDArray[np.uint8]] = []
    with VideoReader(path) as reader:
        for index, frame in enumerate(reader):
            if index >= wanted.stop:
                break
            if index not in wanted:
                continue
            pixels = (frame.data * 255).round().byte().permute(1, 2, 0)
            held.append(np.ascontiguousarray(pixels.numpy()))
            if len(held) == at_once:
                yield np.stack(held)
                held = []
    if held:
        yield np.stack(held)

"""Large pictures cut into overlapping crops, once, so that no sample decodes a whole one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from diffir_video.errors import OutputError, UsageError
from training.data.reading import PICTURE_ERRORS, as_rgb
from training.data.suffixes import PHOTO_SUFFIXES

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done: pictures cut, crops written, files left out as unreadable or too small."""

    pictures: int
    crops: int
    left_out: int


def cut_into_crops(source: Path, target: Path, *, size: int, step: int) -> Prepared:
    """Every picture of `source` as PNG crops of `size` pixels every `step`, in `target`'s same folders.

    The last row and column of crops end at the picture's border, so that nothing is lost. Pairs stay pairs,
    as LQ and ground truth of one size are cut alike. A crop that is there already is not made again.
    Raises UsageError if `source` holds no picture or the sizes make no sense, OutputError if a crop can't be
    written.
    """
    if size < 1 or not 1 <= step <= size:
        raise UsageError(f"crops of {size} pixels every {step}: expected a step of 1 to the crops' size")
    pictures = crops = left_out = 0
    for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES):
        folder = target / path.parent.relative_to(source)
        try:
            with Image.open(path) as image:
                count = _cut(as_rgb(image), folder, path.stem, size, step)
        except PICTURE_ERRORS as exc:
            _log.warning("left out %s: %s", path, exc)
            count = 0
        pictures, crops, left_out = pictures + bool(count), crops + count, left_out + (not count)
    if not pictures:
        raise UsageError(f"no readable picture of {size} pixels or more in {source}")
    return Prepared(pictures, crops, left_out)


def _cut(image: Image.Image, folder: Path, stem: str, size: int, step: int) -> int:
    count = 0
    for y in _starts(image.height, size, step):
        for x in _starts(image.width, size, step):
            count += 1
            target = folder / f"{stem}-{y:05d}-{x:05d}.png"
            if not target.exists():
                _save(image.crop((x, y, x + size, y + size)), target)
    return count


def _save(crop: Image.Image, target: Path) -> None:
    unfinished = target.with_suffix(".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        crop.save(unfinished, "PNG")
        unfinished.replace(target)
    except OSError as exc:
        raise OutputError(f"can't write {target}: {exc}") from exc


def _starts(length: int, size: int, step: int) -> Iterator[int]:
    if length < size:
        return
    yield from range(0, length - size, step)
    yield length - size

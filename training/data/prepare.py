"""Large pictures cut into overlapping crops, once, so that no sample decodes a whole one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from diffir_video.errors import UsageError
from training.data.pictures import PAIR_FOLDERS
from training.data.reading import PICTURE_ERRORS, as_rgb, upright_size
from training.data.suffixes import PHOTO_SUFFIXES
from training.writing import make_folder, written_whole

# In the target folder: how it was cut.
_SETTINGS = "crops.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done: pictures cut, crops written, files left out as unreadable or too small."""

    pictures: int
    crops: int
    left_out: int


def cut_into_crops(source: Path, target: Path, *, size: int, step: int) -> Prepared:
    """Every picture of `source` as PNG crops of `size` pixels every `step`, in `target`'s same folders.

    The last row and column of crops end at the picture's border, so that nothing is lost. Pairs stay pairs:
    an LQ that is smaller than its ground truth by a whole factor is cut at the same places, that much
    smaller, and one of any other size is left out with its ground truth. A crop that is there already is not
    made again. Raises UsageError if `source` holds no picture, if two would give crops of the same names, if
    the sizes make no sense or `target` holds anything but crops of the same sizes; OutputError if a crop
    can't be written.
    """
    if size < 1 or not 1 <= step <= size:
        raise UsageError(f"crops of {size} pixels every {step}: expected a step of 1 to the crops' size")
    files = sorted(p for p in source.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES)
    _refuse_same_names(files)
    if files:
        _claim(target, size, step)
    pictures = crops = left_out = 0
    for path in files:
        folder = target / path.parent.relative_to(source)
        try:
            factor = _times_smaller(path)
            with Image.open(path) as image:
                count = _cut(as_rgb(image), folder, path.stem, size, step, factor)
        except UsageError:
            raise
        except PICTURE_ERRORS as exc:
            _log.warning("left out %s: %s", path, exc)
            count = 0
        pictures, crops, left_out = pictures + bool(count), crops + count, left_out + (not count)
    if not pictures:
        raise UsageError(f"no readable picture of {size} pixels or more in {source}")
    return Prepared(pictures, crops, left_out)


def _refuse_same_names(files: Sequence[Path]) -> None:
    seen: dict[Path, Path] = {}
    for path in files:
        other = seen.setdefault(path.with_suffix(""), path)
        if other != path:
            raise UsageError(f"{other} and {path} would give crops of the same names; rename one of them")


def _claim(target: Path, size: int, step: int) -> None:
    """Note in the target folder how it is cut. Raises UsageError if it holds something else."""
    settings, wanted = target / _SETTINGS, {"size": size, "step": step}
    if settings.exists():
        if settings.read_text() != json.dumps(wanted):
            raise UsageError(
                f"{target} holds crops of other settings, {settings.read_text()}, than {json.dumps(wanted)}; "
                "empty it, or choose another folder"
            )
        return
    if target.is_dir() and any(target.iterdir()):
        raise UsageError(
            f"{target} holds something, and no {_SETTINGS} says how it was cut; choose an empty folder"
        )
    make_folder(target)
    with written_whole(settings) as unfinished:
        unfinished.write_text(json.dumps(wanted))


def _times_smaller(path: Path) -> int:
    """How many times smaller than its ground truth a picture is: 1 unless it is the LQ of a pair.

    Raises ValueError for a picture of a pair whose sizes are no multiples.
    """
    name = path.parent.name
    lq_folders = [lq for lq, gt in PAIR_FOLDERS.items() if gt == name]
    pairs = [(path, path.parent.with_name(PAIR_FOLDERS[name]) / path.name)] if name in PAIR_FOLDERS else []
    pairs += [(path.parent.with_name(folder) / path.name, path) for folder in lq_folders]
    for lq, gt in pairs:
        if not (lq.is_file() and gt.is_file()):
            continue
        with Image.open(lq) as small, Image.open(gt) as large:
            (width, height), whole = upright_size(small), upright_size(large)
            factor = whole[0] // width
            if (width * factor, height * factor) != whole:
                raise ValueError(f"the LQ of {width}x{height} does not belong to {whole[0]}x{whole[1]}")
        return factor if path == lq else 1
    return 1


def _cut(image: Image.Image, folder: Path, stem: str, size: int, step: int, factor: int) -> int:
    """Crops at places of the ground truth, `factor` times as large as this picture."""
    if size % factor or step % factor:
        raise UsageError(
            f"crops of {size} pixels every {step}: the LQ {stem} is {factor} times smaller than its ground "
            f"truth; choose multiples of {factor}"
        )
    count, side = 0, size // factor
    for y in _starts(image.height * factor, size, step):
        for x in _starts(image.width * factor, size, step):
            count += 1
            target = folder / f"{stem}-{y:05d}-{x:05d}.png"
            if not target.exists():
                left, top = x // factor, y // factor
                _save(image.crop((left, top, left + side, top + side)), target)
    return count


def _save(crop: Image.Image, target: Path) -> None:
    make_folder(target.parent)
    with written_whole(target) as unfinished:
        crop.save(unfinished, "PNG")


def _starts(length: int, size: int, step: int) -> Iterator[int]:
    if length < size:
        return
    yield from range(0, length - size, step)
    yield length - size

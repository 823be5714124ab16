"""Any folder as evaluation material: clips and pictures that are damaged here, or pairs that came damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffir_video.errors import MediaInputError, UsageError
from training.config import SourceConfig
from training.data.pictures import PAIR_FOLDERS, list_pictures
from training.data.reading import PICTURE_ERRORS, read_picture
from training.data.suffixes import CLIP_SUFFIXES, PHOTO_SUFFIXES
from training.evaluation.ffmpeg import read_rgb
from training.evaluation.material import Damage, damaged, to_tensor
from training.evaluation.stages import LabelledInput


def parse_damage(text: str, scale: int) -> Damage:
    """``sigma=25,crf=30,codec=x265`` or ``none`` → what a model of this scale is given.

    Raises UsageError on anything else.
    """
    values: dict[str, str] = {}
    for item in [] if text == "none" else text.split(","):
        key, separator, value = item.partition("=")
        if key not in ("sigma", "crf", "codec") or not separator:
            raise UsageError(
                f"damage {text!r}: expected none, or sigma=N, crf=N, codec=x264|x265 with commas"
            )
        values[key] = value
    codec = values.get("codec", "x264")
    if codec not in ("x264", "x265") or not all(values.get(k, "0").isdecimal() for k in ("sigma", "crf")):
        raise UsageError(f"damage {text!r}: sigma and crf are whole numbers, codec is x264 or x265")
    if "codec" in values and "crf" not in values:
        raise UsageError(f"damage {text!r}: {codec} needs a crf, as in crf=30")
    crf = int(values["crf"]) if "crf" in values else None
    return Damage(int(values.get("sigma", 0)), crf, codec, scale)


def inputs_in(
    folder: Path, damages: list[Damage], *, scale: int, frames: int, cache: Path
) -> Iterator[LabelledInput]:
    """Every clip and picture under `folder` with every damage; of clips the first `frames`.

    Where the folder holds pairs, these are taken as they are and `damages` are not done. Raises UsageError if
    there is nothing.
    """
    if not folder.is_dir():
        raise UsageError(f"no evaluation folder {folder}")
    if any(p.is_dir() and p.name in PAIR_FOLDERS for p in folder.rglob("*")):
        yield from _pairs(folder, scale)
        return
    files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in CLIP_SUFFIXES | PHOTO_SUFFIXES]
    if not files:
        raise UsageError(f"{folder} holds neither clips nor pictures")
    for path in files:
        truth = _cut(_read(path, frames), 2 * scale)
        for damage in damages:
            lq = damaged(truth, path.stem, damage, cache)
            yield LabelledInput(path.stem, damage, to_tensor(lq), to_tensor(truth))


def _pairs(folder: Path, scale: int) -> Iterator[LabelledInput]:
    for picture in list_pictures(SourceConfig(root=folder, kind="pairs", shrink=1), 1, scale=scale):
        assert picture.lq is not None
        name = "/".join(picture.gt.relative_to(folder).with_suffix("").parts)
        lq, truth = (to_tensor(_read(path, 1)) for path in (picture.lq, picture.gt))
        yield LabelledInput(name, Damage(shrink=scale), lq, truth)


def _read(path: Path, frames: int) -> NDArray[np.uint8]:
    if path.suffix.lower() in CLIP_SUFFIXES:
        return read_rgb(path, frames)
    try:
        return read_picture(path)[None]
    except PICTURE_ERRORS as exc:
        raise MediaInputError(f"{path} can't be read: {exc}; take it out of the folder") from exc


def _cut(frames: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    height, width = (side // multiple * multiple for side in frames.shape[1:3])
    return frames[:, :height, :width]

"""Samples of single pictures: a patch of ground truth and what damage made of it, or the LQ beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from diffir_video.errors import InputError, UsageError
from training.config import SourceConfig, TrainConfig
from training.data.damage import damage_picture
from training.data.frames import shrink_area
from training.data.reading import PICTURE_ERRORS, as_rgb, check_depth, upright, upright_size
from training.data.suffixes import PHOTO_SUFFIXES
from training.schedule import patch_size_of_item

# Folders of LQ and of ground truth beside each other, as published data sets name them.
PAIR_FOLDERS = {"blur": "sharp", "input": "target", "input_crops": "target_crops", "lq": "gt", "LQ": "GT"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Picture:
    """One ground truth on disk, and the LQ beside it, if the source has pairs; `size` is (width, height)."""

    gt: Path
    lq: Path | None
    size: tuple[int, int]


class PictureDataset(Dataset[tuple[Tensor, Tensor]]):
    """Item i is a function of (seed, i) alone, whatever worker makes it.

    Returns lq (image_channels, P / s, P / s) and gt (3, P, P), uint8. A file that breaks off is skipped: the
    next draw takes its place. Raises InputError when every file has failed.
    """

    def __init__(self, config: TrainConfig, sources: Sequence[SourceConfig] | None = None) -> None:
        """sources: in the place of the recipe's training sources."""
        self._config = config
        chosen = config.data.train if sources is None else sources
        largest = max(phase.patch_size for phase in config.all_phases)
        self._sources = [(s, list_pictures(s, largest * s.shrink, scale=config.model.scale)) for s in chosen]
        weights = np.array([source.weight for source, _ in self._sources])
        self._odds = weights / weights.sum()
        self._reported: set[Path] = set()
        self._failed: set[tuple[int, int]] = set()
        self._drawn = sum(len(p) for (_, p), odds in zip(self._sources, self._odds, strict=True) if odds > 0)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        config = self._config
        rng = np.random.default_rng((config.seed, index))
        size = patch_size_of_item(index, config)
        while True:
            of = int(rng.choice(len(self._sources), p=self._odds))
            source, pictures = self._sources[of]
            number = int(rng.integers(len(pictures)))
            picture = pictures[number]
            try:
                lq, gt = read_patch(picture, size, source.shrink, config.model.scale, rng)
            except PICTURE_ERRORS as exc:
                # It stays among those drawn from: what a sample is must not depend on what was seen before.
                self._failed.add((of, number))
                self._skip(picture.gt, exc)
                continue
            self._failed.discard((of, number))
            flip = draw_augmentation(rng)
            gt = flip(gt)
            damaged, gt = damage_picture(gt, config.data.damage, config.model.scale, rng)
            return as_tensor(damaged if lq is None else flip(lq)), as_tensor(gt)

    def _skip(self, path: Path, error: Exception) -> None:
        if path not in self._reported:
            self._reported.add(path)
            _log.warning("skipped %s: %s (%d skipped so far)", path, error, len(self._reported))
        if len(self._failed) == self._drawn:
            raise InputError(f"none of the {self._drawn} pictures can be read; the last is {path}: {error}")


def list_pictures(source: SourceConfig, smallest: int, *, scale: int = 1) -> list[Picture]:
    """The pictures of a source, sorted by path; unreadable and too small ones are left out, and counted.

    smallest: side in pixels that ground truth must have. Raises UsageError if the folder is missing or
    nothing is left.
    """
    if not source.root.is_dir():
        raise UsageError(f"training folder {source.root} does not exist")
    pictures: list[Picture] = []
    left_out = 0
    for gt, lq in _files(source):
        try:
            picture = _measured(gt, lq, scale)
        except PICTURE_ERRORS as exc:
            left_out += 1
            _log.warning("left out %s: %s", gt, exc)
            continue
        if min(picture.size) < smallest:
            left_out += 1
            _log.warning("left out %s: %dx%d is smaller than a patch of %d", gt, *picture.size, smallest)
        else:
            pictures.append(picture)
    if left_out:
        _log.warning("%d pictures in %s were left out", left_out, source.root)
    if not pictures:
        folders = ", ".join(f"{lq}/ and {gt}/" for lq, gt in PAIR_FOLDERS.items())
        hint = f" (folders {folders})" if source.kind == "pairs" else ""
        raise UsageError(f"no readable {source.kind} of {smallest} pixels or more in {source.root}{hint}")
    return pictures


def _files(source: SourceConfig) -> list[tuple[Path, Path | None]]:
    """(gt, lq) of every picture; lq is None where the source has no pairs."""
    files: list[tuple[Path, Path | None]] = []
    for path in sorted(p for p in source.root.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES):
        if path.stem in source.exclude or (source.only and path.stem not in source.only):
            continue
        if source.kind != "pairs":
            files.append((path, None))
        elif path.parent.name in PAIR_FOLDERS:
            files.append((path.parent.with_name(PAIR_FOLDERS[path.parent.name]) / path.name, path))
    return files


def _measured(gt: Path, lq: Path | None, scale: int) -> Picture:
    with Image.open(gt) as image:
        check_depth(image)
        size = upright_size(image)
    if lq is not None:
        with Image.open(lq) as image:
            check_depth(image)
            width, height = upright_size(image)
            if (width * scale, height * scale) != size:
                raise ValueError(f"{lq.name} of {width}x{height} does not belong to {size[0]}x{size[1]}")
    return Picture(gt, lq, size)


def read_patch(
    picture: Picture, size: int, shrink: int, scale: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8]]:
    """A random patch: lq (P / s, P / s, 3), or None without pairs, and gt (P, P, 3), uint8.

    shrink: the patch is averaged down by this from one so much larger. Raises OSError on a broken file.
    """
    side, step = size * shrink, shrink * scale
    width, height = picture.size
    x = int(rng.integers((width - side) // step + 1)) * step
    y = int(rng.integers((height - side) // step + 1)) * step
    gt = _crop(picture.gt, x, y, side, shrink)
    if picture.lq is None:
        return None, gt
    return _crop(picture.lq, x // scale, y // scale, side // scale, shrink), gt


def _crop(path: Path, x: int, y: int, side: int, shrink: int) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        patch = np.asarray(as_rgb(upright(image).crop((x, y, x + side, y + side))))
    return shrink_area(patch[None], shrink)[0]


def draw_augmentation(rng: np.random.Generator) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """One of the eight flips and quarter turns, for LQ and ground truth alike."""
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))

    def augment(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        turned = np.rot90(picture, turns)
        return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)

    return augment


def as_tensor(picture: NDArray[np.uint8]) -> Tensor:
    """(H, W, C) uint8 → (C, H, W) uint8."""
    return torch.as_tensor(np.ascontiguousarray(picture.transpose(2, 0, 1)))

"""Ground truth that is decoded once: every clip and photograph of a source as a memory-mapped array."""

from __future__ import annotations

import hashlib
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffir_video.errors import MediaInputError, UsageError
from training.config import SourceConfig
from training.data.reading import PICTURE_ERRORS, is_deep, is_turned, read_clip, read_picture
from training.data.suffixes import CLIP_SUFFIXES, PHOTO_SUFFIXES
from training.writing import make_folder, written_whole

# Mean absolute difference of two consecutive frames, in code values, from which they count as a cut.
CUT_DIFFERENCE = 30.0

_ABANDONED_SECONDS = 86400.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Footage:
    """Frames of one file. `frames`: (T, H, W, 3) uint8 RGB, memory-mapped; T is 1 for a photograph.

    `cuts`: indices of frames that start a new shot. `key`: tells this file, read this way, from any other.
    `path`: of the file.
    """

    name: str
    frames: NDArray[np.uint8]
    cuts: tuple[int, ...]
    key: str = ""
    path: Path = Path()

    def shots(self) -> list[tuple[int, int]]:
        """(start, end) of each stretch without a cut, `end` exclusive."""
        edges = [0, *self.cuts, len(self.frames)]
        return list(pairwise(edges))


def load_source(source: SourceConfig, cache: Path) -> list[Footage]:
    """All files of a source, sorted by name, from the cache where they are already decoded.

    A file that can't be decoded is skipped with a warning. Raises UsageError if the folder is missing or
    holds nothing readable, OutputError if the cache can't be written.
    """
    if not source.root.is_dir():
        raise UsageError(
            f"training folder {source.root} does not exist; see `diffir-train data fetch --help`"
        )
    _remove_abandoned(cache)
    suffixes = CLIP_SUFFIXES if source.kind == "clips" else PHOTO_SUFFIXES
    footage: list[Footage] = []
    skipped = 0
    for path in sorted(p for p in source.root.rglob("*") if p.suffix.lower() in suffixes):
        if path.stem in source.exclude or (source.only and path.stem not in source.only):
            continue
        try:
            footage.append(_load_cached(path, source, cache))
        except (*PICTURE_ERRORS, RuntimeError, MediaInputError) as exc:
            skipped += 1
            _log.warning("skipped %s: %s", path, exc)
    if skipped:
        _log.warning("%d unreadable files in %s were skipped", skipped, source.root)
    if not footage:
        raise UsageError(f"no readable {source.kind} in {source.root}")
    return footage


def _load_cached(path: Path, source: SourceConfig, cache: Path) -> Footage:
    stat = path.stat()
    version = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
    key = f"{version}:{source.kind}:{source.shrink}:{source.max_frames}"
    # What older versions kept of deep pictures is white, and turned ones lie on their side.
    if source.kind != "clips" and is_deep(path):
        key += ":by value"
    if source.kind != "clips" and is_turned(path):
        key += ":upright"
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    frames_file, cuts_file = (cache / f"{path.stem}-{digest}{suffix}" for suffix in (".npy", ".cuts.npy"))
    if not (frames_file.exists() and cuts_file.exists()):
        frames = _decode_clip(path, source) if source.kind == "clips" else _decode_photo(path, source)
        make_folder(cache)
        save_array(cuts_file, _find_cuts(frames))
        save_array(frames_file, frames)
    cuts = tuple(int(c) for c in np.load(cuts_file))
    return Footage(path.stem, np.load(frames_file, mmap_mode="r"), cuts, digest, path)


def _remove_abandoned(cache: Path) -> None:
    """What killed runs left of arrays; those of other runs that still write are younger than a day."""
    for left in cache.glob(".*.npy.*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an .npy file that is whole or not there. Raises OutputError if it can't be written."""
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def _decode_clip(path: Path, source: SourceConfig) -> NDArray[np.uint8]:
    return np.concatenate([shrink_area(b, source.shrink) for b in read_clip(path, limit=source.max_frames)])


def _decode_photo(path: Path, source: SourceConfig) -> NDArray[np.uint8]:
    return shrink_area(read_picture(path)[None], source.shrink)


def shrink_area(frames: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8 → (T, H // factor, W // factor, 3) uint8: each pixel a square's rounded mean."""
    if factor == 1:
        return frames
    t, h, w, c = frames.shape
    h, w = h // factor, w // factor
    squares = frames[:, : h * factor, : w * factor].reshape(t, h, factor, w, factor, c)
    total = squares.sum(axis=(2, 4), dtype=np.uint32)
    return ((total + factor * factor // 2) // (factor * factor)).astype(np.uint8)


def _find_cuts(frames: NDArray[np.uint8]) -> NDArray[np.intp]:
    thumbnails = frames[:, ::8, ::8].astype(np.float32)
    differences = np.abs(np.diff(thumbnails, axis=0)).mean(axis=(1, 2, 3))
    return np.flatnonzero(differences > CUT_DIFFERENCE) + 1

"""Whether two files show the same: perceptual hashes, which survive scaling, compression and noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffir_video.errors import MediaInputError
from training.data.reading import PICTURE_ERRORS, as_rgb, read_clip
from training.data.suffixes import CLIP_SUFFIXES, PHOTO_SUFFIXES

# A difference hash (which neighbour is brighter, on a grid of 16 x 16) has 256 bits. Two pictures of
# different things differ in about half of them; the same one scaled, compressed or noisy, in a few.
BITS = 256
SAME_BELOW = 48

# Of clips, a frame in this many is looked at.
FRAME_STEP = 12

# Grid cells that hardly differ from their neighbours say nothing; a picture of little else is skipped.
_FLAT_DIFFERENCE = 2.0
_FLAT_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Hashes of one file: (K, 32) uint8, packed bits; `frames` says of which frames."""

    path: Path
    hashes: NDArray[np.uint8]
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Resemblance:
    """The closest two frames of two files; `distance` is the number of bits that differ, of 256."""

    ours: Path
    our_frame: int
    theirs: Path
    their_frame: int
    distance: int

    @property
    def is_the_same(self) -> bool:
        return self.distance < SAME_BELOW


def fingerprints_of(files: Sequence[Path]) -> list[Fingerprints]:
    """Fingerprints of clips and pictures; what can't be decoded, or is flat, has none and is left out."""
    found: list[Fingerprints] = []
    for path in files:
        try:
            pairs = [(index, hashed) for index, hashed in _hashes(path) if hashed is not None]
        except (*PICTURE_ERRORS, RuntimeError, MediaInputError):
            continue
        if pairs:
            found.append(Fingerprints(path, np.stack([h for _, h in pairs]), tuple(i for i, _ in pairs)))
    return found


def media_files(folder: Path) -> list[Path]:
    """Clips and pictures under a folder, sorted; a file stands for itself."""
    if folder.is_file():
        return [folder]
    known = CLIP_SUFFIXES | PHOTO_SUFFIXES
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in known)


def closest(ours: Fingerprints, others: Sequence[Fingerprints]) -> Resemblance | None:
    """The frame of `others` most like one of `ours`; None without others."""
    best: Resemblance | None = None
    for theirs in others:
        different = np.unpackbits(ours.hashes[:, None] ^ theirs.hashes[None], axis=2).sum(axis=2)
        i, j = (int(k) for k in np.unravel_index(int(different.argmin()), different.shape))
        distance = int(different[i, j])
        if best is None or distance < best.distance:
            best = Resemblance(ours.path, ours.frames[i], theirs.path, theirs.frames[j], distance)
    return best


def difference_hash(picture: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """(H, W, 3) uint8 → (32,) uint8, packed bits; None if there is hardly anything to see."""
    grey = Image.fromarray(picture).convert("L").resize((17, 16), Image.Resampling.BOX)
    differences = np.diff(np.asarray(grey, np.int16), axis=1)
    if np.mean(np.abs(differences) < _FLAT_DIFFERENCE) > _FLAT_SHARE:
        return None
    return np.packbits(differences > 0)


def _hashes(path: Path) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    if path.suffix.lower() in PHOTO_SUFFIXES:
        with Image.open(path) as image:
            image.draft("RGB", (512, 512))
            yield 0, difference_hash(np.asarray(as_rgb(image)))
        return
    for number, frames in enumerate(read_clip(path, step=FRAME_STEP, at_once=1)):
        yield number * FRAME_STEP, difference_hash(frames[0])

"""The evaluation clips, their ground truth, and the damage done to them: noise, then perhaps x264.

All pictures are uint8 RGB, (T, H, W, 3): what a file or a camera would hand over.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.fetch import fetch
from training.evaluation.ffmpeg import encode_x264, read_rgb

NOISE_LEVELS = (10, 25, 40)
CRFS = (23, 30)
_SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationClip:
    """One file of the `eval` group; `shrink` averages away the traces its own compression left."""

    name: str
    file: str
    shrink: int


CLIPS = (
    EvaluationClip(name="bikes", file="bikes.mp4", shrink=2),
    EvaluationClip(name="carphone", file="carphone_pristine.mp4", shrink=1),
    EvaluationClip(name="vtest", file="vtest.avi", shrink=2),
    EvaluationClip(name="tree", file="tree.avi", shrink=2),
    EvaluationClip(name="franck", file="franck.mp4", shrink=2),
)


@dataclass(frozen=True, slots=True, order=True)
class Damage:
    """Gaussian noise of `sigma` 8-bit levels in RGB, clipped and rounded; then x264 at `crf`, or no codec."""

    sigma: int
    crf: int | None = None

    def __str__(self) -> str:
        return f"σ {self.sigma}" if self.crf is None else f"σ {self.sigma}, CRF {self.crf}"


ALL_DAMAGE = tuple(Damage(sigma, crf) for crf in (None, *CRFS) for sigma in NOISE_LEVELS)
REFERENCE_DAMAGE = Damage(25)


def ground_truth(data: Path, clip: EvaluationClip, frame_limit: int) -> NDArray[np.uint8]:
    """The clip's first frames, shrunk by averaging, cut to even sizes; fetched when missing."""
    files = fetch(data, groups=("eval",), names={clip.file})["eval"]
    return shrink_by_averaging(read_rgb(files[0], frame_limit), clip.shrink)


def shrink_by_averaging(frames: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Average blocks of `factor` x `factor` pixels and round; what is past an even size is cut off."""
    count, height, width, channels = frames.shape
    height, width = height // factor // 2 * 2, width // factor // 2 * 2
    cut = frames[:, : height * factor, : width * factor]
    blocks = cut.reshape(count, height, factor, width, factor, channels)
    return np.rint(blocks.mean(axis=(2, 4), dtype=np.float64)).astype(np.uint8)


def damaged(truth: NDArray[np.uint8], clip_name: str, damage: Damage, cache: Path) -> NDArray[np.uint8]:
    """The input a restorer gets: same size and count as `truth`, the same bytes on every call.

    cache: a folder that keeps the encoded files.
    """
    noisy = add_noise(truth, clip_name, damage.sigma)
    if damage.crf is None:
        return noisy
    path = cache / f"{clip_name}-sigma{damage.sigma}-crf{damage.crf}-{fingerprint(noisy)}.mkv"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        encode_x264(noisy, damage.crf, unfinished)
        unfinished.replace(path)
    return read_rgb(path, len(truth))


def fingerprint(frames: NDArray[np.uint8]) -> str:
    """Eight hexadecimal digits that tell what is kept in the cache from what was made of other pictures."""
    return f"{zlib.crc32(frames.tobytes()):08x}"


def add_noise(truth: NDArray[np.uint8], clip_name: str, sigma: float) -> NDArray[np.uint8]:
    """Gaussian noise of `sigma` levels, independent per pixel, channel and frame; seeded by both."""
    generator = np.random.default_rng([_SEED, zlib.crc32(clip_name.encode()), round(sigma * 1000)])
    noise = generator.standard_normal(truth.shape, np.float32)
    return np.clip(np.rint(truth + sigma * noise), 0, 255).astype(np.uint8)


def to_tensor(frames: NDArray[np.uint8]) -> Tensor:
    """(T, H, W, 3) uint8 to (T, 3, H, W) float32 in [0, 1]."""
    return torch.tensor(frames).permute(0, 3, 1, 2).float() / 255


def to_bytes(pictures: Tensor) -> NDArray[np.uint8]:
    """(T, 3, H, W) float to (T, H, W, 3) uint8: clamped and rounded, as an 8-bit file would hold it."""
    levels = (pictures.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())

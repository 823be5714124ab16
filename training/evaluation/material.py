"""The evaluation clips, their ground truth, and the damage done to them: noise, then perhaps x264.

All pictures are uint8 RGB, (T, H, W, 3): what a file or a camera would hand over.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training.data.clip_damage import Fields, played_from_tape
from training.data.degradations import enlarged_noise, mosaic_noise
from training.data.fetch import fetch
from training.evaluation.ffmpeg import Codec, encode, read_rgb
from training.writing import written_whole

NOISE_LEVELS = (10, 25, 40)
CRFS = (23, 30)
_SEED = 20

Noise = Literal["white", "mosaic", "enlarged"]
_ENLARGED_BY = 1.5


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
    """Shrinking by `shrink` (bicubic), analogue tape, Gaussian noise of `sigma` 8-bit levels in RGB, clipped
    and rounded, then `codec` at `crf`, or no codec.

    noise: white, or what a sensor's mosaic or an enlargement by 1.5 made of it (`data.degradations`). tape:
    its wear in percent, 0 for none (`data.tape`). deinterlaced: with fields of two moments, and bwdif after.
    """

    sigma: int = 0
    crf: int | None = None
    codec: Codec = "x264"
    shrink: int = 1
    noise: Noise = "white"
    tape: int = 0
    deinterlaced: bool = False

    def __str__(self) -> str:
        parts = [f"1/{self.shrink}"] if self.shrink > 1 else []
        kind = "" if self.noise == "white" else f" {self.noise}"
        parts += [f"wear {self.tape} %"] if self.tape else []
        parts += ["deinterlaced"] if self.deinterlaced else []
        parts += [f"σ {self.sigma}{kind}"] if self.sigma else []
        # Beside noise x264 goes without saying.
        coder = "" if self.sigma and self.codec == "x264" else f"{self.codec} "
        parts += [] if self.crf is None else [f"{coder}CRF {self.crf}"]
        return ", ".join(parts) or "clean"


ALL_DAMAGE = tuple(Damage(sigma, crf) for crf in (None, *CRFS) for sigma in NOISE_LEVELS)
REFERENCE_DAMAGE = Damage(25)
COMPRESSION = (
    *(Damage(crf=crf) for crf in (33, 35, 38)),
    *(Damage(crf=crf, codec="x265") for crf in (30, 33, 36)),
)
PLAYED_REFERENCE = Damage(tape=50)
PLAYED = (
    *(Damage(tape=wear) for wear in (25, 50, 100)),
    *(Damage(tape=wear, deinterlaced=True) for wear in (25, 50, 100)),
    *(Damage(tape=50, deinterlaced=deinterlaced, crf=23) for deinterlaced in (False, True)),
)
SHRUNK = (Damage(shrink=2), Damage(crf=28, shrink=2))


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
    """The input a restorer gets: as many frames as `truth`, of its size over `damage.shrink`.

    The same bytes on every call. cache: a folder that keeps the encoded files.
    """
    small = resize(truth, 1 / damage.shrink) if damage.shrink > 1 else truth
    aged = play(small, clip_name, damage) if damage.tape else small
    noisy = add_noise(aged, clip_name, damage.sigma, damage.noise) if damage.sigma else aged
    if damage.crf is None:
        return noisy
    name = f"{clip_name}-{damage.codec}-sigma{damage.sigma}-crf{damage.crf}-{fingerprint(noisy)}.mkv"
    path = cache / name
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as unfinished:
            encode(noisy, damage.crf, unfinished, codec=damage.codec)
    return read_rgb(path, len(truth))


def resize(
    frames: NDArray[np.uint8], factor: float, kernel: Image.Resampling = Image.Resampling.BICUBIC
) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8 by `factor`, to even sizes where it shrinks; shrinking widens the kernel, so nothing
    aliases.
    """
    height, width = (round(side * factor) for side in frames.shape[1:3])
    if factor < 1:
        height, width = height // 2 * 2, width // 2 * 2
        frames = frames[:, : round(height / factor), : round(width / factor)]
    pictures = (Image.fromarray(frame).resize((width, height), kernel) for frame in frames)
    return np.stack([np.asarray(picture) for picture in pictures])


def fingerprint(frames: NDArray[np.uint8]) -> str:
    """Eight hexadecimal digits that tell what is kept in the cache from what was made of other pictures."""
    return f"{zlib.crc32(frames.tobytes()):08x}"


def add_noise(
    truth: NDArray[np.uint8], clip_name: str, sigma: float, kind: Noise = "white"
) -> NDArray[np.uint8]:
    """Gaussian noise of `sigma` levels; white: independent per pixel, channel and frame. Seeded by both."""
    generator = np.random.default_rng([_SEED, zlib.crc32(clip_name.encode()), round(sigma * 1000)])
    match kind:
        case "white":
            noise = generator.standard_normal(truth.shape, np.float32)
        case "mosaic":
            noise = mosaic_noise(truth.shape, generator)
        case "enlarged":
            noise = enlarged_noise(truth.shape, _ENLARGED_BY, generator)
    return np.clip(np.rint(truth + sigma * noise), 0, 255).astype(np.uint8)


def play(truth: NDArray[np.uint8], clip_name: str, damage: Damage) -> NDArray[np.uint8]:
    """What a cassette of `damage.tape` gives back of the clip. Seeded by both."""
    generator = np.random.default_rng([_SEED, zlib.crc32(clip_name.encode()), damage.tape])
    fields: Fields = "two moments" if damage.deinterlaced else "woven"
    return played_from_tape(truth, damage.tape / 100, generator, fields=fields)


def to_tensor(frames: NDArray[np.uint8]) -> Tensor:
    """(T, H, W, 3) uint8 to (T, 3, H, W) float32 in [0, 1]."""
    return torch.tensor(frames).permute(0, 3, 1, 2).float() / 255


def to_bytes(pictures: Tensor) -> NDArray[np.uint8]:
    """(T, 3, H, W) float to (T, H, W, 3) uint8: clamped and rounded, as an 8-bit file would hold it."""
    levels = (pictures.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())

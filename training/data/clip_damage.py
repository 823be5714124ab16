"""What happened to old and hurried video: interlacing, analogue tape, motion during the exposure.

Frames are (T, H, W, 3) uint8; every draw comes from the generator passed in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.options import ClipDamageConfig

# Light adds up before a camera's transfer curve, not after it.
_GAMMA = 2.2


def draw_exposure(damage: ClipDamageConfig, rng: np.random.Generator) -> int:
    """How many frames of the clip one exposure lasts; 1 in all but `motion_blur` of the draws."""
    if not damage.motion_blur or rng.random() >= damage.motion_blur:
        return 1
    return 2 * int(rng.integers(damage.exposure[0] // 2, damage.exposure[1] // 2 + 1)) + 1


def exposed(frames: NDArray[np.uint8], exposure: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(blurred, sharp): the mean light of every `exposure` frames, and the frame in their middle.

    frames: T · exposure of them, exposure odd; T of each come back.
    """
    if exposure == 1:
        return frames, frames
    count = len(frames) // exposure
    light = (frames.astype(np.float32) / 255) ** _GAMMA
    mean = light.reshape(count, exposure, *frames.shape[1:]).mean(axis=1)
    blurred = np.rint(mean ** (1 / _GAMMA) * 255).astype(np.uint8)
    return blurred, frames[exposure // 2 :: exposure]


def age(frames: NDArray[np.uint8], damage: ClipDamageConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The sequence interlaced, as if played from tape, both or neither, by the recipe's shares."""
    if damage.interlaced and rng.random() < damage.interlaced:
        frames = interlaced(frames, top_first=bool(rng.integers(2)))
    if damage.tape and rng.random() < damage.tape:
        frames = played_from_tape(frames, rng.uniform(*damage.tape_strength), rng)
    return frames


def interlaced(frames: NDArray[np.uint8], *, top_first: bool) -> NDArray[np.uint8]:
    """Each frame woven of its own lines and, on every other line, those of the next: what moves is combed."""
    following = np.concatenate([frames[1:], frames[-1:]])
    woven = frames.copy()
    late = 1 if top_first else 0
    woven[:, late::2] = following[:, late::2]
    return woven


def played_from_tape(
    frames: NDArray[np.uint8], strength: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Lines that start too early or late, smeared colour beside its place, streaky noise, dropouts.

    strength: 0 leaves little to see, 1 is a worn cassette.
    """
    chroma_shift = round(strength * rng.uniform(0, 3))
    smear = 1 + 2 * round(strength * 3)
    return np.stack([_played_frame(frame, strength, chroma_shift, smear, rng) for frame in frames])


def _played_frame(
    frame: NDArray[np.uint8], strength: float, chroma_shift: int, smear: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    picture = _with_jitter(frame, strength, rng).astype(np.float32)
    luma = picture @ np.array([0.299, 0.587, 0.114], np.float32)
    colour = np.roll(_smeared(picture - luma[..., None], smear), chroma_shift, axis=1)
    luma = _smeared(luma[..., None], 3)[..., 0]
    noise = _smeared(rng.standard_normal((*luma.shape, 1), dtype=np.float32), 5)[..., 0]
    luma = luma + np.float32(4 + 16 * strength) * noise
    _drop_out(luma, strength, rng)
    return np.clip(np.rint(luma[..., None] + colour), 0, 255).astype(np.uint8)


def _with_jitter(frame: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each line shifted a little, neighbours by about the same."""
    shape: tuple[int, ...] = frame.shape
    height, width, _ = shape
    walk: NDArray[np.float64] = np.cumsum(0.3 * rng.standard_normal(height))
    centred = np.clip(walk - np.mean(walk), -3, 3)
    shifts: NDArray[np.intp] = np.rint(strength * centred).astype(np.intp)
    columns = np.clip(np.arange(width)[None] - shifts[:, None], 0, width - 1)
    return frame[np.arange(height)[:, None], columns]


def _smeared(planes: NDArray[np.floating], taps: int) -> NDArray[np.floating]:
    """(H, W, C), each row averaged over `taps` neighbours; taps odd."""
    if taps == 1:
        return planes
    margin = taps // 2
    padded = np.pad(planes, ((0, 0), (margin, margin), (0, 0)), mode="edge")
    width = planes.shape[1]
    shifted = np.stack([padded[:, i : i + width] for i in range(taps)])
    mean: NDArray[np.floating] = shifted.mean(axis=0, dtype=np.float32)
    return mean


def _drop_out(luma: NDArray[np.floating], strength: float, rng: np.random.Generator) -> None:
    """White streaks where the tape lost its coating, in place."""
    shape: tuple[int, ...] = luma.shape
    height, width = shape
    for _ in range(int(rng.poisson(1.5 * strength))):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        luma[y, x : x + int(rng.integers(4, max(5, width // 4)))] += 90

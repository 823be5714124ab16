"""What happened to old and hurried video: interlacing, analogue tape, motion during the exposure.

Frames are (T, H, W, 3) uint8; every draw comes from the generator passed in.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffir_video.media import deinterlaced
from training.data.tape import draw_tape, play
from training.options import ClipDamageConfig

Fields = Literal["woven", "one moment", "two moments"]

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
        strength = rng.uniform(*damage.tape_strength)
        fields: Fields = "woven"
        if damage.deinterlaced and rng.random() < damage.deinterlaced:
            fields = "two moments" if rng.random() < 0.5 else "one moment"
        frames = played_from_tape(frames, strength, rng, fields=fields)
    return frames


def interlaced(frames: NDArray[np.uint8], *, top_first: bool) -> NDArray[np.uint8]:
    """Each frame woven of its own lines and, on every other line, those of the next: what moves is combed."""
    following = np.concatenate([frames[1:], frames[-1:]])
    woven = frames.copy()
    late = 1 if top_first else 0
    woven[:, late::2] = following[:, late::2]
    return woven


def played_from_tape(
    frames: NDArray[np.uint8], strength: float, rng: np.random.Generator, *, fields: Fields = "woven"
) -> NDArray[np.uint8]:
    """What a cassette of this wear gives back, see `training.data.tape`; as many frames as before.

    strength: 0 leaves little to see, 1 is a worn copy. fields: "woven" leaves the two of a frame as they were
    played; the others are deinterlaced, where those of a frame were of "one moment", as of film, or of "two
    moments": each of `frames` was a field then.
    """
    tape = draw_tape(strength, rng)
    if fields == "two moments":
        pairs = frames if len(frames) % 2 == 0 else np.concatenate([frames, frames[-1:]])
        woven = pairs[::2].copy()
        woven[:, 1::2] = pairs[1::2, 1::2]
        return deinterlaced(play(woven, tape, rng), each_field=True)[: len(frames)]
    played = play(frames, tape, rng)
    return played if fields == "woven" else deinterlaced(played, each_field=False)

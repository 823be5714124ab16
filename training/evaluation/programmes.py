"""Programmes to try the reuse of priors on: cuts spliced in, light and noise that drift, stills.

Pictures are uint8 RGB, (T, H, W, 3).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffir_video.media import transcode
from training.evaluation.material import Damage, add_noise

DAMAGES = (Damage(25), Damage(40, 23))
GUEST_FRAMES = 12
STILL_FRAMES = 96
FADE_FRAMES = 24
_STILL_SIGMA = 25
_DRIFT_SIGMAS = (5, 45)


@dataclass(frozen=True, slots=True)
class Programme:
    """Ground truth and input of one size. cuts: indices of frames that were spliced to another shot."""

    name: str
    kind: str
    clip: str
    truth: NDArray[np.uint8]
    damaged: NDArray[np.uint8]
    cuts: tuple[int, ...] = ()


def spliced(clip: str, truths: Mapping[str, NDArray[np.uint8]]) -> Iterator[Programme]:
    """The clip's first half, a guest, its second half, another guest; one programme for each damage.

    Guests are the first frames of the next two clips, scaled to this one's size.
    """
    host, names = truths[clip], list(truths)
    size = (host.shape[2], host.shape[1])
    guests = [
        _scaled(truths[names[(names.index(clip) + i) % len(names)]][:GUEST_FRAMES], size) for i in (1, 2)
    ]
    half = len(host) // 2
    parts = [host[:half], guests[0], host[half:], guests[1]]
    truth = np.concatenate(parts)
    cuts = tuple(int(end) for end in np.cumsum([len(part) for part in parts[:-1]]))
    for damage in DAMAGES:
        yield Programme(f"{clip} {damage}", "spliced", clip, truth, _damaged(truth, clip, damage), cuts)


def drifting(clip: str, truths: Mapping[str, NDArray[np.uint8]]) -> Programme:
    """The clip faded in from black, under noise that grows as if a camera raised its gain."""
    frames = truths[clip]
    light = np.minimum(np.arange(1, len(frames) + 1) / FADE_FRAMES, 1)[:, None, None, None]
    truth = np.rint(frames * light).astype(np.uint8)
    return Programme(f"{clip} drifting", "drifting", clip, truth, noise_rising(truth, clip))


def still(clip: str, truths: Mapping[str, NDArray[np.uint8]]) -> Programme:
    """The clip's first frame for as long as it takes, its noise alive."""
    truth = np.repeat(truths[clip][:1], STILL_FRAMES, axis=0)
    return Programme(f"{clip} still", "still", clip, truth, add_noise(truth, clip, _STILL_SIGMA))


def noise_rising(truth: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Gaussian noise whose deviation rises evenly from 5 to 45 levels."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    sigmas = np.linspace(*_DRIFT_SIGMAS, len(truth), dtype=np.float32)[:, None, None, None]
    noise = generator.standard_normal(truth.shape, np.float32)
    return np.clip(np.rint(truth + sigmas * noise), 0, 255).astype(np.uint8)


def _damaged(truth: NDArray[np.uint8], clip: str, damage: Damage) -> NDArray[np.uint8]:
    noisy = add_noise(truth, clip, damage.sigma)
    if damage.crf is None:
        return noisy
    return transcode(noisy, "libx264", options={"crf": str(damage.crf), "preset": "medium"})


def _scaled(frames: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    scaled = [Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC) for frame in frames]
    return np.stack([np.asarray(frame) for frame in scaled])

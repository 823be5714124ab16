"""Analogue tape, as home recorders of colour under luma (VHS, Betamax, Video8) leave it.

Their luma reaches about 3 MHz and their colour about 0.4 MHz (IEC 60774-1: a luma carrier from 3.8 to 4.8
MHz, colour below it at 627 kHz). Of a line sampled at 13.5 MHz, 720 pixels, that is a Gaussian of 0.6 pixels
for luma and of 4.4 for colour; of half as many pixels, half of each.
Frames are (T, H, W, 3) uint8; every draw comes from the generator passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# Rows are R, G, B; columns luma and the two differences of colour, of ITU-R BT.601.
_FROM_RGB_ROWS = np.array([[0.299, -0.169, 0.5], [0.587, -0.331, -0.419], [0.114, 0.5, -0.081]])
_FROM_RGB = torch.as_tensor(_FROM_RGB_ROWS, dtype=torch.float32)
_TO_RGB = torch.as_tensor(np.linalg.inv(_FROM_RGB_ROWS), dtype=torch.float32)

# What a long clip is worked through in, so that its floats need not all be held.
_FRAMES_AT_ONCE = 16

_LOST_LEVEL = 90


@dataclass(frozen=True, kw_only=True)
class Tape:
    """One cassette in one player.

    luma_blur, chroma_blur: σ along the line of the Gaussian that is left of either, pixels. peaking: how much
    of what blur took from edges the player adds again, and with it a bright and a dark fringe. chroma_right,
    chroma_down: by how much colour comes late, pixels and lines of a field. luma_noise, chroma_noise: σ, code
    values of 255, before peaking. jitter: σ of where lines begin, pixels. lost: places without coating in a
    field, per pixel.
    """

    luma_blur: float
    peaking: float
    chroma_blur: float
    chroma_right: float
    chroma_down: int
    luma_noise: float
    chroma_noise: float
    jitter: float
    lost: float


def draw_tape(strength: float, rng: np.random.Generator) -> Tape:
    """A cassette this worn: at 0 little is to be seen of it, 1 is a copy of a copy."""
    return Tape(
        luma_blur=rng.uniform(0.3, 0.5 + 0.7 * strength),
        peaking=rng.uniform(0, 1),
        chroma_blur=rng.uniform(1.5, 2.5 + 3.5 * strength),
        chroma_right=strength * rng.uniform(0, 3),
        chroma_down=int(rng.random() < strength) + int(rng.random() < strength / 2),
        luma_noise=(1.5 + 7.5 * strength) * rng.uniform(0.7, 1.3),
        chroma_noise=(2 + 10 * strength) * rng.uniform(0.5, 1.5),
        jitter=strength * rng.uniform(0, 1),
        lost=2e-5 * strength * rng.uniform(0, 2),
    )


def play(frames: NDArray[np.uint8], tape: Tape, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The frames as the tape gives them back. Their two fields lie apart on it: each has flaws of its own."""
    played = np.empty_like(frames)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        few = slice(start, start + _FRAMES_AT_ONCE)
        for parity in (0, 1):
            played[few, parity::2] = _play_fields(frames[few, parity::2], tape, rng)
    return played


def _play_fields(fields: NDArray[np.uint8], tape: Tape, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(T, H, W, 3), T fields of H lines."""
    if not fields.size:
        return fields
    lines = torch.as_tensor(np.ascontiguousarray(fields)).float() @ _FROM_RGB
    planes = _with_jitter(lines, tape.jitter, rng).permute(3, 0, 1, 2)
    luma, colour = planes[:1], planes[1:]
    luma = _filtered(luma, tape.luma_blur) + _noise(luma.shape, tape.luma_blur, tape.luma_noise, rng)
    luma = luma + tape.peaking * (luma - _filtered(luma, 1.0))
    colour = _later(_filtered(colour, tape.chroma_blur), tape.chroma_right, tape.chroma_down)
    colour = colour + _noise(colour.shape, tape.chroma_blur, tape.chroma_noise, rng)
    _lose(luma[0], tape.lost, rng)
    rgb = torch.cat([luma, colour]).permute(1, 2, 3, 0) @ _TO_RGB
    return rgb.round().clamp(0, 255).to(torch.uint8).numpy()


def _with_jitter(lines: Tensor, sigma: float, rng: np.random.Generator) -> Tensor:
    """(T, H, W, C), each line moved along itself: a little by itself, and more with those above it."""
    count, height, width, channels = lines.shape
    own = rng.standard_normal((height, count), dtype=np.float32)
    shifts = np.empty_like(own)
    shifts[0] = own[0]
    for y in range(1, height):
        shifts[y] = 0.95 * shifts[y - 1] + 0.31 * own[y]
    shifts += 0.2 * rng.standard_normal(shifts.shape, dtype=np.float32)
    begin = torch.arange(width) - sigma * torch.as_tensor(shifts.T.copy())[..., None]
    left = begin.floor()
    share = (begin - left)[..., None]
    left = left.long()
    a, b = (
        lines.gather(2, (left + right).clamp(0, width - 1)[..., None].expand(-1, -1, -1, channels))
        for right in (0, 1)
    )
    return torch.lerp(a, b, share)


def _filtered(planes: Tensor, sigma: float) -> Tensor:
    """(C, T, H, W), each line through a Gaussian of `sigma` pixels."""
    bell = _bell(sigma)
    reach, width = len(bell) // 2, planes.shape[-1]
    # By Fourier transform, of a length that is quick: convolution of single planes is slow on a CPU.
    length = -(-(width + 2 * reach) // 32) * 32
    rows = F.pad(planes.flatten(0, 1), (reach, length - width - reach), mode="replicate")
    centred = F.pad(bell, (0, length - len(bell))).roll(-reach)
    fft = cast(Any, torch.fft)
    made: Tensor = fft.irfft(fft.rfft(rows) * fft.rfft(centred).real, n=length)
    return made[..., reach : reach + width].reshape(planes.shape)


def _bell(sigma: float) -> Tensor:
    reach = max(1, ceil(3 * sigma))
    bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    return bell / bell.sum()


def _noise(shape: torch.Size, blur: float, sigma: float, rng: np.random.Generator) -> Tensor:
    """Noise of the band that a signal of this blur has, and of deviation `sigma`."""
    white = torch.as_tensor(rng.standard_normal(tuple(shape), dtype=np.float32))
    return _filtered(white, blur) * (sigma / _bell(blur).square().sum().sqrt())


def _later(planes: Tensor, right: float, down: int) -> Tensor:
    """(C, T, H, W), moved to the right by a fraction of pixels and down by whole lines."""
    height, width = planes.shape[2:]
    rows = (torch.arange(height) - down).clamp(0)
    begin = torch.arange(width, dtype=torch.float32) - right
    left = begin.floor().long()
    moved = planes[:, :, rows]
    a, b = (moved[..., (left + more).clamp(0, width - 1)] for more in (0, 1))
    return torch.lerp(a, b, (begin - left).expand_as(a))


def _lose(luma: Tensor, share: float, rng: np.random.Generator) -> None:
    """Streaks where the coating is gone, in place; (T, H, W). Of half, a player shows the line above."""
    count, height, width = luma.shape
    for t in range(count):
        for _ in range(int(rng.poisson(share * height * width))):
            y, x = int(rng.integers(height)), int(rng.integers(width))
            end = x + int(rng.integers(4, max(5, width // 4)))
            if y and rng.random() < 0.5:
                luma[t, y, x:end] = luma[t, y - 1, x:end]
            else:
                luma[t, y, x:end] += _LOST_LEVEL * float(rng.choice([1, -1], p=[0.8, 0.2]))

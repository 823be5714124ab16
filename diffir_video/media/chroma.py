"""Chroma samples to as many as there are pixels, and back: a biorthogonal pair of filters, by siting.

Linear interpolation and its dual, as in the LeGall 5/3 wavelet: downsampling what was upsampled gives the
samples back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Siting = Literal["cosited", "centre", "cosited-end"]

# AVChromaLocation → siting along x and y; 0 (unspecified) is left, as H.264, HEVC and MPEG-2 have it.
SITING: dict[int, tuple[Siting, Siting]] = {
    0: ("cosited", "centre"),
    1: ("cosited", "centre"),
    2: ("centre", "centre"),
    3: ("cosited", "cosited"),
    4: ("centre", "cosited"),
    5: ("cosited", "cosited-end"),
    6: ("centre", "cosited-end"),
}


# Both filters work on slices in place: large temporaries cost more (page faults) than the arithmetic.
def upsampled(samples: Tensor, length: int, siting: Siting, dim: int) -> Tensor:
    """Twice the samples along `dim` by linear interpolation, cut to `length` (even or odd)."""
    if siting == "cosited-end":
        return _flipped(lambda x: upsampled(x, length, "cosited", dim), samples, dim)
    shape = list(samples.shape)
    count = shape[dim]
    shape[dim] = 2 * count
    out = samples.new_empty(shape)
    even, odd = _phases(out, dim)
    first, last = samples.narrow(dim, 0, 1), samples.narrow(dim, count - 1, 1)
    leading, trailing = samples.narrow(dim, 0, count - 1), samples.narrow(dim, 1, count - 1)
    odd.narrow(dim, count - 1, 1).copy_(last)
    if siting == "cosited":
        even.copy_(samples)
        torch.lerp(leading, trailing, 0.5, out=odd.narrow(dim, 0, count - 1))
    else:
        even.narrow(dim, 0, 1).copy_(first)
        torch.lerp(trailing, leading, 0.25, out=even.narrow(dim, 1, count - 1))
        torch.lerp(leading, trailing, 0.25, out=odd.narrow(dim, 0, count - 1))
    return out.narrow(dim, 0, length)


def downsampled(samples: Tensor, siting: Siting, dim: int) -> Tensor:
    """Half the samples along `dim`: the dual filter of `upsampled`, whose result it undoes exactly.

    The extensions at the borders are the ones for which that also holds there.
    """
    if siting == "cosited-end" and samples.shape[dim] % 2 == 0:
        return _flipped(lambda x: downsampled(x, "cosited", dim), samples, dim)
    even, odd = _phases(samples, dim)
    count, odds = even.shape[dim], odd.shape[dim]
    if count == 1:
        return (even + odd) / 2 if odds else even
    if siting == "centre":
        if odds < count:
            extension = even.narrow(dim, count - 1, 1).mul(1.5).sub(odd.narrow(dim, odds - 1, 1), alpha=0.5)
            odd = torch.cat([odd, extension], dim)
        out = torch.add(even, odd).mul_(0.75)
        _add_shifted(out, odd, even.narrow(dim, 0, 1), -0.25, dim, by=1)
        return _add_shifted(out, even, odd.narrow(dim, count - 1, 1), -0.25, dim, by=-1)
    if odds < count:
        odd = torch.cat([odd, odd.narrow(dim, odds - 1, 1)], dim)
        end = even.narrow(dim, count - 2, 1)
    else:
        end = odd.narrow(dim, odds - 1, 1)
    out = torch.mul(even, 0.75).add_(odd, alpha=0.25)
    _add_shifted(out, odd, odd.narrow(dim, 0, 1), 0.25, dim, by=1)
    _add_shifted(out, even, even.narrow(dim, 1, 1), -0.125, dim, by=1)
    return _add_shifted(out, even, end, -0.125, dim, by=-1)


def _add_shifted(out: Tensor, samples: Tensor, border: Tensor, weight: float, dim: int, *, by: int) -> Tensor:
    """Add weight · samples, moved one place forth (`by` 1) or back (-1); `border` fills the place left."""
    rest = out.shape[dim] - 1
    target, source, edge = (1, 0, 0) if by == 1 else (0, 1, rest)
    out.narrow(dim, target, rest).add_(samples.narrow(dim, source, rest), alpha=weight)
    out.narrow(dim, edge, 1).add_(border, alpha=weight)
    return out


def _phases(samples: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    if dim == -1:
        return samples[..., 0::2], samples[..., 1::2]
    return samples[..., 0::2, :], samples[..., 1::2, :]


def _flipped(step: Callable[[Tensor], Tensor], samples: Tensor, dim: int) -> Tensor:
    return step(samples.flip(dim)).flip(dim)

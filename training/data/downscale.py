"""Smaller pictures from larger ones, as scalers in the wild make them."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffir_video.errors import UsageError
from training.config import DownscaleConfig

# Pillow's kernels are widened by the factor when they shrink, so none of them aliases. Its bicubic has
# a = -0.5, as MATLAB's has, by which the literature shrinks.
KERNELS = MappingProxyType(
    {
        "area": Image.Resampling.BOX,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
    }
)


def downscale(frames: NDArray[np.uint8], factor: int, kernel: str) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8 → (T, H / factor, W / factor, 3) uint8 by one of `KERNELS`.

    Raises UsageError if H or W is no multiple of `factor`, or on an unknown kernel.
    """
    height, width = frames.shape[1:3]
    if kernel not in KERNELS:
        raise UsageError(f"unknown kernel {kernel!r}; known are {', '.join(KERNELS)}")
    if height % factor or width % factor:
        raise UsageError(f"pictures of {width}x{height} can't be made {factor} times smaller exactly")
    size = (width // factor, height // factor)
    return np.stack([np.asarray(Image.fromarray(f).resize(size, KERNELS[kernel])) for f in frames])


def downscale_randomly(
    frames: NDArray[np.uint8], factor: int, odds: DownscaleConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The whole sequence `factor` times smaller, by one kernel drawn for it; see `downscale`."""
    weights = np.array([getattr(odds, kernel) for kernel in KERNELS])
    return downscale(frames, factor, str(rng.choice(list(KERNELS), p=weights / weights.sum())))

"""Other ways to enlarge a video, for an upscaler to be measured against."""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from training.evaluation.material import resize, to_bytes, to_tensor


def enlarge_by_others(small: Tensor, factor: int) -> dict[str, Tensor]:
    """Each way's pictures by its name: (T, 3, H, W) float in [0, 1] → (T, 3, factor·H, factor·W)."""
    frames = to_bytes(small)
    kernels = {"bicubic": Image.Resampling.BICUBIC, "Lanczos": Image.Resampling.LANCZOS}
    return {name: to_tensor(resize(frames, factor, kernel)) for name, kernel in kernels.items()}

"""Blind degradation in two rounds: blur, resize, noise and JPEG, then a last low-pass and JPEG.

Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", 2021,
section 3. Every draw comes from the generator passed in.
"""

from __future__ import annotations

import io
import math
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training.options import DamageConfig, OrderConfig

_KERNEL_SIZES = tuple(range(7, 22, 2))
_LARGEST_KERNEL = max(_KERNEL_SIZES)
_RESIZE_MODES = ("area", "bilinear", "bicubic")


def degrade(
    picture: NDArray[np.uint8], damage: DamageConfig, scale: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 → (H / scale, W / scale, 3) uint8."""
    height, width = picture.shape[:2]
    size = (height // scale, width // scale)
    x = torch.as_tensor(np.ascontiguousarray(picture.transpose(2, 0, 1))).float()[None] / 255
    x = _jpeg(_blur_resize_noise(x, damage.first, size, 1.0, rng), damage.first.jpeg, rng)
    x = _blur_resize_noise(x, damage.second, size, 1 / scale, rng)
    low_pass = sinc_kernel(rng) if rng.random() < damage.final_sinc else None
    # The last JPEG comes before or after the last low-pass: pictures are shrunk and saved in either order.
    if rng.random() < 0.5:
        x = _jpeg(_low_passed(_resize(x, size, rng), low_pass), damage.second.jpeg, rng)
    else:
        x = _low_passed(_resize(_jpeg(x, damage.second.jpeg, rng), size, rng), low_pass)
    return _to_bytes(x)


def _blur_resize_noise(
    x: Tensor, order: OrderConfig, size: tuple[int, int], relative_to: float, rng: np.random.Generator
) -> Tensor:
    """One round but for its JPEG; the size is a random share of the picture's, times `relative_to`."""
    height, width = size[0] / relative_to, size[1] / relative_to
    if relative_to == 1.0:
        height, width = x.shape[2:]
    if rng.random() < order.blur:
        x = filtered(x, draw_kernel(order, rng))
    factor = _draw_factor(order, rng) * relative_to
    x = _resize(x, (max(8, round(height * factor)), max(8, round(width * factor))), rng)
    return _with_noise(x, order, rng).clamp(0, 1)


def draw_kernel(order: OrderConfig, rng: np.random.Generator) -> Tensor:
    """(21, 21) float32, of sum 1: an ideal low-pass, or one of six kinds of bell."""
    if rng.random() < order.sinc:
        return sinc_kernel(rng)
    shape = int(rng.choice(6, p=np.array(order.shapes) / sum(order.shapes)))
    family, isotropic = shape // 2, shape % 2 == 0
    sigma_x = rng.uniform(*order.sigma)
    sigma_y = sigma_x if isotropic else rng.uniform(*order.sigma)
    angle = 0.0 if isotropic else rng.uniform(-math.pi, math.pi)
    distance = _mahalanobis(int(rng.choice(_KERNEL_SIZES)), sigma_x, sigma_y, angle)
    if family == 0:
        bell = torch.exp(-0.5 * distance)
    elif family == 1:
        bell = torch.exp(-0.5 * distance ** rng.uniform(*order.generalised))
    else:
        bell = 1 / (1 + distance ** rng.uniform(*order.plateau))
    return _padded(bell)


def sinc_kernel(rng: np.random.Generator) -> Tensor:
    """(21, 21) float32, of sum 1: a circular ideal low-pass, which rings as JPEG and sharpening do."""
    side = int(rng.choice(_KERNEL_SIZES))
    cutoff = rng.uniform(math.pi / 3 if side < 13 else math.pi / 5, math.pi)
    y, x = _grid(side)
    radius = torch.hypot(x, y)
    radius[side // 2, side // 2] = 1
    kernel = cutoff * _bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    kernel[side // 2, side // 2] = cutoff**2 / (4 * math.pi)
    return _padded(kernel)


def _bessel_j1(x: Tensor) -> Tensor:
    return cast(Any, torch.special).bessel_j1(x)


def _mahalanobis(side: int, sigma_x: float, sigma_y: float, angle: float) -> Tensor:
    y, x = _grid(side)
    along = (x * math.cos(angle) + y * math.sin(angle)) / sigma_x
    across = (y * math.cos(angle) - x * math.sin(angle)) / sigma_y
    return along**2 + across**2


def _grid(side: int) -> tuple[Tensor, Tensor]:
    offsets = torch.arange(side, dtype=torch.float64) - side // 2
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    return y, x


def _padded(kernel: Tensor) -> Tensor:
    margin = (_LARGEST_KERNEL - len(kernel)) // 2
    return F.pad(kernel / kernel.sum(), (margin,) * 4).float()


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Every channel of (1, C, H, W) by one kernel of odd size; the border is mirrored."""
    margin = len(kernel) // 2
    channels = x.shape[1]
    mode = "reflect" if min(x.shape[2:]) > margin else "replicate"
    padded = F.pad(x, (margin,) * 4, mode=mode)
    return F.conv2d(padded, kernel.expand(channels, 1, *kernel.shape), groups=channels)


def _low_passed(x: Tensor, kernel: Tensor | None) -> Tensor:
    return x if kernel is None else filtered(x, kernel).clamp(0, 1)


def _draw_factor(order: OrderConfig, rng: np.random.Generator) -> float:
    odds = np.array([order.enlarge, order.reduce, order.keep])
    choice = rng.choice(3, p=odds / odds.sum())
    low, high = order.scale
    return float((rng.uniform(1, high), rng.uniform(low, 1), 1.0)[choice])


def _resize(x: Tensor, size: tuple[int, int], rng: np.random.Generator) -> Tensor:
    mode = str(rng.choice(_RESIZE_MODES))
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode=mode).clamp(0, 1)


def _with_noise(x: Tensor, order: OrderConfig, rng: np.random.Generator) -> Tensor:
    gaussian = rng.random() < order.gaussian
    channels = 1 if rng.random() < order.grey else x.shape[1]
    shape = (1, channels, *x.shape[2:])
    if gaussian:
        sigma = rng.uniform(*order.noise) / 255
        return x + sigma * torch.as_tensor(rng.standard_normal(shape, dtype=np.float32))
    strength = rng.uniform(*order.poisson)
    # The count that stands for white is the number of levels in the picture, as a power of two.
    signal = (x if channels > 1 else x.mean(dim=1, keepdim=True)).mul(255).round().div(255)
    levels = 2.0 ** math.ceil(math.log2(max(2, len(np.unique(signal.numpy())))))
    counts = rng.poisson(signal.numpy().astype(np.float64) * levels)
    noise = torch.as_tensor((counts / levels).astype(np.float32)) - signal
    return x + strength * noise


def _jpeg(x: Tensor, quality: tuple[int, int], rng: np.random.Generator) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(_to_bytes(x)).save(file, "JPEG", quality=int(rng.integers(quality[0], quality[1] + 1)))
    with Image.open(file) as image:
        decoded = np.asarray(image.convert("RGB"))
    return torch.as_tensor(np.ascontiguousarray(decoded.transpose(2, 0, 1))).float()[None] / 255


def _to_bytes(x: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray((x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())

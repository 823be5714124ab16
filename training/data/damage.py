"""What becomes of a clean picture, by the recipe's `data.damage`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.data.downscale import downscale
from training.data.masks import BRUSHES, draw_mask
from training.data.second_order import degrade
from training.options import DamageConfig


def damage_picture(
    gt: NDArray[np.uint8], damage: DamageConfig, scale: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(lq, gt) of a clean picture (H, W, 3) uint8.

    lq is (H / scale, W / scale, 3) uint8, for holes (H, W, 4): black in holes, then the mask, 255 in a hole.
    gt is the picture, sharpened where the recipe asks for that.
    """
    if damage.sharpened_targets:
        gt = sharpened(gt)
    if damage.kind == "holes":
        odds = np.array([damage.holes.thin, damage.holes.medium, damage.holes.thick])
        kind = str(rng.choice(list(BRUSHES), p=odds / odds.sum()))
        return with_hole(gt, draw_mask(gt.shape[0], gt.shape[1], kind, rng)), gt
    if damage.kind == "second_order":
        return degrade(gt, damage, scale, rng), gt
    return (gt if scale == 1 else downscale(gt[None], scale, "bicubic")[0]), gt


def with_hole(picture: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) and a mask (H, W), 255 in a hole → (H, W, 4): black in holes, and the mask; uint8."""
    return np.dstack([np.where(mask[:, :, None] > 0, 0, picture), mask]).astype(np.uint8)


def sharpened(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Unsharp masking as Real-ESRGAN's second version sharpens targets: half of it, where it is above 10."""
    mask = ImageFilter.UnsharpMask(radius=8, percent=50, threshold=10)
    return np.asarray(Image.fromarray(picture).filter(mask))

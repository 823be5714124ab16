"""Padding frames to what a network needs, and cutting the result back."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(frames: Tensor, multiple: int) -> Tensor:
    """(T, C, H, W) → the same, grown at the right and the bottom to multiples of `multiple`.

    The new pixels mirror the picture; where it is too small for that they repeat its edge.
    """
    height, width = frames.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not (bottom or right):
        return frames
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(frames, (0, right, 0, bottom), mode=mode)


def crop(frames: Tensor, height: int, width: int) -> Tensor:
    """The top left `height` x `width` pixels of (..., H, W)."""
    return frames[..., :height, :width]

"""`Preview`: the latest picture before and after restoring, as one small JPEG, made only when asked for."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

_WIDTH = 640
_SHORTEST_INTERVAL = 0.05
_QUALITY = 80


class Preview:
    """Keeps one pair of pictures; costs nothing while nobody looks."""

    def __init__(self) -> None:
        self._pair: tuple[Tensor, Tensor] | None = None
        self._lock = threading.Lock()
        self._jpeg: bytes | None = None
        self._made_at = 0.0

    def show(self, before: Tensor, after: Tensor) -> None:
        """Replace the pair; (3, H, W) RGB in [0, 1] each, the second perhaps larger."""
        self._pair = (before, after)

    def jpeg(self) -> bytes | None:
        """Before above after, each 640 pixels wide; None until a frame has come."""
        with self._lock:
            pair, now = self._pair, time.monotonic()
            if pair is not None and now - self._made_at >= _SHORTEST_INTERVAL:
                self._jpeg, self._made_at = _encoded(*pair), now
            return self._jpeg


def _encoded(before: Tensor, after: Tensor) -> bytes:
    height, width = after.shape[-2:]
    size = (max(round(height * _WIDTH / width), 1), _WIDTH)
    with torch.inference_mode():
        small = [
            F.interpolate(data[None].float().cpu(), size=size, mode="bilinear", align_corners=False)[0]
            for data in (before, after)
        ]
        both = torch.cat(small, dim=1).clamp(0, 1).mul(255).byte().permute(1, 2, 0)
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(both.numpy())).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()

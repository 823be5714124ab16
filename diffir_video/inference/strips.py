"""A frame worked through in strips of rows, so that what lies between two steps stays in the cache.

Features are (1, C, H, W) in ``torch.channels_last``: a strip of rows is then one piece of memory, and its
pixels are a (rows·W, C) matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows `start` to `end` of a frame, with the rows around them that a 3x3 convolution reads.

    `outer_start` to `outer_end` are those rows and the strip's own; at the top and the bottom of the frame
    there is nothing beyond it.
    """

    start: int
    end: int
    outer_start: int
    outer_end: int

    def outer(self, features: Tensor) -> Tensor:
        """The strip and the rows around it, a view."""
        return features[:, :, self.outer_start : self.outer_end]

    def inner(self, features: Tensor) -> Tensor:
        """The strip's own rows, a view."""
        return features[:, :, self.start : self.end]

    def without_halo(self, outer: Tensor) -> Tensor:
        """The strip's own rows of what was made from `outer`, a view."""
        return outer[:, :, self.start - self.outer_start : self.end - self.outer_start]


def strips(height: int, rows: int) -> Iterator[Strip]:
    """Cut `height` rows into strips of `rows`, the last one shorter."""
    for start in range(0, height, rows):
        end = min(start + rows, height)
        yield Strip(start, end, max(start - 1, 0), min(end + 1, height))


def rows_for(features: Tensor, strip_bytes: int) -> int:
    """How many rows of `features` fill `strip_bytes`; at least 4, as two more are read around each strip."""
    row_bytes = features.shape[1] * features.shape[3] * features.element_size()
    return max(4, strip_bytes // row_bytes)


def map_strips(step: Callable[[Strip], ResultT], features: Tensor, strip_bytes: int) -> list[ResultT]:
    """`step` of every strip of `features`, of about `strip_bytes` each, in order."""
    cut = strips(features.shape[2], rows_for(features, strip_bytes))
    return [step(strip) for strip in cut]


def pixels(features: Tensor) -> Tensor:
    """(1, C, rows, W) channels_last → (rows·W, C), a view."""
    return features.permute(0, 2, 3, 1).view(-1, features.shape[1])


def as_features(matrix: Tensor, like: Tensor) -> Tensor:
    """(rows·W, C) → (1, C, rows, W) channels_last, a view; rows and W are those of `like`."""
    _, _, rows, width = like.shape
    return matrix.view(1, rows, width, -1).permute(0, 3, 1, 2)


def depthwise(features: Tensor, kernel: Tensor) -> Tensor:
    """3x3 convolution of each channel by itself, with zeros around: (1, C, h, W) → the same."""
    return F.conv2d(features, kernel, padding=1, groups=len(kernel))

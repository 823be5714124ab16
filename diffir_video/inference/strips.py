"""A block's steps in plain torch, a strip of rows at a time: what lies between two stays in the cache.

Features are (N, C, H, W) in ``torch.channels_last``: a strip of one frame's rows is then one piece of memory,
and its pixels are a (rows·W, C) matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from diffir_video.inference.fold import FoldedBlock
from diffir_video.network.dirformer import JOINT_GRAM_CHANNELS

_EPSILON = 1e-5

# Means taken as products with a column of 1 / C need half of layer_norm's time or less; at half precision,
# where they are taken of a float32 copy, up to this many channels.
_FEW_CHANNELS = 96


class BlockSteps(Protocol):
    """One way to work a `FoldedBlock`; features are (N, C, H, W), channels_last, and stay as they are."""

    def maps(self, block: FoldedBlock, x: Tensor) -> Tensor:
        """Each frame's (C, C) matrix that takes v to the attention's output: (N, C, C)."""
        ...

    def attend(self, block: FoldedBlock, x: Tensor, maps: Tensor) -> Tensor:
        """x + attention, with these maps: (N, C, C), or (1, C, C) for all frames."""
        ...

    def feed_forward(self, block: FoldedBlock, x: Tensor) -> Tensor:
        """x + feed-forward."""
        ...


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


class StripSteps:
    """`BlockSteps` in plain torch; strips of about `strip_bytes` of features, None for whole frames."""

    def __init__(self, strip_bytes: int | None) -> None:
        self.strip_bytes = strip_bytes

    def maps(self, block: FoldedBlock, x: Tensor) -> Tensor:
        def sums_of(strip: Strip) -> tuple[Tensor, Tensor]:
            outer = strip.outer(x)
            qk = as_features(block.qk(plain_norm(pixels(outer), centred=block.centred)), outer)
            qk = pixels(strip.without_halo(depthwise(qk, block.qk_kernel)))
            return attention_sums(qk.view(len(x), -1, 2 * block.channels).float(), block.heads)

        # q and k are twice as wide as what strips are measured by.
        sums = [sums_of(strip) for strip in self._cut(x, width=2)]
        gram, squares = sums[0]
        for more_gram, more_squares in sums[1:]:
            gram += more_gram
            squares += more_squares
        return block.projected_maps(gram, squares).to(x.dtype)

    def attend(self, block: FoldedBlock, x: Tensor, maps: Tensor) -> Tensor:
        def attend(strip: Strip, out: Tensor | None) -> Tensor:
            outer = strip.outer(x)
            v = as_features(block.v(plain_norm(pixels(outer), centred=block.centred)), outer)
            v = pixels(strip.without_halo(depthwise(v, block.v_kernel)))
            return _add_products(pixels(strip.inner(x)), v, maps, out)

        return self._assemble(attend, x)

    def feed_forward(self, block: FoldedBlock, x: Tensor) -> Tensor:
        half = block.hidden

        def feed(strip: Strip, out: Tensor | None) -> Tensor:
            outer = strip.outer(x)
            hidden = as_features(block.project_in(plain_norm(pixels(outer), centred=block.centred)), outer)
            hidden = pixels(strip.without_halo(depthwise(hidden, block.hidden_kernel)))
            # A slice of the channels keeps GELU from working on whole vectors.
            gated = F.gelu(hidden[:, :half].contiguous()).mul_(hidden[:, half:])
            return _add_products(pixels(strip.inner(x)), gated, block.project_out[None], out)

        return self._assemble(feed, x)

    def _cut(self, x: Tensor, width: int = 1) -> list[Strip]:
        height = x.shape[2]
        return list(
            strips(height, height if self.strip_bytes is None else rows_for(x, self.strip_bytes // width))
        )

    def _assemble(self, step: Callable[[Strip, Tensor | None], Tensor], x: Tensor) -> Tensor:
        cut = self._cut(x)
        if len(cut) == 1:
            return as_features(step(cut[0], None), x)
        out = torch.empty_like(x)
        for strip in cut:
            step(strip, pixels(strip.inner(out)))
        return out


def rows_for(features: Tensor, strip_bytes: int) -> int:
    """How many rows of `features` fill `strip_bytes`; at least 4, as two more are read around each strip."""
    row_bytes = features.shape[1] * features.shape[3] * features.element_size()
    return max(4, strip_bytes // row_bytes)


def pixels(features: Tensor) -> Tensor:
    """(N, C, rows, W) channels_last → (N·rows·W, C); a view of whole frames or of one frame's strip."""
    return features.permute(0, 2, 3, 1).view(-1, features.shape[1])


def as_features(matrix: Tensor, like: Tensor) -> Tensor:
    """(N·rows·W, C) → (N, C, rows, W) channels_last, a view; N, rows and W are those of `like`."""
    count, _, rows, width = like.shape
    return matrix.view(count, rows, width, -1).permute(0, 3, 1, 2)


def depthwise(features: Tensor, kernel: Tensor) -> Tensor:
    """3x3 convolution of each channel by itself, with zeros around: (N, C, h, W) → the same."""
    return F.conv2d(features, kernel, padding=1, groups=len(kernel))


def attention_sums(qk: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """q's channels with k's, and each with itself, summed over pixels: what attention maps are made of.

    qk: (N, P, 2·C) float32, q's channels and then k's. Returns (N, heads, C / heads, C / heads), (N, 2·C).
    """
    q, k = qk.chunk(2, dim=2)
    count, _, channels = q.shape
    per_head = channels // heads
    if channels <= JOINT_GRAM_CHANNELS:
        blocks = torch.bmm(q.transpose(1, 2), k).view(count, heads, per_head, heads, per_head)
        gram = torch.stack([blocks[:, head, :, head] for head in range(heads)], dim=1)
    else:
        by_head = (count, -1, heads, per_head)
        q_heads, k_heads = q.view(by_head).permute(0, 2, 3, 1), k.view(by_head).permute(0, 2, 1, 3)
        gram = torch.bmm(q_heads.flatten(0, 1), k_heads.flatten(0, 1))
        gram = gram.view(count, heads, per_head, per_head)
    return gram, qk.square().sum(1)


def plain_norm(x: Tensor, *, centred: bool) -> Tensor:
    """Each pixel over its deviation, less its mean if `centred`: (P, C) → (P, C); float32 inside."""
    channels = x.shape[1]
    if centred and x.dtype != torch.float32 and channels > _FEW_CHANNELS:
        return F.layer_norm(x, (channels,), eps=_EPSILON)
    averaging = torch.full((channels, 1), 1 / channels, dtype=torch.float32, device=x.device)
    wide = x.float()
    difference = wide - wide @ averaging
    inverse_deviation = (difference.square() @ averaging).add_(_EPSILON).rsqrt_()
    return (difference if centred else wide).mul(inverse_deviation).to(x.dtype)


def _add_products(x: Tensor, y: Tensor, matrices: Tensor, out: Tensor | None) -> Tensor:
    """x + y Mᵀ of (N·P, C) pixels, with a matrix (N, C, K) for each frame or (1, C, K) for all of them."""
    if len(matrices) == 1:
        return torch.addmm(x, y, matrices[0].T, out=out)
    count, channels, inner = matrices.shape
    summed = torch.baddbmm(x.view(count, -1, channels), y.reshape(count, -1, inner), matrices.mT)
    return summed.view(-1, channels)

"""A transformer block whose norms' weights and prior are folded into the 1x1 convolutions after them.

Between two refreshes the prior is a constant. With the plain norm n(x), LayerNorm's weight w and bias b, the
prior's scale s and shift t, and a 1x1 convolution W:

    W (s·(w·n(x) + b) + t)  =  [W diag(s·w)] n(x) + [W (s·b + t)]

so a modulated block becomes an ordinary one. Folding costs a few multiplications per weight and writes in
place: what holds the tensors' addresses goes on holding the right ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from diffir_video.inference.strips import Strip, as_features, depthwise, map_strips, pixels
from diffir_video.network.dirformer import (
    ChannelAttention,
    ChannelNorm,
    GatedFeedForward,
    PriorModulation,
    TransformerBlock,
)

_EPSILON = 1e-5

# Means taken as products with a column of 1 / C need half of layer_norm's time or less; at half precision,
# where they are taken of a float32 copy, up to this many channels.
_FEW_CHANNELS = 96

# Up to this many channels one Gram matrix of all heads is faster than many small ones.
_JOINT_GRAM_CHANNELS = 64


class FoldedPointwise:
    """norm's affine, prior's scale and shift and a 1x1 convolution as one: `weight` (O, C), `bias` (O,)."""

    def __init__(
        self, conv_weight: Tensor, norm: ChannelNorm, modulation: PriorModulation, dtype: torch.dtype
    ) -> None:
        self._conv = conv_weight.detach().flatten(1).float()
        self._norm_weight = norm.body.weight.detach().float()
        self._norm_bias = None if norm.body.bias is None else norm.body.bias.detach().float()
        self._modulation = modulation
        self.weight = torch.empty_like(self._conv, dtype=dtype)
        self.bias = torch.empty(len(self._conv), dtype=dtype, device=self._conv.device)

    def fold(self, prior: Tensor) -> None:
        """Write `weight` and `bias` for this prior, (prior_width,) float32."""
        scale, shift = self._modulation.kernel(prior[None])[0].chunk(2)
        if self._norm_bias is not None:
            shift = shift + scale * self._norm_bias
        self.weight.copy_(self._conv * (scale * self._norm_weight))
        self.bias.copy_(self._conv @ shift)

    def __call__(self, normed: Tensor) -> Tensor:
        """(P, C) → (P, O)."""
        return F.linear(normed, self.weight, self.bias)


class FoldedBlock:
    """One transformer block under one prior; features are (1, C, H, W), channels_last."""

    def __init__(self, block: TransformerBlock, dtype: torch.dtype) -> None:
        self._attention = _FoldedAttention(block.norm1, block.attn, dtype)
        self._feed_forward = _FoldedFeedForward(block.norm2, block.ffn, dtype)
        self._pointwise = (self._attention.qk, self._attention.v, self._feed_forward.project_in)

    def fold(self, prior: Tensor) -> None:
        """Fold this prior, (prior_width,) float32, into the weights."""
        for pointwise in self._pointwise:
            pointwise.fold(prior)

    def weights(self) -> Iterator[Tensor]:
        """What `fold` writes."""
        for pointwise in self._pointwise:
            yield pointwise.weight
            yield pointwise.bias

    def attention_maps(self, x: Tensor, strip_bytes: int) -> Tensor:
        """The frame's (C, C) matrix that takes v to the attention's output: maps and project_out in one."""
        return self._attention.projected_maps(x, strip_bytes)

    def __call__(self, x: Tensor, projected_maps: Tensor, strip_bytes: int) -> Tensor:
        """The block's output, with these maps; a new tensor."""
        return self._feed_forward(self._attention(x, projected_maps, strip_bytes), strip_bytes)


class _FoldedAttention:
    def __init__(self, norm: ChannelNorm, attention: ChannelAttention, dtype: torch.dtype) -> None:
        channels = attention.project_out.weight.shape[0]
        pointwise, kernel = attention.qkv.weight, attention.qkv_dwconv.weight.detach().to(dtype)
        self._reference = attention
        self._centred = norm.body.bias is not None
        self.qk = FoldedPointwise(pointwise[: 2 * channels], norm, attention, dtype)
        self.v = FoldedPointwise(pointwise[2 * channels :], norm, attention, dtype)
        self._qk_kernel, self._v_kernel = kernel[: 2 * channels], kernel[2 * channels :]

    def projected_maps(self, x: Tensor, strip_bytes: int) -> Tensor:
        heads = self._reference.heads

        def sums_of(strip: Strip) -> _AttentionSums:
            outer = strip.outer(x)
            qk = as_features(self.qk(plain_norm(pixels(outer), centred=self._centred)), outer)
            return _AttentionSums.of(pixels(strip.without_halo(depthwise(qk, self._qk_kernel))), heads)

        # q and k are twice as wide as what strips are measured by.
        first, *others = map_strips(sums_of, x, strip_bytes // 2)
        for sums in others:
            first.add(sums)
        maps = (first.cosines() * self._reference.temperature).softmax(dim=-1)
        return self._reference.project_attended(maps[None])[0].to(x.dtype)

    def __call__(self, x: Tensor, projected_maps: Tensor, strip_bytes: int) -> Tensor:
        out = torch.empty_like(x)

        def attend(strip: Strip) -> None:
            outer = strip.outer(x)
            v = as_features(self.v(plain_norm(pixels(outer), centred=self._centred)), outer)
            v = pixels(strip.without_halo(depthwise(v, self._v_kernel)))
            torch.addmm(pixels(strip.inner(x)), v, projected_maps.T, out=pixels(strip.inner(out)))

        map_strips(attend, x, strip_bytes)
        return out


class _FoldedFeedForward:
    def __init__(self, norm: ChannelNorm, feed_forward: GatedFeedForward, dtype: torch.dtype) -> None:
        self._centred = norm.body.bias is not None
        self.project_in = FoldedPointwise(feed_forward.project_in.weight, norm, feed_forward, dtype)
        self._kernel = feed_forward.dwconv.weight.detach().to(dtype)
        self._project_out = feed_forward.project_out.weight.detach().flatten(1).to(dtype)

    def __call__(self, x: Tensor, strip_bytes: int) -> Tensor:
        out = torch.empty_like(x)
        half = self._project_out.shape[1]

        def feed(strip: Strip) -> None:
            outer = strip.outer(x)
            hidden = as_features(self.project_in(plain_norm(pixels(outer), centred=self._centred)), outer)
            hidden = pixels(strip.without_halo(depthwise(hidden, self._kernel)))
            # A slice of the channels keeps GELU from working on whole vectors.
            gated = F.gelu(hidden[:, :half].contiguous()).mul_(hidden[:, half:])
            torch.addmm(pixels(strip.inner(x)), gated, self._project_out.T, out=pixels(strip.inner(out)))

        map_strips(feed, x, strip_bytes)
        return out


@dataclass(slots=True)
class _AttentionSums:
    """Of q and k over pixels, in float32: the Gram matrices of the heads and the squares of the channels.

    gram: (heads, C / heads, C / heads). squares: (2·C,), q's channels and then k's.
    """

    gram: Tensor
    squares: Tensor

    @classmethod
    def of(cls, qk: Tensor, heads: int) -> Self:
        """Over these pixels: (P, 2·C), q's channels and then k's."""
        qk = qk.float()
        q, k = qk.chunk(2, dim=1)
        channels = q.shape[1]
        per_head = channels // heads
        if channels <= _JOINT_GRAM_CHANNELS:
            blocks = (q.T @ k).view(heads, per_head, heads, per_head)
            gram = torch.stack([blocks[head, :, head] for head in range(heads)])
        else:
            by_head = (-1, heads, per_head)
            gram = torch.bmm(q.reshape(by_head).permute(1, 2, 0), k.reshape(by_head).permute(1, 0, 2))
        return cls(gram, qk.square().sum(0))

    def add(self, other: Self) -> None:
        """Take the sums over other pixels in."""
        self.gram += other.gram
        self.squares += other.squares

    def cosines(self) -> Tensor:
        """(heads, C / heads, C / heads): of q's channels with k's, over all pixels."""
        q_norm, k_norm = self.squares.sqrt().clamp_min(1e-12).view(2, len(self.gram), -1)
        return self.gram / (q_norm[:, :, None] * k_norm[:, None, :])


def plain_norm(x: Tensor, *, centred: bool) -> Tensor:
    """Each pixel over its deviation, less its mean if `centred`: (P, C) → (P, C); float32 inside."""
    channels = x.shape[1]
    if centred and x.dtype != torch.float32 and channels > _FEW_CHANNELS:
        return F.layer_norm(x, (channels,), eps=_EPSILON)
    averaging = torch.full((channels, 1), 1 / channels, device=x.device)
    wide = x.float()
    difference = wide - wide @ averaging
    inverse_deviation = (difference.square() @ averaging).add_(_EPSILON).rsqrt_()
    return (difference if centred else wide).mul(inverse_deviation).to(x.dtype)

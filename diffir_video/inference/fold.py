"""A transformer block whose norms' weights and prior are folded into the 1x1 convolutions after them.

Between two refreshes the prior is a constant. With the plain norm n(x), LayerNorm's weight w and bias b, the
prior's scale s and shift t, and a 1x1 convolution W:

    W (s·(w·n(x) + b) + t)  =  [W diag(s·w)] n(x) + [W (s·b + t)]

so a modulated block becomes an ordinary one. Folding costs a few multiplications per weight and writes in
place: what holds the tensors' addresses goes on holding the right ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffir_video.network.dirformer import ChannelNorm, PriorModulation, TransformerBlock


class FoldedPointwise(nn.Module):
    """norm's affine, prior's scale and shift and a 1x1 convolution as one: `weight` (O, C), `bias` (O,)."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self, conv_weight: Tensor, norm: ChannelNorm, modulation: PriorModulation, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self._conv = conv_weight.detach().flatten(1).float()
        self._norm_weight = norm.body.weight.detach().float()
        self._norm_bias = None if norm.body.bias is None else norm.body.bias.detach().float()
        # In a tuple, so that the trained network's own weights are no part of this module.
        self._modulation = (modulation,)
        self.register_buffer("weight", torch.zeros_like(self._conv, dtype=dtype))
        self.register_buffer("bias", torch.zeros(len(self._conv), dtype=dtype, device=self._conv.device))

    def fold(self, prior: Tensor) -> None:
        """Write `weight` and `bias` for this prior, (prior_width,) float32."""
        scale, shift = self._modulation[0].kernel(prior[None])[0].chunk(2)
        if self._norm_bias is not None:
            shift = shift + scale * self._norm_bias
        self.weight.copy_(self._conv * (scale * self._norm_weight))
        self.bias.copy_(self._conv @ shift)

    def forward(self, normed: Tensor) -> Tensor:
        """(P, C) → (P, O)."""
        return F.linear(normed, self.weight, self.bias)


class FoldedBlock(nn.Module):
    """The weights of one transformer block under one prior; what is done with them is a `BlockSteps`.

    qk, v, project_in: the folded 1x1 convolutions. qk_kernel (2·C, 1, 3, 3), v_kernel (C, 1, 3, 3),
    hidden_kernel (2·hidden, 1, 3, 3): depthwise; qk_taps, v_taps, hidden_taps: the same as (9, channels).
    project_out: (C, hidden), of the feed-forward.
    centred: whether the norm takes the mean out. folds: how many priors were folded so far.
    """

    qk_kernel: Tensor
    v_kernel: Tensor
    hidden_kernel: Tensor
    qk_taps: Tensor
    v_taps: Tensor
    hidden_taps: Tensor
    project_out: Tensor
    _temperature: Tensor
    _project_attended: Tensor

    def __init__(self, block: TransformerBlock, dtype: torch.dtype) -> None:
        super().__init__()
        attention, feed_forward = block.attn, block.ffn
        self.folds = 0
        self.heads = attention.heads
        self.channels: int = attention.project_out.weight.shape[0]
        self.hidden: int = feed_forward.project_out.weight.shape[1]
        self.centred = block.norm1.body.bias is not None
        both = 2 * self.channels
        pointwise, kernel = attention.qkv.weight, attention.qkv_dwconv.weight.detach().to(dtype)
        self.qk = FoldedPointwise(pointwise[:both], block.norm1, attention, dtype)
        self.v = FoldedPointwise(pointwise[both:], block.norm1, attention, dtype)
        self.project_in = FoldedPointwise(feed_forward.project_in.weight, block.norm2, feed_forward, dtype)
        per_head = self.channels // self.heads
        by_head = attention.project_out.weight.detach().view(-1, self.heads, per_head).permute(1, 0, 2)
        for name, depthwise in (
            ("qk", kernel[:both]),
            ("v", kernel[both:]),
            ("hidden", feed_forward.dwconv.weight.detach().to(dtype)),
        ):
            self.register_buffer(f"{name}_kernel", depthwise)
            self.register_buffer(f"{name}_taps", depthwise.flatten(1).t().contiguous())
        for name, constant in (
            ("project_out", feed_forward.project_out.weight.detach().flatten(1).to(dtype)),
            ("_temperature", attention.temperature.detach().float()),
            ("_project_attended", by_head.float().contiguous()),
        ):
            self.register_buffer(name, constant)

    def pointwise(self) -> tuple[FoldedPointwise, FoldedPointwise, FoldedPointwise]:
        """What a prior is folded into."""
        return self.qk, self.v, self.project_in

    def fold(self, prior: Tensor) -> None:
        """Fold this prior, (prior_width,) float32, into the weights."""
        self.folds += 1
        for pointwise in self.pointwise():
            pointwise.fold(prior)

    def weights(self) -> Iterator[Tensor]:
        """What `fold` writes."""
        for pointwise in self.pointwise():
            yield pointwise.weight
            yield pointwise.bias

    def projected_maps(self, gram: Tensor, squares: Tensor) -> Tensor:
        """Attention maps and project_out as one: the matrices that take v to the attention's output.

        gram: (N, heads, C / heads, C / heads), of q's channels with k's, summed over a frame's pixels.
        squares: (N, 2·C), of q's channels and then k's. Both float32. Returns (N, C, C) float32.
        """
        q_norm, k_norm = squares.sqrt().clamp_min(1e-12).view(len(gram), 2, self.heads, -1).unbind(1)
        cosines = gram / (q_norm[:, :, :, None] * k_norm[:, :, None, :])
        maps = (cosines * self._temperature).softmax(dim=-1)
        projected = torch.matmul(self._project_attended, maps)
        return projected.permute(0, 2, 1, 3).reshape(len(gram), self.channels, self.channels)

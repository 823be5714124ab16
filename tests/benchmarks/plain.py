"""DIRformer as one would write it down from the paper: NCHW, `rearrange` by reshapes and transposes, eager.

It is the yardstick that the training step is timed against, and computes the same from the same weights.
"""

from __future__ import annotations

from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffir_video.network.dirformer import ChannelAttention, ChannelNorm, GatedFeedForward


def written_plainly(net: nn.Module) -> nn.Module:
    """The same network with its blocks' forward passes replaced, in contiguous memory."""
    forwards = {
        ChannelNorm: plain_norm,
        ChannelAttention: plain_attention,
        GatedFeedForward: plain_feed_forward,
    }
    for module in net.modules():
        if (forward := forwards.get(type(module))) is not None:
            module.forward = MethodType(forward, module)
    return net.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]


def plain_norm(self: ChannelNorm, x: Tensor) -> Tensor:
    """'b c h w -> b (h w) c', LayerNorm, and back."""
    n, channels, height, width = x.shape
    tokens = x.reshape(n, channels, height * width).transpose(1, 2).contiguous()
    mean = tokens.mean(-1, keepdim=True)
    variance = tokens.var(-1, keepdim=True, unbiased=False)
    if self.body.bias is None:
        normed = tokens / torch.sqrt(variance + 1e-5) * self.body.weight
    else:
        normed = (tokens - mean) / torch.sqrt(variance + 1e-5) * self.body.weight + self.body.bias
    return normed.transpose(1, 2).reshape(n, channels, height, width).contiguous()


def plain_attention(self: ChannelAttention, x: Tensor, prior: Tensor) -> Tensor:
    """'b (head c) h w -> b head c (h w)', cosine attention of channels, values, and the projection."""
    n, channels, height, width = x.shape
    scale, shift = self.kernel(prior).view(n, 2 * channels, 1, 1).chunk(2, dim=1)
    q, k, v = self.qkv_dwconv(self.qkv(x * scale + shift)).chunk(3, dim=1)
    by_head = (n, self.heads, channels // self.heads, height * width)
    q, k, v = (t.reshape(by_head) for t in (q, k, v))
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    attention = (q @ k.transpose(-2, -1) * self.temperature).softmax(dim=-1)
    return self.project_out((attention @ v).reshape(n, channels, height, width))


def plain_feed_forward(self: GatedFeedForward, x: Tensor, prior: Tensor) -> Tensor:
    n, channels = x.shape[:2]
    scale, shift = self.kernel(prior).view(n, 2 * channels, 1, 1).chunk(2, dim=1)
    gate, value = self.dwconv(self.project_in(x * scale + shift)).chunk(2, dim=1)
    return self.project_out(F.gelu(gate) * value)

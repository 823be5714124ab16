"""DIRformer, the restoration network that the prior modulates (DiffIR, section 3.1).

Tensors are (N, C, H, W) throughout, in the memory format of the weights, which is meant to be
``torch.channels_last``: the norms and the 1x1 convolutions then read memory in order.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffir_video.network.config import ModelConfig, Norm
from diffir_video.network.motion import Compensate, compensate

# Up to this many channels one Gram matrix of all heads is faster than many small ones.
JOINT_GRAM_CHANNELS = 64


class _NormParameters(nn.Module):
    """A norm's weight (C,) and, of the kind "bias", bias (C,); published keys call it `body`."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if norm == "bias" else None


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel: (N, C, H, W) → (N, C, H, W).

    The bias-free kind (Restormer, section 3.1) divides by the deviation but keeps the mean.
    """

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.body = _NormParameters(channels, norm)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.body.weight, self.body.bias
        pixels = x.permute(0, 2, 3, 1)
        if bias is not None:
            normed = F.layer_norm(pixels, weight.shape, weight, bias, eps=1e-5)
        else:
            variance = pixels.var(dim=-1, keepdim=True, correction=0)
            normed = pixels * torch.rsqrt(variance + 1e-5) * weight
        return normed.permute(0, 3, 1, 2)


class PriorModulation(nn.Module):
    """x·k1 + k2 with k1, k2 = Linear(prior): how the prior enters an attention or a feed-forward."""

    def __init__(self, prior_width: int, channels: int) -> None:
        super().__init__()
        self.kernel = nn.Sequential(nn.Linear(prior_width, 2 * channels, bias=False))

    def modulate(self, x: Tensor, prior: Tensor) -> Tensor:
        scale, shift = self.kernel(prior)[:, :, None, None].chunk(2, dim=1)
        return x * scale + shift


class ChannelAttention(PriorModulation):
    """Attention among channels: its C x C maps sum over all pixels of the frame (DGTA in the paper)."""

    def __init__(self, channels: int, *, heads: int, prior_width: int) -> None:
        super().__init__(prior_width, channels)
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.qkv_dwconv = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        qkv = self.qkv_dwconv(self.qkv(self.modulate(x, prior)))
        pixels = qkv.permute(0, 2, 3, 1).reshape(n, height * width, 3 * channels)
        q, k, v = pixels.chunk(3, dim=2)
        projection = self.project_attended(self.attention_maps(q, k))
        out = torch.bmm(v, projection.transpose(1, 2))
        return out.view(n, height, width, channels).permute(0, 3, 1, 2)

    def attention_maps(self, q: Tensor, k: Tensor) -> Tensor:
        """q, k: (N, pixels, C) → softmaxed maps (N, heads, C / heads, C / heads).

        Normalising the Gram matrix's rows and columns equals normalising q and k over the pixels, at a
        fraction of the memory traffic.
        """
        n, _, channels = q.shape
        per_head = channels // self.heads
        if channels <= JOINT_GRAM_CHANNELS:
            blocks = torch.bmm(q.transpose(1, 2), k).view(n, self.heads, per_head, self.heads, per_head)
            gram = blocks.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        else:
            q_heads, k_heads = torch.split(q, per_head, 2), torch.split(k, per_head, 2)
            grams = [torch.bmm(a.transpose(1, 2), b) for a, b in zip(q_heads, k_heads, strict=True)]
            gram = torch.stack(grams, dim=1)
        # Clamped before the root: its derivative at 0, where a picture is all one colour, is infinite.
        q_norm = q.square().sum(1).clamp_min(1e-24).sqrt().view(n, self.heads, per_head, 1)
        k_norm = k.square().sum(1).clamp_min(1e-24).sqrt().view(n, self.heads, 1, per_head)
        return (gram / (q_norm * k_norm) * self.temperature).softmax(dim=-1)

    def project_attended(self, maps: Tensor) -> Tensor:
        """project_out applied to the block-diagonal attention: an (N, C, C) matrix taking v to the output."""
        weight = self.project_out.weight.flatten(1)
        n, heads, per_head, _ = maps.shape
        by_head = weight.view(-1, heads, per_head).permute(1, 0, 2)
        projected = torch.matmul(by_head, maps)
        return projected.permute(0, 2, 1, 3).reshape(n, len(weight), heads * per_head)


class GatedFeedForward(PriorModulation):
    """1x1, depthwise 3x3, GELU of one half gates the other, 1x1 (DGFN in the paper)."""

    def __init__(self, channels: int, *, expansion: float, prior_width: int) -> None:
        super().__init__(prior_width, channels)
        hidden = int(channels * expansion)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        hidden = self.dwconv(self.project_in(self.modulate(x, prior)))
        gate, value = (_packed(half) for half in hidden.chunk(2, dim=1))
        return self.project_out(F.gelu(gate) * value)


def _packed(channels: Tensor) -> Tensor:
    """Some channels of pixels that lie one after the other, copied on a CPU.

    GELU and its gradient take several times as long on runs of a few channels as on whole vectors.
    """
    if channels.device.type != "cpu" or channels.stride(1) != 1:
        return channels
    return channels.contiguous(memory_format=torch.channels_last)


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)), both modulated by the prior."""

    def __init__(self, channels: int, *, heads: int, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels, config.norm)
        self.attn = ChannelAttention(channels, heads=heads, prior_width=config.prior_width)
        self.norm2 = ChannelNorm(channels, config.norm)
        self.ffn = GatedFeedForward(channels, expansion=config.ffn_expansion, prior_width=config.prior_width)

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), prior)
        return x + self.ffn(self.norm2(x), prior)


class PatchEmbedding(nn.Module):
    """One 3x3 convolution from the input's channels to the first level's."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Downsample(nn.Module):
    """(N, C, H, W) → (N, 2C, H/2, W/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Upsample(nn.Module):
    """(N, C, H, W) → (N, C/2, 2H, 2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels * 2, 3, padding=1, bias=False), nn.PixelShuffle(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def upsample_tail(channels: int) -> nn.Sequential:
    """The published super-resolution tail: twice (conv, PixelShuffle 2), then a conv to RGB; 4x the size."""
    return nn.Sequential(
        nn.Sequential(
            nn.Conv2d(channels, 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
            nn.Conv2d(channels, 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
        ),
        nn.Conv2d(channels, 3, 3, padding=1),
    )


class DIRformer(nn.Module):
    """The U-Net of transformer blocks: a window of frames and a prior in, the restored middle frame out.

    Level l works at 1 / 2**(l - 1) of the (unshuffled) size with ``dim * 2**(l - 1)`` channels; the deepest
    is called `latent`. Going up, level 1 keeps the channels of both inputs, the other levels halve them.

    compensate: what moves a compensated network's neighbours; another may take its place that does the same.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.compensate: Compensate = compensate
        self.depth = len(config.blocks)

        def level(number: int, channels: int) -> nn.ModuleList:
            return _blocks(channels, config.blocks[number - 1], config.heads[number - 1], config)

        self.patch_embed = PatchEmbedding(config.lq_channels * config.unshuffle**2, config.dim)
        for number in range(1, self.depth):
            channels = config.dim * 2 ** (number - 1)
            self.add_module(f"encoder_level{number}", level(number, channels))
            self.add_module(f"down{number}_{number + 1}", Downsample(channels))
        self.latent = level(self.depth, config.dim * 2 ** (self.depth - 1))
        for number in reversed(range(1, self.depth)):
            channels = config.dim * 2 ** (number - 1)
            self.add_module(f"up{number + 1}_{number}", Upsample(2 * channels))
            if number > 1:
                self.add_module(
                    f"reduce_chan_level{number}", nn.Conv2d(2 * channels, channels, 1, bias=False)
                )
            self.add_module(f"decoder_level{number}", level(number, channels if number > 1 else 2 * channels))
        if config.refinement_blocks:
            self.refinement = _blocks(2 * config.dim, config.refinement_blocks, config.heads[0], config)
        if config.tail == "upsample":
            self.tail = upsample_tail(2 * config.dim)
        else:
            out_channels = 3 * (config.scale * config.unshuffle) ** 2 + config.blended
            self.output = nn.Conv2d(2 * config.dim, out_channels, 3, padding=1, bias=False)

    def forward(self, lq: Tensor, prior: Tensor) -> Tensor:
        """Restore the middle frame of a window.

        lq: (N, lq_channels, H, W) in [0, 1]; prior: (N, prior_width). Returns (N, 3, s·H, s·W), unclamped.
        """
        if self.config.compensated:
            lq = self.compensate(lq, self.config)
        # Planes are unshuffled faster than what is in channels_last.
        x = lq if self.config.unshuffle == 1 else F.pixel_unshuffle(lq, self.config.unshuffle)
        x = self.patch_embed(x.contiguous(memory_format=_layout_of(self.patch_embed.proj.weight)))
        skips: list[Tensor] = []
        for number in range(1, self.depth):
            x = self._through(f"encoder_level{number}", x, prior)
            skips.append(x)
            x = self.get_submodule(f"down{number}_{number + 1}")(x)
        x = self._through("latent", x, prior)
        for number in reversed(range(1, self.depth)):
            x = torch.cat([self.get_submodule(f"up{number + 1}_{number}")(x), skips.pop()], dim=1)
            if number > 1:
                x = self.get_submodule(f"reduce_chan_level{number}")(x)
            x = self._through(f"decoder_level{number}", x, prior)
        if self.config.refinement_blocks:
            x = self._through("refinement", x, prior)
        return self._to_pixels(x, lq)

    def _through(self, level: str, x: Tensor, prior: Tensor) -> Tensor:
        for block in cast(nn.ModuleList, self.get_submodule(level)):
            x = block(x, prior)
        return x

    def _to_pixels(self, x: Tensor, lq: Tensor) -> Tensor:
        config = self.config
        if config.tail == "upsample":
            return self._add_residual(self.tail(x), middle_frame(lq, config))
        out = self.output(x)
        base = middle_frame(lq, config)
        if config.blend:
            out, logits = torch.split(out, [out.shape[1] - config.blended, config.blended], dim=1)
            base = blend_pictures(pictures_to_blend(lq, config), logits, config.unshuffle)
        return self._add_residual(F.pixel_shuffle(out, config.scale * config.unshuffle), base)

    def _add_residual(self, out: Tensor, base: Tensor) -> Tensor:
        if not self.config.residual:
            return out
        base = base[:, :3]
        if self.config.scale > 1:
            base = upsample_base(base, self.config)
        return out + base


def upsample_base(base: Tensor, config: ModelConfig) -> Tensor:
    """The frame that the output is added to, at the output's size: (N, 3, H, W) → (N, 3, s·H, s·W)."""
    return F.interpolate(base, scale_factor=float(config.scale), mode=config.residual_upsample)


def blend_pictures(pictures: Tensor, logits: Tensor, cell: int) -> Tensor:
    """Pictures weighted by the softmax of `logits`, each cell of pixels by its own.

    pictures: (N, K, 3, H, W); logits: (N, K, H / cell, W / cell). Returns (N, 3, H, W).
    """
    # In planes, as the pictures are.
    shares = logits.float().softmax(dim=1).contiguous()
    weights = F.interpolate(shares, scale_factor=float(cell), mode="nearest")
    return (pictures * weights.unsqueeze(2)).sum(dim=1)


def pictures_to_blend(lq: Tensor, config: ModelConfig) -> Tensor:
    """The window's frames, then the smoothed pictures if there are any: (N, K, 3, H, W)."""
    n, _, height, width = lq.shape
    frames = lq.reshape(n, config.frames, 3, height, width)
    if not config.blend_smoothed:
        return frames
    return torch.cat([frames, torch.stack(smoothed_pictures(lq, config), dim=1)], dim=1)


def smoothed_pictures(lq: Tensor, config: ModelConfig) -> list[Tensor]:
    """The middle frame, then the window's mean, each averaged over 3x3, 1x5 and 5x1 pixels: (N, 3, H, W)."""
    n, _, height, width = lq.shape
    still = lq.reshape(n, config.frames, 3, height, width).mean(dim=1)
    return [
        _mean_along(_mean_along(picture, 2, rows), 3, columns)
        for picture in (middle_frame(lq, config), still)
        for rows, columns in ((3, 3), (1, 5), (5, 1))
    ]


def _mean_along(picture: Tensor, dim: int, size: int) -> Tensor:
    """The mean of `size` neighbours along a dimension, of fewer at its ends.

    Shifted sums take less than half of avg_pool2d's time on a CPU.
    """
    length = picture.shape[dim]
    if size == 1:
        return picture
    total, count = picture.clone(), torch.ones(length, device=picture.device, dtype=picture.dtype)
    for shift in range(1, min(size // 2, length - 1) + 1):
        rest = length - shift
        total.narrow(dim, 0, rest).add_(picture.narrow(dim, shift, rest))
        total.narrow(dim, shift, rest).add_(picture.narrow(dim, 0, rest))
        count[:rest] += 1
        count[shift:] += 1
    shape = [length if d == dim else 1 for d in range(picture.ndim)]
    return total.mul_(count.reciprocal().view(shape))


def _layout_of(weight: Tensor) -> torch.memory_format:
    is_channels_last = weight.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_channels_last else torch.contiguous_format


def middle_frame(lq: Tensor, config: ModelConfig) -> Tensor:
    """The frame to be restored, (N, image_channels, H, W), out of a window (N, lq_channels, H, W)."""
    first = config.past * config.image_channels
    return lq[:, first : first + config.image_channels]


def _blocks(channels: int, count: int, heads: int, config: ModelConfig) -> nn.ModuleList:
    return nn.ModuleList(TransformerBlock(channels, heads=heads, config=config) for _ in range(count))

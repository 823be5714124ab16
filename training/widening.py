"""A DIRformer of more channels that computes what a narrower one does, to go on training from.

Every channel is repeated, and what reads it shares its weight among the copies at random, so that the copies
get gradients of their own (Chen, Goodfellow and Shlens, "Net2Net", ICLR 2016, Net2WiderNet).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from diffir_video.errors import UsageError
from diffir_video.network import DiffIR
from diffir_video.network.dirformer import (
    ChannelAttention,
    DIRformer,
    GatedFeedForward,
    PriorModulation,
    TransformerBlock,
)

_Net = TypeVar("_Net", bound=DiffIR)

# Channels that PixelUnshuffle makes of one, and PixelShuffle makes one of: they are repeated together.
_SHUFFLED = 4


def widen(net: _Net, factor: int, *, seed: int = 0) -> _Net:
    """A network of the same stage with `factor` times as many channels in DIRformer, on the same function.

    CPEN and denoiser stay as they are. The outputs differ by rounding alone. `seed` draws how weights are
    shared among copies. Raises UsageError for a factor below 2.
    """
    config = net.config
    if factor < 2:
        raise UsageError(f"factor = {factor}: expected 2 or more")
    wide = type(net)(replace(config, dim=config.dim * factor))
    state = {name: tensor for name, tensor in net.state_dict().items() if not name.startswith("G.")}
    wide.load_state_dict(state, strict=False)
    with torch.no_grad():
        _Widening(factor, torch.Generator().manual_seed(seed)).dirformer(net.G, wide.G)
    return wide.eval()


class _Widening:
    """Fills wide modules from narrow ones. `run`: how many neighbouring channels are repeated together."""

    def __init__(self, factor: int, generator: torch.Generator) -> None:
        self.factor = factor
        self.generator = generator

    def dirformer(self, narrow: DIRformer, wide: DIRformer) -> None:
        config = narrow.config
        dim, depth = config.dim, narrow.depth
        self.conv(narrow.patch_embed.proj, wide.patch_embed.proj, outs=self.copies(dim))
        run = 1
        for number in range(1, depth):
            channels = dim * 2 ** (number - 1)
            self.blocks(narrow, wide, f"encoder_level{number}", self.copies(channels, run))
            down = f"down{number}_{number + 1}.body.0"
            ins, outs = self.copies(channels, run), self.copies(channels // 2)
            self.conv(_conv(narrow, down), _conv(wide, down), ins=ins, outs=outs)
            run = _SHUFFLED
        below = self.copies(dim * 2 ** (depth - 1), run)
        self.blocks(narrow, wide, "latent", below)
        for number in reversed(range(1, depth)):
            channels = dim * 2 ** (number - 1)
            up = f"up{number + 1}_{number}.body.0"
            outs = self.copies(4 * channels, _SHUFFLED)
            self.conv(_conv(narrow, up), _conv(wide, up), ins=below, outs=outs)
            below = self.copies(2 * channels)
            if number > 1:
                skipped = channels + self.copies(channels, _SHUFFLED)
                joined = torch.cat([self.copies(channels), skipped])
                below = self.copies(channels)
                reduce = f"reduce_chan_level{number}"
                self.conv(_conv(narrow, reduce), _conv(wide, reduce), ins=joined, outs=below)
            self.blocks(narrow, wide, f"decoder_level{number}", below)
        if config.refinement_blocks:
            self.blocks(narrow, wide, "refinement", below)
        if config.tail == "upsample":
            enlarged = self.copies(4 * len(below) // self.factor, _SHUFFLED)
            for layer in ("tail.0.0", "tail.0.2"):
                self.conv(_conv(narrow, layer), _conv(wide, layer), ins=below, outs=enlarged)
            self.conv(_conv(narrow, "tail.1"), _conv(wide, "tail.1"), ins=below)
        else:
            self.conv(narrow.output, wide.output, ins=below)

    def blocks(self, narrow: DIRformer, wide: DIRformer, level: str, stream: Tensor) -> None:
        pairs = zip(narrow.get_submodule(level).children(), wide.get_submodule(level).children(), strict=True)
        for old, new in pairs:
            assert isinstance(old, TransformerBlock)
            assert isinstance(new, TransformerBlock)
            for norm in ("norm1", "norm2"):
                for name, parameter in new.get_submodule(norm).named_parameters():
                    parameter.copy_(old.get_parameter(f"{norm}.{name}")[stream])
            self.attention(old.attn, new.attn, stream)
            self.feed_forward(old.ffn, new.ffn, stream)

    def attention(self, old: ChannelAttention, new: ChannelAttention, stream: Tensor) -> None:
        self.modulation(old, new, stream)
        new.temperature.copy_(old.temperature)
        # Elementwise, so that a head's channels stay together.
        qkv = self.copies(old.qkv.out_channels)
        self.conv(old.qkv, new.qkv, ins=stream, outs=qkv)
        self.conv(old.qkv_dwconv, new.qkv_dwconv, outs=qkv)
        values = self.copies(old.project_out.in_channels)
        self.conv(old.project_out, new.project_out, ins=values, outs=stream)

    def feed_forward(self, old: GatedFeedForward, new: GatedFeedForward, stream: Tensor) -> None:
        self.modulation(old, new, stream)
        hidden = old.project_out.in_channels
        # Widths are rounded down: the wider one may have room for channels that nobody reads yet.
        room = new.project_out.in_channels - self.factor * hidden
        if room < 0:
            raise UsageError(
                f"feed-forwards of {hidden} channels don't grow {self.factor} times; try another factor"
            )
        spare = torch.arange(room) % hidden
        gated = torch.cat([self.copies(hidden), spare])
        halves = torch.cat([gated, hidden + gated])
        self.conv(old.project_in, new.project_in, ins=stream, outs=halves)
        self.conv(old.dwconv, new.dwconv, outs=halves)
        self.conv(old.project_out, new.project_out, ins=gated, outs=stream, unread=len(spare))

    def modulation(self, old: PriorModulation, new: PriorModulation, stream: Tensor) -> None:
        channels = len(stream) // self.factor
        scale_and_shift = torch.cat([stream, channels + stream])
        kernel = "kernel.0.weight"
        new.get_parameter(kernel).copy_(old.get_parameter(kernel)[scale_and_shift])

    def conv(
        self,
        old: nn.Conv2d,
        new: nn.Conv2d,
        *,
        ins: Tensor | None = None,
        outs: Tensor | None = None,
        unread: int = 0,
    ) -> None:
        """ins, outs: the old channel of each new one; None where their number stays, or per group.

        unread: how many of the last channels in get no weight.
        """
        weight, bias = old.weight, old.bias
        if outs is not None:
            weight = weight[outs]
            bias = None if bias is None else bias[outs]
        if ins is not None:
            weight = weight[:, ins] * self.shares(len(weight), ins, unread)
        new.weight.copy_(weight)
        if bias is not None and new.bias is not None:
            new.bias.copy_(bias)

    def shares(self, readers: int, ins: Tensor, unread: int) -> Tensor:
        """(readers, new channels, 1, 1): what each copy gets of a weight; all of a channel's add up to 1."""
        drawn = torch.rand(readers, len(ins), generator=self.generator) + 1e-3
        drawn[:, len(ins) - unread :] = 0
        totals = torch.zeros(readers, int(ins.max()) + 1).index_add_(1, ins, drawn)
        return (drawn / totals[:, ins])[:, :, None, None]

    def copies(self, channels: int, run: int = 1) -> Tensor:
        """The old channel of each new one, of `channels` old ones: each run of `run`, `factor` times."""
        return torch.arange(channels).view(-1, 1, run).expand(-1, self.factor, run).reshape(-1)


def _conv(dirformer: DIRformer, name: str) -> nn.Conv2d:
    module = dirformer.get_submodule(name)
    assert isinstance(module, nn.Conv2d)
    return module

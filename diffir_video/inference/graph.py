"""`FoldedGraph`: DIRformer under a held prior, tensors in and tensors out; what backends run or compile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import cast

import torch
from torch import Tensor, nn

from diffir_video.inference.convolutions import Convolutions
from diffir_video.inference.fold import FoldedBlock
from diffir_video.inference.strips import BlockSteps
from diffir_video.network.dirformer import DIRformer, TransformerBlock


class FoldedGraph(nn.Module):
    """The folded network; its weights are buffers, rewritten in place by `fold`, so addresses stay.

    steps: how blocks are worked.
    """

    def __init__(
        self,
        net: DIRformer,
        dtype: torch.dtype,
        steps: BlockSteps,
        convolutions: Convolutions | None = None,
    ) -> None:
        """`net`: its weights are copied, on its device, but for the prior's projections.

        dtype: of the weights and their products. convolutions: by default those of plain torch.
        """
        super().__init__()
        self.config = net.config
        self.dtype = dtype
        self.steps = steps
        self.levels = nn.ModuleDict(
            {
                name: nn.ModuleList(FoldedBlock(cast(TransformerBlock, block), dtype) for block in level)
                for name, level in net.named_children()
                if isinstance(level, nn.ModuleList)
            }
        )
        self.convolutions = convolutions or Convolutions(net, dtype, dtype)

    def blocks(self) -> Iterator[FoldedBlock]:
        for level in self.levels.values():
            yield from cast(Sequence[FoldedBlock], level)

    def worked_by(self, steps: BlockSteps) -> FoldedGraph:
        """The same network with the same weights, its blocks worked another way."""
        twin = copy(self)
        twin.steps = steps
        return twin

    def forward(self, lq: Tensor, *held_maps: Tensor) -> tuple[Tensor, ...]:
        """Restore the middle frames of windows, with these attention maps or, without any, their own.

        lq: (N, lq_channels, H, W) float in [0, 1]. held_maps: (1, C, C) for each block, in the order in which
        blocks are run. Returns (N, 3, s·H, s·W) float32, and the maps that were made, (N, C, C) each.
        """
        maps = _Maps(self.steps, held_maps)
        convolutions, depth = self.convolutions, len(self.config.blocks)
        # In one place only: a variable more would keep features that are no longer needed, gigabytes of them.
        features = [convolutions.embed(lq)]
        for number in range(1, depth):
            self._work(f"encoder_level{number}", features, maps)
            features.append(convolutions.down(number, features[-1]))
        self._work("latent", features, maps)
        for number in reversed(range(1, depth)):
            features.append(convolutions.up(number, features.pop(), features.pop()))
            features.append(convolutions.reduce(number, features.pop()))
            self._work(f"decoder_level{number}", features, maps)
        self._work("refinement", features, maps)
        return convolutions.to_picture(features.pop(), lq.float()), *maps.made

    def _work(self, level: str, features: list[Tensor], maps: _Maps) -> None:
        """The last features through a level's blocks."""
        if level not in self.levels:
            return
        for block in cast(Sequence[FoldedBlock], self.levels[level]):
            features[-1] = self.steps.attend(block, features[-1], maps.of(block, features[-1]))
            features[-1] = self.steps.feed_forward(block, features[-1])


class _Maps:
    """Attention maps, block after block: those held, or else made on the way and kept."""

    def __init__(self, steps: BlockSteps, held: Sequence[Tensor]) -> None:
        self._steps = steps
        self._held = iter(held) if held else None
        self.made: list[Tensor] = []

    def of(self, block: FoldedBlock, x: Tensor) -> Tensor:
        if self._held is not None:
            return next(self._held)
        self.made.append(self._steps.maps(block, x))
        return self.made[-1]

"""The folded network as a `torch.export` program whose folded weights are inputs: what engines are built of.

A prior then changes an engine's inputs and never the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.func import functional_call

from diffir_video.inference.fold import FoldedPointwise
from diffir_video.inference.graph import FoldedGraph


class WithWeights(nn.Module):
    """A `FoldedGraph` called with its folded weights: (lq, weights, held maps)."""

    def __init__(self, graph: FoldedGraph) -> None:
        super().__init__()
        # Not `graph`: a traced module has one of its own.
        self.network = graph
        self._names = [
            f"{name}.{kind}"
            for name, module in cast(Iterable[tuple[str, nn.Module]], graph.named_modules())
            if isinstance(module, FoldedPointwise)
            for kind in ("weight", "bias")
        ]

    def weights(self) -> list[Tensor]:
        """The folded weights as they are now, in the order that `forward` takes them."""
        return [self.network.get_buffer(name) for name in self._names]

    def forward(
        self, lq: Tensor, weights: Sequence[Tensor], held_maps: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """As `FoldedGraph.forward`."""
        return functional_call(self.network, dict(zip(self._names, weights, strict=True)), (lq, *held_maps))


@torch.no_grad()
def export(network: WithWeights, lq: Tensor, held_maps: Sequence[Tensor] = ()) -> ExportedProgram:
    """The program for windows of this shape, in core ATen operators only.

    lq: (N, lq_channels, H, W). held_maps: those that the program is to take, or none if it makes its own.
    """
    arguments = (lq, network.weights(), tuple(held_maps))
    exported = torch.export.export(network, arguments, strict=False)
    program = exported.run_decompositions()  # pyright: ignore[reportUnknownMemberType]
    for node in list(program.graph.nodes):
        # Checks of what `to` was given; they make nothing, and no engine knows them.
        if node.target is torch.ops.aten._assert_tensor_metadata.default:  # noqa: SLF001 - its name
            program.graph.erase_node(node)
    program.graph_module.recompile()
    return program

"""`GraphedNetwork`: torch.compile, and a CUDA graph for each shape, so that a frame costs one launch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from diffir_video.inference.graph import FoldedGraph

# A stream has one size and two numbers of frames, a full batch and the last; each with maps held or not.
_MOST_GRAPHS = 8
_WARM_UPS = 3

_Key = tuple[torch.Size, bool]


class GraphedNetwork:
    """A `FoldedGraph` on CUDA, compiled and captured; called as it is.

    Weights keep their addresses when a prior is folded, so what was captured goes on serving.
    """

    def __init__(self, graph: FoldedGraph) -> None:
        compile_network = cast(Any, torch.compile)  # pyright: ignore[reportUnknownMemberType]
        self._compiled = compile_network(graph, dynamic=False, fullgraph=True)
        self._captured: OrderedDict[_Key, _Captured] = OrderedDict()

    def __call__(self, lq: Tensor, *held_maps: Tensor) -> tuple[Tensor, ...]:
        key = (lq.shape, bool(held_maps))
        if key not in self._captured:
            if len(self._captured) == _MOST_GRAPHS:
                self._captured.popitem(last=False)
            self._captured[key] = _Captured(self._compiled, lq, held_maps)
        self._captured.move_to_end(key)
        return self._captured[key].replay(lq, held_maps)


class _Captured:
    """One graph with the tensors that it reads and writes."""

    def __init__(self, run: Any, lq: Tensor, held_maps: Sequence[Tensor]) -> None:
        self._inputs = [tensor.clone() for tensor in (lq, *held_maps)]
        # Compiling and the libraries' first choices must not be captured.
        aside = torch.cuda.Stream(lq.device)
        aside.wait_stream(torch.cuda.current_stream(lq.device))
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                run(*self._inputs)
        torch.cuda.current_stream(lq.device).wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads move frames meanwhile, and may allocate for it.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._outputs = cast(tuple[Tensor, ...], run(*self._inputs))

    def replay(self, lq: Tensor, held_maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        for ours, given in zip(self._inputs, (lq, *held_maps), strict=True):
            ours.copy_(given)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)

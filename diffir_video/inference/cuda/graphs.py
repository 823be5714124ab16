"""`GraphedNetwork`: torch.compile, and a CUDA graph for each shape, so that a frame costs one launch."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from diffir_video.inference.graph import FoldedGraph

_log = logging.getLogger(__name__)

# A stream has one size and a few numbers of frames, each with maps held or not.
_MOST_GRAPHS = 8
_WARM_UPS = 3

# Of what is compiled for a network: a folder's files may have as many sizes, and past torch's own limit of 8
# there would be no result.
_MOST_COMPILED = 1 << 20

# There may be one capture at a time in a process, and torch's settings are the process's too; several devices
# have networks of their own.
_capturing = threading.Lock()

_Key = tuple[torch.Size, bool]

# What torch.compile takes: a name, or a function as its documentation has it.
CompilerBackend = str | Callable[..., Any]


class CompiledNetwork:
    """A `FoldedGraph` compiled whole, for one frame and for any other number; called as it is.

    How many frames there are is no part of what is compiled: between two refreshes are now more, now fewer.
    """

    def __init__(self, graph: FoldedGraph, backend: CompilerBackend = "inductor") -> None:
        compile_network = cast(Any, torch.compile)  # pyright: ignore[reportUnknownMemberType]
        self._compiled = compile_network(graph, dynamic=False, fullgraph=True, backend=backend)

    def __call__(self, lq: Tensor, *held_maps: Tensor) -> tuple[Tensor, ...]:
        # Only what compiles has to wait for this.
        dynamo = cast(Any, torch)._dynamo  # noqa: SLF001 - where torch.compile's settings are
        dynamo.maybe_mark_dynamic(lq, 0)
        with dynamo.config.patch(recompile_limit=_MOST_COMPILED, accumulated_recompile_limit=_MOST_COMPILED):
            return self._compiled(lq, *held_maps)


class GraphedNetwork:
    """A `FoldedGraph` on CUDA, compiled and captured; called as it is.

    Weights keep their addresses when a prior is folded, so what was captured goes on serving.
    """

    def __init__(self, graph: FoldedGraph) -> None:
        self._compiled = CompiledNetwork(graph)
        self._captured: OrderedDict[_Key, _Captured] = OrderedDict()
        # Graphs replay one after the other, and nothing but their outputs outlasts a replay: all can work in
        # the same memory. That takes one stream for all; torch's own is the first device's.
        self._pool: Any = cast(Any, torch.cuda).graph_pool_handle()
        self._aside: torch.cuda.Stream | None = None

    def __call__(self, lq: Tensor, *held_maps: Tensor) -> tuple[Tensor, ...]:
        key = (lq.shape, bool(held_maps))
        if key not in self._captured:
            if len(self._captured) == _MOST_GRAPHS:
                self._captured.popitem(last=False)
            if self._aside is None:
                self._aside = torch.cuda.Stream(lq.device)
            self._tell(lq)
            with _capturing:
                self._captured[key] = _Captured(self._compiled, lq, held_maps, self._pool, self._aside)
        self._captured.move_to_end(key)
        return self._captured[key].replay(lq, held_maps)

    def _tell(self, lq: Tensor) -> None:
        if lq.shape[-2:] not in {shape[-2:] for shape, _ in self._captured}:
            height, width = lq.shape[-2:]
            _log.info("compiling the network for frames of %dx%d, which takes a while", width, height)


class _Captured:
    """One graph with the tensors that it reads and writes."""

    def __init__(
        self,
        run: CompiledNetwork,
        lq: Tensor,
        held_maps: Sequence[Tensor],
        pool: Any,
        aside: torch.cuda.Stream,
    ) -> None:
        """pool, aside: what is worked in, and on, while it is captured."""
        self._inputs = [tensor.clone() for tensor in (lq, *held_maps)]
        # Compiling and the libraries' first choices must not be captured.
        aside.wait_stream(torch.cuda.current_stream(lq.device))
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                run(*self._inputs)
        torch.cuda.current_stream(lq.device).wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads move frames meanwhile, and may allocate for it.
        with torch.cuda.graph(self._graph, pool=pool, stream=aside, capture_error_mode="thread_local"):
            self._outputs = run(*self._inputs)

    def replay(self, lq: Tensor, held_maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        for ours, given in zip(self._inputs, (lq, *held_maps), strict=True):
            ours.copy_(given)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)

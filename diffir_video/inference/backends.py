"""The ways to run a folded network, by name.

=========  ==========================================  ==============================================
backend    on a CPU                                    on CUDA
=========  ==========================================  ==============================================
eager      plain torch, in strips that fit the cache   plain torch, whole frames
compile    kernels in C, compiled for this processor   torch.compile and CUDA graphs, Triton kernels
tensorrt   not to be had                               an engine of torch-tensorrt
=========  ==========================================  ==============================================

"auto" is the fastest of them that is known to work here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from diffir_video.inference.graph import FoldedGraph
from diffir_video.inference.strips import StripSteps
from diffir_video.network.dirformer import DIRformer

Backend = Literal["auto", "eager", "compile", "tensorrt"]
Tile = Literal["auto", "off"] | int

# (lq, *held maps) → (restored, *maps made), as `FoldedGraph`.
Run = Callable[..., tuple[Tensor, ...]]


def build(
    net: DIRformer, dtype: torch.dtype, backend: Backend, strips: StripSteps, tile: Tile
) -> tuple[FoldedGraph, Run]:
    """The folded network, and what runs it on whole frames."""
    graph = FoldedGraph(net, dtype, strips)
    return graph, graph

"""The ways to run a folded network, by name.

=========  ==========================================  ==============================================
backend    on a CPU                                    on CUDA
=========  ==========================================  ==============================================
eager      plain torch, in strips that fit the cache   plain torch, whole frames
compile    kernels in C, compiled for this processor   torch.compile, Triton kernels and CUDA graphs
tensorrt   not to be had                               an engine of torch-tensorrt
=========  ==========================================  ==============================================

"auto" is compile where this machine has what it needs, and else eager, with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from diffir_video.errors import BackendError
from diffir_video.inference.graph import FoldedGraph
from diffir_video.inference.native import NativeSteps
from diffir_video.inference.strips import StripSteps
from diffir_video.network.dirformer import DIRformer

Backend = Literal["auto", "eager", "compile", "tensorrt"]

# (lq, *held maps) → (restored, *maps made), as `FoldedGraph`.
Run = Callable[..., tuple[Tensor, ...]]

_log = logging.getLogger(__name__)


def choose_backend(backend: Backend, device: torch.device, dtype: torch.dtype) -> Backend:
    """The backend that "auto" stands for; raises BackendError for one that is not to be had here."""
    if backend == "auto":
        try:
            _check(device, dtype)
        except BackendError as exc:
            _log.warning("backend eager is used: %s", exc)
            return "eager"
        return "compile"
    if backend == "compile":
        _check(device, dtype)
    return backend


def _check(device: torch.device, dtype: torch.dtype) -> None:
    """Raise BackendError where backend compile can't be had."""
    if device.type == "cpu":
        _native_steps(dtype, None)


def _native_steps(dtype: torch.dtype, tile: int | None) -> NativeSteps:
    if dtype == torch.float16:
        raise BackendError("backend compile has no fp16 on a CPU; use bf16, fp32, or backend eager")
    return NativeSteps(half=dtype == torch.bfloat16, tile=tile)


def build(
    net: DIRformer, dtype: torch.dtype, backend: Backend, strips: StripSteps, tile: int | None
) -> tuple[FoldedGraph, Run]:
    """The folded network, and what runs it on whole frames; `backend` is one that was chosen."""
    device = net.patch_embed.proj.weight.device
    if backend == "compile" and device.type == "cpu":
        graph = FoldedGraph(net, dtype, _native_steps(dtype, tile), features=torch.float32)
    else:
        graph = FoldedGraph(net, dtype, strips)
    return graph, graph

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
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from diffir_video.errors import BackendError
from diffir_video.inference.cuda.graphs import GraphedNetwork
from diffir_video.inference.cuda.tensorrt import TensorRTNetwork, load_torch_tensorrt
from diffir_video.inference.graph import FoldedGraph
from diffir_video.inference.native import NativeConvolutions, NativeSteps, Terms, load_kernels
from diffir_video.inference.native import motion as native_motion
from diffir_video.inference.strips import BlockSteps, StripSteps
from diffir_video.network import ModelConfig, motion
from diffir_video.network.dirformer import DIRformer

Backend = Literal["auto", "eager", "compile", "tensorrt"]

# What products of float32 features are made of.
Products = Literal["plain", "bf16x3", "int8"]

# (lq, *held maps) → (restored, *maps made), as `FoldedGraph`.
Run = Callable[..., tuple[Tensor, ...]]

# Windows of pictures, (3 or 4, H, W) each, oldest first → (N, lq_channels, H, W).
Gather = Callable[[Sequence[Sequence[Tensor]]], Tensor]

_log = logging.getLogger(__name__)


def choose_backend(
    backend: Backend, device: torch.device, dtype: torch.dtype, *, products: Products = "plain"
) -> Backend:
    """The backend that "auto" stands for; raises BackendError for one that is not to be had here.

    products: of float32; only compile on a CPU has others than plain ones.
    """
    if products != "plain" and (device.type != "cpu" or backend not in ("auto", "compile")):
        raise BackendError(
            f"{products} is for backend compile on a CPU, not {backend} on {device.type}; use fp32"
        )
    if backend == "tensorrt":
        load_torch_tensorrt(device)
    elif backend != "eager":
        try:
            _steps(device, dtype, None, products)
        except BackendError as exc:
            if backend != "auto" or products != "plain":
                raise
            _log.warning("backend eager is used: %s", exc)
            return "eager"
    return "compile" if backend == "auto" else backend


def cpu_has_fast_half() -> bool:
    """Whether backend compile can be had on this CPU, and multiplies in bfloat16."""
    try:
        NativeSteps(1)
    except BackendError:
        return False
    return True


def gathering(config: ModelConfig, device: torch.device, backend: Backend) -> Gather:
    """What makes windows of pictures as the folded network takes them; `backend` is one that was chosen."""
    if not config.compensated:
        return _gather
    if backend == "compile" and device.type == "cpu":
        return native_motion.NativeCompensation(config.past)
    compensate = motion.compensate
    if backend != "eager" and device.type == "cuda":
        try:
            from diffir_video.inference.cuda import motion as triton_motion
        except ImportError as exc:
            _log.warning("motion is found by plain torch, as Triton is missing: %s", exc)
        else:
            compensate = triton_motion.compensate
    return lambda windows: compensate(_gather(windows), config)


def _gather(windows: Sequence[Sequence[Tensor]]) -> Tensor:
    pictures = torch.stack([picture for window in windows for picture in window])
    return pictures.view(len(windows), -1, *pictures.shape[2:])


def hasten_motion(net: DIRformer) -> None:
    """Have a compensated network that is run as it was trained, on a CPU, move neighbours the fastest way: by
    kernels in C or, with a warning, by plain torch where they can't be had.
    """
    if not net.config.compensated or net.patch_embed.proj.weight.device.type != "cpu":
        return
    try:
        load_kernels()
    except BackendError as exc:
        _log.warning("motion is compensated by plain torch: %s", exc)
    else:
        net.compensate = native_motion.compensate


def terms_of(dtype: torch.dtype, products: Products) -> Terms:
    """What the kernels in C multiply, for features of `dtype`."""
    if products == "plain":
        return 1 if dtype == torch.bfloat16 else 0
    return 3 if products == "bf16x3" else -1


def _steps(device: torch.device, dtype: torch.dtype, tile: int | None, products: Products) -> BlockSteps:
    """What backend compile works blocks with; raises BackendError where it is not to be had."""
    if device.type == "cuda":
        return _triton_steps()
    if dtype == torch.float16:
        raise BackendError("backend compile has no fp16 on a CPU; use bf16, fp32, or backend eager")
    return NativeSteps(terms_of(dtype, products), tile=tile)


def _triton_steps() -> BlockSteps:
    try:
        from diffir_video.inference.cuda.steps import TritonSteps
    except ImportError as exc:
        raise BackendError(f"backend compile needs Triton ({exc}); install it, or use eager") from exc
    return TritonSteps()


def build(
    net: DIRformer,
    dtype: torch.dtype,
    backend: Backend,
    strips: StripSteps,
    tile: int | None,
    *,
    products: Products = "plain",
) -> tuple[FoldedGraph, Run]:
    """The folded network, and what runs it on whole frames; `backend` is one that was chosen.

    On CUDA both share the network: while it is compiled its blocks are worked by Triton kernels, and where
    frames have to be cut by `strips`.
    """
    device = net.patch_embed.proj.weight.device
    if backend == "compile" and device.type == "cpu":
        convolutions = NativeConvolutions(net, terms_of(dtype, products), tile=tile)
        graph = FoldedGraph(net, dtype, _steps(device, dtype, tile, products), convolutions)
        return graph, graph
    graph = FoldedGraph(net, dtype, strips)
    if backend == "compile":
        return graph, GraphedNetwork(graph.worked_by(_steps(device, dtype, tile, "plain")))
    if backend == "tensorrt":
        return graph, TensorRTNetwork(graph.worked_by(StripSteps(None)), device)
    return graph, graph

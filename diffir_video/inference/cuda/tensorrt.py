"""`TensorRTNetwork`: the exported network as TensorRT engines, built once and kept.

Never yet run: torch-tensorrt needs a GPU. What its engines are built of is tested (`exported`).
"""

# torch-tensorrt is optional and untyped.
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import hashlib
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffir_video.errors import BackendError
from diffir_video.inference.cache import cache_folder
from diffir_video.inference.cuda.exported import WithWeights, export
from diffir_video.inference.graph import FoldedGraph


def load_torch_tensorrt(device: torch.device) -> Any:
    """The library; raises BackendError where it isn't installed or has no GPU to build for."""
    if device.type != "cuda":
        raise BackendError(f"backend tensorrt needs a GPU, not device {device.type}; use eager or compile")
    try:
        return import_module("torch_tensorrt")
    except ImportError as exc:
        raise BackendError(
            f"backend tensorrt needs torch-tensorrt ({exc}): pip install 'diffir-video[tensorrt]'"
        ) from exc


class TensorRTNetwork:
    """A `FoldedGraph` on CUDA as TensorRT engines, one for each shape; called as it is.

    Engines are kept in the user's cache, by all that decides what they are: the weights that no prior
    touches, shape, precision, GPU and versions.
    """

    def __init__(self, graph: FoldedGraph, device: torch.device) -> None:
        self._library = load_torch_tensorrt(device)
        self._network = WithWeights(graph)
        self._device = device
        self._engines: dict[tuple[torch.Size, bool], Any] = {}
        self._digest = self._digest_of_constants(graph)

    def __call__(self, lq: Tensor, *held_maps: Tensor) -> tuple[Tensor, ...]:
        key = (lq.shape, bool(held_maps))
        if key not in self._engines:
            self._engines[key] = self._load_or_build(lq, held_maps)
        return tuple(self._engines[key](lq, self._network.weights(), held_maps))

    def _load_or_build(self, lq: Tensor, held_maps: tuple[Tensor, ...]) -> Any:
        path = self._path(lq, held_maps)
        if path.is_file():
            return self._library.load(str(path)).module()
        program = export(self._network, lq, held_maps)
        arguments = (lq, self._network.weights(), held_maps)
        engine = self._library.dynamo.compile(
            program, arg_inputs=arguments, use_explicit_typing=True, min_block_size=1
        )
        part = path.with_suffix(f".{os.getpid()}.part")
        self._library.save(engine, str(part), output_format="exported_program", arg_inputs=arguments)
        part.replace(path)
        return engine

    def _path(self, lq: Tensor, held_maps: tuple[Tensor, ...]) -> Path:
        parts = (
            self._digest,
            str(tuple(lq.shape)),
            str(bool(held_maps)),
            str(self._network.network.dtype),
            torch.cuda.get_device_name(self._device),
            torch.__version__,
            str(self._library.__version__),
        )
        key = hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
        return cache_folder() / f"engine-{key}.ep"

    def _digest_of_constants(self, graph: FoldedGraph) -> str:
        folded = {weight.data_ptr() for block in graph.blocks() for weight in block.weights()}
        digest = hashlib.blake2b(digest_size=16)
        for name, buffer in graph.named_buffers():
            if buffer.data_ptr() not in folded:
                digest.update(name.encode())
                flat = buffer.cpu().contiguous().flatten()
                digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

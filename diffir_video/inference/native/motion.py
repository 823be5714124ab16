"""Motion found and compensated by motion.c. The plain-torch twin is `network.motion`."""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor

from diffir_video.inference.native.library import WindowArgument, load_kernels
from diffir_video.inference.native.packing import checked
from diffir_video.network.config import ModelConfig
from diffir_video.network.motion import BLOCK


def find_motion(lq: Tensor, pictures: int, middle: int) -> Tensor:
    """As `network.motion.find_motion`, with the same result; lq on a CPU.

    Raises BackendError where the kernels can't be compiled, or memory runs out.
    """
    return _Search(lq, pictures, middle).vectors


def compensate(lq: Tensor, config: ModelConfig) -> Tensor:
    """As `network.motion.compensate`, without gradients; lq on a CPU.

    Raises BackendError as `find_motion` does.
    """
    search = _Search(lq, config.frames, config.past)
    out = torch.empty_like(search.lq)
    search.argument.out = out.data_ptr()
    return checked(out, load_kernels().move(ctypes.byref(search.argument)))


class _Search:
    """Vectors found, and what a kernel has to know to move by them."""

    def __init__(self, lq: Tensor, pictures: int, middle: int) -> None:
        self.lq = lq.detach().float().contiguous()
        count, _, height, width = lq.shape
        blocks = (math.ceil(height / BLOCK), math.ceil(width / BLOCK))
        vectors = torch.empty(count, pictures - 1, *blocks, 2, dtype=torch.int16)
        self.argument = WindowArgument(
            lq=self.lq.data_ptr(),
            frames=count,
            pictures=pictures,
            middle=middle,
            height=height,
            width=width,
            threads=torch.get_num_threads(),
            vectors=vectors.data_ptr(),
        )
        kernels = load_kernels()
        memory = torch.empty(kernels.motion_bytes(ctypes.byref(self.argument)), dtype=torch.uint8)
        self.argument.memory = memory.data_ptr()
        self.vectors = checked(vectors, kernels.find_motion(ctypes.byref(self.argument)))
        self.argument.memory = None

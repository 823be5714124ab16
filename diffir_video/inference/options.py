"""`InferenceOptions`: how much the network works on at a time, and what runs it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from diffir_video.errors import UsageError
from diffir_video.inference.backends import Backend, Products, choose_backend

Tile = Literal["auto", "off"] | int
Batch = Literal["auto"] | int

SMALLEST_TILE = 16


@dataclass(frozen=True, slots=True)
class InferenceOptions:
    """How a folded network is run; `FoldedDIRformer` says what it makes of each.

    tile: how much of a frame is worked on at a time. A number n stands for about n x n pixels of it; "off"
        for the whole frame; "auto" for what stays near a CPU's cores or, on CUDA, the most that fits in the
        memory that is free. Attention maps are the whole frame's in any case and halos are true.
    batch: frames that are worked on at once; "auto" is on a CPU as many as stay in its cache between two
        steps, by backend eager one, and on CUDA as many as fit. By the kernels for CPUs they are shared among
        copies of the network, each of which has its part of the threads.
    backend: see `backends`.
    products: how those of float32 features are made: "plain"; "bf16x3" by three of bfloat16, within 1e-4 of
        them, on CPUs with AMX; "int8" of integers of 8 bits, each pixel and each output by a scale of its
        own, on CPUs with VNNI.

    Raises UsageError on anything else.
    """

    tile: Tile = "auto"
    batch: Batch = "auto"
    backend: Backend = "auto"
    products: Products = "plain"

    def __post_init__(self) -> None:
        if self.tile not in ("auto", "off") and not _is_count(self.tile, SMALLEST_TILE):
            raise UsageError(f"tile {self.tile!r}: expected auto, off, or {SMALLEST_TILE} pixels or more")
        if self.batch != "auto" and not _is_count(self.batch, 1):
            raise UsageError(f"batch {self.batch!r}: expected auto or a number of frames from 1 on")
        if self.backend not in get_args(Backend):
            raise UsageError(f"backend {self.backend!r}: expected one of {get_args(Backend)}")

    def on(self, device: torch.device, dtype: torch.dtype) -> InferenceOptions:
        """The same with the backend that "auto" stands for there.

        Raises BackendError for one that is not to be had, and where `products` are not.
        """
        return replace(self, backend=choose_backend(self.backend, device, dtype, products=self.products))


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least

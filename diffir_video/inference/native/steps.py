"""`NativeSteps`: `BlockSteps` by blocks.c. The plain-torch twin is `StripSteps`."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffir_video.inference.fold import FoldedBlock
from diffir_video.inference.native.library import FeaturesArgument, GridArgument, PointwiseArgument
from diffir_video.inference.native.packing import PackedMatrix, Packing, Terms, checked

# Pieces of frames: three rows of them, as wide as what the 1x1 convolution makes, lie in a core's cache.
_RING_BYTES = 400_000
_MOST_COLUMNS, _LEAST_COLUMNS, _ROWS = 64, 16, 32


class NativeSteps:
    """Blocks worked by the compiled kernels; features are float32, of any number of frames.

    terms: of the products, whose sums and all between them are float32 in any case.
    tile: pieces are at most so many pixels wide and high; None for what fits the cache.
    Raises BackendError as `Packing` does.
    """

    def __init__(self, terms: Terms, *, tile: int | None = None) -> None:
        self._packing = Packing(terms)
        self._kernels = self._packing.kernels
        self._terms: Terms = terms
        self._columns, self._rows = tile or _MOST_COLUMNS, tile or _ROWS
        self._packed: dict[FoldedBlock, _PackedBlock] = {}

    def maps(self, block: FoldedBlock, x: Tensor) -> Tensor:
        x = _contiguous(x)
        packed, channels, heads = self._packed_block(block), block.channels, block.heads
        padded, per_head = packed.qk.outputs // 2, channels // heads
        heads_apart = per_head % self._kernels.lanes == 0
        gram_width = per_head if heads_apart else padded
        features = self._features(x, None, packed.qk)
        grid = features.grid
        pieces = math.ceil(grid.width / grid.columns) * math.ceil(grid.height / grid.rows)
        size = channels * gram_width + 2 * padded
        sums = torch.zeros(len(x), pieces, size, dtype=torch.float32, device="cpu")
        failure = self._kernels.sums(
            ctypes.byref(features),
            packed.qk.argument(),
            packed.qk_kernel.data_ptr(),
            block.centred,
            heads,
            sums.data_ptr(),
            size,
        )
        total = checked(sums, failure).sum(1)
        gram, squares = total[:, : channels * gram_width], total[:, channels * gram_width :]
        if heads_apart:
            gram = gram.view(-1, heads, per_head, per_head)
        else:
            joint = gram.view(-1, channels, padded)[:, :, :channels]
            by_head = joint.reshape(-1, heads, per_head, heads, per_head)
            gram = by_head.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        squares = squares.view(-1, 2, padded)[:, :, :channels].flatten(1)
        return block.projected_maps(gram, squares)

    def attend(self, block: FoldedBlock, x: Tensor, maps: Tensor) -> Tensor:
        x = _contiguous(x)
        out, packed = torch.empty_like(x), self._packed_block(block)
        matrices = [self._packing.matrix(matrix) for matrix in maps]
        arguments = (PointwiseArgument * len(matrices))(*(matrix.fields() for matrix in matrices))
        features = self._features(x, out, packed.v)
        failure = self._kernels.attend(
            ctypes.byref(features),
            packed.v.argument(),
            packed.v_kernel.data_ptr(),
            block.centred,
            arguments,
            len(matrices),
        )
        return checked(out, failure)

    def feed_forward(self, block: FoldedBlock, x: Tensor) -> Tensor:
        x = _contiguous(x)
        out, packed = torch.empty_like(x), self._packed_block(block)
        failure = self._kernels.feed_forward(
            ctypes.byref(self._features(x, out, packed.project_in)),
            packed.project_in.argument(),
            packed.hidden_kernel.data_ptr(),
            block.centred,
            packed.project_out.argument(),
        )
        return checked(out, failure)

    def _features(self, x: Tensor, out: Tensor | None, widest: PackedMatrix) -> FeaturesArgument:
        count, channels, height, width = x.shape
        fitting = _RING_BYTES // (3 * 4 * widest.outputs) - 2
        columns = min(self._columns, max(_LEAST_COLUMNS, fitting))
        # Of equal width, and the same for every number of threads: sums are then the same too.
        columns = math.ceil(width / math.ceil(width / columns))
        return FeaturesArgument(
            x=x.data_ptr(),
            out=None if out is None else out.data_ptr(),
            grid=GridArgument(count, height, width, columns, self._rows, torch.get_num_threads()),
            channels=channels,
            terms=self._terms,
        )

    def _packed_block(self, block: FoldedBlock) -> _PackedBlock:
        packed = self._packed.get(block)
        if packed is None or packed.folds != block.folds:
            packed = self._packed[block] = self._pack_block(block, packed)
        return packed

    def _pack_block(self, block: FoldedBlock, before: _PackedBlock | None) -> _PackedBlock:
        """before: the same block under another prior; what no prior changes is taken from it."""
        packing = self._packing
        return _PackedBlock(
            folds=block.folds,
            qk=packing.matrix(block.qk.weight, block.qk.bias, parts=2),
            v=packing.matrix(block.v.weight, block.v.bias),
            project_in=packing.matrix(block.project_in.weight, block.project_in.bias, parts=2),
            project_out=before.project_out if before else packing.matrix(block.project_out),
            qk_kernel=before.qk_kernel if before else packing.depthwise(block.qk_kernel, parts=2),
            v_kernel=before.v_kernel if before else packing.depthwise(block.v_kernel),
            hidden_kernel=before.hidden_kernel if before else packing.depthwise(block.hidden_kernel, parts=2),
        )


@dataclass(frozen=True, slots=True)
class _PackedBlock:
    folds: int
    qk: PackedMatrix
    v: PackedMatrix
    project_in: PackedMatrix
    project_out: PackedMatrix
    qk_kernel: Tensor
    v_kernel: Tensor
    hidden_kernel: Tensor


def _contiguous(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)

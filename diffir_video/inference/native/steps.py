"""`NativeSteps`: `BlockSteps` by kernels.c. The plain-torch twin is `StripSteps`."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffir_video.errors import BackendError
from diffir_video.inference.fold import FoldedBlock
from diffir_video.inference.native.library import (
    FeaturesArgument,
    PointwiseArgument,
    load_kernels,
)

# Pieces of frames: three rows of them, as wide as what the 1x1 convolution makes, lie in a core's cache.
_RING_BYTES = 400_000
_MOST_COLUMNS, _LEAST_COLUMNS, _ROWS = 64, 16, 32


class NativeSteps:
    """Blocks worked by the compiled kernels; features are float32, of any number of frames.

    half: products of bfloat16 with float32 sums; everything between them stays float32.
    tile: pieces are at most so many pixels wide and high; None for what fits the cache.
    Raises BackendError where the kernels can't be compiled, or can't multiply in bfloat16 here.
    """

    def __init__(self, *, half: bool, tile: int | None = None) -> None:
        self._kernels = load_kernels()
        if half and not self._kernels.has_half:
            raise BackendError(
                "this processor has no AVX512-BF16, so backend compile has no bf16 here; "
                "use precision fp32, or backend eager"
            )
        self._half = half
        self._columns, self._rows = tile or _MOST_COLUMNS, tile or _ROWS
        self._packed: dict[FoldedBlock, _PackedBlock] = {}

    def maps(self, block: FoldedBlock, x: Tensor) -> Tensor:
        x = _contiguous(x)
        packed, channels, heads = self._packed_block(block), block.channels, block.heads
        padded, per_head = packed.qk.outputs // 2, channels // heads
        heads_apart = per_head % self._kernels.lanes == 0
        gram_width = per_head if heads_apart else padded
        features = self._features(x, None, packed.qk)
        pieces = math.ceil(features.width / features.columns) * math.ceil(features.height / features.rows)
        size = channels * gram_width + 2 * padded
        sums = torch.zeros(len(x), pieces, size)
        self._kernels.sums(
            ctypes.byref(features),
            packed.qk.argument(),
            packed.qk_kernel.data_ptr(),
            block.centred,
            heads,
            sums.data_ptr(),
            size,
        )
        total = sums.sum(1)
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
        matrices = [self._pack(matrix) for matrix in maps]
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
        return _checked(out, failure)

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
        return _checked(out, failure)

    def _features(self, x: Tensor, out: Tensor | None, widest: _Packed) -> FeaturesArgument:
        count, channels, height, width = x.shape
        fitting = _RING_BYTES // (3 * 4 * widest.outputs) - 2
        columns = min(self._columns, max(_LEAST_COLUMNS, fitting))
        # Of equal width, and the same for every number of threads: sums are then the same too.
        columns = math.ceil(width / math.ceil(width / columns))
        return FeaturesArgument(
            x=x.data_ptr(),
            out=None if out is None else out.data_ptr(),
            frames=count,
            height=height,
            width=width,
            channels=channels,
            columns=columns,
            rows=self._rows,
            threads=torch.get_num_threads(),
            half=self._half,
        )

    def _packed_block(self, block: FoldedBlock) -> _PackedBlock:
        packed = self._packed.get(block)
        if packed is None or packed.folds != block.folds:
            packed = self._packed[block] = self._pack_block(block)
        return packed

    def _pack_block(self, block: FoldedBlock) -> _PackedBlock:
        return _PackedBlock(
            folds=block.folds,
            qk=self._pack(block.qk.weight, block.qk.bias, parts=2),
            v=self._pack(block.v.weight, block.v.bias),
            project_in=self._pack(block.project_in.weight, block.project_in.bias, parts=2),
            project_out=self._pack(block.project_out),
            qk_kernel=self._pack_depthwise(block.qk_kernel, parts=2),
            v_kernel=self._pack_depthwise(block.v_kernel),
            hidden_kernel=self._pack_depthwise(block.hidden_kernel, parts=2),
        )

    def _pack(self, weight: Tensor, bias: Tensor | None = None, parts: int = 1) -> _Packed:
        """(O, C) and (O,): each of `parts` of O padded to whole vectors, vector by vector; so is C."""
        lanes, inputs = self._kernels.lanes, weight.shape[1]
        padded = self._padded(weight.float(), parts)
        padded = torch.nn.functional.pad(padded, (0, -inputs % lanes))
        by_vector = padded.view(-1, lanes, padded.shape[1])
        if self._half:
            packed = by_vector.view(*by_vector.shape[:2], -1, 2).permute(0, 2, 1, 3).bfloat16()
        else:
            packed = by_vector.permute(0, 2, 1)
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        return _Packed(
            packed.contiguous(),
            self._padded(bias.float(), parts),
            inputs=padded.shape[1],
            outputs=len(padded),
        )

    def _pack_depthwise(self, kernel: Tensor, parts: int = 1) -> Tensor:
        """(O, 1, 3, 3) → (O / lanes, 9, lanes), each of `parts` of O padded."""
        padded = self._padded(kernel.float().flatten(1), parts)
        return padded.view(-1, self._kernels.lanes, 9).permute(0, 2, 1).contiguous()

    def _padded(self, weights: Tensor, parts: int) -> Tensor:
        missing = -(len(weights) // parts) % self._kernels.lanes
        if not missing:
            return weights.contiguous()
        zeros = weights.new_zeros(missing, *weights.shape[1:])
        return torch.cat([piece for part in weights.chunk(parts) for piece in (part, zeros)])


@dataclass(frozen=True, slots=True)
class _Packed:
    weight: Tensor
    bias: Tensor
    inputs: int
    outputs: int

    def fields(self) -> tuple[int, int, int, int]:
        return self.weight.data_ptr(), self.bias.data_ptr(), self.inputs, self.outputs

    def argument(self) -> object:
        return ctypes.byref(PointwiseArgument(*self.fields()))


@dataclass(frozen=True, slots=True)
class _PackedBlock:
    folds: int
    qk: _Packed
    v: _Packed
    project_in: _Packed
    project_out: _Packed
    qk_kernel: Tensor
    v_kernel: Tensor
    hidden_kernel: Tensor


def _contiguous(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _checked(out: Tensor, failure: int) -> Tensor:
    if failure:
        raise torch.OutOfMemoryError("no memory for the kernels' rows")
    return out

"""`TritonSteps`: `BlockSteps` by Triton kernels. The plain-torch twin is `StripSteps`."""

# Triton's kernels and helpers are untyped.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportIndexIssue=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from diffir_video.inference.cuda import kernels
from diffir_video.inference.fold import FoldedBlock, FoldedPointwise
from diffir_video.inference.strips import as_features, pixels

# With these no kernel needs more registers than there are, nor more shared memory than a GPU of compute
# capability 8.6 has; at least eight warps find room on a multiprocessor (tests/inference/test_gpu_code.py).
_BLOCK_P, _BLOCK_K, _MOST_OUTPUTS, _MOST_SUMS, _WARPS = 64, 32, 128, 8192, 8
_GRAM_BLOCK_P = 16
# Pixels of which one program sums a head's Gram matrix.
_CHUNK = 4096

_norm_pointwise: Any = kernels.norm_pointwise
_depthwise_project: Any = kernels.depthwise_project
_depthwise_gram: Any = kernels.depthwise_gram


class TritonSteps:
    """Whole frames, any number of them; features are of the weights' dtype.

    Of a block's traffic the kernels leave: for attention, x in, v out and in, x in and out; for the
    feed-forward the same with its hidden channels; q and k once out and in where maps are made.
    """

    def maps(self, block: FoldedBlock, x: Tensor) -> Tensor:
        qk = _pointwise(block.qk, x, centred=block.centred)
        count, channels, height, width = x.shape
        per_head = channels // block.heads
        chunk = min(_CHUNK, triton.cdiv(height * width, _GRAM_BLOCK_P) * _GRAM_BLOCK_P)
        chunks = triton.cdiv(height * width, chunk)
        gram = x.new_empty(count, chunks, block.heads, per_head, per_head, dtype=torch.float32)
        squares = x.new_empty(count, chunks, 2 * channels, dtype=torch.float32)
        _depthwise_gram[(chunks, block.heads, count)](
            qk,
            block.qk_taps,
            gram,
            squares,
            height,
            width,
            chunk,
            chunks,
            CHANNELS=channels,
            PER_HEAD=per_head,
            BLOCK_P=_GRAM_BLOCK_P,
            BLOCK_C=max(16, _power_of_two(per_head)),
            num_warps=_WARPS,
            num_stages=1,
        )
        return block.projected_maps(gram.sum(1), squares.sum(1)).to(x.dtype)

    def attend(self, block: FoldedBlock, x: Tensor, maps: Tensor) -> Tensor:
        v = _pointwise(block.v, x, centred=block.centred)
        return _project(v, block.v_taps, maps.contiguous(), x, gated=False)

    def feed_forward(self, block: FoldedBlock, x: Tensor) -> Tensor:
        hidden = _pointwise(block.project_in, x, centred=block.centred)
        return _project(hidden, block.hidden_taps, block.project_out[None], x, gated=True)


def _pointwise(pointwise: FoldedPointwise, x: Tensor, *, centred: bool) -> Tensor:
    """(N, C, H, W) → (N·H·W, O)."""
    matrix, (outputs, channels) = pixels(x), pointwise.weight.shape
    out = matrix.new_empty(len(matrix), outputs)
    block_o = min(_MOST_OUTPUTS, max(16, _power_of_two(outputs)))
    grid = (triton.cdiv(len(matrix), _BLOCK_P), triton.cdiv(outputs, block_o))
    _norm_pointwise[grid](
        matrix,
        pointwise.weight,
        pointwise.bias,
        out,
        len(matrix),
        CHANNELS=channels,
        OUTPUTS=outputs,
        CENTRED=centred,
        BLOCK_P=_BLOCK_P,
        BLOCK_K=_BLOCK_K,
        BLOCK_O=block_o,
        num_warps=_WARPS,
        num_stages=2,
    )
    return out


def _project(hidden: Tensor, taps: Tensor, weights: Tensor, x: Tensor, *, gated: bool) -> Tensor:
    count, channels, height, width = x.shape
    inner = weights.shape[2]
    out = torch.empty_like(pixels(x))
    block_o = max(16, _power_of_two(channels))
    # The sums of a program have to fit in its registers.
    block_p = max(16, min(_BLOCK_P, _MOST_SUMS // block_o))
    _depthwise_project[(triton.cdiv(height * width, block_p), count)](
        hidden,
        taps,
        weights,
        pixels(x),
        out,
        height,
        width,
        0 if len(weights) == 1 else channels * inner,
        CHANNELS=channels,
        HIDDEN=inner,
        GATED=gated,
        BLOCK_P=block_p,
        BLOCK_K=_BLOCK_K,
        BLOCK_O=block_o,
        num_warps=_WARPS,
        num_stages=1,
    )
    return as_features(out, x)


def _power_of_two(size: int) -> int:
    return triton.next_power_of_2(size)

"""Weights as the kernels want them: output channels in whole vectors, the rest zeros."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diffir_video.errors import BackendError
from diffir_video.inference.native.library import Kernels, PointwiseArgument, load_kernels

# How many products of bfloat16 stand for one: none for float32 itself, one for both factors rounded, three
# for each in two parts, what is rounded and the rest, without the product of the rests (bf16x3). -1 is one of
# integers of 8 bits.
Terms = Literal[-1, 0, 1, 3]

_LARGEST_BYTE = 127

# The kernels' first factor in bytes is without a sign, and so much larger than what it stands for.
_BYTE_OFFSET = 128


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """Holds what a `Pointwise` of products.h points to; inputs and outputs as padded.

    scales, offsets: of weights in bytes.
    """

    weight: Tensor
    bias: Tensor
    inputs: int
    outputs: int
    scales: Tensor | None = None
    offsets: Tensor | None = None

    def fields(self) -> tuple[int | None, ...]:
        scales, offsets = (None if t is None else t.data_ptr() for t in (self.scales, self.offsets))
        return self.weight.data_ptr(), self.bias.data_ptr(), self.inputs, self.outputs, scales, offsets

    def argument(self) -> object:
        return ctypes.byref(PointwiseArgument(*self.fields()))


class Packing:
    """How weights are laid out for the kernels of this processor.

    Raises BackendError where the kernels can't be compiled, or can't multiply in bfloat16 or bytes here, or
    for three terms not so fast that three products are less than one of float32.
    """

    def __init__(self, terms: Terms) -> None:
        self.kernels: Kernels = load_kernels()
        if terms < 0 and not self.kernels.has_bytes:
            raise BackendError(
                "this processor has no VNNI, so backend compile has no int8 here; use precision fp32"
            )
        if terms > 0 and not self.kernels.has_half:
            raise BackendError(
                "this processor has no AVX512-BF16, so backend compile has no bf16 here; "
                "use precision fp32, or backend eager"
            )
        if terms == 3 and not self.kernels.has_tiles:
            raise BackendError("this processor has no AMX, so bf16x3 would be slower than fp32; use that")
        self._terms: Terms = terms

    def matrix(
        self, weight: Tensor, bias: Tensor | None = None, *, parts: int = 1, whole_inputs: bool = True
    ) -> PackedMatrix:
        """(O, C) and (O,): each of `parts` of O padded to whole vectors.

        whole_inputs: pad C to whole vectors too, as features are that a kernel makes; else to an even number.
        """
        padded = self._padded(weight.float(), parts)
        multiple = self.kernels.lanes if whole_inputs else 2
        padded = F.pad(padded, (0, -weight.shape[1] % multiple))
        bias = self._padded((weight.new_zeros(len(weight)) if bias is None else bias).float(), parts)
        if self._terms < 0:
            return self._in_bytes(padded, bias)
        by_vector = padded.view(-1, self.kernels.lanes, padded.shape[1])
        packed = torch.stack([part.transpose(1, 2) for part in self._parts(by_vector)])
        return PackedMatrix(packed, bias, inputs=padded.shape[1], outputs=len(padded))

    def _in_bytes(self, weight: Tensor, bias: Tensor) -> PackedMatrix:
        """(O, C) and (O,), both padded: each output's weights as shares of their largest."""
        outputs, inputs = weight.shape
        scales = weight.abs().amax(1).div_(_LARGEST_BYTE)
        # Outputs without any weight are 0 by their scale.
        rounded = (weight / scales.clamp_min(torch.finfo(torch.float32).tiny)[:, None]).round_()
        offsets = rounded.sum(1).mul_(-_BYTE_OFFSET).int()
        by_vector = rounded.to(torch.int8).view(-1, self.kernels.lanes, inputs // 4, 4)
        packed = by_vector.permute(0, 2, 1, 3).contiguous()
        return PackedMatrix(packed, bias, inputs, outputs, scales, offsets)

    def taps(self, kernel: Tensor, bias: Tensor | None = None) -> list[PackedMatrix]:
        """(O, C, k, k) and (O,): a matrix for each row of the kernel, inputs in the order of the features."""
        first, *others = kernel.float().permute(2, 0, 3, 1).flatten(2)
        matrices = [self.matrix(first, bias, whole_inputs=False)]
        return [*matrices, *(self.matrix(row, whole_inputs=False) for row in others)]

    def depthwise(self, kernel: Tensor, *, parts: int = 1) -> Tensor:
        """(O, 1, 3, 3) → (O / lanes, 9, lanes), each of `parts` of O padded."""
        padded = self._padded(kernel.float().flatten(1), parts)
        return padded.view(-1, self.kernels.lanes, 9).permute(0, 2, 1).contiguous()

    def _parts(self, weights: Tensor) -> list[Tensor]:
        """What a product takes of the weights; pairs of bfloat16 as one number, as they move together."""
        if not self._terms:
            return [weights]
        rounded = weights.bfloat16()
        parts = [rounded] if self._terms == 1 else [rounded, (weights - rounded.float()).bfloat16()]
        return [part.contiguous().view(torch.int32) for part in parts]

    def _padded(self, weights: Tensor, parts: int) -> Tensor:
        missing = -(len(weights) // parts) % self.kernels.lanes
        if not missing:
            return weights.contiguous()
        zeros = weights.new_zeros(missing, *weights.shape[1:])
        return torch.cat([piece for part in weights.chunk(parts) for piece in (part, zeros)])


def checked(out: Tensor, failure: int) -> Tensor:
    """`out`, if the kernel that filled it had the memory for its rows; raises torch.OutOfMemoryError."""
    if failure:
        raise torch.OutOfMemoryError("no memory for the kernels' rows")
    return out

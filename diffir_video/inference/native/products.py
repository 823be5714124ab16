"""`NativeProduct`: what the kernels make of one product of matrices, to know their best rate by."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from diffir_video.inference.native.library import (
    ConvolutionArgument,
    GridArgument,
    PointwiseArgument,
    StoredArgument,
)
from diffir_video.inference.native.packing import Packing, Terms, checked

_COLUMNS, _ROWS = 64, 16


class NativeProduct:
    """A 1x1 convolution of channels by the compiled kernels.

    weight: (O, C). terms: as `Packing` takes them, whose BackendError it raises.
    """

    def __init__(self, weight: Tensor, terms: Terms) -> None:
        packing = Packing(terms)
        self._terms: Terms = terms
        self._convolve = packing.kernels.convolve
        self._matrix = packing.matrix(weight)
        self._taps = (PointwiseArgument * 1)(self._matrix.fields())
        self._outputs, self._channels = weight.shape

    def __call__(self, x: Tensor) -> Tensor:
        """(H, W, C) float32, contiguous, → (H, W, O) float32."""
        height, width, _ = x.shape
        out = torch.empty(height, width, self._outputs, dtype=torch.float32, device="cpu")
        grid = GridArgument(1, height, width, _COLUMNS, _ROWS, torch.get_num_threads())
        argument = StoredArgument(
            convolution=ConvolutionArgument(
                x=x.data_ptr(),
                taps=self._taps,
                grid=grid,
                height=height,
                width=width,
                channels=self._channels,
                size=1,
                stride=1,
                padding=0,
                terms=self._terms,
            ),
            out=out.data_ptr(),
            skip=None,
            channels=self._outputs,
            step=self._outputs,
            shuffled=False,
        )
        return checked(out, self._convolve(ctypes.byref(argument)))

"""`NativeConvolutions`: `Convolutions` by convolutions.c."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from diffir_video.inference.convolutions import Convolutions
from diffir_video.inference.native.library import (
    BlendArgument,
    ConvolutionArgument,
    GridArgument,
    PointwiseArgument,
    StoredArgument,
    load_kernels,
)
from diffir_video.inference.native.packing import PackedMatrix, Packing, Terms, checked
from diffir_video.network.dirformer import DIRformer

# Pieces of frames: their rows and what a product makes of them lie in a core's cache.
_COLUMNS, _ROWS = 64, 16

# The convolutions of a tail that enlarges, in order.
_TAIL = ("first", "second", "last")


class NativeConvolutions(Convolutions):
    """The convolutions of features by the compiled kernels; their input is float32, and so is what they make.

    terms: of the products, whose sums are float32 in any case. Where blocks multiply bytes, these are of
        bfloat16 if that can be had: one product here spans pixels, whose scales differ. tile: pieces are at
        most so many pixels wide and high.
    Raises BackendError as `Packing` does.
    """

    def __init__(self, net: DIRformer, terms: Terms, *, tile: int | None = None) -> None:
        if terms < 0:
            terms = 1 if load_kernels().has_half else 0
        super().__init__(net, torch.bfloat16 if terms == 1 else torch.float32, torch.float32)
        packing = Packing(terms)
        self._kernels = packing.kernels
        self._terms: Terms = terms
        self._columns, self._rows = tile or _COLUMNS, tile or _ROWS
        self._taps = {
            name: _Taps.of(packing.taps(self.kernel(name)), self.kernel(name))
            for name in self.names()
            if self.kernel(name).ndim == 4
        }
        # One vector of outputs from large kernels: in float32 torch's convolution is faster.
        if not terms and net.config.unshuffle > 1:
            del self._taps["embed"]
        # By vectors torch's own are as fast, or faster.
        if net.config.tail == "upsample" and terms and self._kernels.has_tiles:
            tail = self.tail.get_buffer
            for name in _TAIL:
                kernel, bias = tail(f"{name}_kernel"), tail(f"{name}_bias")
                self._taps[name] = _Taps.of(packing.taps(kernel, bias), kernel)

    def embed(self, lq: Tensor) -> Tensor:
        step = self.config.unshuffle
        if "embed" not in self._taps:
            return super().embed(lq)
        return self._convolve("embed", lq.float(), stride=step, padding=step, planes=True)

    def down(self, number: int, x: Tensor) -> Tensor:
        return self._convolve(f"down{number}", x, stride=2)

    def up(self, number: int, x: Tensor, skip: Tensor) -> Tensor:
        return self._convolve(f"up{number}", x, shuffled=True, skip=skip)

    def to_picture(self, x: Tensor, lq: Tensor) -> Tensor:
        config = self.config
        if not config.blend or config.scale > 1:
            return super().to_picture(x, lq)
        lq, x = lq.contiguous(), _contiguous(x)
        count, _, height, width = lq.shape
        out = lq.new_empty(count, 3, height, width)
        argument = BlendArgument(
            convolution=self._argument("output", x),
            lq=lq.data_ptr(),
            out=out.data_ptr(),
            pictures=config.frames,
            middle=config.past,
            unshuffle=config.unshuffle,
            smoothed=config.blend_smoothed,
        )
        return checked(out, self._kernels.blend(ctypes.byref(argument)))

    def enlarge(self, x: Tensor) -> Tensor:
        first, second, last = _TAIL
        if first not in self._taps:
            return super().enlarge(x)
        for name in (first, second):
            x = self._convolve(name, x, shuffled=True)
        return self._convolve(last, x)

    def output(self, x: Tensor) -> Tensor:
        return self._convolve("output", x)

    def _convolve(
        self,
        name: str,
        x: Tensor,
        *,
        stride: int = 1,
        padding: int = 1,
        planes: bool = False,
        shuffled: bool = False,
        skip: Tensor | None = None,
    ) -> Tensor:
        """planes: take x in NCHW memory, not channels_last. shuffled: to (N, C / 4, 2H, 2W). skip: what comes
        after those channels, (N, C', 2H, 2W)."""
        x = x.contiguous() if planes else _contiguous(x)
        skip = None if skip is None else _contiguous(skip)
        argument = self._argument(name, x, stride=stride, padding=padding, planes=planes)
        grid, channels, corners = argument.grid, self._taps[name].channels, 2 if shuffled else 1
        made = channels // corners**2
        step = made + (0 if skip is None else skip.shape[1])
        out = x.new_empty(grid.frames, grid.height * corners, grid.width * corners, step)
        stored = StoredArgument(
            convolution=argument,
            out=out.data_ptr(),
            skip=None if skip is None else skip.data_ptr(),
            channels=channels,
            step=step,
            shuffled=shuffled,
        )
        return checked(out, self._kernels.convolve(ctypes.byref(stored))).permute(0, 3, 1, 2)

    def _argument(
        self, name: str, x: Tensor, *, stride: int = 1, padding: int = 1, planes: bool = False
    ) -> ConvolutionArgument:
        count, channels, height, width = x.shape
        taps = self._taps[name]
        rows, columns = ((length + 2 * padding - taps.size) // stride + 1 for length in (height, width))
        return ConvolutionArgument(
            x=x.data_ptr(),
            taps=taps.arguments,
            grid=GridArgument(count, rows, columns, self._columns, self._rows, torch.get_num_threads()),
            height=height,
            width=width,
            channels=channels,
            size=taps.size,
            stride=stride,
            padding=padding,
            terms=self._terms,
            planes=planes,
        )


@dataclass(frozen=True, slots=True)
class _Taps:
    """A convolution's matrices, kept, and what points to them; channels that it makes, size of its kernel."""

    matrices: list[PackedMatrix]
    arguments: ctypes.Array[PointwiseArgument]
    channels: int
    size: int

    @classmethod
    def of(cls, matrices: list[PackedMatrix], kernel: Tensor) -> _Taps:
        arguments = (PointwiseArgument * len(matrices))(*(matrix.fields() for matrix in matrices))
        return cls(matrices, arguments, channels=len(kernel), size=kernel.shape[-1])


def _contiguous(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)

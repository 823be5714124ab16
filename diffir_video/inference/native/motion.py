"""Motion found and compensated by motion.c. The plain-torch twin is `network.motion`."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffir_video.inference.native.library import PicturesArgument, WindowArgument, load_kernels
from diffir_video.inference.native.packing import checked
from diffir_video.network import ModelConfig, motion
from diffir_video.network.motion import BLOCK, no_vectors_yet
from diffir_video.network.operators import operator

# Of larger frames it would be much memory, and making it again takes little of their time.
_MOST_KEPT_PIXELS = 1 << 22


def find_motion(lq: Tensor, pictures: int, middle: int) -> Tensor:
    """As `network.motion.find_motion`, with the same result; by plain torch for an lq that is on no CPU.

    Raises BackendError where the kernels can't be compiled, torch.OutOfMemoryError where memory runs out.
    """
    return _search_all(lq, pictures, middle)


# What is compiled is traced with tensors that have no memory to point to.
@operator("find_motion_natively", "Tensor lq, int pictures, int middle", no_vectors_yet)
def _search_all(lq: Tensor, pictures: int, middle: int) -> Tensor:
    # A network keeps what it finds motion with wherever it is moved to, and what a pointer to another device
    # points to is not to be read here.
    if lq.device.type != "cpu":
        return motion.find_motion(lq, pictures, middle)
    windows = lq.detach().float().reshape(len(lq), pictures, 3, *lq.shape[2:]).contiguous()
    return torch.stack(
        [_Search(list(window), put_pyramids(list(window)), middle).vectors for window in windows]
    )


def compensate(lq: Tensor, config: ModelConfig) -> Tensor:
    """As `network.motion.compensate`; plain torch moves what was found where a gradient runs through, and
    what is no float32 on a CPU.

    Raises BackendError where the kernels can't be compiled, torch.OutOfMemoryError where memory runs out.
    """
    is_differentiated = torch.is_grad_enabled() and lq.requires_grad
    if is_differentiated or lq.dtype != torch.float32 or lq.device.type != "cpu":
        return motion.compensate(lq, config, find_motion)
    return _compensate_all(lq, config.frames, config.past)


def _no_windows_yet(lq: Tensor, _pictures: int, _middle: int) -> Tensor:
    return torch.empty_like(lq, memory_format=torch.contiguous_format)


@operator("compensate_natively", "Tensor lq, int pictures, int middle", _no_windows_yet)
def _compensate_all(lq: Tensor, pictures: int, middle: int) -> Tensor:
    windows, out = lq.contiguous(), _no_windows_yet(lq, pictures, middle)
    for window, place in zip(windows, out, strict=True):
        split = list(window.view(pictures, 3, *lq.shape[2:]))
        _Search(split, put_pyramids(split), middle).compensate(place)
    return out


class _Known(NamedTuple):
    """A picture as it was given, its planes one after the other, and its pyramid."""

    given: Tensor
    picture: Tensor
    pyramid: Tensor


class NativeCompensation:
    """Windows as a compensated network is to see them: what `network.motion.compensate` makes of them.

    It keeps what it has made of a window's pictures, as the next window has most of them too; `forget` ends
    that. Raises BackendError where the kernels can't be compiled.
    """

    def __init__(self, middle: int) -> None:
        """middle: the number of the picture that stays."""
        load_kernels()
        self._middle = middle
        # By identity; the pictures are kept too, so that no other takes their place.
        self._known: dict[int, _Known] = {}

    def __call__(self, windows: Sequence[Sequence[Tensor]]) -> Tensor:
        """Pictures, (3, H, W) float32 each, on a CPU, oldest first in each window → (N, 3 · pictures, H, W).

        Raises ValueError for pictures of other kinds or of several sizes, torch.OutOfMemoryError where memory
        runs out.
        """
        _check(windows)
        first = windows[0]
        out = torch.empty(
            len(windows), 3 * len(first), *first[0].shape[1:], dtype=torch.float32, device="cpu"
        )
        for window, place in zip(windows, out, strict=True):
            self._know(window)
            known = [self._known[id(picture)] for picture in window]
            pictures, pyramids = [k.picture for k in known], [k.pyramid for k in known]
            _Search(pictures, pyramids, self._middle).compensate(place)
        if out[0, 0].numel() > _MOST_KEPT_PIXELS:
            self.forget()
        return out

    def forget(self) -> None:
        """Let go of the pictures that are kept."""
        self._known = {}

    def _know(self, window: Sequence[Tensor]) -> None:
        new = list({id(given): given for given in window if id(given) not in self._known}.values())
        pictures = [given.contiguous() for given in new]
        for known in map(_Known, new, pictures, put_pyramids(pictures)):
            self._known[id(known.given)] = known
        self._known = {id(given): self._known[id(given)] for given in window}


def _check(windows: Sequence[Sequence[Tensor]]) -> None:
    """Raise ValueError for what the kernels would read as something else, or read beyond."""
    kinds = {(tuple(p.shape), p.dtype, p.device.type) for window in windows for p in window}
    if len(kinds) != 1:
        raise ValueError(f"expected pictures of one size and kind, got {sorted(map(str, kinds))}")
    (shape, dtype, device), *_ = kinds
    if len(shape) != 3 or shape[0] != 3 or dtype != torch.float32 or device != "cpu":
        raise ValueError(f"expected (3, H, W) float32 on a CPU, got {shape} {dtype} on {device}")


def put_pyramids(pictures: Sequence[Tensor]) -> list[Tensor]:
    """Pyramids of pictures, (3, H, W) contiguous float32 on a CPU, as motion.c lays them out."""
    if not pictures:
        return []
    kernels, (height, width) = load_kernels(), pictures[0].shape[1:]
    size = kernels.pyramid_bytes(height, width)
    pyramids = [torch.empty(size, dtype=torch.uint8, device="cpu") for _ in pictures]
    checked(pyramids[0], kernels.put_pyramids(ctypes.byref(_argument(pictures, pyramids))))
    return pyramids


class _Search:
    """Vectors found between pictures by their pyramids; int16, (others, rows, columns, 2)."""

    def __init__(self, pictures: Sequence[Tensor], pyramids: Sequence[Tensor], middle: int) -> None:
        # What the argument points to.
        self._of, self._kept = _argument(pictures, pyramids), (pictures, pyramids)
        kernels, (height, width) = load_kernels(), pictures[0].shape[1:]
        others = len(pictures) - 1
        memory = torch.empty(kernels.search_bytes(others, height, width), dtype=torch.uint8, device="cpu")
        blocks = (math.ceil(height / BLOCK), math.ceil(width / BLOCK))
        vectors = torch.empty(others, *blocks, 2, dtype=torch.int16, device="cpu")
        self._argument = WindowArgument(
            of=self._of,
            middle=middle,
            memory=memory.data_ptr(),
            vectors=vectors.data_ptr(),
        )
        self.vectors = checked(vectors, kernels.find_motion(ctypes.byref(self._argument)))

    def compensate(self, out: Tensor) -> None:
        """Put the pictures, but for the middle one moved, into (3 · pictures, H, W)."""
        self._argument.out = out.data_ptr()
        checked(out, load_kernels().move(ctypes.byref(self._argument)))


def _argument(pictures: Sequence[Tensor], pyramids: Sequence[Tensor]) -> PicturesArgument:
    pointers = ctypes.c_void_p * len(pictures)
    height, width = pictures[0].shape[1:]
    return PicturesArgument(
        pictures=pointers(*(picture.data_ptr() for picture in pictures)),
        pyramids=pointers(*(pyramid.data_ptr() for pyramid in pyramids)),
        count=len(pictures),
        height=height,
        width=width,
        threads=torch.get_num_threads(),
    )

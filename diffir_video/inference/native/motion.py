"""Motion found and compensated by motion.c. The plain-torch twin is `network.motion`."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffir_video.inference.native.library import PicturesArgument, WindowArgument, load_kernels
from diffir_video.inference.native.packing import checked
from diffir_video.network.motion import BLOCK

# Of larger frames it would be much memory, and making it again takes little of their time.
_MOST_KEPT_PIXELS = 1 << 22


def find_motion(lq: Tensor, pictures: int, middle: int) -> Tensor:
    """As `network.motion.find_motion`, with the same result; lq on a CPU.

    Raises BackendError where the kernels can't be compiled, torch.OutOfMemoryError where memory runs out.
    """
    windows = lq.detach().float().reshape(len(lq), pictures, 3, *lq.shape[2:]).contiguous()
    return torch.stack([_Search(list(window), _pyramids(list(window)), middle).vectors for window in windows])


class NativeCompensation:
    """Windows as a compensated network is to see them: what `network.motion.compensate` makes of them.

    It keeps what it has made of a window's pictures, as the next window has most of them too.
    Raises BackendError where the kernels can't be compiled.
    """

    def __init__(self, middle: int) -> None:
        """middle: the number of the picture that stays."""
        load_kernels()
        self._middle = middle
        # By identity; the pictures are kept too, so that no other takes their place.
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, windows: Sequence[Sequence[Tensor]]) -> Tensor:
        """Pictures, (3, H, W) float32 each, on a CPU, oldest first in each window → (N, 3 · pictures, H, W).

        Raises torch.OutOfMemoryError where memory runs out.
        """
        first = windows[0]
        out = torch.empty(len(windows), 3 * len(first), *first[0].shape[1:])
        for window, place in zip(windows, out, strict=True):
            pictures = [picture.contiguous() for picture in window]
            self._know(pictures)
            pyramids = [self._known[id(picture)][1] for picture in pictures]
            _Search(pictures, pyramids, self._middle).compensate(place)
        if out[0, 0].numel() > _MOST_KEPT_PIXELS:
            self._known = {}
        return out

    def _know(self, pictures: Sequence[Tensor]) -> None:
        new = list({id(p): p for p in pictures if id(p) not in self._known}.values())
        self._known |= {id(p): (p, made) for p, made in zip(new, _pyramids(new), strict=True)}
        self._known = {id(picture): self._known[id(picture)] for picture in pictures}


def _pyramids(pictures: Sequence[Tensor]) -> list[Tensor]:
    if not pictures:
        return []
    kernels, (height, width) = load_kernels(), pictures[0].shape[1:]
    size = kernels.pyramid_bytes(height, width)
    pyramids = [torch.empty(size, dtype=torch.uint8) for _ in pictures]
    checked(pyramids[0], kernels.put_pyramids(ctypes.byref(_argument(pictures, pyramids))))
    return pyramids


class _Search:
    """Vectors found between pictures by their pyramids; int16, (others, rows, columns, 2)."""

    def __init__(self, pictures: Sequence[Tensor], pyramids: Sequence[Tensor], middle: int) -> None:
        # What the argument points to.
        self._of, self._kept = _argument(pictures, pyramids), (pictures, pyramids)
        kernels, (height, width) = load_kernels(), pictures[0].shape[1:]
        others = len(pictures) - 1
        memory = torch.empty(kernels.search_bytes(others, height, width), dtype=torch.uint8)
        blocks = (math.ceil(height / BLOCK), math.ceil(width / BLOCK))
        vectors = torch.empty(others, *blocks, 2, dtype=torch.int16)
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

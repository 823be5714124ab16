"""Planar pixel formats, and the planes of frames that have them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffir_video.errors import MediaInputError

Model = Literal["yuv", "rgb", "gray"]
Codes = NDArray[np.uint8 | np.uint16]


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """A planar pixel format this module reads and writes by itself.

    name: FFmpeg's. log2_chroma: horizontal and vertical chroma subsampling as powers of two.
    forces_full_range: the old "yuvj" names, full range whatever the tags say.
    """

    name: str
    model: Model
    bit_depth: int
    log2_chroma: tuple[int, int] = (0, 0)
    forces_full_range: bool = False

    @property
    def dtype(self) -> type[np.uint8 | np.uint16]:
        return np.uint8 if self.bit_depth == 8 else np.uint16

    @property
    def plane_count(self) -> int:
        return 1 if self.model == "gray" else 3

    def plane_size(self, index: int, width: int, height: int) -> tuple[int, int]:
        """Height and width of plane `index` of a picture of `width` × `height`."""
        if index == 0 or self.model != "yuv":
            return height, width
        x, y = self.log2_chroma
        return -(-height >> y), -(-width >> x)


_YUV_NAME = re.compile(r"yuv(j?)(420|422|444|440|411|410)p(9|10|12|14|16)?(?:le)?")
_FLAT_NAME = re.compile(r"(gray|gbrp)(9|10|12|14|16)?(?:le)?")
_LOG2_CHROMA = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1), "411": (2, 0), "410": (2, 2)}


@lru_cache(maxsize=64)
def native_layout(pixel_format: str) -> PixelLayout | None:
    """The layout of a format handled without swscale, None for any other."""
    if match := _YUV_NAME.fullmatch(pixel_format):
        full, chroma, depth = match.groups()
        return PixelLayout(pixel_format, "yuv", int(depth or 8), _LOG2_CHROMA[chroma], bool(full))
    if match := _FLAT_NAME.fullmatch(pixel_format):
        kind, depth = match.groups()
        return PixelLayout(pixel_format, "gray" if kind == "gray" else "rgb", int(depth or 8))
    return None


@lru_cache(maxsize=64)
def unpacked_layout(pixel_format: str) -> PixelLayout:
    """The planar layout that holds every code of `pixel_format`: itself, or what swscale unpacks it to.

    An alpha component has no place there; `opacity` tells.
    """
    if layout := native_layout(pixel_format):
        return layout
    format = av.VideoFormat(pixel_format, 16, 16)
    if format.is_bayer or not format.components:
        raise MediaInputError(f"pixel format {pixel_format} holds no colours that can be restored")
    deepest = max(component.bits for component in format.components)
    depth = next((d for d in (8, 9, 10, 12, 14, 16) if d >= deepest), 16)
    suffix = "" if depth == 8 else f"{depth}le"
    if format.has_palette or format.is_rgb:
        name = f"gbrp{suffix}"
    elif len(format.components) <= 2:
        name = f"gray{suffix}"
    else:
        chroma = {v: k for k, v in _LOG2_CHROMA.items()}[
            (16 // format.chroma_width(16)).bit_length() - 1,
            (16 // format.chroma_height(16)).bit_length() - 1,
        ]
        name = f"yuv{chroma}p{suffix}"
    layout = native_layout(name)
    if layout is None:
        raise MediaInputError(f"pixel format {pixel_format} isn't supported")
    return layout


def plane_view(frame: av.VideoFrame, index: int, layout: PixelLayout) -> Codes:
    """(H, W) view of a plane's samples, without the padding at the end of its lines."""
    plane = frame.planes[index]
    height, width = layout.plane_size(index, frame.width, frame.height)
    buffer: Any = plane
    samples: Codes = np.frombuffer(buffer, dtype=layout.dtype)
    stride = plane.line_size // samples.itemsize
    return samples[: height * stride].reshape(height, stride)[:, :width]


def values_of(codes: Codes, device: torch.device) -> Tensor:
    """Codes as float32 on `device`, in memory of their own: a GPU is sent the codes, and widens them."""
    if device.type != "cuda":
        return _as_tensor(codes.astype(np.float32)).to(device)
    sent = _as_tensor(np.ascontiguousarray(codes)).pin_memory()
    return sent.to(device, non_blocking=True).float()


def _as_tensor(array: NDArray[Any]) -> Tensor:
    """On the CPU, wherever the caller's tensors are made by default."""
    return torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]


def codes_of(planes: Sequence[Tensor], layout: PixelLayout) -> list[Codes]:
    """Floats in the range of a layout's codes, each truncated to its code; a GPU sends the codes."""
    device = planes[0].device
    if device.type != "cuda":
        return [plane.numpy().astype(layout.dtype) for plane in planes]
    dtype = torch.uint8 if layout.bit_depth == 8 else torch.uint16
    sent = [torch.empty(plane.shape, dtype=dtype, device="cpu", pin_memory=True) for plane in planes]
    for here, plane in zip(sent, planes, strict=True):
        here.copy_(plane.to(dtype), non_blocking=True)
    wait_for(device)
    return [here.numpy() for here in sent]


def wait_for(device: torch.device) -> None:
    """Until what this thread asked a GPU for is done; on a CPU it is."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()

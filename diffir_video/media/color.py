"""Code values to RGB and back: exact matrices (ITU-T H.273), explicit range, siting-aware chroma.

Why not swscale: it would hide the choice of matrix and siting, and its chroma filters blur a little on
every pass. Here up- and downsampling are a biorthogonal pair (linear interpolation and its dual, as in
the LeGall 5/3 wavelet): downsampling what was upsampled gives the samples back. A frame whose colours
lie in the RGB cube therefore survives `decode_picture` and `encode_picture` without one changed code,
at 8 bits and above. swscale only unpacks formats this module has no loop for (nv12, rgb24, palettes …).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from diffir_video.errors import EncoderError, MediaInputError
from diffir_video.frame import ColorTags

MATRIX_RGB, MATRIX_BT709, MATRIX_UNSPECIFIED, MATRIX_RESERVED = 0, 1, 2, 3
MATRIX_BT470BG, MATRIX_BT601 = 5, 6
BT601_MATRICES = frozenset({MATRIX_BT470BG, MATRIX_BT601})
MATRIX_YCGCO = 8
RANGE_UNSPECIFIED, RANGE_LIMITED, RANGE_FULL = 0, 1, 2

# Kr, Kb of H.273 table 4; 10 (BT.2020 constant luminance) and 11 to 14 are no 3×3 matrices.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}

Model = Literal["yuv", "rgb", "gray"]
Siting = Literal["cosited", "centre", "cosited-end"]

# AVChromaLocation → siting along x and y; 0 (unspecified) is left, as H.264, HEVC and MPEG-2 have it.
_SITING: dict[int, tuple[Siting, Siting]] = {
    0: ("cosited", "centre"),
    1: ("cosited", "centre"),
    2: ("centre", "centre"),
    3: ("cosited", "cosited"),
    4: ("centre", "cosited"),
    5: ("cosited", "cosited-end"),
    6: ("centre", "cosited-end"),
}


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


def resolved_tags(tags: ColorTags, layout: PixelLayout, width: int, height: int) -> ColorTags:
    """The tags with matrix and range decided, as the conversion uses them.

    An unspecified matrix is BT.709 from 1280 columns or 577 rows on and BT.601 below, which is what
    players do. An unspecified range is full for RGB, gray and the "yuvj" formats, limited otherwise.
    Raises MediaInputError for a matrix that is no linear map of R'G'B' (ICtCp, constant luminance).
    """
    color_range = tags.color_range
    if layout.forces_full_range:
        color_range = RANGE_FULL
    elif color_range == RANGE_UNSPECIFIED:
        color_range = RANGE_LIMITED if layout.model == "yuv" else RANGE_FULL
    matrix = tags.matrix
    if layout.model == "rgb":
        matrix = MATRIX_RGB
    elif matrix in (MATRIX_UNSPECIFIED, MATRIX_RESERVED, MATRIX_RGB):
        matrix = MATRIX_BT709 if width >= 1280 or height > 576 else MATRIX_BT601
    if matrix not in (MATRIX_RGB, MATRIX_YCGCO) and matrix not in _LUMA_WEIGHTS:
        raise MediaInputError(
            f"colour matrix {matrix} (H.273) isn't supported; convert the file to BT.709 first"
        )
    return replace(tags, matrix=matrix, color_range=color_range)


@lru_cache(maxsize=16)
def _rgb_to_ycc(matrix: int) -> Tensor:
    """(3, 3) float64: R'G'B' in [0, 1] to Y in [0, 1] and two chroma components in [-0.5, 0.5]."""
    if matrix == MATRIX_YCGCO:
        return _constant([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0.0, -0.5]])
    kr, kb = _LUMA_WEIGHTS[matrix]
    kg = 1.0 - kr - kb
    cb = [-kr / (2 * (1 - kb)), -kg / (2 * (1 - kb)), 0.5]
    cr = [0.5, -kg / (2 * (1 - kr)), -kb / (2 * (1 - kr))]
    return _constant([[kr, kg, kb], cb, cr])


def _constant(rows: list[list[float]]) -> Tensor:
    """On the CPU and in float64, wherever and in whatever the caller's tensors are made by default."""
    return torch.tensor(rows, dtype=torch.float64, device="cpu")


@dataclass(frozen=True, slots=True)
class _Quantisation:
    """code = value * scale + offset; luma for Y, R, G, B and gray, chroma for the other two."""

    luma_scale: float
    luma_offset: float
    chroma_scale: float
    chroma_offset: float
    largest: int

    @classmethod
    def of(cls, layout: PixelLayout, color_range: int) -> _Quantisation:
        depth = layout.bit_depth
        largest, unit, middle = 2**depth - 1, 2 ** (depth - 8), 2 ** (depth - 1)
        if color_range == RANGE_FULL:
            return cls(largest, 0, largest, middle, largest)
        return cls(219 * unit, 16 * unit, 224 * unit, middle, largest)


class PictureDecoder:
    """Turns decoded `av.VideoFrame`s of one stream into tensors.

    `decode(frame)` gives (3, H, W) float32 RGB, full range, clamped to [0, 1], gamma-coded as it was.
    excursions: don't clamp. Codes can mean colours outside the RGB cube, whiter than white among them;
    with those, encoding gives every code back.
    """

    def __init__(
        self, pixel_format: str, width: int, height: int, tags: ColorTags, *, excursions: bool = False
    ) -> None:
        self._excursions = excursions
        self.layout = unpacked_layout(pixel_format)
        self.tags = resolved_tags(tags, self.layout, width, height)
        self._unpacks = native_layout(pixel_format) is None
        self._reformatter = VideoReformatter()
        self._quantisation = _Quantisation.of(self.layout, self.tags.color_range)

    def decode(self, frame: av.VideoFrame) -> Tensor:
        if self._unpacks:
            frame = self._unpack(frame)
        planes = [plane_view(frame, i, self.layout) for i in range(self.layout.plane_count)]
        match self.layout.model:
            case "yuv":
                rgb = self._from_yuv(planes)
            case "rgb":
                green, blue, red = (self._luma(plane) for plane in planes)
                rgb = torch.stack([red, green, blue])
            case "gray":
                rgb = self._luma(planes[0]).expand(3, -1, -1).contiguous()
        return rgb if self._excursions else rgb.clamp_(0.0, 1.0)

    def _unpack(self, frame: av.VideoFrame) -> av.VideoFrame:
        # Same model, size, matrix and range on both sides: swscale only moves samples.
        color_range = self.tags.color_range
        return self._reformatter.reformat(
            frame,
            format=self.layout.name,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
            src_color_range=color_range,
            dst_color_range=color_range,
            threads=1,
        )

    def _luma(self, plane: NDArray[np.uint8 | np.uint16]) -> Tensor:
        q = self._quantisation
        return torch.as_tensor(plane.astype(np.float32)).sub_(q.luma_offset).mul_(1.0 / q.luma_scale)

    def _from_yuv(self, planes: Sequence[NDArray[np.uint8 | np.uint16]]) -> Tensor:
        q = self._quantisation
        luma = self._luma(planes[0])
        chroma = torch.as_tensor(np.stack(planes[1:]).astype(np.float32)).sub_(q.chroma_offset)
        # The matrix is linear, so it is applied to the few chroma samples before they become many.
        inverse = (_rgb_to_ycc(self.tags.matrix).inverse()[:, 1:] / q.chroma_scale).float()
        differences = torch.mm(inverse, chroma.flatten(1)).view(3, *chroma.shape[1:])
        height, width = luma.shape
        siting_x, siting_y = _SITING[self.tags.chroma_location]
        log2_x, log2_y = self.layout.log2_chroma
        for step in reversed(range(log2_y)):
            differences = _upsample(differences, -(-height >> step), siting_y, dim=-2)
        for step in reversed(range(log2_x)):
            differences = _upsample(differences, -(-width >> step), siting_x, dim=-1)
        return differences.add_(luma)


class PictureEncoder:
    """Turns tensors into `av.VideoFrame`s of one pixel format: the inverse of `PictureDecoder`.

    `encode(data)` takes (3, H, W) RGB, any float type and device; codes outside what the format holds are
    clamped; codes are rounded to nearest, without dither, so equal input gives equal output.
    """

    def __init__(self, pixel_format: str, width: int, height: int, tags: ColorTags) -> None:
        layout = native_layout(pixel_format)
        if layout is None:
            raise EncoderError(f"no writer for pixel format {pixel_format}")
        self.layout = layout
        self.tags = resolved_tags(tags, layout, width, height)
        self._quantisation = _Quantisation.of(layout, self.tags.color_range)

    def encode(self, data: Tensor) -> av.VideoFrame:
        rgb = data.detach().to("cpu", torch.float32)
        _, height, width = rgb.shape
        frame = av.VideoFrame(width, height, self.layout.name)
        for index, codes in enumerate(self._planes(rgb)):
            plane_view(frame, index, self.layout)[...] = codes.numpy().astype(self.layout.dtype)
        frame.color_range = self.tags.color_range
        frame.colorspace = self.tags.matrix
        return frame

    def _planes(self, rgb: Tensor) -> list[Tensor]:
        """Codes of every plane as floats that truncate to the nearest code."""
        q = self._quantisation
        if self.layout.model == "rgb":
            red, green, blue = rgb.mul(q.luma_scale).add_(q.luma_offset + 0.5).clamp_(0, q.largest + 0.5)
            return [green, blue, red]
        scales = _constant([[q.luma_scale], [q.chroma_scale], [q.chroma_scale]])
        offsets = _constant([[q.luma_offset], [q.chroma_offset], [q.chroma_offset]]).float() + 0.5
        rows = 1 if self.layout.model == "gray" else 3
        matrix = (_rgb_to_ycc(self.tags.matrix) * scales)[:rows].float()
        codes = torch.addmm(offsets[:rows], matrix, rgb.flatten(1)).view(rows, *rgb.shape[1:])
        chroma = codes[1:]
        siting_x, siting_y = _SITING[self.tags.chroma_location]
        for _ in range(self.layout.log2_chroma[1]):
            chroma = _downsample(chroma, siting_y, dim=-2)
        for _ in range(self.layout.log2_chroma[0]):
            chroma = _downsample(chroma, siting_x, dim=-1)
        # Chroma filters overshoot, full-range chroma rounds up past the end, and colours may be any.
        return [codes[0].clamp(0, q.largest), *chroma.clamp(0, q.largest)]


def plane_view(frame: av.VideoFrame, index: int, layout: PixelLayout) -> NDArray[np.uint8 | np.uint16]:
    """(H, W) view of a plane's samples, without the padding at the end of its lines."""
    plane = frame.planes[index]
    height, width = layout.plane_size(index, frame.width, frame.height)
    buffer: Any = plane
    samples: NDArray[np.uint8 | np.uint16] = np.frombuffer(buffer, dtype=layout.dtype)
    stride = plane.line_size // samples.itemsize
    return samples[: height * stride].reshape(height, stride)[:, :width]


# Both filters work on slices in place: large temporaries cost more (page faults) than the arithmetic.
def _upsample(samples: Tensor, length: int, siting: Siting, dim: int) -> Tensor:
    """Twice the samples along `dim` by linear interpolation, cut to `length` (even or odd)."""
    if siting == "cosited-end":
        return _flipped(lambda x: _upsample(x, length, "cosited", dim), samples, dim)
    shape = list(samples.shape)
    count = shape[dim]
    shape[dim] = 2 * count
    out = samples.new_empty(shape)
    even, odd = _phases(out, dim)
    first, last = samples.narrow(dim, 0, 1), samples.narrow(dim, count - 1, 1)
    leading, trailing = samples.narrow(dim, 0, count - 1), samples.narrow(dim, 1, count - 1)
    odd.narrow(dim, count - 1, 1).copy_(last)
    if siting == "cosited":
        even.copy_(samples)
        torch.lerp(leading, trailing, 0.5, out=odd.narrow(dim, 0, count - 1))
    else:
        even.narrow(dim, 0, 1).copy_(first)
        torch.lerp(trailing, leading, 0.25, out=even.narrow(dim, 1, count - 1))
        torch.lerp(leading, trailing, 0.25, out=odd.narrow(dim, 0, count - 1))
    return out.narrow(dim, 0, length)


def _downsample(samples: Tensor, siting: Siting, dim: int) -> Tensor:
    """Half the samples along `dim`: the dual filter of `_upsample`, whose result it undoes exactly.

    The extensions at the borders are the ones for which that also holds there.
    """
    if siting == "cosited-end" and samples.shape[dim] % 2 == 0:
        return _flipped(lambda x: _downsample(x, "cosited", dim), samples, dim)
    even, odd = _phases(samples, dim)
    count, odds = even.shape[dim], odd.shape[dim]
    if count == 1:
        return (even + odd) / 2 if odds else even
    if siting == "centre":
        if odds < count:
            extension = even.narrow(dim, count - 1, 1).mul(1.5).sub(odd.narrow(dim, odds - 1, 1), alpha=0.5)
            odd = torch.cat([odd, extension], dim)
        out = torch.add(even, odd).mul_(0.75)
        _add_shifted(out, odd, even.narrow(dim, 0, 1), -0.25, dim, by=1)
        return _add_shifted(out, even, odd.narrow(dim, count - 1, 1), -0.25, dim, by=-1)
    if odds < count:
        odd = torch.cat([odd, odd.narrow(dim, odds - 1, 1)], dim)
        end = even.narrow(dim, count - 2, 1)
    else:
        end = odd.narrow(dim, odds - 1, 1)
    out = torch.mul(even, 0.75).add_(odd, alpha=0.25)
    _add_shifted(out, odd, odd.narrow(dim, 0, 1), 0.25, dim, by=1)
    _add_shifted(out, even, even.narrow(dim, 1, 1), -0.125, dim, by=1)
    return _add_shifted(out, even, end, -0.125, dim, by=-1)


def _add_shifted(out: Tensor, samples: Tensor, border: Tensor, weight: float, dim: int, *, by: int) -> Tensor:
    """Add weight · samples, moved one place forth (`by` 1) or back (-1); `border` fills the place left."""
    rest = out.shape[dim] - 1
    target, source, edge = (1, 0, 0) if by == 1 else (0, 1, rest)
    out.narrow(dim, target, rest).add_(samples.narrow(dim, source, rest), alpha=weight)
    out.narrow(dim, edge, 1).add_(border, alpha=weight)
    return out


def _phases(samples: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    if dim == -1:
        return samples[..., 0::2], samples[..., 1::2]
    return samples[..., 0::2, :], samples[..., 1::2, :]


def _flipped(step: Callable[[Tensor], Tensor], samples: Tensor, dim: int) -> Tensor:
    return step(samples.flip(dim)).flip(dim)

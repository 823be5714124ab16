"""Code values to RGB and back: exact matrices (ITU-T H.273), explicit range, siting-aware chroma.

Why not swscale: it would hide the choice of matrix and siting, and its chroma filters blur a little on
every pass. Here downsampling what was upsampled gives the samples back (`chroma`). A frame whose colours
lie in the RGB cube therefore survives `PictureDecoder` and `PictureEncoder` without one changed code, at
8 bits and above. swscale only unpacks formats this module has no loop for (nv12, rgb24, palettes …).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation, VideoReformatter
from torch import Tensor

from diffir_video.errors import EncoderError, MediaInputError
from diffir_video.frame import ColorTags
from diffir_video.media.chroma import SITING, downsampled, upsampled
from diffir_video.media.pixel_layout import (
    Codes,
    PixelLayout,
    codes_of,
    native_layout,
    plane_view,
    unpacked_layout,
    values_of,
)

MATRIX_RGB, MATRIX_BT709, MATRIX_UNSPECIFIED, MATRIX_RESERVED = 0, 1, 2, 3
MATRIX_BT470BG, MATRIX_BT601 = 5, 6
BT601_MATRICES = frozenset({MATRIX_BT470BG, MATRIX_BT601})
MATRIX_YCGCO = 8
RANGE_UNSPECIFIED, RANGE_LIMITED, RANGE_FULL = 0, 1, 2

_CPU = torch.device("cpu")

# Kr, Kb of H.273 table 4; 10 (BT.2020 constant luminance) and 11 to 14 are no 3×3 matrices.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}


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


def _mixed(matrix: Tensor, planes: Tensor, offsets: Tensor | None = None) -> Tensor:
    """The matrix's rows times the planes, (K, H, W), and a column of offsets, in float32 whatever torch is
    told to multiply in.
    """
    if planes.device.type != "cpu":
        # A GPU may make matrix products of TF32; few as these are, they are as fast one by one.
        mixed = (matrix[:, :, None, None] * planes).sum(1)
        return mixed if offsets is None else mixed.add_(offsets[:, :, None])
    flat = planes.flatten(1)
    with torch.autocast("cpu", enabled=False):
        mixed = torch.mm(matrix, flat) if offsets is None else torch.addmm(offsets, matrix, flat)
    return mixed.view(len(matrix), *planes.shape[1:])


class PictureDecoder:
    """Turns decoded `av.VideoFrame`s of one stream into tensors.

    `decode(frame)` gives (3, H, W) float32 RGB, full range, clamped to [0, 1], gamma-coded as it was.
    excursions: don't clamp. Codes can mean colours outside the RGB cube, whiter than white among them;
    with those, encoding gives every code back. device: where they are made; on a GPU by the thread's current
    stream, and complete when that has been waited for.
    """

    def __init__(
        self,
        pixel_format: str,
        width: int,
        height: int,
        tags: ColorTags,
        *,
        excursions: bool = False,
        device: torch.device = _CPU,
    ) -> None:
        self._excursions, self._device = excursions, device
        self.layout = unpacked_layout(pixel_format)
        self.tags = resolved_tags(tags, self.layout, width, height)
        self._unpacks = native_layout(pixel_format) is None
        self._reformatter = VideoReformatter()
        self._quantisation = _Quantisation.of(self.layout, self.tags.color_range)
        if self.layout.model == "yuv":
            inverse = _rgb_to_ycc(self.tags.matrix).inverse()[:, 1:] / self._quantisation.chroma_scale
            self._rgb_of_chroma = inverse.float().to(device)

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

    def _luma(self, plane: Codes) -> Tensor:
        q = self._quantisation
        return values_of(plane, self._device).sub_(q.luma_offset).mul_(1.0 / q.luma_scale)

    def _from_yuv(self, planes: Sequence[Codes]) -> Tensor:
        luma = self._luma(planes[0])
        chroma = values_of(np.stack(planes[1:]), self._device).sub_(self._quantisation.chroma_offset)
        # The matrix is linear, so it is applied to the few chroma samples before they become many.
        differences = _mixed(self._rgb_of_chroma, chroma)
        height, width = luma.shape
        siting_x, siting_y = SITING[self.tags.chroma_location]
        log2_x, log2_y = self.layout.log2_chroma
        for step in reversed(range(log2_y)):
            differences = upsampled(differences, -(-height >> step), siting_y, dim=-2)
        for step in reversed(range(log2_x)):
            differences = upsampled(differences, -(-width >> step), siting_x, dim=-1)
        return differences.add_(luma)


class PictureEncoder:
    """Turns tensors into `av.VideoFrame`s of one pixel format: the inverse of `PictureDecoder`.

    `encode(data)` takes (3, H, W) RGB, any float type and device; codes outside what the format holds are
    clamped; codes are rounded to nearest, without dither, so equal input gives equal output. What is on a GPU
    is converted there, by the thread's current stream.
    """

    def __init__(self, pixel_format: str, width: int, height: int, tags: ColorTags) -> None:
        layout = native_layout(pixel_format)
        if layout is None:
            raise EncoderError(f"no writer for pixel format {pixel_format}")
        self.layout = layout
        self.tags = resolved_tags(tags, layout, width, height)
        q = self._quantisation = _Quantisation.of(layout, self.tags.color_range)
        if layout.model != "rgb":
            scales = _constant([[q.luma_scale], [q.chroma_scale], [q.chroma_scale]])
            ycc_of_rgb = (_rgb_to_ycc(self.tags.matrix) * scales).float()
            # Codes are truncated.
            offsets = _constant([[q.luma_offset], [q.chroma_offset], [q.chroma_offset]]).float() + 0.5
            self._constants = {_CPU: (ycc_of_rgb, offsets)}

    def encode(self, data: Tensor) -> av.VideoFrame:
        rgb = data.detach().to(data.device if data.is_cuda else "cpu", torch.float32)
        _, height, width = rgb.shape
        frame = av.VideoFrame(width, height, self.layout.name)
        for index, codes in enumerate(codes_of(self.planes(rgb), self.layout)):
            plane_view(frame, index, self.layout)[...] = codes
        frame.color_range = self.tags.color_range
        frame.colorspace = self.tags.matrix
        return frame

    def planes(self, rgb: Tensor) -> list[Tensor]:
        """The codes of every plane, as floats that truncate to them, where (3, H, W) float32 RGB is."""
        q = self._quantisation
        if self.layout.model == "rgb":
            red, green, blue = rgb.mul(q.luma_scale).add_(q.luma_offset + 0.5).clamp_(0, q.largest + 0.5)
            return [green, blue, red]
        rows = 1 if self.layout.model == "gray" else 3
        matrix, offsets = self._constants_on(rgb.device)
        codes = _mixed(matrix[:rows], rgb, offsets[:rows])
        chroma = codes[1:]
        siting_x, siting_y = SITING[self.tags.chroma_location]
        for _ in range(self.layout.log2_chroma[1]):
            chroma = downsampled(chroma, siting_y, dim=-2)
        for _ in range(self.layout.log2_chroma[0]):
            chroma = downsampled(chroma, siting_x, dim=-1)
        # Chroma filters overshoot, full-range chroma rounds up past the end, and colours may be any.
        return [codes[0].clamp(0, q.largest), *chroma.clamp(0, q.largest)]

    def _constants_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._constants:
            ycc_of_rgb, offsets = self._constants[_CPU]
            self._constants[device] = (ycc_of_rgb.to(device), offsets.to(device))
        return self._constants[device]

"""YUV4MPEG2: uncompressed video through a pipe, understood by FFmpeg, players and encoders."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from diffir_video.errors import EncoderError, OutputError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.media.color import PictureEncoder, PixelLayout, plane_view, unpacked_layout

_CHROMA = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (2, 0): "411"}
_DEPTHS = frozenset({8, 9, 10, 12, 14, 16})
_RATE_WITHOUT_ANY = Fraction(25)


class Y4mWriter:
    """Writes frames to `stream`, one after the other; Y4M has a frame rate and no timestamps.

    Depth and chroma subsampling are the source's; RGB becomes 4:4:4. Raises EncoderError for a pixel
    format that Y4M doesn't have, OutputError when nobody reads or the disk takes no more.
    """

    def __init__(self, stream: BinaryIO, info: StreamInfo) -> None:
        self._descriptor = stream.fileno()
        layout = _y4m_layout(info)
        self.pixel_format = layout.name
        self._pictures = PictureEncoder(layout.name, info.width, info.height, info.color)
        self._layout = layout
        self._write(_header(info, layout, full_range=self._pictures.tags.color_range == 2))

    def write(self, frame: Frame) -> None:
        picture = self._pictures.encode(frame.data)
        planes = [plane_view(picture, index, self._layout) for index in range(self._layout.plane_count)]
        self._write(b"FRAME\n" + b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes))

    def close(self) -> None:
        """Nothing is held back; the stream is its owner's to close."""

    def abort(self) -> None:
        """What was written can't be taken back."""

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BrokenPipeError as exc:
            raise OutputError("nobody reads the output any more; the command behind the pipe ended") from exc
        except OSError as exc:
            raise OutputError(f"can't write the output: {exc.strerror}") from exc


def _y4m_layout(info: StreamInfo) -> PixelLayout:
    source = unpacked_layout(info.pixel_format)
    if source.model == "yuv" and source.log2_chroma not in _CHROMA:
        raise EncoderError(f"Y4M has no pixel format for {info.pixel_format}; write to a file instead")
    depth = "" if source.bit_depth == 8 else f"{source.bit_depth}le"
    name = {"gray": f"gray{depth}", "rgb": f"yuv444p{depth}"}.get(source.model)
    return unpacked_layout(name or f"yuv{_CHROMA[source.log2_chroma]}p{depth}")


def _header(info: StreamInfo, layout: PixelLayout, *, full_range: bool) -> bytes:
    rate = info.average_rate or _RATE_WITHOUT_ANY
    aspect = info.sample_aspect_ratio or Fraction(1)
    depth = "" if layout.bit_depth == 8 else f"p{layout.bit_depth}"
    if layout.model == "gray":
        chroma = "mono" if layout.bit_depth == 8 else f"mono{layout.bit_depth}"
    elif layout.log2_chroma == (1, 1) and not depth:
        chroma = "420jpeg" if info.color.chroma_location == 2 else "420mpeg2"
    else:
        chroma = _CHROMA[layout.log2_chroma] + depth
    fields = [
        f"YUV4MPEG2 W{info.width} H{info.height} F{rate.numerator}:{rate.denominator} Ip",
        f"A{aspect.numerator}:{aspect.denominator} C{chroma}",
        f"XCOLORRANGE={'FULL' if full_range else 'LIMITED'}\n",
    ]
    return " ".join(fields).encode("ascii")

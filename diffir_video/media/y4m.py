"""YUV4MPEG2: uncompressed video through a pipe, understood by FFmpeg, players and encoders."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from diffir_video.errors import EncoderError, OutputError
from diffir_video.frame import ColorTags, Frame, StreamInfo
from diffir_video.media.color import RANGE_FULL, PictureEncoder
from diffir_video.media.pixel_layout import PixelLayout, plane_view, unpacked_layout
from diffir_video.media.siting import CENTRE, LEFT, TOP_LEFT, UNSPECIFIED, siting_name, within_format

# The chroma sitings that 4:2:0 of 8 bits names; deeper 4:2:0 has no name for any.
_SITED_420 = {UNSPECIFIED: "420mpeg2", LEFT: "420mpeg2", CENTRE: "420jpeg", TOP_LEFT: "420paldv"}
_CHROMA = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (2, 0): "411"}
_RATE_WITHOUT_ANY = Fraction(25)


class Y4mWriter:
    """Writes frames to `stream`, one after the other; Y4M has a frame rate and no timestamps.

    Depth and chroma subsampling are the source's; RGB becomes 4:4:4.
    Raises EncoderError for a pixel format that Y4M doesn't have, OutputError when nobody reads or the disk
    takes no more.
    """

    def __init__(self, stream: BinaryIO, info: StreamInfo) -> None:
        self._descriptor = stream.fileno()
        layout = _y4m_layout(info)
        self.pixel_format = layout.name
        wanted = within_format(info.color.chroma_location, layout.log2_chroma)
        location = wanted if _is_sited_420(layout) and wanted in _SITED_420 else UNSPECIFIED
        self._notes: tuple[str, ...] = ()
        if siting_name(wanted) != siting_name(location):
            self._notes = (f"chroma siting {siting_name(wanted)} becomes left: Y4M has no name for it here",)
        self._rate = info.average_rate or _RATE_WITHOUT_ANY
        self._first_seconds: Fraction | None = None
        self._frames, self._furthest = 0, Fraction(0)
        color = replace(info.color, chroma_location=location)
        self._pictures = PictureEncoder(layout.name, info.width, info.height, color)
        self._layout = layout
        self._write(_header(info, layout, self._rate, self._pictures.tags))

    @property
    def notes(self) -> tuple[str, ...]:
        """What Y4M can't say: a chroma siting, and the times of frames that don't come at one rate; complete
        after the last frame.
        """
        if self._furthest * self._rate <= Fraction(1, 2):
            return self._notes
        retimed = f"frames become {float(self._rate):.4g} a second, up to {float(self._furthest):.2f} s from "
        return (*self._notes, f"{retimed}their times: Y4M has one rate")

    def write(self, frame: Frame) -> None:
        self._note_time(frame.pts_seconds)
        picture = self._pictures.encode(frame.data)
        planes = [plane_view(picture, index, self._layout) for index in range(self._layout.plane_count)]
        self._write(b"FRAME\n" + b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes))

    def close(self) -> None:
        """Nothing is held back; the stream is its owner's to close."""

    def abort(self) -> None:
        """What was written can't be taken back."""

    def _note_time(self, seconds: Fraction) -> None:
        if self._first_seconds is None:
            self._first_seconds = seconds
        expected = self._first_seconds + self._frames / self._rate
        self._furthest = max(self._furthest, abs(seconds - expected))
        self._frames += 1

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


def _is_sited_420(layout: PixelLayout) -> bool:
    return layout.log2_chroma == (1, 1) and layout.bit_depth == 8


def _header(info: StreamInfo, layout: PixelLayout, rate: Fraction, color: ColorTags) -> bytes:
    aspect = info.sample_aspect_ratio or Fraction(1)
    depth = "" if layout.bit_depth == 8 else f"p{layout.bit_depth}"
    if layout.model == "gray":
        chroma = "mono" if layout.bit_depth == 8 else f"mono{layout.bit_depth}"
    elif _is_sited_420(layout):
        chroma = _SITED_420[color.chroma_location]
    else:
        chroma = _CHROMA[layout.log2_chroma] + depth
    fields = [
        f"YUV4MPEG2 W{info.width} H{info.height} F{rate.numerator}:{rate.denominator} Ip",
        f"A{aspect.numerator}:{aspect.denominator} C{chroma}",
        f"XCOLORRANGE={'FULL' if color.color_range == RANGE_FULL else 'LIMITED'}\n",
    ]
    return " ".join(fields).encode("ascii")

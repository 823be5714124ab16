"""Frames through a codec and back in memory: the compression that training and evaluation add."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from av.codec.context import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from diffir_video.errors import EncoderError
from diffir_video.frame import ColorTags
from diffir_video.media.color import PictureDecoder, PictureEncoder
from diffir_video.media.encoders import made_repeatable

_RATE = 25

# FFmpeg's own AV1 decoder works on GPUs alone.
_DECODERS = {"av1": "libdav1d"}

# x265 reads past the end of pictures of one coding tree unit (64): results change from run to run.
_SMALLEST = {"libx265": 80}


def transcode(
    frames: NDArray[np.uint8],
    encoder: str,
    *,
    options: Mapping[str, str] | None = None,
    pixel_format: str = "yuv420p",
    qscale: int | None = None,
    swscale_in: bool = False,
    swscale_out: bool = False,
) -> NDArray[np.uint8]:
    """Encode and decode T frames of 25 fps, single-threaded and so repeatable.

    frames: (T, H, W, 3) uint8 RGB; H and W as the pixel format demands (even for 4:2:0). `encoder` is
    FFmpeg's name ("libx264", "libx265", "mpeg2video", "mjpeg"), `options` its private options. `qscale`
    fixes the quantiser of encoders that know one (1 best to 31).
    `swscale_in` converts to YUV as FFmpeg's program does for most files, not as our writer does;
    `swscale_out` converts back as most players do. The chroma they make differs more than one would think.
    Returns (T, H, W, 3) uint8 in the same order. Raises EncoderError if the encoder refuses its settings
    or frames are lost.
    """
    count, height, width, _ = frames.shape
    smallest = _SMALLEST.get(encoder, 0)
    if min(height, width) < smallest:
        raise EncoderError(f"{encoder} needs pictures of {smallest}x{smallest} or more, got {width}x{height}")
    try:
        encode = CodecContext.create(encoder, "w")
        assert isinstance(encode, VideoCodecContext)
        encode.width, encode.height, encode.pix_fmt = width, height, pixel_format
        encode.time_base, encode.framerate = Fraction(1, _RATE), Fraction(_RATE)
        encode.thread_count = 1
        encode.options = made_repeatable(encoder, options or {}, x265_frame_threads=1)
        if qscale is not None:
            encode.qmin = encode.qmax = qscale
        to_codes = PictureEncoder(pixel_format, width, height, ColorTags())
        packets: list[Packet[Any]] = []
        for index, picture in enumerate(torch.as_tensor(frames).permute(0, 3, 1, 2)):
            if swscale_in:
                rgb24 = picture.permute(1, 2, 0).contiguous().numpy()
                frame = VideoFrame.from_ndarray(rgb24, format="rgb24").reformat(format=pixel_format)
            else:
                frame = to_codes.encode(picture.float() / 255)
            frame.pts, frame.time_base = index, Fraction(1, _RATE)
            packets += encode.encode(frame)
        packets += encode.encode(None)

        codec = encode.codec.canonical_name
        decode = CodecContext.create(_DECODERS.get(codec, codec), "r")
        assert isinstance(decode, VideoCodecContext)
        decode.thread_count = 1
        if encode.extradata:
            decode.extradata = encode.extradata
        decoded = [frame for packet in packets for frame in decode.decode(packet)]
        decoded += decode.decode(None)
    except (FFmpegError, ValueError) as exc:
        raise EncoderError(f"{encoder} refused {count} frames of {width}x{height}: {exc}") from exc
    if len(decoded) != count:
        raise EncoderError(f"{encoder} gave back {len(decoded)} of {count} frames")
    if swscale_out:
        return np.stack([frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in decoded])
    to_rgb = PictureDecoder(pixel_format, width, height, ColorTags())
    rgb = torch.stack([to_rgb.decode(frame) for frame in decoded])
    return rgb.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()

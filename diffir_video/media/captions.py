"""Closed captions (CTA-608 and CTA-708) that lie in a video's pictures: read there, written with them again.

FFmpeg's encoders take them from pictures, which PyAV can't give any; so they are put into the packets.
"""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import re
from typing import Any

from av.packet import Packet
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame

from diffir_video.media.side_data import side_bytes_of

# Those whose packets are known to be Annex B byte streams, whatever the container.
_CODEC_OF = {"libx264": "h264", "h264_nvenc": "h264", "libx265": "hevc", "hevc_nvenc": "hevc"}

_START_CODE = re.compile(rb"\x00?\x00\x00\x01")
_CONSTRUCT_BYTES = 3
_MOST_CONSTRUCTS = 31
_SEI_OF_T35 = b"\x04"
# Country USA, provider ATSC, its identifier "GA94", type cc_data (ATSC A/53 part 4, 6.2.3).
_ATSC_CC_DATA = b"\xb5\x00\x31GA94\x03"


def captions_of(picture: VideoFrame) -> bytes | None:
    """The picture's cc_data constructs, three bytes each; None where it has none."""
    return side_bytes_of(picture, SideDataType.A53_CC) or None


def carries_captions(encoder: str) -> bool:
    """Whether packets of an encoder, by FFmpeg's name, can be given captions."""
    return encoder in _CODEC_OF


def captions_left_out(by: str) -> str:
    """The note on captions that an encoder, or whatever is named, can't carry."""
    return f"{by} can't carry the closed captions; libx264 and libx265 can"


def with_captions(packet: Packet[Any], captions: bytes, encoder: str) -> Packet[Any]:
    """The packet of a picture with its captions, as an SEI message before the first slice.

    captions: cc_data constructs, three bytes each. Source: ATSC A/53 part 4, 6.2; ITU-T H.264, 7.3.1 and
    H.265, 7.3.1 (NAL units), D.1 (SEI). Raises ValueError for an encoder that doesn't carry them.
    """
    codec = _CODEC_OF.get(encoder)
    if codec is None:
        raise ValueError(f"captions can't be put into packets of {encoder}")
    data = bytes(packet)
    place = _first_slice(data, codec)
    header = b"\x06" if codec == "h264" else b"\x4e\x01"
    unit = b"\x00\x00\x00\x01" + header + _escaped(_messages(captions) + b"\x80")
    made: Packet[Any] = Packet(data[:place] + unit + data[place:])
    made.time_base = packet.time_base
    made.pts, made.dts = packet.pts, packet.dts
    made.duration = packet.duration
    made.is_keyframe = packet.is_keyframe
    return made


def _messages(captions: bytes) -> bytes:
    most = _MOST_CONSTRUCTS * _CONSTRUCT_BYTES
    parts = [captions[begin : begin + most] for begin in range(0, len(captions), most)]
    payloads = [
        _ATSC_CC_DATA + bytes((0xC0 | len(part) // _CONSTRUCT_BYTES, 0xFF)) + part + b"\xff" for part in parts
    ]
    return b"".join(_SEI_OF_T35 + bytes((len(payload),)) + payload for payload in payloads)


def _escaped(payload: bytes) -> bytes:
    """With emulation prevention bytes: nothing in a NAL unit looks like a start code."""
    return re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", payload)


def _first_slice(data: bytes, codec: str) -> int:
    for code in _START_CODE.finditer(data):
        header = data[code.end()]
        is_slice = 1 <= header & 31 <= 5 if codec == "h264" else header >> 1 & 63 < 32
        if is_slice:
            return code.start()
    raise ValueError(f"a packet of {codec} without a slice in its {len(data)} bytes")

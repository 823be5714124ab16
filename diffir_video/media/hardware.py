"""Where pictures are decoded, by a GPU's own decoder (NVDEC) perhaps, and where frames are made of them."""

from __future__ import annotations

from typing import Literal

import av
import av.error
import torch
from av.codec import Codec
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext

from diffir_video.errors import UsageError

Hwaccel = Literal["off", "cuda"]

# What comes from NVDEC. FFmpeg's own decoders make the first three of no codec that NVDEC knows.
_FORMATS = frozenset(
    ("nv12", "p010le", "p016le", "yuv444p", "yuv444p10msble", "yuv444p12msble", "yuv444p16le")
)


def hardware_of(hwaccel: Hwaccel, device: int = 0) -> HWAccel | None:
    """What `av.open` takes for it; None where the processor decodes.

    device: of several GPUs the number of one. Pictures come to the processor's memory, and what the GPU can't
    decode is decoded by the processor (see `notes_on_decoder`). Raises UsageError where there is no such GPU.
    """
    if hwaccel == "off":
        return None
    # The context that torch has on it.
    hardware = HWAccel("cuda", str(device), allow_software_fallback=True, options={"primary_ctx": "1"})
    try:
        hardware.create(Codec("h264", "r"))
    except (av.error.FFmpegError, NotImplementedError) as exc:
        raise UsageError(f"hwaccel 'cuda': FFmpeg finds no CUDA device {device} here; use 'off'") from exc
    return hardware


def notes_on_decoder(hwaccel: Hwaccel, context: VideoCodecContext, first: av.VideoFrame) -> tuple[str, ...]:
    """What is to be said of who has decoded a first picture: something only where it isn't who was asked."""
    if hwaccel == "off" or (context.is_hwaccel and first.format.name in _FORMATS):
        return ()
    return (f"the GPU doesn't decode this {context.name}; the processor does",)


def device_here(device: torch.device | str) -> torch.device:
    """The device that is meant; raises UsageError for what is none, and for one that isn't here."""
    try:
        meant = torch.device(device)
        torch.empty(0, device=meant)
    # Torch says of one that this build can't drive that an assertion failed.
    except (RuntimeError, TypeError, AssertionError) as exc:
        reason = str(exc).splitlines()[0]
        raise UsageError(f"device {device!r} can't be used: {reason}") from exc
    return meant

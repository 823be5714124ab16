"""Where pictures are decoded, by a GPU's own decoder (NVDEC) perhaps, and where frames are made of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import av
import av.error
import torch
from av.codec import Codec
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext

from diffir_video.errors import UsageError

Hwaccel = Literal["off", "cuda"]


def hardware_of(hwaccel: Hwaccel, device: int = 0) -> HWAccel | None:
    """What `av.open` takes for it; None where the processor decodes.

    device: of several GPUs the number of one. Pictures come to the processor's memory, and what the GPU can't
    decode is decoded by the processor (see `notes_on_decoder`). Raises UsageError for another `hwaccel`, and
    where there is no such GPU.
    """
    if hwaccel not in get_args(Hwaccel):
        raise UsageError(f"hwaccel {hwaccel!r}: expected one of {get_args(Hwaccel)}")
    if hwaccel == "off":
        return None
    _check_gpu(device)
    return _gpu(device)


@lru_cache
def _check_gpu(device: int) -> None:
    try:
        _gpu(device).create(Codec("h264", "r"))
    except (av.error.FFmpegError, NotImplementedError) as exc:
        raise UsageError(
            f"hwaccel 'cuda': FFmpeg finds no CUDA device {device} here ({exc}); use 'off'"
        ) from exc


def _gpu(device: int) -> HWAccel:
    # A context of FFmpeg's own: it refuses the one that torch has begun to use.
    return HWAccel("cuda", str(device), allow_software_fallback=True)


def notes_on_decoder(hwaccel: Hwaccel, context: VideoCodecContext) -> tuple[str, ...]:
    """What is to be said of who has decoded a first picture: something only where it isn't who was asked."""
    if hwaccel == "off":
        return ()
    if not context.is_hwaccel:
        return (f"FFmpeg's decoder {context.name} works on no GPU; the processor decodes",)
    # What FFmpeg has agreed on with the GPU, or without.
    if context.pix_fmt != "cuda":
        return (f"the GPU doesn't decode this {context.name}; the processor does",)
    return ()


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

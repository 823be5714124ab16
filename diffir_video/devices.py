"""Where a network runs: a device by its name, and the names that stand for several."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext

import torch

from diffir_video.errors import UsageError

# "auto", "cpu", "cuda" or "cuda:N".
Device = str

_NAME = re.compile(r"auto|cpu|cuda(:\d+)?")


def check_device_name(device: Device) -> None:
    """Raise UsageError for what names no device, here or elsewhere."""
    # A setting may come from anywhere.
    if not isinstance(device, str) or not _NAME.fullmatch(device):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"device {device!r}: expected auto, cpu, cuda or, of several, cuda:1")


def choose_device(device: Device) -> torch.device:
    """The device of a name; "auto" is CUDA where there is one. Raises UsageError for one that isn't here."""
    check_device_name(device)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device(device)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"device {device!r} was asked for, but this torch sees no CUDA device; use cpu or auto"
        )
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {device!r} was asked for, but CUDA devices here are numbered 0 to "
            f"{torch.cuda.device_count() - 1}"
        )
    return chosen


def devices_of(names: str) -> list[Device]:
    """The devices that a list such as cuda:0,cuda:1 names; "all" is every CUDA device.

    Raises UsageError for what is no such list, and for "all" where there is none.
    """
    if names == "all":
        if not torch.cuda.is_available():
            raise UsageError("device 'all' is every CUDA device, but this torch sees none; use cpu or auto")
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    devices = names.split(",")
    for device in devices:
        choose_device(device)
    return devices


def keep_float32(device: torch.device) -> None:
    """Have products of float32 made of float32; by default CUDA's convolutions are of TF32, of 10 bits.

    These are torch's settings, for all of the process.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def as_current(device: torch.device) -> AbstractContextManager[object]:
    """Makes a CUDA device the thread's own for a while: kernels that are not torch's start on that one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()

"""What a restorer's network is multiplied in, by name."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from diffir_video.errors import UsageError
from diffir_video.inference import Backend, Products, cpu_has_fast_half

Precision = Literal["auto", "fp32", "bf16", "fp16", "bf16x3", "int8"]

DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "bf16x3": torch.float32,
    "int8": torch.float32,
}


def products_of(precision: Precision) -> Products:
    """How a precision has the network's products made."""
    return precision if precision in ("bf16x3", "int8") else "plain"


# CUDA's compute capability from which there are products of bfloat16.
_FIRST_WITH_BF16 = 8


def choose_precision(precision: Precision, device: torch.device, backend: Backend) -> Precision:
    """What "auto" is on `device`; raises UsageError for what is no precision."""
    if precision not in get_args(Precision):
        raise UsageError(f"precision {precision!r}: expected one of {get_args(Precision)}")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= _FIRST_WITH_BF16 else "fp16"
    return "bf16" if backend in ("auto", "compile") and cpu_has_fast_half() else "fp32"

"""Motion found and compensated by Triton kernels. The plain-torch twin is `network.motion`."""

# Triton's kernels are untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffir_video.inference.cuda import motion_kernels
from diffir_video.network.config import ModelConfig
from diffir_video.network.motion import (
    BLOCK,
    INTERPOLATED,
    SEARCHED,
    SMOOTHNESS,
    Level,
    pyramid,
)

_search: Any = motion_kernels.search
_move: Any = motion_kernels.move


@torch.no_grad()
def find_motion(lq: Tensor, pictures: int, middle: int) -> Tensor:
    """As `network.motion.find_motion`, with the same result, but int32."""
    windows = lq.detach().float().reshape(len(lq), pictures, 3, *lq.shape[2:])
    return torch.stack([_motion_of(pyramid(window), middle) for window in windows])


@torch.no_grad()
def compensate(lq: Tensor, config: ModelConfig) -> Tensor:
    """As `network.motion.compensate`, without gradients."""
    lq = lq.detach().float()
    windows = lq.reshape(len(lq), config.frames, 3, *lq.shape[2:])
    others = [number for number in range(config.frames) if number != config.past]
    frames, vectors = windows[:, others].contiguous(), find_motion(lq, config.frames, config.past)
    height, width = lq.shape[2:]
    columns, blocks = vectors.shape[3], vectors.shape[2] * vectors.shape[3]
    moved = torch.empty_like(frames)
    _move[(blocks, len(lq) * len(others))](
        frames, vectors, moved, height, width, columns, PLANES=3, BLOCK=BLOCK
    )
    compensated = torch.empty_like(windows)
    compensated[:, config.past] = windows[:, config.past]
    compensated[:, others] = moved
    return compensated.view(lq.shape)


def _motion_of(levels: list[Level], middle: int) -> Tensor:
    """(others, rows, columns, 2) int32."""
    found: Tensor | None = None
    for number in reversed(range(len(levels))):
        level = levels[number]
        above = levels[number + 1] if found is not None else level
        smoothed = level.smoothed.to(torch.uint8)
        pictures, phases, height, width = smoothed.shape
        vectors = torch.empty(
            pictures - 1, level.rows, level.columns, 2, dtype=torch.int32, device=smoothed.device
        )
        _search[(level.rows * level.columns, pictures - 1)](
            smoothed,
            vectors if found is None else found,
            vectors,
            level.columns,
            width,
            height * width,
            phases * height * width,
            middle,
            above.rows,
            above.columns,
            MARGIN=level.margin,
            BLOCK=level.block,
            ABOVE_BLOCK=above.block,
            SEARCHED=SEARCHED if found is None else 0,
            IS_FINEST=number == 0,
            STILLNESS=level.stillness,
            SMOOTHNESS=SMOOTHNESS,
            INTERPOLATED=INTERPOLATED,
        )
        found = vectors
    assert found is not None, "a pyramid has levels"
    return found

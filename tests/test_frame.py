"""Frames and clips are checked at birth, and what is wrong with them is said."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch

import diffir_video as dv

DATA = torch.rand(2, 3, 4, 5)
TICK = Fraction(1, 25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((DATA.numpy(), (0, 1), TICK), "expected a torch tensor, got ndarray"),
        ((DATA[0], (0, 1), TICK), r"shape \(T, 3, H, W\), got \(3, 4, 5\)"),
        ((DATA.to(torch.uint8), (0, 1), TICK), "floating-point"),
        ((DATA * 255, (0, 1), TICK), "divide codes of 8 bits by 255"),
        ((DATA, (0, 0.5), TICK), r"pts 0\.5: expected a whole number"),
        ((DATA, (0,), TICK), "2 frames need as many pts, got 1"),
        ((DATA, (1, 1), TICK), "strictly increase"),
        ((DATA, (0, 1), 0.04), r"Fraction, got 0\.04"),
        ((DATA, (0, 1), Fraction(0)), "must be positive"),
    ],
)
def test_a_clip_that_is_none_is_a_usage_error(arguments: Any, message: str) -> None:
    with pytest.raises(dv.UsageError, match=message):
        dv.Clip(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((DATA[0].numpy(), 0, TICK), "expected a torch tensor"),
        ((DATA, 0, TICK), r"shape \(3, H, W\)"),
        ((DATA[0], 0.5, TICK), r"pts 0\.5"),
        ((DATA[0], 0, 0.04), r"Fraction, got 0\.04"),
    ],
)
def test_a_frame_that_is_none_is_a_usage_error(arguments: Any, message: str) -> None:
    with pytest.raises(dv.UsageError, match=message):
        dv.Frame(*arguments)


def test_clips_and_frames_can_be_compared_and_are_equal_where_they_are_one() -> None:
    one, other = dv.Clip(DATA, (0, 1), TICK), dv.Clip(DATA, (0, 1), TICK)
    assert one == one
    assert one != other
    assert one.frames()[0] != other.frames()[0]
    assert len({one, other}) == 2


def test_colours_somewhat_outside_the_cube_are_kept() -> None:
    assert float(dv.Clip(DATA + 1.5, (0, 1), TICK).data.max()) > 1

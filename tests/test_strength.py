"""Strength: all of the restored at 1, the original at 0, the mean at a half."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch

from diffir_video import Blended, DiffIRS2, Frame, ModelConfig, Restorer, StreamInfo, UsageError

TICK = Fraction(1, 25)


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer.from_pretrained("denoise-nano", device="cpu")


def frames(count: int = 6) -> list[Frame]:
    generator = torch.Generator().manual_seed(1)
    return [Frame(torch.rand(3, 32, 40, generator=generator), index, TICK) for index in range(count)]


def through(restorer: Restorer | Blended) -> list[Frame]:
    stream = restorer.open_stream()
    return [*stream.push(frames()[:4]), *stream.push(frames()[4:]), *stream.finish()]


@pytest.mark.parametrize("strength", [0, 0.25, 1])
def test_the_result_is_mixed_with_its_own_original(restorer: Restorer, strength: float) -> None:
    mixed = through(Blended(restorer, strength))
    assert [frame.pts for frame in mixed] == list(range(6))
    for result, original, restored in zip(mixed, frames(), through(restorer), strict=True):
        expected = (1 - strength) * original.data + strength * restored.data
        torch.testing.assert_close(result.data, expected)


def test_an_enlarging_model_is_mixed_with_the_enlarged_original() -> None:
    net = DiffIRS2(
        ModelConfig(dim=4, blocks=(1, 1), heads=(1, 1), refinement_blocks=0, scale=2, cpen_width=4)
    )
    mixed = through(Blended(Restorer(net, device="cpu"), 0))
    for result, original in zip(mixed, frames(), strict=True):
        assert result.data.shape == (3, 64, 80)
        assert 0 <= result.data.min() <= result.data.max() <= 1
        small = torch.nn.functional.avg_pool2d(result.data, 2)
        assert (small - original.data).abs().mean() < 0.1


def test_frames_may_come_from_a_generator(restorer: Restorer) -> None:
    stream = Blended(restorer, 0).open_stream()
    mixed = [*stream.push(frame for frame in frames()), *stream.finish()]
    assert all(torch.equal(m.data, f.data) for m, f in zip(mixed, frames(), strict=True))


def test_what_the_restorer_wants_and_decides_is_passed_on() -> None:
    within = Restorer.from_pretrained("denoise-nano", device="cpu", reuse="prior", batch=3)
    blended, info = Blended(within, 0.5), StreamInfo(40, 32, TICK, "yuv420p")
    assert blended.batch_frames(info) == within.batch_frames(info) == 3
    stream = blended.open_stream()
    assert len([*stream.push(frames()), *stream.finish()]) == stream.reuse.frames == 6


def test_a_job_knows_the_strength_it_was_begun_with(restorer: Restorer) -> None:
    blended = Blended(restorer, 0.5)
    assert blended.settings == {**restorer.settings, "strength": "0.5"}
    assert (blended.scale, blended.reach) == (1, (2, 2))


@pytest.mark.parametrize("strength", [-0.1, 1.1, "0.5", None])
def test_a_strength_outside_0_to_1_makes_no_sense(restorer: Restorer, strength: Any) -> None:
    with pytest.raises(UsageError, match=str(strength)):
        Blended(restorer, strength)

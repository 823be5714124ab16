"""Restoring live: a level gives things up without a break, and what the model decides is counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

import diffir_video as dv
from diffir_video import Frame, StreamInfo
from diffir_video.prior import ReuseReport
from streams import LADDER, Governor, Level, LiveRestorer, LiveStats
from streams.frames import TICK, Bridge, LiveFrame
from streams.governor import GovernorConfig
from streams.restoring import LiveRestorerStream
from tests.network.test_variants import tiny
from tests.test_prior import noisy, scene

# Every frame is late, so that each fifth one costs a level; or none is, so that each one gives a level back.
HURRIED = GovernorConfig(latency_seconds=1e-9, settle_seconds=0, calm_seconds=60)
HALF_A_SECOND = GovernorConfig(latency_seconds=0.5, settle_seconds=0)
CALM = GovernorConfig(latency_seconds=3600, settle_seconds=0, calm_seconds=0, retry_seconds=0)


def restorer() -> dv.Restorer:
    torch.manual_seed(0)
    return dv.Restorer(dv.DiffIRS2(tiny(past=1, future=1)), device="cpu")


def frames(count: int, *, start: int = 0) -> list[LiveFrame]:
    still = scene(1, height=24, width=32)
    info = StreamInfo(width=32, height=24, time_base=TICK, pixel_format="yuv420p")
    return [
        LiveFrame(
            data=noisy(still, 10, number), pts=3600 * number, duration=3600, time_base=TICK,
            stream=info, arrived=time.monotonic(), epoch=0,
        )
        for number in range(start, start + count)
    ]  # fmt: skip


class Live:
    """A live restorer on its own: its governor, its stream, and what came out of it."""

    def __init__(
        self, model: object, levels: Sequence[Level], config: GovernorConfig, *, throttle: float = 1.0
    ) -> None:
        self.stats, self.governor = LiveStats(), Governor(config, levels=levels)
        live = LiveRestorer(model, self.governor, self.stats, throttle=throttle)  # pyright: ignore[reportArgumentType]
        self.stream: LiveRestorerStream = live.open_stream()
        self.out: list[Frame] = []

    def push(self, given: Sequence[LiveFrame]) -> None:
        for frame in given:
            self.out += self.stream.push([frame])

    def refreshes(self, reason: str) -> float:
        return self.stats.sample("diffir_prior_refreshes_total", reason=reason)


class Brightening:
    """Restores nothing and takes its time; what went through it is brighter. Counts its streams."""

    reuse = ReuseReport()

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.streams = seconds, 0

    def open_stream(self) -> Brightening:
        self.streams += 1
        return self

    def push(self, given: Sequence[Frame]) -> list[Frame]:
        time.sleep(self.seconds)
        return [frame.with_data((frame.data + 0.1).clamp(0, 1)) for frame in given]

    def finish(self) -> list[Frame]:
        return []


def brighter(before: Sequence[Frame], after: Sequence[Frame]) -> list[bool]:
    return [bool((b.data > a.data).any()) for a, b in zip(before, after, strict=True)]


class Doubling(Brightening):
    """As `Brightening`, at twice the size."""

    scale = 2

    def push(self, given: Sequence[Frame]) -> list[Frame]:
        return [
            frame.with_data(frame.data.repeat_interleave(2, 1).repeat_interleave(2, 2))
            for frame in super().push(given)
        ]


class Failing(Doubling):
    def push(self, given: Sequence[Frame]) -> list[Frame]:
        raise RuntimeError("the GPU is gone")


def late_frame(number: int) -> LiveFrame:
    (frame,) = frames(1, start=number)
    return replace(frame, arrived=frame.arrived - 0.45)


def test_a_step_to_more_sharing_and_back_breaks_nothing() -> None:
    live = Live(restorer(), LADDER[:3], HURRIED)
    live.push(frames(20))
    assert live.governor.level.name == "statistics"
    live.governor.configure(CALM)
    live.push(frames(10, start=20))
    assert live.governor.level.name == "full"
    live.out += live.stream.finish()
    assert [frame.pts for frame in live.out] == [3600 * number for number in range(30)]
    report = live.stream.reuse
    assert report.frames == 30
    assert report.held > 0
    # One beginning: the stream has gone on through every change of level.
    assert report.refreshes["first"] == 1
    assert report.refreshes["level"] == 3


def test_a_frame_that_would_be_late_passes_as_it_is() -> None:
    live = Live(Brightening(seconds=0.005), LADDER, HALF_A_SECOND)
    given = [*frames(30), late_frame(30), *frames(1, start=31)]
    for frame in given:
        live.push([replace(frame, arrived=time.monotonic() - (0.45 if frame is given[30] else 0))])
    assert brighter(given, live.out) == [True] * 30 + [False, True]
    assert live.stats.count("late") == 1
    assert live.governor.level.name == "full"


def test_where_all_would_be_late_less_is_done_though_none_of_them_leaves_late() -> None:
    live = Live(Brightening(seconds=0.02), LADDER, HALF_A_SECOND)
    live.push(frames(1))
    live.push([late_frame(number) for number in range(1, 8)])
    assert live.stats.count("late") >= 5
    assert live.governor.index > 0


def test_a_frame_that_others_need_as_their_future_is_restored_however_late() -> None:
    live = Live(restorer(), LADDER[:1], HALF_A_SECOND)
    live.push([late_frame(number) for number in range(8)])
    assert len(live.out) == 7
    assert live.stats.count("late") == 0


def test_a_network_that_is_made_slower_costs_what_it_takes_then() -> None:
    live = Live(Brightening(seconds=0.02), LADDER, HALF_A_SECOND, throttle=5)
    live.push(frames(1))
    assert not live.governor.has_time_for(0.35)


def test_a_stream_begins_anew_where_pictures_follow_on_each_other_no_more() -> None:
    model = Brightening()
    live = Live(model, LADDER, CALM)
    live.push([*frames(4), *(replace(frame, epoch=1) for frame in frames(4, start=4))])
    assert model.streams == 2


def test_a_stream_begins_anew_where_every_other_frame_is_left_out() -> None:
    model = Brightening(seconds=0.005)
    live = Live(model, LADDER[2:4], HALF_A_SECOND)
    for frame in range(2000):
        live.governor.arrived(frame / 1000)
    live.push(frames(6))
    assert (live.governor.level.name, model.streams) == ("half_rate", 2)


@pytest.mark.parametrize("bridge", ["hold", "slate"])
def test_what_waits_for_its_future_leaves_when_the_source_falls_silent(bridge: Bridge) -> None:
    live, (slate,) = Live(restorer(), LADDER[:1], CALM), frames(1, start=3)
    live.push(frames(3))
    assert len(live.out) == 2
    live.push([replace(slate, bridge=bridge)])
    assert [frame.pts for frame in live.out] == [3600 * number for number in range(4)]
    assert torch.equal(live.out[3].data, live.out[2].data if bridge == "hold" else slate.data)


def test_what_a_smaller_picture_gained_takes_none_out_of_its_range() -> None:
    live = Live(Brightening(), LADDER[4:5], CALM)
    bright = noisy(torch.full((3, 24, 32), 0.9), 10, 0)
    live.push([frame.with_data(bright) for frame in frames(2)])
    assert live.out[0].data.max() == 1


def test_frames_that_a_failing_model_leaves_are_as_large_as_its_own() -> None:
    live = Live(Failing(), LADDER, CALM)
    live.push(frames(2))
    assert [tuple(frame.data.shape) for frame in live.out] == [(3, 48, 64)] * 2
    assert live.stats.sample("diffir_errors_total", stage="restore") == 2


def test_a_prior_ages_by_every_frame_that_leaves_at_once() -> None:
    torch.manual_seed(0)
    model = dv.Restorer(dv.DiffIRS2(tiny(past=0, future=2)), device="cpu")
    live = Live(model, LADDER[1:2], CALM)
    live.push(frames(6))
    live.stream.finish()
    assert live.stats.sample("diffir_prior_age_frames") == 5


def test_refreshes_are_counted_by_reason_and_the_prior_has_an_age() -> None:
    live = Live(restorer(), LADDER[1:2], CALM)
    live.push(frames(8))
    # The window looks one frame ahead: seven are restored, six of them with the first one's prior.
    assert live.refreshes("first") == 1
    assert live.stats.sample("diffir_prior_age_frames") == 6
    live.push(frames(92, start=8))
    assert live.refreshes("age") == 1
    assert live.stats.sample("diffir_prior_age_frames") == 2
    live.stream.finish()
    counted = {reason: live.refreshes(reason) for reason in live.stream.reuse.refreshes}
    assert counted == live.stream.reuse.refreshes
    assert live.stats.count("priors") == 2


@pytest.mark.parametrize("level", LADDER, ids=lambda level: level.name)
def test_a_restorer_that_enlarges_makes_frames_of_one_size_at_every_level(level: Level) -> None:
    live, given = Live(Doubling(), [level], CALM), frames(4)
    live.push(given)
    assert [tuple(frame.data.shape) for frame in live.out] == [(3, 48, 64)] * 4
    assert live.stats.sample("diffir_errors_total", stage="restore") == 0
    before, after = given[-1].data.mean(), live.out[-1].data.mean()
    assert float(after - before) == pytest.approx(0 if level.passes else 0.1, abs=0.02)


@pytest.mark.parametrize("level", LADDER, ids=lambda level: level.name)
def test_a_chain_that_looks_ahead_gives_every_frame_at_every_level(level: Level) -> None:
    live, given = Live(dv.Chain([restorer(), restorer()]), [level], CALM), frames(8)
    live.push(given)
    live.out += live.stream.finish()
    assert [frame.pts for frame in live.out] == [frame.pts for frame in given]
    assert live.stats.count("restored") == (0 if level.passes else 8 // level.every)
    assert live.stats.sample("diffir_errors_total", stage="restore") == 0


@pytest.mark.parametrize("level", LADDER, ids=lambda level: level.name)
def test_a_restorer_that_cannot_share_serves_at_every_level(level: Level) -> None:
    live, given = Live(Brightening(), [level], CALM), frames(4)
    live.push(given)
    assert sum(brighter(given, live.out)) == (0 if level.passes else 4 // level.every)
    assert live.stats.sample("diffir_errors_total", stage="restore") == 0

"""When a held prior still serves: cuts are seen on their first frame, drift refreshes, stillness does not."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from diffir_video import UsageError
from diffir_video.prior import (
    CutDetector,
    Decision,
    FrameStatistics,
    PriorTracker,
    Reuse,
    ReusePolicy,
    ReuseReport,
)


def scene(seed: int, brightness: float = 0.5, height: int = 72, width: int = 96) -> Tensor:
    """A picture of soft blobs."""
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.rand(1, 3, 6, 8, generator=generator)
    soft = torch.nn.functional.interpolate(blobs, (height, width), mode="bicubic", align_corners=False)[0]
    return (soft * brightness + (1 - brightness) * 0.2).clamp(0, 1)


def noisy(picture: Tensor, sigma: float, seed: int) -> Tensor:
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))
    return (picture + sigma / 255 * noise).clamp(0, 1)


def statistics_of(picture: Tensor) -> FrameStatistics:
    return FrameStatistics.of([picture])[0]


def cuts_in(pictures: list[Tensor]) -> list[int]:
    detector = CutDetector()
    return [i for i, s in enumerate(FrameStatistics.of(pictures)) if detector.starts_shot(s)]


def decide_all(
    pictures: list[Tensor], policy: ReusePolicy, duplicates: tuple[int, ...] = ()
) -> list[Decision]:
    tracker, detector = PriorTracker(), CutDetector()
    return [
        tracker.decide(
            statistics,
            policy,
            pts_seconds=index / 25,
            starts_shot=detector.starts_shot(statistics),
            is_duplicate=index in duplicates,
        )
        for index, statistics in enumerate(FrameStatistics.of(pictures))
    ]


def reasons(decisions: list[Decision]) -> dict[int, str]:
    return {i: d.reason for i, d in enumerate(decisions) if d.reason is not None}


def still(frames: int, sigma: float = 25) -> list[Tensor]:
    return [noisy(scene(1), sigma, seed) for seed in range(frames)]


def test_statistics_do_not_depend_on_what_is_measured_beside_a_picture() -> None:
    pictures = still(5)
    together = FrameStatistics.of(pictures)
    assert all(statistics_of(p).equals(s) for p, s in zip(pictures, together, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (37, 5)])
def test_any_size_has_statistics(size: tuple[int, int]) -> None:
    picture = torch.rand(3, *size)
    assert statistics_of(picture).drift_from(statistics_of(picture)) == 0


def test_blocks_are_means_of_the_picture() -> None:
    picture = scene(3, height=50, width=70)
    expected = torch.nn.functional.adaptive_avg_pool2d(picture, (9, 16))
    torch.testing.assert_close(statistics_of(picture).blocks, expected)


def test_drift_is_light_and_noise_and_not_motion() -> None:
    first = statistics_of(noisy(scene(1), 10, 0))
    assert statistics_of(noisy(scene(1), 10, 1)).drift_from(first) < 0.005
    assert statistics_of(noisy(scene(1).roll(20, dims=-1), 10, 1)).drift_from(first) < 0.005
    assert statistics_of(noisy(scene(1) * 0.9, 10, 1)).drift_from(first) > 0.05
    louder = statistics_of(noisy(scene(1), 20, 1)).drift_from(first)
    assert louder == pytest.approx(0.05 * math.log(2), rel=0.25)


@pytest.mark.parametrize("sigma", [0, 10, 40])
def test_a_cut_is_found_on_its_first_frame_whatever_the_noise(sigma: float) -> None:
    pictures = [noisy(scene(shot), sigma, 7 * i + shot) for shot in (1, 2, 3) for i in range(12)]
    assert cuts_in(pictures) == [0, 12, 24]


def test_shots_of_a_single_frame_are_shots() -> None:
    assert cuts_in([scene(i) for i in range(6)]) == list(range(6))


def test_noise_a_pan_and_a_fade_are_no_cuts() -> None:
    assert cuts_in(still(30, sigma=40)) == [0]
    wide = scene(4, width=600)
    assert cuts_in([wide[:, :, 6 * i : 6 * i + 96] for i in range(60)]) == [0]
    assert cuts_in([scene(1) * i / 24 for i in range(25)]) == [0]


@pytest.mark.parametrize("sigma", [0, 1])
@pytest.mark.parametrize("times", [2, 3])
def test_a_pan_whose_frames_are_shown_again_is_no_cut_and_a_cut_in_it_is(times: int, sigma: float) -> None:
    pans = [scene(seed, width=480) for seed in (1, 2)]
    moving = [pan[:, :, 18 * i : 18 * i + 96] for pan in pans for i in range(20)]
    shown = [noisy(p, sigma, 7 * i + n) for i, p in enumerate(moving) for n in range(times)]
    assert cuts_in(shown) == [0, 20 * times]


def flat(*brightness: float) -> list[Tensor]:
    return [torch.full((3, 18, 32), each) for each in brightness]


def test_what_changes_less_than_twice_as_fast_as_before_is_no_cut() -> None:
    flicker = (0.2, 0.28) * 6
    assert cuts_in(flat(*flicker, 0.2, 0.34)) == [0]
    assert cuts_in(flat(*flicker, 0.2, 0.42)) == [0, 13]


def test_the_pace_of_a_shot_is_not_that_of_the_next() -> None:
    wild, calm = (0.2, 0.28) * 2 + (0.2, 0.35) * 4, (0.9,) * 4
    assert cuts_in(flat(*wild, *calm, 0.7)) == [0, 12, 16]


def test_one_frame_that_stands_still_tells_no_pace() -> None:
    assert cuts_in(flat(0.3, 0.3, 0.36)) == [0]
    assert cuts_in(flat(0.3, 0.3, 0.3, 0.36)) == [0, 3]


def test_a_still_scene_is_refreshed_by_age_alone() -> None:
    decisions = decide_all(still(60), ReusePolicy(level="prior", max_prior_age=24))
    assert reasons(decisions) == {0: "first", 24: "age", 48: "age"}
    assert {d.reuse for i, d in enumerate(decisions) if i % 24} == {Reuse.HELD}
    assert [d.age for d in decisions[:3]] == [0, 1, 2]
    assert decisions[24].age == 24


def test_a_cut_refreshes_at_once_and_its_frame_has_no_drift_from_another_shot() -> None:
    decisions = decide_all([*still(10), *(scene(2) for _ in range(10))], ReusePolicy(level="prior"))
    assert reasons(decisions) == {0: "first", 10: "cut"}
    assert (decisions[10].drift, decisions[11].age) == (None, 1)


def test_a_fade_refreshes_by_drift_and_never_lets_it_past_the_threshold() -> None:
    fade = [scene(1) * (24 - i) / 24 for i in range(24)]
    policy = ReusePolicy(level="prior", refresh_threshold=0.1)
    decisions = decide_all(fade, policy)
    assert "drift" in reasons(decisions).values()
    assert all(d.drift <= 0.1 for d in decisions if d.reuse is Reuse.HELD and d.drift is not None)
    assert set(reasons(decide_all(fade, ReusePolicy(level="prior", refresh_threshold=math.inf)))) == {0}


def test_duplicates_reuse_the_output_even_past_the_age() -> None:
    decisions = decide_all([scene(1)] * 10, ReusePolicy(level="prior", max_prior_age=4), tuple(range(1, 10)))
    assert [d.reuse for d in decisions] == [Reuse.NEW, *[Reuse.DUPLICATE] * 9]
    assert [d.age for d in decisions] == list(range(10))


def test_off_gives_every_frame_its_own_prior_duplicates_included() -> None:
    decisions = decide_all([scene(1)] * 4, ReusePolicy(), (1, 2, 3))
    assert [d.reason for d in decisions] == ["first", "off", "off", "off"]


def test_another_level_is_a_reason_to_refresh() -> None:
    tracker, statistics = PriorTracker(), FrameStatistics.of(still(4))
    levels = ("off", "prior", "prior", "statistics")
    found = [
        tracker.decide(s, ReusePolicy(level=level), pts_seconds=0, starts_shot=i == 0, is_duplicate=False)
        for i, (s, level) in enumerate(zip(statistics, levels, strict=True))
    ]
    assert [d.reason for d in found] == ["first", "level", None, "level"]


def test_the_report_counts_every_decision() -> None:
    report = ReuseReport(decisions=[])
    for decision in decide_all(still(30), ReusePolicy(level="prior", max_prior_age=12), (5,)):
        report.add(decision)
    assert (report.frames, report.held, report.duplicates) == (30, 26, 1)
    assert report.refreshes == {"first": 1, "age": 2}
    assert len(report.to_dict()["decisions"]) == 30
    assert ReuseReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert "3 priors for 30 frames (1 first, 2 age); 26 held, 1 duplicates" in str(report)


@pytest.mark.parametrize(
    "settings",
    [
        {"level": "sometimes"},
        {"refresh_threshold": -0.1},
        {"refresh_threshold": math.nan},
        {"max_prior_age": 0},
        {"max_prior_age": 1.5},
        {"prior_smoothing": 1.0},
        {"prior_smoothing": "0.5"},
        {"prior_delay": 0.5},
        {"prior_delay": -1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(settings: dict) -> None:
    with pytest.raises(UsageError, match=str(next(iter(settings.values())))):
        ReusePolicy(**settings)


def test_reports_of_streams_that_followed_each_other_add_up() -> None:
    reports = [
        ReuseReport("prior", {"first": 1, "drift": 2}, 5, 1, redone_in_float32=2),
        ReuseReport("prior", {"first": 1}, 3, redone_in_float32=1),
    ]
    whole = ReuseReport.combined(reports)
    assert whole == ReuseReport("prior", {"first": 2, "drift": 2}, 8, 1, redone_in_float32=3)
    assert whole.frames == 13


def test_decisions_of_streams_that_followed_each_other_follow_each_other() -> None:
    decisions = decide_all(still(3), ReusePolicy(level="prior"))
    reports = [ReuseReport(decisions=decisions[:2]), ReuseReport(), ReuseReport(decisions=decisions[2:])]
    assert ReuseReport.combined(reports).decisions == decisions


@pytest.mark.parametrize("pattern", [(1.0, 0.6), (1.0, 0.5, 0.5), (1.4, 1.0, 1.0, 1.0, 1.0, 1.0)])
def test_a_still_scene_is_refreshed_once_in_24_frames_whatever_a_codec_does_to_its_noise(
    pattern: tuple[float, ...],
) -> None:
    """P and B frames by turns, or now and then an I frame: the noise is the same, its detail isn't."""
    generator = torch.Generator().manual_seed(7)
    tracker, policy = PriorTracker(), ReusePolicy(level="statistics")
    refreshes: list[int] = []
    for t in range(72):
        noise = 0.08 * pattern[t % len(pattern)] * torch.randn(3, 72, 128, generator=generator)
        (statistics,) = FrameStatistics.of([(0.5 + noise).clamp(0, 1)])
        decision = tracker.decide(
            statistics, policy, pts_seconds=float(t), starts_shot=t == 0, is_duplicate=False
        )
        refreshes += [t] if decision.reason else []
    assert len(refreshes) <= 3


def test_a_sudden_change_that_stays_costs_one_refresh() -> None:
    pictures = [noisy(p, 5, i) for i, p in enumerate(flat(*[0.4] * 15, *[0.46] * 15))]
    decisions = decide_all(pictures, ReusePolicy(level="prior", max_prior_age=250))
    assert reasons(decisions) == {0: "first", 15: "drift"}


def test_a_change_of_light_that_stays_is_met_at_once_if_sudden_and_soon_if_slight() -> None:
    generator = torch.Generator().manual_seed(7)
    for brighter, latest in ((0.20, 0), (0.08, 5)):
        tracker, policy = PriorTracker(), ReusePolicy(level="prior", max_prior_age=250)
        refreshes: list[int] = []
        for t in range(30):
            picture = torch.full((3, 72, 128), 0.4 * (1 + brighter * (t >= 15)))
            picture += 0.02 * torch.randn(3, 72, 128, generator=generator)
            (statistics,) = FrameStatistics.of([picture.clamp(0, 1)])
            decision = tracker.decide(
                statistics, policy, pts_seconds=float(t), starts_shot=t == 0, is_duplicate=False
            )
            refreshes += [t] if decision.reason else []
        assert refreshes[0] == 0
        assert 15 <= refreshes[1] <= 15 + latest

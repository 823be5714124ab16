"""Restoring with shared priors: the network's own output under a held prior, and nothing across a cut."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

import diffir_video as dv
from diffir_video.inference import FoldedDIRformer
from diffir_video.prior import Reuse, ReusePolicy, ReuseReport
from diffir_video.reuse_plot import plot_reuse
from tests.network.test_variants import tiny
from tests.test_prior import noisy, scene

LEVELS = ("off", "prior", "statistics")


def shot(seed: int, frames: int = 8, sigma: float = 25) -> Tensor:
    return torch.stack(
        [noisy(scene(seed, height=24, width=32), sigma, 100 * seed + i) for i in range(frames)]
    )


def clip_of(data: Tensor) -> dv.Clip:
    return dv.Clip(data, tuple(3 * i for i in range(len(data))), Fraction(1, 75))


def restorer(reuse: str | ReusePolicy, *, past: int = 1, future: int = 1, **options: object) -> dv.Restorer:
    torch.manual_seed(0)
    net = dv.DiffIRS2(tiny(past=past, future=future))
    settings = {"device": "cpu", "precision": "fp32", "reuse": reuse, "record_decisions": True}
    return dv.Restorer(net, **settings | options)  # pyright: ignore[reportArgumentType]


def run(model: dv.Restorer, clip: dv.Clip, batch: int = 4) -> tuple[Tensor, ReuseReport]:
    stream, frames = model.open_stream(), clip.frames()
    out = [f for i in range(0, len(frames), batch) for f in stream.push(frames[i : i + batch])]
    out += stream.finish()
    assert [f.pts for f in out] == list(clip.pts)
    return torch.stack([f.data for f in out]), stream.reuse


def network_of(model: dv.Restorer) -> dv.DiffIRS2:
    assert model.network is not None
    return model.network.net


@torch.inference_mode()
def windows(data: Tensor, past: int = 1, future: int = 1) -> Tensor:
    """(T, 3·frames, H, W): every frame's window in one shot."""
    last = len(data) - 1
    return torch.stack(
        [
            torch.cat([data[min(max(t + d, 0), last)] for d in range(-past, future + 1)])
            for t in range(len(data))
        ]
    )


@torch.inference_mode()
def priors(model: dv.Restorer, lq: Tensor) -> Tensor:
    net = network_of(model)
    noise = torch.randn(1, net.config.prior_width, generator=torch.Generator().manual_seed(0))
    return net.estimate_prior(lq, noise.expand(len(lq), -1))


@torch.inference_mode()
def test_prior_restores_a_span_with_the_prior_of_its_first_frame() -> None:
    model, data = restorer(ReusePolicy(level="prior", max_prior_age=5)), shot(1)
    lq = windows(data)
    own = priors(model, lq)
    held = torch.stack([own[0 if t < 5 else 5] for t in range(len(data))])
    expected = network_of(model).restore(lq, held).clamp(0, 1)
    torch.testing.assert_close(run(model, clip_of(data))[0], expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_statistics_holds_the_maps_of_the_first_whole_window() -> None:
    model, data = restorer("statistics", refresh=48), shot(1)
    lq = windows(data)
    folded = FoldedDIRformer(network_of(model).G)
    folded.fold(priors(model, lq[:1])[0])
    ends, first, rest = folded.restore(lq[[0, -1]]), folded.restore_keeping_maps(lq[1:2]), lq[2:-1]
    expected = torch.cat([ends[:1], first, folded.restore_with_held_maps(rest), ends[1:]]).clamp(0, 1)
    restored, report = run(model, clip_of(data))
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)
    assert report.refreshes == {"first": 1}


@torch.inference_mode()
@pytest.mark.parametrize("batch", [1, 3])
def test_a_delayed_prior_serves_from_so_many_frames_after_the_one_it_is_made_of(batch: int) -> None:
    model, data = restorer(ReusePolicy(level="prior", max_prior_age=3, prior_delay=2)), shot(1, 10)
    lq = windows(data)
    own = priors(model, lq)
    held = torch.stack([own[of] for of in (0, 0, 0, 0, 0, 3, 3, 3, 6, 6)])
    expected = network_of(model).restore(lq, held).clamp(0, 1)
    restored, report = run(model, clip_of(data), batch)
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)
    assert report.refreshes == {"first": 1, "age": 3}


@torch.inference_mode()
def test_a_cut_waits_for_no_delayed_prior_and_forgets_those_on_their_way() -> None:
    policy = ReusePolicy(level="statistics", refresh_threshold=math.inf, max_prior_age=3, prior_delay=2)
    model, first, second = restorer(policy, past=0, future=0), shot(1, 4), shot(2, 3)
    alone, _ = run(model, clip_of(second))
    together, report = run(model, clip_of(torch.cat([first, second])))
    torch.testing.assert_close(together[4:], alone, atol=1e-5, rtol=0)
    assert report.refreshes == {"first": 1, "age": 1, "cut": 1}


@torch.inference_mode()
def test_no_frame_waits_for_a_delayed_prior_that_comes_in_time() -> None:
    model, data = restorer(ReusePolicy(level="prior", max_prior_age=3, prior_delay=2)), shot(1, 6)
    assert model.network is not None
    estimate, begun, may_end = model.network.estimate_prior, threading.Event(), threading.Event()
    stream, frames = model.open_stream(), clip_of(data).frames()
    restored = stream.push(frames[:4])

    def held_up(lq: Tensor) -> Tensor:
        begun.set()
        assert may_end.wait(10)
        return estimate(lq)

    model.network.estimate_prior = held_up  # pyright: ignore[reportAttributeAccessIssue]
    restored += stream.push(frames[4:])
    assert begun.wait(10)
    assert len(restored) == 5
    may_end.set()
    assert len(stream.finish()) == 1


@torch.inference_mode()
def test_a_prior_on_its_way_serves_in_time_though_no_other_is_to_be_delayed() -> None:
    model, data = restorer(ReusePolicy(level="prior", max_prior_age=3, prior_delay=2)), shot(1, 9)
    lq, frames = windows(data), clip_of(data).frames()
    stream = model.open_stream()
    restored = stream.push(frames[:5])
    stream.policy = ReusePolicy(level="prior")
    restored += [*stream.push(frames[5:]), *stream.finish()]
    own = priors(model, lq)
    expected = network_of(model).restore(lq, own[[0] * 5 + [3] * 4]).clamp(0, 1)
    torch.testing.assert_close(torch.stack([f.data for f in restored]), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_maps_of_before_a_change_of_level_serve_no_more_while_its_prior_is_on_its_way() -> None:
    policy = ReusePolicy(level="statistics", refresh_threshold=math.inf, prior_delay=2)
    model, data = restorer(policy, past=0, future=0), shot(1, 6)
    stream, frames = model.open_stream(), clip_of(data).frames()
    stream.push(frames[:4])
    stream.policy = replace(policy, level="prior")
    stream.push(frames[4:5])
    stream.policy = policy
    (restored,) = stream.push(frames[5:])
    expected = network_of(model).restore(data[5:], priors(model, data[:1])).clamp(0, 1)
    torch.testing.assert_close(restored.data, expected[0], atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("level", ["off", "prior"])
def test_smoothing_mixes_each_new_prior_with_the_one_before_it(level: str) -> None:
    age = 1 if level == "off" else 4
    policy = ReusePolicy(level=level, max_prior_age=age, prior_smoothing=0.25)  # pyright: ignore[reportArgumentType]
    model, data = restorer(policy), shot(1)
    lq = windows(data)
    own, used = priors(model, lq), []
    for t in range(len(data)):
        fresh = own[t] if t == 0 else 0.25 * used[-1] + 0.75 * own[t]
        used.append(fresh if t % age == 0 else used[-1])
    expected = network_of(model).restore(lq, torch.stack(used)).clamp(0, 1)
    torch.testing.assert_close(run(model, clip_of(data))[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_leaks_across_a_cut_in_either_direction(level: str) -> None:
    model, shots = restorer(ReusePolicy(level=level, prior_smoothing=0.5)), [shot(1), shot(2, 3), shot(3, 5)]  # pyright: ignore[reportArgumentType]
    together, report = run(model, clip_of(torch.cat(shots)))
    apart = torch.cat([run(model, clip_of(data))[0] for data in shots])
    torch.testing.assert_close(together, apart, atol=1e-6, rtol=0)
    assert report.decisions is not None
    assert [i for i, d in enumerate(report.decisions) if d.reason in ("first", "cut")] == [0, 8, 11]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_decisions_and_pictures_do_not_depend_on_the_batch(level: str, batch: int) -> None:
    policy = ReusePolicy(level=level, max_prior_age=5)  # pyright: ignore[reportArgumentType]
    frozen = shot(2, 1).expand(6, -1, -1, -1)
    clip = clip_of(torch.cat([shot(1), frozen, shot(3, 7)]))
    expected, expected_report = run(restorer(policy), clip)
    restored, report = run(restorer(policy), clip, batch)
    assert report == expected_report
    torch.testing.assert_close(restored, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("level", LEVELS)
def test_the_same_frames_give_the_same_bytes(level: str) -> None:
    clip = clip_of(torch.cat([shot(1), shot(2)]))
    model = restorer(level)
    first, again = run(model, clip)[0], run(model, clip)[0]
    assert torch.equal(first, again)
    assert torch.equal(first, run(restorer(level), clip)[0])


def test_a_frame_whose_window_repeats_reuses_the_output_and_no_other_does() -> None:
    still, moved = shot(1, 1).expand(6, -1, -1, -1), shot(1, 4)
    restored, report = run(restorer("prior"), clip_of(torch.cat([still, moved[1:]])))
    assert report.decisions is not None
    # The window of the last still frame already sees what comes after it.
    assert [i for i, d in enumerate(report.decisions) if d.reuse is Reuse.DUPLICATE] == [1, 2, 3, 4]
    assert all(torch.equal(restored[0], restored[i]) for i in (1, 2, 3, 4))
    assert not torch.equal(restored[4], restored[5])
    assert report.duplicates == 4


def test_a_frozen_picture_is_restored_once() -> None:
    restored, report = run(restorer("prior", past=0, future=0), clip_of(shot(1, 1).expand(60, -1, -1, -1)))
    assert (report.refreshes, report.duplicates) == ({"first": 1}, 59)
    assert torch.equal(restored[0], restored[59])


def test_two_streams_at_once_do_not_disturb_each_other() -> None:
    model, clips = restorer("statistics"), [clip_of(shot(1)), clip_of(shot(2))]
    alone = [run(model, clip)[0] for clip in clips]
    streams = [model.open_stream() for _ in clips]
    outputs: list[list[Tensor]] = [[], []]
    for frames in zip(*(clip.frames() for clip in clips), strict=True):
        for stream, frame, output in zip(streams, frames, outputs, strict=True):
            output += [f.data for f in stream.push([frame])]
    for stream, output, expected in zip(streams, outputs, alone, strict=True):
        output += [f.data for f in stream.finish()]
        torch.testing.assert_close(torch.stack(output), expected, atol=1e-6, rtol=0)


def test_the_policy_may_change_while_frames_flow() -> None:
    stream = restorer("prior", past=0, future=0, refresh=48).open_stream()
    frames = clip_of(shot(1, 12)).frames()
    stream.push(frames[:4])
    stream.policy = replace(stream.policy, max_prior_age=2)
    stream.push(frames[4:8])
    stream.policy = replace(stream.policy, level="statistics", max_prior_age=48)
    stream.push(frames[8:])
    decisions = stream.reuse.decisions
    assert decisions is not None
    assert {i: d.reason for i, d in enumerate(decisions) if d.reason} == {
        0: "first",
        4: "age",
        6: "age",
        8: "level",
    }


def test_refresh_takes_a_number_of_frames_and_then_ignores_drift() -> None:
    fade = torch.stack([scene(1, height=24, width=32) * (1 - i / 20) for i in range(20)])
    _, report = run(restorer("prior", refresh=6), clip_of(fade))
    assert report.refreshes == {"first": 1, "age": 3}
    with pytest.raises(dv.UsageError, match="expected 'auto' or a number"):
        restorer("prior", refresh="often")
    with pytest.raises(dv.UsageError, match="refresh 0"):
        restorer("prior", refresh=0)


def test_a_stream_can_be_used_again_after_it_ended() -> None:
    model, clip = restorer("statistics"), clip_of(shot(1))
    stream = model.open_stream()
    first = [*stream.push(clip.frames()), *stream.finish()]
    again = [*stream.push(clip.frames()), *stream.finish()]
    assert all(torch.equal(a.data, b.data) for a, b in zip(first, again, strict=True))
    assert stream.reuse.frames == 16


def test_the_plot_shows_a_report_that_recorded_its_decisions(tmp_path: Path) -> None:
    _, report = run(restorer("prior"), clip_of(torch.cat([shot(1), shot(2)])))
    plot_reuse(report, tmp_path / "reuse.png", threshold=0.06)
    colours = Image.open(tmp_path / "reuse.png").convert("RGB").getcolors(1 << 16)
    assert colours is not None
    assert {(31, 90, 180), (200, 40, 40), (170, 170, 176)} <= {colour for _, colour in colours}
    with pytest.raises(dv.UsageError, match="no decisions"):
        plot_reuse(ReuseReport(), tmp_path / "none.png", threshold=0.06)
    with pytest.raises(dv.OutputError, match="nowhere"):
        plot_reuse(report, tmp_path / "nowhere" / "reuse.png", threshold=0.06)


def overflowing(precision: str, factor: float) -> dv.Restorer:
    """A network whose features leave the range of half precision by far."""
    torch.manual_seed(0)
    net = dv.DiffIRS2(tiny(past=1, future=1))
    with torch.no_grad():
        net.G.patch_embed.proj.weight.mul_(factor)
        net.G.output.weight.div_(factor)
    return dv.Restorer(net, device="cpu", precision=precision, reuse="prior")  # pyright: ignore[reportArgumentType]


def test_a_frame_without_numbers_is_redone_in_float32_and_counted() -> None:
    clip = clip_of(shot(1, frames=5))
    redone, reuse = run(overflowing("fp16", 1e7), clip)
    expected, reference = run(overflowing("fp32", 1e7), clip)
    assert (reuse.redone_in_float32, reference.redone_in_float32) == (5, 0)
    assert torch.allclose(redone, expected, atol=1e-5)
    assert "5 redone in float32" in str(reuse)


def test_a_frame_without_numbers_in_float32_is_an_error() -> None:
    with pytest.raises(dv.DiffirVideoError, match="not even float32 helps"):
        run(overflowing("fp32", 1e39), clip_of(shot(1, frames=5)))

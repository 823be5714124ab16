"""The reuse evaluation: programmes that are what they say, bars that can be missed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import diffir_video as dv
from tests.network.test_variants import tiny
from training.evaluate import main as evaluate_models
from training.evaluation import calibrate_reuse, reuse
from training.evaluation.calibrate_reuse import DRIFTS, MAX_LOSS, NEIGHBOURS, Pair, choose_threshold, table
from training.evaluation.programmes import GUEST_FRAMES, drifting, spliced, still
from training.evaluation.reuse import POLICIES, ReuseEvaluation, Row


def truths() -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    sizes = {"a": (20, 48, 64, 3), "b": (30, 96, 80, 3), "c": (16, 32, 32, 3)}
    return {name: rng.integers(0, 256, size, np.uint8) for name, size in sizes.items()}


def test_spliced_programmes_say_where_their_cuts_are() -> None:
    first, coded = spliced("a", truths())
    assert first.cuts == coded.cuts == (10, 10 + GUEST_FRAMES, 20 + GUEST_FRAMES)
    assert first.truth.shape == coded.damaged.shape == (20 + 2 * GUEST_FRAMES, 48, 64, 3)
    assert np.array_equal(first.truth[22:32], truths()["a"][10:])
    assert not np.array_equal(first.damaged, coded.damaged)


def test_drifting_programmes_grow_lighter_and_noisier() -> None:
    programme = drifting("b", truths())
    error = np.abs(programme.damaged.astype(int) - programme.truth)
    assert programme.truth[0].mean() < 0.1 * programme.truth[-1].mean()
    assert error[-1].mean() > 4 * error[0].mean()


def test_stills_stand_still_but_for_the_noise() -> None:
    programme = still("c", truths())
    assert (programme.truth == programme.truth[0]).all()
    assert not np.array_equal(programme.damaged[0], programme.damaged[1])


def evaluation(
    loss: float = 0.0, flicker: float = 1.0, refreshes: int = 4, missed: int = 0
) -> ReuseEvaluation:
    def row(kind: str, policy: str) -> Row:
        is_off = policy == "off"
        return Row(
            programme=f"a {kind}",
            kind=kind,
            clip="a",
            policy=policy,
            psnr_y=30.0 if is_off else 30.0 - loss,
            flicker=1.0 if is_off else flicker,
            frames=96,
            refreshes=96 if is_off else refreshes,
            missed_cuts=0 if is_off else missed,
        )

    return ReuseEvaluation(
        "tiny", [row(kind, p) for kind in ("spliced", "drifting", "still") for p in POLICIES]
    )


def test_all_bars_are_met_by_reuse_that_costs_nothing() -> None:
    assert all(bar.met for bar in evaluation().bars())
    assert "MISSED" not in evaluation().to_markdown()


@pytest.mark.parametrize(
    ("fault", "bars"),
    [
        ({"loss": 0.015}, ["prior: mean loss"]),
        ({"loss": 0.06}, ["mean loss", "worst clip", "mean loss", "worst clip"]),
        ({"flicker": 1.001}, ["flicker", "flicker"]),
        ({"refreshes": 5}, ["still frames", "still frames"]),
        ({"missed": 1}, ["spliced cut", "spliced cut"]),
    ],
)
def test_each_bar_can_be_missed(fault: dict, bars: list[str]) -> None:
    missed = [bar.asked for bar in evaluation(**fault).bars() if not bar.met]
    assert len(missed) == len(bars)
    assert all(expected in asked for expected, asked in zip(bars, missed, strict=True))


def pairs(losses: list[float]) -> list[Pair]:
    """Pairs of rising drift: 0.01, 0.02, …"""
    drifts = [0.01 * (i + 1) for i in range(len(losses))]
    return [
        Pair({"prior": loss, "statistics": 0.0}, dict.fromkeys(DRIFTS, drift))
        for loss, drift in zip(losses, drifts, strict=True)
    ]


def test_the_threshold_lies_where_pairs_of_such_drift_begin_to_lose() -> None:
    name = next(iter(DRIFTS))
    found = pairs([0.0] * 50 + [1.1 * MAX_LOSS["prior"]] * 50)
    threshold, share = choose_threshold(found, name, "prior")
    assert 0.5 < threshold < 0.01 * (51 + NEIGHBOURS)
    assert share == pytest.approx(threshold - 0.01)
    assert choose_threshold(found, name, "statistics") == (1.0, 1.0)


def test_the_table_has_a_row_for_every_drift_and_level() -> None:
    text = table(pairs([0.0] * 50 + [1.0] * 50))
    assert all(f"{level}: {name}" in text for level in MAX_LOSS for name in DRIFTS)


def test_a_clip_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reuse.main(["--data", str(tmp_path), "--clips", "bikes", "boats"]) == 2
    assert "no clip 'boats': give --clips some of bikes, carphone" in capsys.readouterr().err


def test_thresholds_are_not_calibrated_on_a_corner_of_an_enlarged_picture(tmp_path: Path) -> None:
    dv.save_checkpoint(dv.DiffIRS2(tiny(scale=2)), tmp_path / "net.safetensors")
    with pytest.raises(dv.UsageError, match="enlarges 2 times"):
        calibrate_reuse.measure(str(tmp_path / "net.safetensors"), tmp_path)


def test_thresholds_are_calibrated_for_a_window_of_any_length(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    still_clip = np.full((12, 16, 16, 3), 99, np.uint8)
    monkeypatch.setattr(calibrate_reuse, "_CLIPS", (("a.mp4", 1, (0,)),))
    monkeypatch.setattr(calibrate_reuse, "fetch", lambda *_, **__: {"clips": [tmp_path / "a.mp4"]})
    monkeypatch.setattr(calibrate_reuse, "_read_shrunk", lambda *_: still_clip)
    torch.manual_seed(0)
    dv.save_checkpoint(dv.DiffIRS2(tiny(past=4, future=1)), tmp_path / "net.safetensors")
    pairs = calibrate_reuse.measure(str(tmp_path / "net.safetensors"), tmp_path)
    # The 5th frame is the first with four before it: 1, 2 and 4 frames later, in each of four damages.
    assert len(pairs) == 3 * 4


@pytest.mark.parametrize("wrong", [("--clips", "0"), ("--clips", "-1"), ("--frames", "1")])
def test_an_evaluation_of_nothing_is_a_usage_error(wrong: tuple[str, str], tmp_path: Path) -> None:
    assert evaluate_models(["--data", str(tmp_path), *wrong]) == 2

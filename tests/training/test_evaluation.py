"""The evaluation: damage that is what it says, filters that filter, bars that can be missed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diffir_video.errors import MediaInputError, UsageError
from diffir_video.frame import Clip
from diffir_video.metrics import psnr_y
from diffir_video.network import DiffIRS1, DiffIRS2, ModelConfig
from diffir_video.restorer import Restorer
from training.evaluate import main
from training.evaluation.ffmpeg import FilterError, cut_lossless, encode, filter_planes, read_rgb
from training.evaluation.filters import (
    FILTERS,
    HQDN3D,
    NLMEANS,
    Filter,
    FilterScores,
    filtered,
    score_filters,
)
from training.evaluation.material import (
    ALL_DAMAGE,
    REFERENCE_DAMAGE,
    SHRUNK,
    Damage,
    add_noise,
    damaged,
    shrink_by_averaging,
    to_bytes,
    to_tensor,
)
from training.evaluation.report import Cell, Evaluation, Quality, best_common_setting, to_markdown, to_text
from training.evaluation.stages import LabelledInput, PriorComparison, compare_priors
from training.evaluation.task import DEBLOCKING, LIVE_DENOISING, UPSCALING, Task, stage1_of, task_of
from training.evaluation.upscalers import score_upscalers


def smooth_clip(frames: int = 4, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A soft pattern that moves a little from frame to frame, away from black and white."""
    y, x, t = np.meshgrid(np.arange(height), np.arange(width), np.arange(frames), indexing="ij")
    waves = [128 + 50 * np.sin((x + t) / (5 + c)) * np.cos(y / (7 - c)) for c in range(3)]
    return np.rint(np.stack(waves, axis=-1)).astype(np.uint8).transpose(2, 0, 1, 3)


def test_shrinking_averages_blocks_and_keeps_sizes_even() -> None:
    frames = np.arange(10 * 13 * 3, dtype=np.uint8).reshape(1, 10, 13, 3)
    small = shrink_by_averaging(frames, 2)
    assert small.shape == (1, 4, 6, 3)
    assert small[0, 0, 0, 0] == np.rint(frames[0, :2, :2, 0].mean())


@pytest.mark.parametrize("sigma", [10, 25])
def test_noise_has_the_deviation_it_says_and_no_bias(sigma: int) -> None:
    truth = np.full((4, 64, 64, 3), 128, np.uint8)
    error = add_noise(truth, "clip", sigma).astype(np.float64) - 128
    assert error.std() == pytest.approx(sigma, rel=0.02)
    assert error.mean() == pytest.approx(0, abs=0.02 * sigma)


def test_noise_is_the_same_on_every_call_and_differs_between_clips_and_frames() -> None:
    truth = np.full((2, 16, 16, 3), 128, np.uint8)
    noisy = add_noise(truth, "clip", 25)
    assert np.array_equal(noisy, add_noise(truth, "clip", 25))
    assert not np.array_equal(noisy, add_noise(truth, "another", 25))
    assert not np.array_equal(noisy[0], noisy[1])


def test_every_noise_level_comes_once_as_it_is_and_once_at_each_crf() -> None:
    assert len(set(ALL_DAMAGE)) == len(ALL_DAMAGE) == 9
    assert {d.crf for d in ALL_DAMAGE} == {None, 23, 30}
    assert {d.sigma for d in ALL_DAMAGE} == {10, 25, 40}


def test_compressed_input_keeps_the_frames_and_is_read_from_the_cache_the_second_time(tmp_path: Path) -> None:
    truth = smooth_clip()
    first = damaged(truth, "clip", Damage(10, 30), tmp_path)
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns
    assert np.array_equal(first, damaged(truth, "clip", Damage(10, 30), tmp_path))
    assert kept.stat().st_mtime_ns == written
    assert first.shape == truth.shape
    assert not np.array_equal(first, damaged(truth, "clip", Damage(10), tmp_path))


def test_another_truth_of_the_same_name_is_not_served_from_the_cache(tmp_path: Path) -> None:
    damaged(smooth_clip(), "clip", Damage(10, 30), tmp_path)
    damaged(smooth_clip() + np.uint8(1), "clip", Damage(10, 30), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_compression_loses_little_at_a_low_crf_and_more_at_a_high_one(tmp_path: Path) -> None:
    truth = smooth_clip()
    quality: list[float] = []
    for crf in (5, 40):
        encode(truth, crf, tmp_path / "clip.mkv")
        quality.append(psnr_y(to_tensor(read_rgb(tmp_path / "clip.mkv", 4)), to_tensor(truth)).mean().item())
    assert quality[0] > 38 > quality[1]


def test_a_cut_without_loss_starts_and_ends_where_it_says(tmp_path: Path) -> None:
    encode(smooth_clip(frames=9), 10, tmp_path / "whole.mkv")
    cut_lossless(tmp_path / "whole.mkv", tmp_path / "cut.mkv", first_frame=3, frames=4)
    whole = read_rgb(tmp_path / "whole.mkv", 9)
    assert np.array_equal(read_rgb(tmp_path / "cut.mkv", 9), whole[3:7])


def test_what_is_no_video_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "clip.mkv").write_text("not a video")
    with pytest.raises(MediaInputError, match=r"clip\.mkv: can't be decoded"):
        read_rgb(tmp_path / "clip.mkv", 1)


def test_a_filter_that_ffmpeg_refuses_is_an_error_with_its_words() -> None:
    with pytest.raises(FilterError, match="Filter not found"):
        filter_planes(np.zeros((1, 3, 16, 16), np.uint8), "nosuchfilter")


def test_the_way_to_the_filters_and_back_costs_rounding_only() -> None:
    truth = smooth_clip()
    error = filtered(truth, "null").astype(int) - truth
    assert np.abs(error).max() <= 2


@pytest.mark.parametrize("setting", [NLMEANS.settings[-1], HQDN3D.settings[-1]])
def test_both_filters_take_noise_away(setting: str) -> None:
    truth = to_tensor(smooth_clip())
    noisy = add_noise(smooth_clip(), "clip", 25)
    gain = psnr_y(to_tensor(filtered(noisy, setting)), truth) - psnr_y(to_tensor(noisy), truth)
    assert gain.mean() > 2


def test_filter_scores_are_kept_and_the_best_is_the_best(tmp_path: Path) -> None:
    weak_or_strong = Filter("hqdn3d", ("hqdn3d=0.5", "hqdn3d=20"))
    scores = score_filters(smooth_clip(), "clip", REFERENCE_DAMAGE, (weak_or_strong,), tmp_path)
    assert scores.best(weak_or_strong) == ("hqdn3d=20", scores.psnr_y["hqdn3d=20"])
    assert score_filters(smooth_clip(), "clip", REFERENCE_DAMAGE, (weak_or_strong,), tmp_path) == scores


def test_one_setting_for_all_is_the_one_of_the_best_mean_not_of_the_best_clip() -> None:
    scores = [FilterScores({"a": 30, "b": 28}), FilterScores({"a": 20, "b": 27})]
    assert best_common_setting(scores, ["a", "b"]) == "b"


def test_pictures_survive_the_way_to_tensors_and_back() -> None:
    frames = smooth_clip()
    assert np.array_equal(to_bytes(to_tensor(frames)), frames)


def evaluation(
    gain: Callable[[Damage], float], filters_at: float = 26.0, priors: PriorComparison | None = None
) -> Evaluation:
    """Two clips whose inputs are all at 20 dB and whose outputs gain what is said."""

    def quality(psnr: float) -> Quality:
        return Quality(psnr_y=psnr, psnr=psnr, ssim=0.9, flicker=1.0)

    scores = FilterScores({s: filters_at for each in FILTERS for s in each.settings})
    cells = [
        Cell(clip, damage, quality(20), quality(20 + gain(damage)))
        for clip in ("one", "two")
        for damage in ALL_DAMAGE
    ]
    return Evaluation(
        model="nano",
        frames=60,
        cells=cells,
        filters={"one": scores, "two": scores},
        priors=None if priors is None else {REFERENCE_DAMAGE: priors},
    )


def cells_of(task: Task, gain: float, others: dict[str, float] | None = None) -> list[Cell]:
    quality = [Quality(psnr_y=x, psnr=x, ssim=0.9, flicker=1.0) for x in (30, 30 + gain)]
    return [Cell("one", damage, *quality, others=others or {}) for damage in task.damages]


@pytest.mark.parametrize(("task", "enough"), [(DEBLOCKING, 0.3), (UPSCALING, 1.6), (LIVE_DENOISING, 6.1)])
def test_every_task_asks_for_its_own_gain(task: Task, enough: float) -> None:
    for gain, met in ((enough, True), (enough - 0.2, False)):
        made = Evaluation(model=task.name, frames=60, cells=cells_of(task, gain), filters={}, task=task)
        assert made.bars()[0].met is met
    assert task_of(f"runs/{task.name}.safetensors", None) is task


def test_a_checkpoint_whose_name_tells_no_task_is_refused() -> None:
    with pytest.raises(UsageError, match="--task"):
        task_of("runs/last.safetensors", None)
    assert task_of("runs/last.safetensors", "deblock-nano") is DEBLOCKING


@pytest.mark.parametrize(
    ("model", "stage1"),
    [
        ("denoise-nano", "denoise-nano-s1"),
        ("upscale-x2-small", "upscale-x2-nano-s1"),
        ("runs/mine.safetensors", "runs/mine-s1.safetensors"),
    ],
)
def test_a_model_is_compared_with_the_stage_1_it_comes_from(model: str, stage1: str) -> None:
    assert stage1_of(model) == stage1


def test_models_of_two_widths_have_one_task() -> None:
    assert task_of("upscale-x2-small", None) is task_of("upscale-x2-nano", None) is UPSCALING


def test_other_upscalers_stand_beside_the_model() -> None:
    cells = cells_of(UPSCALING, 2.0, {"bicubic": 30.0, "Lanczos": 30.4})
    text = to_text(Evaluation(model="upscale-x2-nano", frames=60, cells=cells, filters={}, task=UPSCALING))
    assert "Lanczos" in text
    assert "30.40" in text
    assert "bicubic → output" in text


def test_shrunk_input_has_half_the_size_and_is_enlarged_back_by_others(tmp_path: Path) -> None:
    truth = smooth_clip(frames=2)
    for damage in SHRUNK:
        small = damaged(truth, "clip", damage, tmp_path)
        assert small.shape == (2, 24, 32, 3)
        scores = score_upscalers(to_tensor(small), to_tensor(truth), "clip", tmp_path)
        assert {"bicubic", "Lanczos"} <= scores.keys()
        assert min(scores.values()) > 28
        assert score_upscalers(to_tensor(small), to_tensor(truth), "clip", tmp_path) == scores


def test_x265_compresses_too(tmp_path: Path) -> None:
    truth = smooth_clip(height=96, width=96)
    light, strong = (
        damaged(truth, "clip", Damage(crf=crf, codec="x265"), tmp_path).astype(int) - truth
        for crf in (10, 45)
    )
    assert 0 < np.abs(light).mean() < np.abs(strong).mean()


def test_damage_names_what_it_is() -> None:
    names = [str(d) for d in (Damage(25), Damage(10, 30), Damage(crf=33), Damage(crf=28, shrink=2))]
    assert names == ["σ 25", "σ 10, CRF 30", "x264 CRF 33", "1/2, x264 CRF 28"]


def test_a_played_clip_is_named_and_is_the_same_on_every_call(tmp_path: Path) -> None:
    truth = smooth_clip(frames=4)
    woven, made, coded = Damage(tape=50), Damage(tape=50, deinterlaced=True), Damage(tape=50, crf=23)
    assert [str(d) for d in (woven, made, coded)] == [
        "wear 50 %",
        "wear 50 %, deinterlaced",
        "wear 50 %, x264 CRF 23",
    ]
    first = damaged(truth, "clip", woven, tmp_path)
    assert np.array_equal(first, damaged(truth, "clip", woven, tmp_path))
    for other in (made, coded):
        assert not np.array_equal(first, damaged(truth, "clip", other, tmp_path))
    assert not np.array_equal(first, damaged(truth, "another", woven, tmp_path))


def missed(made: Evaluation) -> list[str]:
    return [bar.asked for bar in made.bars() if not bar.met]


def test_a_model_that_gains_enough_everywhere_meets_every_bar() -> None:
    good = PriorComparison(stage1_gt_prior=27.0, stage2=26.95, stage2_mean_prior=26.0)
    made = evaluation(lambda damage: 7.6, priors=good)
    assert len(made.bars()) == 7
    assert not missed(made)


@pytest.mark.parametrize(
    ("gain", "bar"),
    [
        (lambda d: 7.4 if d == REFERENCE_DAMAGE else 9, "mean gain at σ 25 uncompressed ≥ 7.5 dB"),
        (lambda d: 9 if d.crf is None else 1.4, "mean gain over the compressed settings ≥ 1.5 dB"),
        (lambda d: 0.2 if d == Damage(10, 30) else 9, "no clip and setting below +0.3 dB"),
    ],
)
def test_too_small_a_gain_misses_its_bar_and_no_other(gain: Callable[[Damage], float], bar: str) -> None:
    assert missed(evaluation(gain)) == [bar]


def test_a_filter_that_does_better_is_a_missed_bar() -> None:
    assert missed(evaluation(lambda d: 8, filters_at=27.5)) == [
        "mean at σ 25 0.7 dB above FFmpeg's nlmeans, tuned per clip",
        "mean at σ 25 0.7 dB above FFmpeg's hqdn3d, tuned per clip",
    ]


def test_a_prior_that_is_worth_nothing_is_a_missed_bar() -> None:
    useless = PriorComparison(stage1_gt_prior=27.0, stage2=26.8, stage2_mean_prior=26.8)
    assert missed(evaluation(lambda d: 8, priors=useless)) == [
        "stage 2 within 0.1 dB of stage 1 with its GT prior",
        "stage 2 better than with one constant (mean) prior",
    ]


@pytest.mark.parametrize("form", [to_text, to_markdown])
def test_the_report_shows_gains_filters_and_bars(form: Callable[[Evaluation], str]) -> None:
    text = form(evaluation(lambda d: 8.25))
    assert "20.00 → 28.25 (+8.25)" in text
    assert "hqdn3d at its best for each clip" in text
    assert "met: mean gain over the compressed settings ≥ 1.5 dB: +8.25 dB" in text


def tiny_config() -> ModelConfig:
    return ModelConfig(
        dim=8,
        blocks=(1, 1),
        heads=(1, 2),
        refinement_blocks=0,
        past=1,
        future=1,
        cpen_blocks=0,
        cpen_width=8,
        prior_width=16,
    )


def test_priors_are_compared_on_the_same_frames_for_every_damage(tmp_path: Path) -> None:
    truth = smooth_clip(frames=5, height=18, width=22)
    wanted = (Damage(10), Damage(40))

    def inputs() -> Iterable[LabelledInput]:
        for damage in wanted:
            picture = damaged(truth, "clip", damage, tmp_path)
            yield LabelledInput("clip", damage, to_tensor(picture), to_tensor(truth))

    torch.manual_seed(0)
    config = tiny_config()
    comparison = compare_priors(DiffIRS1(config).eval(), DiffIRS2(config).eval(), inputs, frames_per_clip=2)
    assert tuple(comparison) == wanted
    light, strong = comparison[wanted[0]], comparison[wanted[1]]
    # Untrained networks add their input's noise back: more noise, lower figures, whatever the prior.
    for name in ("stage1_gt_prior", "stage2", "stage2_mean_prior"):
        assert getattr(light, name) > getattr(strong, name)


def two_shots(frames: int) -> NDArray[np.uint8]:
    shot = smooth_clip(frames=frames, height=16, width=16)
    return np.concatenate([shot // 4, 255 - shot // 4])


@pytest.mark.parametrize("recurrent", [False, True])
def test_priors_are_compared_on_what_a_restorer_makes_of_two_shots(recurrent: bool) -> None:
    truth = two_shots(frames=4)
    picture = to_tensor(add_noise(truth, "clip", 5))
    torch.manual_seed(0)
    config = dataclasses.replace(tiny_config(), future=0 if recurrent else 1, recurrent=recurrent)
    first, second = DiffIRS1(config).eval(), DiffIRS2(config).eval()
    inputs = [LabelledInput("clip", Damage(5), picture, to_tensor(truth))]
    comparison = compare_priors(first, second, lambda: inputs, frames_per_clip=8)[Damage(5)]
    restorer = Restorer(second, device="cpu", precision="fp32")
    restored = restorer.restore(Clip(picture, tuple(range(8)), Fraction(1, 25))).data
    assert comparison.stage2 == pytest.approx(float(psnr_y(restored, to_tensor(truth)).mean()), abs=1e-3)


def test_a_recurrent_networks_priors_are_compared_in_turn(tmp_path: Path) -> None:
    """Its first frame is restored alone, and the others from what became of those before."""
    truth = smooth_clip(frames=4, height=16, width=16)
    picture = to_tensor(damaged(truth, "clip", Damage(10), tmp_path))
    torch.manual_seed(0)
    config = dataclasses.replace(tiny_config(), future=0, recurrent=True)
    first, second = DiffIRS1(config).eval(), DiffIRS2(config).eval()
    inputs = [LabelledInput("clip", Damage(10), picture, to_tensor(truth))]
    comparison = compare_priors(first, second, lambda: inputs, frames_per_clip=3)[Damage(10)]
    restorer = Restorer(second, device="cpu", precision="fp32")
    restored = restorer.restore(Clip(picture[:3], (0, 1, 2), Fraction(1, 25))).data
    expected = float(psnr_y(restored, to_tensor(truth)[:3]).mean())
    assert comparison.stage2 == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("option", ["--json", "--markdown"])
def test_a_report_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    nowhere = tmp_path / "no" / "report"
    assert main(["--data", str(tmp_path / "data"), option, str(nowhere)]) == 4
    assert f"there is no folder '{nowhere.parent}'" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()

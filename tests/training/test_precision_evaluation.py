"""The evaluation of precisions: each against float32 on the same frames; what a machine lacks is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import diffir_video as dv
from tests.network.test_variants import tiny
from training.evaluation import precisions
from training.evaluation.material import CLIPS
from training.evaluation.precisions import PrecisionEvaluation, Row, evaluate, main


def rows(precision: str, *psnr: float) -> list[Row]:
    clips = ("a", "a", "b")
    return [
        Row("net", precision, clip, f"{clip} {n}", value)
        for n, (clip, value) in enumerate(zip(clips, psnr, strict=True))
    ]


def test_a_precision_is_measured_against_float32_clip_by_clip() -> None:
    result = PrecisionEvaluation([*rows("fp32", 30, 32, 34), *rows("int8", 29.9, 31.7, 34.01)], ["no bf16"])
    assert result.losses("net", "int8") == pytest.approx({"a": 0.2, "b": -0.01})
    table, refused = result.to_markdown().split("\n\n")
    assert table.splitlines()[-1] == "| net, int8 | +0.2000 | -0.0100 | +0.0950 |"
    assert refused == "no bf16"


@pytest.fixture
def clips_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truths = {clip.name: rng.integers(0, 256, (8, 48, 64, 3), np.uint8) for clip in CLIPS}
    monkeypatch.setattr(precisions, "ground_truth", lambda _, clip, limit: truths[clip.name][:limit])


@pytest.mark.usefixtures("clips_at_hand")
def test_every_precision_restores_the_same_programmes_or_says_why_not(tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkpoint = tmp_path / "net.safetensors"
    dv.save_checkpoint(dv.DiffIRS2(tiny()), checkpoint)
    result = evaluate([str(checkpoint)], tmp_path, clips=CLIPS[:1])
    measured = {row.precision for row in result.rows}
    told = {line.split(":")[0].rsplit(" ")[-1] for line in result.refused}
    assert "fp32" in measured
    assert measured | told == {"fp32", "bf16", "bf16x3", "int8"}
    assert not measured & told
    assert len(result.rows) == 2 * len(measured)
    for precision in measured - {"fp32"}:
        assert 0 < abs(result.losses(checkpoint.name, precision)[CLIPS[0].name]) < 0.1


@pytest.mark.usefixtures("clips_at_hand")
def test_models_that_enlarge_and_unknown_ones_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, message in (("upscale-x2-nano", "upscale-x2-nano enlarges 2 times"), ("no-such", "no-such")):
        assert main(["--data", str(tmp_path), "--models", model]) == 2
        assert message in capsys.readouterr().err

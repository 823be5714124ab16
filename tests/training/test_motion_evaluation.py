"""The evaluation of compensation: the same weights, with neighbours moved and as they came."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import diffir_video as dv
from tests.network.test_motion import panned
from tests.network.test_variants import tiny
from training.evaluation import motion
from training.evaluation.material import CLIPS
from training.evaluation.motion import Row, evaluate, main, to_markdown


@pytest.fixture
def a_pan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two columns a frame."""
    views = panned(*((0, 2 * t) for t in range(6)), height=96, width=96).reshape(6, 3, 96, 96)
    truth: NDArray[np.uint8] = (views * 255).round().byte().permute(0, 2, 3, 1).numpy()
    monkeypatch.setattr(motion, "ground_truth", lambda _, __, limit: truth[:limit])


def model(tmp_path: Path, **settings: object) -> str:
    """It returns the mean of its three frames."""
    net = dv.DiffIRS2(tiny(past=1, future=1, unshuffle=2, blend=True, **settings))
    torch.nn.init.zeros_(net.G.output.weight)
    dv.save_checkpoint(net, tmp_path / "net.safetensors")
    return str(tmp_path / "net.safetensors")


@pytest.mark.usefixtures("a_pan")
def test_a_pan_gains_by_compensation(tmp_path: Path) -> None:
    rows = evaluate([model(tmp_path, compensated=True)], tmp_path, clips=CLIPS[:1], frame_limit=6)
    assert [row.damage for row in rows] == ["σ 10", "σ 25", "σ 25, CRF 23", "σ 10, CRF 30"]
    assert all(row.moved > row.still + 1 for row in rows), rows


def test_gains_are_told_clip_by_clip() -> None:
    rows = [Row("net", "a", "σ 10", 30, 31.5), Row("net", "b", "σ 10", 30, 29.9)]
    assert to_markdown(rows).splitlines()[-1] == "| net, σ 10 | +1.50 | -0.10 | +0.70 |"


def test_models_that_compensate_nothing_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (model(tmp_path), "upscale-x2-nano", "denoise-nano-s1"):
        assert main(["--data", str(tmp_path), "--models", name]) == 2
        assert "expected a stage-2 model of scale 1 that compensates motion" in capsys.readouterr().err

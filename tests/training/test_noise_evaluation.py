"""The evaluation of noise that isn't white: the same level, made by a sensor's mosaic or an enlargement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import diffir_video as dv
from tests.network.test_variants import tiny
from training.evaluation import noises
from training.evaluation.material import CLIPS, add_noise
from training.evaluation.noises import Row, evaluate, main, to_markdown

GREY = np.full((4, 64, 96, 3), 128, np.uint8)


def variance_of_means(noisy: NDArray[np.uint8]) -> float:
    """Over all blocks of 4x4 pixels, against that of pixels: a sixteenth in white noise."""
    noise = noisy.astype(float) - 128
    means = noise.reshape(4, 16, 4, 24, 4, 3).mean(axis=(2, 4))
    return means.var() / noise.var()


def test_what_is_interpolated_is_weaker_and_coarser() -> None:
    white, mosaic, enlarged = (add_noise(GREY, "clip", 25, kind) for kind in ("white", "mosaic", "enlarged"))
    assert variance_of_means(white) == pytest.approx(1 / 16, rel=0.1)
    for noisy in (mosaic, enlarged):
        assert 0.6 * white.std() < noisy.std() < 0.95 * white.std()
        assert variance_of_means(noisy) > 1.4 / 16
    assert np.array_equal(mosaic, add_noise(GREY, "clip", 25, "mosaic"))


@pytest.fixture
def grey_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noises, "ground_truth", lambda _, __, limit: GREY[:limit])


@pytest.mark.usefixtures("grey_clips")
def test_every_kind_is_restored_uncompressed_and_compressed(tmp_path: Path) -> None:
    # It returns the mean of its three frames.
    net = dv.DiffIRS2(tiny(past=1, future=1, unshuffle=2, blend=True))
    torch.nn.init.zeros_(net.G.output.weight)
    dv.save_checkpoint(net, tmp_path / "net.safetensors")
    rows = evaluate([str(tmp_path / "net.safetensors")], tmp_path, clips=CLIPS[:1], frame_limit=4)
    kinds = ["σ 25", "σ 25 mosaic", "σ 25 enlarged"]
    assert [row.damage for row in rows] == [*kinds, *(f"{kind}, CRF 23" for kind in kinds)]
    for row in rows[:3]:
        assert 2 < row.restored - row.damaged < 10 * np.log10(3) + 0.1, row


def test_what_goes_in_and_comes_out_is_told_clip_by_clip() -> None:
    rows = [Row("net", "a", "σ 25", 20, 31.5), Row("net", "b", "σ 25", 21, 30)]
    assert to_markdown(rows).splitlines()[-1] == "| net, σ 25 | 20.00 → 31.50 | 21.00 → 30.00 | +10.25 |"


@pytest.mark.usefixtures("grey_clips")
def test_models_that_enlarge_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--models", "upscale-x2-nano"]) == 2
    assert "upscale-x2-nano enlarges 2 times" in capsys.readouterr().err

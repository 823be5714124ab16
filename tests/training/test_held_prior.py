"""What a prior costs as it ages: every age restores the same frames, and only the prior differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import diffir_video as dv
from diffir_video.checkpoint import save_checkpoint
from tests.training.conftest import Recipe, picture
from training.evaluation import held_prior
from training.evaluation.held_prior import RISING, STEADY, Ageing, Row, evaluate
from training.evaluation.material import EvaluationClip
from training.evaluation.tool import longest_shot

CLIP = EvaluationClip(name="made", file="made.mkv", shrink=1)


def pan(frames: int, seed: int = 0) -> NDArray[np.uint8]:
    whole = picture(48, 64 + frames, seed)
    return np.stack([whole[:, t : t + 64] for t in range(frames)])


@pytest.fixture
def material(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(_: Path, __: EvaluationClip, frame_limit: int) -> NDArray[np.uint8]:
        return pan(frame_limit)

    monkeypatch.setattr(held_prior, "ground_truth", made)


def checkpoint(
    recipe: Recipe, kind: type[dv.DiffIRS1 | dv.DiffIRS2], name: str, *, deaf: bool = False
) -> str:
    """deaf: to its prior."""
    torch.manual_seed(0)
    net = kind(recipe.config().model)
    if deaf:
        for parameter_name, parameter in net.G.named_parameters():
            if ".kernel." in parameter_name:
                torch.nn.init.zeros_(parameter)
    path = recipe.folder / f"{name}.safetensors"
    save_checkpoint(net, path)
    return str(path)


@pytest.mark.usefixtures("material")
def test_age_costs_nothing_where_the_prior_is_not_heard_and_something_where_it_is(recipe: Recipe) -> None:
    models = [checkpoint(recipe, dv.DiffIRS2, "hears"), checkpoint(recipe, dv.DiffIRS2, "deaf", deaf=True)]
    found = evaluate(models, recipe.folder, ages=[6], clips=[CLIP], frame_limit=12)
    assert found.ages == [0, 6]
    for damage in (STEADY, RISING):
        assert found.loss("deaf", damage, 6) == 0
        assert found.loss("hears", damage, 6) != 0


@pytest.mark.usefixtures("material")
def test_both_stages_have_priors_that_age(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = checkpoint(recipe, dv.DiffIRS1, "s1"), checkpoint(recipe, dv.DiffIRS2, "s2")
    found = evaluate([first, second], recipe.folder, ages=[0, 3], clips=[CLIP], frame_limit=9)
    assert len(found.rows) == 2 * 2 * 2
    assert {"| s1 |", "| s2 |"} <= {line[:6] for line in found.to_markdown().splitlines()}
    found.draw(recipe.folder / "a.png")
    assert (recipe.folder / "a.png").stat().st_size > 0
    command = ["--data", str(recipe.folder), "--model", first, "--ages", "3", "--frames", "4"]
    assert held_prior.main([*command, "--clips", "bikes"]) == 2
    assert "long enough" in capsys.readouterr().err


def test_a_loss_is_against_age_0_of_the_same_model() -> None:
    rows = [Row("a", STEADY, clip, age, 30 - age / 10, 1.0) for clip in "xy" for age in (0, 5)]
    assert Ageing(rows).loss("a", STEADY, 5) == pytest.approx(0.5)


def test_shots_are_kept_apart() -> None:
    dark = (pan(5) // 4).astype(np.uint8)
    assert longest_shot(np.concatenate([dark, 255 - dark, 255 - pan(9) // 4 - 5])[:12]) == (5, 12)
    assert longest_shot(pan(8)) == (0, 8)

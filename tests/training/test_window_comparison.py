"""The comparison of windows: frames are where they belong, and what they cost is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import diffir_video as dv
from diffir_video.checkpoint import save_checkpoint
from tests.training.conftest import Recipe, picture
from training.evaluation import windows
from training.evaluation.material import EvaluationClip
from training.evaluation.windows import Row, evaluate

CLIP = EvaluationClip(name="made", file="made.mkv", shrink=1)
FRAMES = 40


@pytest.fixture(autouse=True)
def standing_still(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(_: Path, __: EvaluationClip, frame_limit: int) -> NDArray[np.uint8]:
        gray = picture(48, 64, seed=1) // 4 + 96
        return np.repeat(gray[None], frame_limit, axis=0)

    monkeypatch.setattr(windows, "ground_truth", made)


def blank(recipe: Recipe, name: str, *settings: str) -> str:
    """A network whose last convolution makes zeros: what it returns is its input's own doing."""
    net = dv.DiffIRS1(recipe.config(*settings).model)
    torch.nn.init.zeros_(net.G.output.weight)
    path = recipe.folder / f"{name}.safetensors"
    save_checkpoint(net, path)
    return str(path)


def rows(recipe: Recipe, *models: str) -> dict[str, Row]:
    found = evaluate(models, recipe.folder, clips=[CLIP], frame_limit=FRAMES)
    return {row.model: row for row in found.rows}


@pytest.mark.parametrize(("past", "future"), [(0, 0), (1, 1), (3, 0)])
def test_what_adds_nothing_to_the_middle_frame_gains_nothing(recipe: Recipe, past: int, future: int) -> None:
    model = blank(recipe, "blank", f"model.past={past}", f"model.future={future}")
    row = rows(recipe, model)["blank"]
    assert (row.gain, row.first, row.settled) == (0, 0, 0)


def test_a_mean_of_frames_gains_and_least_after_a_cut(recipe: Recipe) -> None:
    """Zero logits weigh all frames alike: noise falls by 10 log n."""
    three = blank(recipe, "three", "model.blend=true")
    five = blank(
        recipe, "five", "model.blend=true", "model.past=2", "model.future=2", "data.sequence_frames=5"
    )
    found = rows(recipe, three, five)
    assert found["three"].settled == pytest.approx(10 * np.log10(3), abs=0.2)
    assert found["five"].settled == pytest.approx(10 * np.log10(5), abs=0.2)
    assert found["three"].first < found["three"].settled
    assert found["five"].flicker < found["three"].flicker


def test_what_is_restored_is_fed_back(recipe: Recipe) -> None:
    """Half of the last restored frame and half of this one: noise falls to a third."""
    model = blank(recipe, "fed", "model.blend=true", "model.past=1", "model.future=0", "model.recurrent=true")
    row = rows(recipe, model)["fed"]
    assert row.first == pytest.approx(0, abs=0.01)
    assert row.settled == pytest.approx(10 * np.log10(3), abs=0.2)


def test_costs_are_counted(recipe: Recipe) -> None:
    one = blank(recipe, "one", "model.past=0", "model.future=0")
    three = blank(recipe, "three")
    found = evaluate([one, three], recipe.folder, clips=[CLIP], frame_limit=FRAMES)
    cheap, dear = found.costs
    assert (cheap.delay, dear.delay) == (0, 1)
    # Six more channels into the first convolution, 3x3 to 8.
    assert dear.kmac - cheap.kmac == pytest.approx(6 * 8 * 9 / 1000)
    assert "| 1 past, 1 ahead |" in found.to_markdown()


def test_clips_have_to_settle(recipe: Recipe) -> None:
    with pytest.raises(dv.UsageError, match="--frames 12: more than 12 are needed"):
        evaluate([blank(recipe, "a")], recipe.folder, clips=[CLIP], frame_limit=12)

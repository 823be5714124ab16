"""Two processes with half a batch each train as one with the whole batch, in every phase."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import diffir_video as dv
from tests.training.conftest import Recipe
from training.stage1 import train_stage1
from training.stage2 import train_stage2

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def train(recipe: Recipe, stage: str, name: str, *settings: str, processes: int = 1) -> list[dict[str, Any]]:
    """What each process kept; see `one_process`."""
    recipe.config()
    folder = recipe.folder / name
    folder.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    module = ["-m", "tests.training.one_process", stage, str(recipe.folder / "recipe.yaml"), str(folder)]
    command = [
        sys.executable,
        *(launcher if processes > 1 else []),
        *module,
        f"output={folder / 'run'}",
        *settings,
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    names = map(str, range(processes)) if processes > 1 else ["alone"]
    return [torch.load(folder / f"{name}.pt") for name in names]


@pytest.fixture
def earlier(recipe: Recipe) -> dict[str, list[str]]:
    """For each stage, the settings that name the checkpoints it starts from."""
    train_stage1(recipe.config("max_steps=2", f"output={recipe.folder / 's1'}"))
    stage1 = f"stage1={recipe.folder}/s1/checkpoints/last.safetensors"
    train_stage2(recipe.config(stage1, "max_steps=2", f"output={recipe.folder / 's2'}"))
    stage2 = f"stage2={recipe.folder}/s2/checkpoints/last.safetensors"
    return {"stage1": [], "stage2": [stage1], "gan": [stage1, stage2]}


PHASES = {
    "stage1": ("stage1", ["psnr_weight=0.003"]),
    "prior": ("stage2", ["prior_steps=5"]),
    "joint": ("stage2", ["psnr_weight=0.003"]),
    "gan": ("gan", ["gan.perceptual=0", "gan.channels=4"]),
}


@pytest.mark.parametrize("phase", PHASES)
def test_gradient_of_two_processes_is_that_of_one(
    recipe: Recipe, earlier: dict[str, list[str]], phase: str
) -> None:
    stage, settings = PHASES[phase]
    settings = [*settings, *earlier[stage], "max_steps=5"]
    (alone,) = train(recipe, stage, "alone", *settings)
    first, second = train(recipe, stage, "two", *settings, processes=2)
    # The first gradients: later ones are of weights that differ by what rounding made of them.
    for index in range(2 if phase == "gan" else 1):
        expected, got = alone["gradients"][index], first["gradients"][index]
        assert float((got - expected).norm() / expected.norm()) <= 1e-5
    assert all(torch.equal(a, b) for a, b in zip(first["gradients"], second["gradients"], strict=True))
    assert all(torch.equal(tensor, second["net"][name]) for name, tensor in first["net"].items())


def test_processes_stay_together_from_the_prior_phase_into_the_joint_one(
    recipe: Recipe, earlier: dict[str, list[str]]
) -> None:
    settings = [*earlier["stage2"], "prior_steps=3", "max_steps=6"]
    first, second = train(recipe, "stage2", "two", *settings, processes=2)
    assert all(torch.equal(tensor, second["net"][name]) for name, tensor in first["net"].items())


def test_recipe_starts_its_own_processes(recipe: Recipe) -> None:
    """`devices` needs no launcher, and one of the processes writes."""
    recipe.config()
    settings = ["devices=2", "device=cpu", f"output={recipe.folder / 'run'}"]
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    command = [sys.executable, "-m", "training.cli", "stage1", "--config", str(recipe.folder / "recipe.yaml")]
    subprocess.run([*command, *arguments], cwd=ROOT, check=True, capture_output=True, timeout=300)
    steps = [
        json.loads(line)["step"] for line in (recipe.folder / "run" / "log.jsonl").read_text().splitlines()
    ]
    assert steps == [1, 2, 3, 4]
    assert dv.load_checkpoint(recipe.folder / "run" / "checkpoints" / "last.safetensors").stage == 1


def test_parts_of_a_batch_give_the_gradient_of_the_whole(recipe: Recipe) -> None:
    (whole,) = train(recipe, "stage1", "whole", "max_steps=1")
    (parts,) = train(recipe, "stage1", "parts", "max_steps=1", "accumulate=2")
    expected, got = whole["gradients"][0], parts["gradients"][0]
    assert float((got - expected).norm() / expected.norm()) <= 1e-5


def test_what_stops_the_first_process_is_what_is_told(recipe: Recipe) -> None:
    """It alone reads validation material and writes; the others end with it, without a trace."""
    recipe.config()
    nowhere = f"data.validation=[{{root: {recipe.folder / 'nowhere'}, kind: photos}}]"
    settings = ["devices=2", "device=cpu", nowhere]
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    command = [sys.executable, "-m", "training.cli", "stage1", "--config", str(recipe.folder / "recipe.yaml")]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2
    told = [line for line in done.stderr.splitlines() if line.startswith("diffir-train: ")]
    assert any("nowhere does not exist" in line for line in told)
    assert "Traceback" not in done.stderr

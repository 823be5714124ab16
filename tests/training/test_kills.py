"""A run killed again and again, at any moment, ends with the weights of one that was left alone."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import diffir_video as dv
from tests.training.conftest import Recipe

ROOT = Path(__file__).parents[2]
KILLS = 10
STEPS = 120


def start(recipe: Recipe, output: Path, *options: str) -> subprocess.Popen[bytes]:
    settings = [f"output={output}", f"max_steps={STEPS}", "checkpoint_every=1", "log_every=1"]
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    command = [sys.executable, "-m", "training.cli", "stage1", "--config", str(recipe.folder / "recipe.yaml")]
    return subprocess.Popen([*command, *arguments, *options], cwd=ROOT, stdout=subprocess.DEVNULL)


def steps_done(output: Path) -> int:
    log = output / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.slow
def test_ten_kills_change_nothing(recipe: Recipe) -> None:
    recipe.config()
    whole, killed = recipe.folder / "whole", recipe.folder / "killed"
    assert start(recipe, whole).wait(timeout=300) == 0
    moment = random.Random(0)
    for kill in range(KILLS):
        state = killed / "checkpoints" / "state.pt"
        process = start(recipe, killed, *(["--resume"] if state.exists() else []))
        begun = steps_done(killed)
        while steps_done(killed) < begun + 2 and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moment.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"the run ended by itself before kill {kill + 1}"
    assert start(recipe, killed, "--resume").wait(timeout=300) == 0

    ours, theirs = (dv.load_checkpoint(p / "checkpoints" / "last.safetensors") for p in (killed, whole))
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())
    assert steps_done(killed) == steps_done(whole) == STEPS

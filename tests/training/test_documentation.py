"""Every command in docs/training.md runs, at reduced size and in the order of the page."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.conftest import picture
from training.evaluation.ffmpeg import encode

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r"^\$ (.*)$", (ROOT / "docs" / "training.md").read_text(), re.MULTILINE)

PUBLISHED = (
    "model.dim=8", "model.blocks=[1, 1, 1, 1]", "model.refinement_blocks=0", "model.cpen_blocks=0",
    "model.cpen_width=8", "model.prior_width=16", "gan.channels=4", "gan.perceptual=0", "patch_size=32",
)  # fmt: skip
COMPACT = ("model.cpen_blocks=0", "data.codec.share=0", "patch_size=32", "cpen_frozen_steps=0")
BOTH = ("max_steps=2", "prior_steps=1", "threads=1", "data.workers=0")


def make_material(folder: Path) -> None:
    for seed in range(2):
        sharp = picture(96, 112, seed)
        for name, frame in (("sharp", sharp), ("blur", np.roll(sharp, 2, axis=1)), ("", sharp)):
            place = folder / ("GoPro/train/scene" if name else "photos") / name / f"{seed}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(place)
    (folder / "eval").mkdir()
    # Another subject than the training pictures': `data check` compares them.
    y, x = np.mgrid[:64, :80]
    other = np.stack([128 + 90 * np.sin(x / 17) * np.cos(y / 23)] * 3, axis=-1).astype(np.uint8)
    encode(np.stack([other, np.roll(other, 1, axis=1)]), 10, folder / "eval" / "clip.mkv")


def reduced(command: str) -> list[str]:
    """The command with small numbers; nothing that it says itself is taken out."""
    words = shlex.split(command)
    if words[0] == "torchrun":
        words[:3] = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    else:
        words[:1] = [sys.executable, "-m", "training.cli"]
    words = ["devices=2" if word == "devices=8" else word for word in words]
    settings: list[str] = []
    if "--config" in words:
        published = "denoise-nano" not in command
        batch = 8 if "one-gpu" in command else 4
        settings = [*(PUBLISHED if published else COMPACT), *BOTH, f"batch_size={batch}"]
        if "GoPro-crops" not in command:
            folder = "data/GoPro/train" if "deblur" in command else "data/photos"
            settings.append(f"data.train.root={folder}")
    if "prepare" in words:
        words[words.index("512")], words[words.index("256")] = "64", "32"
    if "evaluate" in words:
        words += ["--frames", "2"]
    return [*words, *(argument for setting in settings for argument in ("--set", setting))]


@pytest.mark.slow
def test_every_command_of_the_page_runs(tmp_path: Path) -> None:
    make_material(tmp_path / "data")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    assert len(COMMANDS) >= 16
    for command in COMMANDS:
        if "data fetch" in command:
            # It downloads; test_fetch.py tests it on packages of its own.
            continue
        done = subprocess.run(
            reduced(command),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert (tmp_path / "runs" / "prior.png").is_file()

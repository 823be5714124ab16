"""Every published recipe starts, saves and goes on as if it had never stopped, at a size for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffir_video as dv
from tests.training.conftest import picture
from training.cli import main
from training.recipe import load_config

RECIPES = Path(__file__).parents[2] / "configs" / "train"
PUBLISHED = ("deblur", "sr-x4", "sr-x2", "realsr-x4", "realsr-x2", "realsr-x1", "inpaint")
WITH_GAN = tuple(name for name in PUBLISHED if name.startswith(("sr", "realsr")))

REDUCED = (
    "model.dim=8", "model.blocks=[1, 1, 1, 1]", "model.refinement_blocks=0", "model.cpen_blocks=0",
    "model.cpen_width=8", "model.prior_width=16", "gan.channels=4", "gan.perceptual=0", "threads=1",
    "patch_size=32", "batch_size=2", "data.workers=0", "log_every=1",
)  # fmt: skip


@pytest.fixture
def material(tmp_path: Path) -> Path:
    """Pictures, and pairs as GoPro lays them out."""
    for seed in range(2):
        sharp = picture(48, 56, seed)
        blurred = ((sharp.astype(int) + np.roll(sharp, 3, axis=1)) // 2).astype(np.uint8)
        for name, frame in (("sharp", sharp), ("blur", blurred)):
            file = tmp_path / "pairs" / f"scene{seed}" / name / "000001.png"
            file.parent.mkdir(parents=True)
            Image.fromarray(frame).save(file)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(sharp).save(tmp_path / "photos" / f"{seed}.png")
    return tmp_path


def run(recipe: str, stage: str, material: Path, output: Path, *settings: str, resume: bool = False) -> None:
    folder = material / ("pairs" if recipe == "deblur" else "photos")
    runs = {
        f"{earlier}={output.parent / earlier}/checkpoints/last.safetensors" for earlier in earlier_than(stage)
    }
    chosen = [*REDUCED, f"data.train.root={folder}", f"output={output}", *runs, *settings]
    arguments = [argument for setting in chosen for argument in ("--set", setting)]
    arguments += ["--resume"] if resume else []
    assert main([stage, "--config", str(RECIPES / recipe / f"{stage}.yaml"), *arguments]) == 0


def earlier_than(stage: str) -> tuple[str, ...]:
    return {"stage1": (), "stage2": ("stage1",), "gan": ("stage1", "stage2")}[stage]


def rows(output: Path) -> list[dict[str, float]]:
    """What was logged of each step, without the times it took."""
    logged = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("steps_per_second", "data_wait_share")} for r in logged]


@pytest.mark.parametrize("recipe", ["deblur", "realsr-x4", "inpaint"])
def test_stages_follow_one_another(recipe: str, material: Path) -> None:
    for stage in ("stage1", "stage2", "gan") if recipe in WITH_GAN else ("stage1", "stage2"):
        run(recipe, stage, material, material / stage, "max_steps=2", "prior_steps=1")
        net = dv.load_checkpoint(material / stage / "checkpoints" / "last.safetensors")
        assert net.stage == (1 if stage == "stage1" else 2)
        assert [row["step"] for row in rows(material / stage)] == [1, 2]
        assert (material / stage / "config.yaml").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", PUBLISHED)
def test_run_in_two_pieces_equals_a_run_in_one(recipe: str, material: Path) -> None:
    for stage in ("stage1", "stage2", "gan") if recipe in WITH_GAN else ("stage1", "stage2"):
        whole, pieces = material / stage, material / f"{stage}-pieces"
        run(recipe, stage, material, whole, "max_steps=20", "prior_steps=8")
        run(recipe, stage, material, pieces, "max_steps=12", "prior_steps=8")
        run(recipe, stage, material, pieces, "max_steps=20", "prior_steps=8", resume=True)
        assert len(rows(whole)) == 20
        assert rows(pieces) == rows(whole)
        same_weights(pieces, whole)


def same_weights(one: Path, other: Path) -> None:
    ours, theirs = (dv.load_checkpoint(p / "checkpoints" / "last.safetensors") for p in (one, other))
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("overlay", ["one-gpu", "small-gpu", "small-cpu"])
def test_overlay_fits_every_published_recipe(overlay: str) -> None:
    for path in (p for name in PUBLISHED for p in sorted((RECIPES / name).glob("*.yaml"))):
        config = load_config(path, overlays=[RECIPES / f"{overlay}.yaml"])
        assert config.prior_steps < config.max_steps
        assert config.all_phases[0].batch_size % config.accumulate == 0


def test_small_network_fits_every_recipe() -> None:
    """Those of the built-in models, too, whose networks have other levels and windows."""
    for path in sorted(RECIPES.glob("*/*.yaml")):
        config = load_config(path, overlays=[RECIPES / "small-cpu.yaml"])
        assert (config.model.dim, len(config.model.heads)) == (16, 4)


def test_published_deblurring_schedule() -> None:
    """DiffIR's released options: patch and batch grow against each other over 300k and 400k steps."""
    for stage, steps in (("stage1", 300_000), ("stage2", 400_000)):
        config = load_config(RECIPES / "deblur" / f"{stage}.yaml")
        assert sum(phase.steps for phase in config.phases) == config.max_steps == steps
        assert [p.patch_size for p in config.phases] == [192, 256, 320, 384, 464, 512]
        assert [p.batch_size // 8 for p in config.phases] == [8, 4, 2, 2, 1, 1]


@pytest.mark.parametrize("recipe", ["realsr-x4", "realsr-x2", "realsr-x1"])
def test_second_version_sharpens_its_targets(recipe: str) -> None:
    path, overlay = RECIPES / recipe / "gan.yaml", RECIPES / "sharpened-targets.yaml"
    assert not load_config(path).data.damage.sharpened_targets
    assert load_config(path, overlays=[overlay]).data.damage.sharpened_targets

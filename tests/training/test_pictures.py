"""Samples of single pictures: repeatable, paired, of the phase's size; broken files cost nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import diffir_video as dv
from diffir_video.network import DiffIRS1
from tests.training.conftest import picture
from training.config import TrainConfig
from training.data.loader import batches
from training.data.pictures import PictureDataset
from training.recipe import load_config
from training.stage1 import train_stage1
from training.validation import validate


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for seed in range(3):
        sharp = picture(72, 88, seed)
        for name, frame in (("sharp", sharp), ("blur", 255 - sharp)):
            file = tmp_path / "pairs" / "scene" / name / f"{seed}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(file)
    values = {
        "output": str(tmp_path / "run"),
        "model": {
            "dim": 8, "blocks": [1, 1], "heads": [1, 2], "refinement_blocks": 0, "cpen_blocks": 0,
            "cpen_width": 8, "prior_width": 16,
        },
        "batch_size": 4, "patch_size": 32, "max_steps": 6, "seed": 5,
        "data": {
            "samples": "pictures", "workers": 0,
            "train": [{"root": str(tmp_path / "pairs"), "kind": "pairs", "shrink": 1}],
        },
    }  # fmt: skip
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def config(recipe: Path, *overrides: str) -> TrainConfig:
    return load_config(recipe, overrides)


def test_sample_is_a_function_of_seed_and_index(recipe: Path) -> None:
    first, again = PictureDataset(config(recipe)), PictureDataset(config(recipe))
    assert all(torch.equal(a, b) for a, b in zip(first[3], again[3], strict=True))
    assert not torch.equal(first[3][1], first[4][1])


def test_lq_and_ground_truth_are_cut_and_turned_alike(recipe: Path) -> None:
    """The pairs of the fixture are each other's negatives, so any other place or turn would show."""
    dataset = PictureDataset(config(recipe))
    for index in range(8):
        lq, gt = dataset[index]
        assert torch.equal(lq, 255 - gt)


def test_growing_patches_come_in_their_steps_and_resume_in_them(recipe: Path) -> None:
    phases = "phases=[{steps: 2, patch_size: 16, batch_size: 8}, {steps: 2, patch_size: 32, batch_size: 2}]"
    whole = [tuple(lq.shape) for lq, _ in batches(config(recipe, phases), 0)]
    assert whole == [(8, 3, 16, 16)] * 2 + [(2, 3, 32, 32)] * 4
    every = [lq for lq, _ in batches(config(recipe, phases), 0)]
    rest = [lq for lq, _ in batches(config(recipe, phases, "data.workers=1"), 3)]
    assert all(torch.equal(a, b) for a, b in zip(every[3:], rest, strict=True))


def test_size_override_takes_the_place_of_growing_patches(recipe: Path) -> None:
    phases = "phases=[{steps: 2, patch_size: 16, batch_size: 8}]"
    assert config(recipe, phases, "patch_size=24").all_phases[0].patch_size == 24


def test_processes_share_every_batch(recipe: Path) -> None:
    whole = [gt for _, gt in batches(config(recipe), 0)]
    halves = [[gt for _, gt in batches(config(recipe), 0, rank=r, processes=2)] for r in range(2)]
    for together, first, second in zip(whole, *halves, strict=True):
        assert torch.equal(together, torch.cat([first, second]))


def test_broken_and_small_and_lonely_pictures_are_left_out_and_counted(
    recipe: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = recipe.parent / "pairs" / "scene"
    (folder / "blur" / "0.png").write_bytes(b"no picture")
    (folder / "sharp" / "1.png").unlink()
    dataset = PictureDataset(config(recipe))
    assert "2 pictures in" in caplog.text
    assert {tuple(dataset[index][1].shape) for index in range(4)} == {(3, 32, 32)}
    with pytest.raises(dv.UsageError, match="no readable pairs of 96 pixels"):
        PictureDataset(config(recipe, "patch_size=96"))


def test_file_that_breaks_off_is_replaced_by_the_next_draw(
    recipe: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = recipe.parent / "pairs" / "scene" / "blur" / "0.png"
    file.write_bytes(file.read_bytes()[:2000])
    dataset = PictureDataset(config(recipe))
    for index in range(8):
        lq, gt = dataset[index]
        assert torch.equal(lq, 255 - gt)
    assert caplog.text.count("0.png") == 1


def test_material_of_which_nothing_decodes_is_an_error(recipe: Path) -> None:
    for file in (recipe.parent / "pairs" / "scene" / "blur").iterdir():
        file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(dv.InputError, match="none of the 3 pictures can be read"):
        PictureDataset(config(recipe))[0]


def test_lq_of_another_size_is_left_out(recipe: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(
        recipe.parent / "pairs" / "scene" / "blur" / "0.png"
    )
    PictureDataset(config(recipe))
    assert "0.png of 40x40 does not belong to 88x72" in caplog.text


def test_folder_without_pairs_says_how_they_are_laid_out(recipe: Path) -> None:
    (recipe.parent / "flat").mkdir()
    Image.fromarray(picture(64, 64, 0)).save(recipe.parent / "flat" / "0.png")
    with pytest.raises(dv.UsageError, match="blur/ and sharp/"):
        PictureDataset(config(recipe, f"data.train.0.root={recipe.parent / 'flat'}"))


def test_validation_that_nothing_measures_is_refused_before_the_first_step(recipe: Path) -> None:
    validation = f"data.validation=[{{root: {recipe.parent / 'pairs'}, kind: pairs, shrink: 1}}]"
    with pytest.raises(dv.UsageError, match="validation on pictures of 8 pixels: SSIM needs 11 or more"):
        train_stage1(config(recipe, validation, "patch_size=8"))
    assert not (recipe.parent / "run").exists()


def test_equal_pictures_do_not_make_a_mean_of_validation_infinite(recipe: Path) -> None:
    net = DiffIRS1(config(recipe).model)
    truth = torch.rand(1, 3, 16, 16)
    samples = {"picture": [(truth, truth), (1 - truth, truth)]}
    figures, _ = validate(net, lambda _net, lq, _gt: lq, samples, torch.device("cpu"))
    assert 50 < figures["picture_psnr_y"] == figures["picture_input"] < 100


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.train.0.kind=clips",), "of the kind 'clips': data.samples = 'pictures'"),
        (("data.samples=windows",), "of the kind 'pairs': data.samples = 'windows'"),
        (("data.validation=[{root: somewhere, kind: clips}]",), "source somewhere is of the kind 'clips'"),
        (("data.damage.kind=holes", "model.image_channels=4"), "of the kind 'pairs'"),
        (("shared_prior=true",), "shared_prior = True and temporal_weight = 0 are of windows"),
        (("temporal_weight=0.5",), "temporal_weight = 0.5 are of windows"),
    ],
)
def test_what_pictures_have_not_is_refused(recipe: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(dv.UsageError, match=message):
        config(recipe, *overrides)


def test_holes_and_four_channels_belong_together(recipe: Path) -> None:
    with pytest.raises(dv.UsageError, match="holes"):
        config(recipe, "data.damage.kind=holes")
    with pytest.raises(dv.UsageError, match="one frame"):
        config(recipe, "model.past=1")

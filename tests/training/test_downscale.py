"""Samples of models that enlarge: a small damaged window, and the large clean frame it was made of."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from skimage.transform import downscale_local_mean

import diffir_video as dv
from tests.training.conftest import Recipe, picture
from training.config import DownscaleConfig
from training.data.downscale import KERNELS, downscale, downscale_randomly
from training.data.loader import batches
from training.data.windows import WindowDataset
from training.stage1 import train_stage1

ENLARGING = ("model.scale=2", "model.residual_upsample=bicubic")
UNDAMAGED = ("data.noise.clean=1", "data.codec.share=0")


def test_area_kernel_averages_squares() -> None:
    frames = picture(32, 48, 0)[None]
    expected = downscale_local_mean(frames[0].astype(float), (2, 2, 1))
    assert np.abs(downscale(frames, 2, "area")[0] - expected).max() <= 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_kernel_aliases_or_moves_the_picture(kernel: str) -> None:
    """A pattern too fine for the smaller picture becomes grey; a ramp stays where it is."""
    stripes = np.zeros((1, 32, 32, 3), np.uint8)
    stripes[:, :, ::2] = 255
    assert np.ptp(downscale(stripes, 2, kernel)[:, :, 4:-4]) <= 4
    ramp = np.broadcast_to(np.arange(0, 128, 2, dtype=np.uint8)[None, None, :, None], (1, 64, 64, 3))
    inner = downscale(ramp, 2, kernel)[0, 8, 4:-4, 0].astype(float)
    assert np.abs(inner - (np.arange(4, 28) * 4 + 1)).max() <= 1


def test_kernel_is_drawn_for_the_sequence_by_its_odds() -> None:
    frames = np.stack([picture(32, 32, seed) for seed in range(2)])
    only = DownscaleConfig(area=0, bilinear=0, bicubic=0, lanczos=1)
    drawn = downscale_randomly(frames, 2, only, np.random.default_rng(0))
    assert np.array_equal(drawn, downscale(frames, 2, "lanczos"))
    several = {
        downscale_randomly(frames, 2, DownscaleConfig(), np.random.default_rng(s)).tobytes()
        for s in range(20)
    }
    assert 2 <= len(several) <= len(KERNELS)


def test_sizes_that_do_not_divide_are_named() -> None:
    with pytest.raises(dv.UsageError, match="31x32"):
        downscale(np.zeros((1, 32, 31, 3), np.uint8), 2, "area")
    with pytest.raises(dv.UsageError, match="sinc"):
        downscale(np.zeros((1, 32, 32, 3), np.uint8), 2, "sinc")


def test_window_is_small_and_ground_truth_large(recipe: Recipe) -> None:
    lq, gt = next(batches(recipe.config(*ENLARGING), first_step=0))
    assert (lq.shape, gt.shape) == ((4, 9, 16, 16), (4, 3, 32, 32))


def test_ground_truth_made_smaller_is_the_middle_of_the_window(recipe: Recipe) -> None:
    odds = "data.downscale={area: 1, bilinear: 0, bicubic: 0, lanczos: 0}"
    dataset = WindowDataset(recipe.config(*ENLARGING, *UNDAMAGED, odds))
    for index in range(5):
        for lq, gt in zip(*dataset[index], strict=True):
            small = torch.nn.functional.avg_pool2d(gt.float(), 2)
            assert (small - lq[3:6]).abs().max() <= 1


def test_run_validates_against_bicubic(recipe: Recipe) -> None:
    photos = recipe.folder / "photos"
    validation = f"data.validation=[{{root: {photos}, kind: photos, shrink: 1}}]"
    damage = "data.validation_damage=[{}, {crf: 28}]"
    train_stage1(recipe.config(*ENLARGING, validation, damage, "max_steps=2", "validate_every=2"))
    rows = [json.loads(line) for line in (recipe.folder / "run" / "log.jsonl").read_text().splitlines()]
    (validated,) = (row for row in rows if "sigma0_psnr_y" in row)
    assert validated["sigma0_input"] > validated["sigma0_crf28_input"] > 15
    assert (recipe.folder / "run" / "samples" / "0000002.png").is_file()

"""The losses that are ours; the published ones are held to the golden vectors."""

from __future__ import annotations

import pytest
import torch

from diffir_video.metrics import psnr_y
from training.losses import luma_psnr, pixel_loss, restoration_loss


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(3, 3, 16, 16, generator=generator)
    strength = torch.tensor([0.03, 0.1, 0.3]).view(3, 1, 1, 1)
    return gt + strength * torch.randn(gt.shape, generator=generator), gt


def test_luma_psnr_is_the_metric(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    restored, gt = pair
    assert float(luma_psnr(restored, gt)) == pytest.approx(float(psnr_y(restored, gt).mean()), abs=0.1)


def test_luma_psnr_of_a_perfect_picture_is_finite(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, gt = pair
    assert float(luma_psnr(gt, gt)) == pytest.approx(50)


def test_every_pair_pulls_alike_however_strong_its_damage(
    pair: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """The gradient is that of a ratio: ten times the error, a tenth of the pull on each pixel."""
    restored, gt = pair
    restored.requires_grad_()
    (gradient,) = torch.autograd.grad(luma_psnr(restored, gt), restored)
    pull = (gradient * (restored - gt).detach()).sum(dim=(1, 2, 3)).abs()
    assert float(pull.max() / pull.min()) < 1.2


def test_weight_zero_is_the_published_loss(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    restored, gt = pair
    assert torch.equal(restoration_loss(restored, gt, 0.0), pixel_loss(restored, gt))
    expected = pixel_loss(restored, gt) - 0.01 * luma_psnr(restored, gt)
    assert torch.allclose(restoration_loss(restored, gt, 0.01), expected)

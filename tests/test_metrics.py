"""PSNR, SSIM and flicker: what they answer, against hand-worked values and against scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from diffir_video.errors import UsageError
from diffir_video.metrics import luma, mean_psnr, psnr, psnr_y, ssim, ssim_rgb, temporal_flicker


def noisy_pair(frames: int = 3, height: int = 37, width: int = 52) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(frames, 3, 6, 8, generator=generator)
    truth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    noise = torch.randn(truth.shape, generator=generator) * 0.08
    return (truth + noise).clamp(0, 1), truth


def test_luma_of_black_white_and_primaries_is_bt601_studio_range() -> None:
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).view(5, 3, 1, 1)
    levels = luma(colours).flatten() * 255
    expected = torch.tensor([16, 235, 16 + 65.481, 16 + 128.553, 16 + 24.966])
    torch.testing.assert_close(levels, expected)


def test_psnr_of_a_constant_error_is_its_definition() -> None:
    truth = torch.full((2, 3, 8, 8), 0.5)
    restored = truth + torch.tensor([0.1, 0.01]).view(2, 1, 1, 1)
    torch.testing.assert_close(psnr(restored, truth), torch.tensor([20.0, 40.0]), atol=1e-3, rtol=0)


def test_psnr_y_of_a_grey_error_is_higher_by_the_studio_range() -> None:
    truth = torch.full((1, 3, 8, 8), 0.5)
    difference = psnr_y(truth + 0.1, truth) - psnr(truth + 0.1, truth)
    assert difference.item() == pytest.approx(20 * math.log10(255 / 219), abs=1e-3)


def test_psnr_of_equal_frames_is_infinite_and_of_the_others_is_not() -> None:
    restored, truth = noisy_pair(2)
    restored[0] = truth[0]
    first, second = psnr(restored, truth).tolist()
    assert math.isinf(first)
    assert math.isfinite(second)


def test_psnr_agrees_with_scikit_image() -> None:
    restored, truth = noisy_pair()
    expected = [
        peak_signal_noise_ratio(t.numpy(), r.numpy(), data_range=1.0)
        for r, t in zip(restored, truth, strict=True)
    ]
    np.testing.assert_allclose(psnr(restored, truth).numpy(), expected, atol=1e-4)


def test_ssim_agrees_with_scikit_image_on_luma() -> None:
    restored, truth = noisy_pair()
    expected = [
        structural_similarity(
            t[0].double().numpy(),
            r[0].double().numpy(),
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for r, t in zip(luma(restored), luma(truth), strict=True)
    ]
    np.testing.assert_allclose(ssim(restored, truth).numpy(), expected, atol=1e-5)
    assert np.max(expected) < 0.95, "the pair has to be different enough to tell right from wrong"


def test_ssim_of_equal_frames_is_one() -> None:
    _, truth = noisy_pair()
    torch.testing.assert_close(ssim(truth, truth), torch.ones(3))


def test_an_error_that_stands_still_does_not_flicker() -> None:
    _, truth = noisy_pair()
    torch.testing.assert_close(temporal_flicker(truth + 0.1, truth), torch.zeros(2), atol=1e-6, rtol=0)


def test_an_error_that_alternates_flickers_by_its_step() -> None:
    _, truth = noisy_pair()
    step = torch.tensor([0.1, -0.1, 0.1]).view(3, 1, 1, 1)
    torch.testing.assert_close(temporal_flicker(truth + step, truth), torch.full((2,), 0.2))


@pytest.mark.parametrize("metric", [psnr, psnr_y, ssim, temporal_flicker])
def test_pictures_of_unequal_size_are_refused_with_both_sizes(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(UsageError, match=r"\(2, 3, 16, 16\) and \(2, 3, 16, 18\)"):
        metric(torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 18))


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 4, 16, 16)])
def test_what_is_no_rgb_clip_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"\(T, 3, H, W\)"):
        psnr(torch.zeros(shape), torch.zeros(shape))


def test_ssim_refuses_a_picture_smaller_than_its_window() -> None:
    with pytest.raises(UsageError, match="11x11 pixels, got 10x40"):
        ssim(torch.zeros(1, 3, 40, 10), torch.zeros(1, 3, 40, 10))


def test_flicker_of_a_single_frame_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 frames, got 1"):
        temporal_flicker(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("metric", [psnr, psnr_y, ssim, ssim_rgb, temporal_flicker])
@pytest.mark.parametrize("integer_first", [True, False])
def test_code_values_are_refused_and_not_taken_for_0_to_1(metric: object, integer_first: bool) -> None:
    assert callable(metric)
    pictures = [torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.zeros(2, 3, 16, 16)]
    with pytest.raises(UsageError, match=r"got torch\.uint8; divide 8 bits by 255"):
        metric(*(pictures if integer_first else pictures[::-1]))


@pytest.mark.parametrize("metric", [psnr_y, ssim])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_luma_of_half_precision_is_computed_in_float32(metric: object, dtype: torch.dtype) -> None:
    assert callable(metric)
    restored, truth = (pictures.to(dtype) for pictures in noisy_pair())
    torch.testing.assert_close(
        metric(restored, truth), metric(restored.float(), truth.float()), atol=1e-6, rtol=0
    )


def test_one_frame_that_equals_its_truth_does_not_make_a_clip_infinite() -> None:
    assert mean_psnr(torch.tensor([math.inf, 20.0, 30.0])) == pytest.approx(50)

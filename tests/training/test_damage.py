"""Damage is what it says: to single pictures, with holes, and to clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.conftest import picture
from training.config import CodecConfig
from training.data.clip_damage import age, draw_exposure, exposed, interlaced
from training.data.damage import damage_picture, sharpened
from training.data.degradations import compress_randomly
from training.data.masks import BRUSHES, draw_mask
from training.data.second_order import degrade, draw_kernel, filtered, sinc_kernel
from training.options import ClipDamageConfig, DamageConfig, OrderConfig


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_second_order_shrinks_damages_and_repeats(scale: int) -> None:
    clean = picture(64, 96, 0)
    for seed in range(6):
        lq = degrade(clean, DamageConfig(kind="second_order"), scale, rng(seed))
        assert (lq.shape, lq.dtype) == ((64 // scale, 96 // scale, 3), np.uint8)
        assert np.array_equal(lq, degrade(clean, DamageConfig(kind="second_order"), scale, rng(seed)))
        if scale == 1:
            assert np.abs(lq.astype(float) - clean).mean() > 2


def test_no_damage_asked_for_is_little_damage() -> None:
    """Rounds that neither blur nor resize, weak noise and the best JPEG leave the picture."""
    mild = OrderConfig(blur=0, enlarge=0, reduce=0, keep=1, gaussian=1, noise=(0, 0), jpeg=(100, 100))
    damage = DamageConfig(kind="second_order", first=mild, second=mild, final_sinc=0)
    clean = picture(64, 64, 1)
    assert np.abs(degrade(clean, damage, 1, rng()).astype(float) - clean).mean() < 3


@pytest.mark.parametrize("kind", range(6))
def test_kernels_sum_to_one_and_sit_in_the_middle(kind: int) -> None:
    shapes = [0.0] * 6
    shapes[kind] = 1.0
    order = OrderConfig(sinc=0, shapes=tuple(shapes))  # pyright: ignore[reportArgumentType]
    for seed in range(5):
        kernel = draw_kernel(order, rng(seed))
        assert kernel.shape == (21, 21)
        assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
        assert torch.allclose(kernel, kernel.flip(0, 1), atol=1e-7)
        assert int(kernel.argmax()) == 10 * 21 + 10


def test_ideal_low_pass_keeps_flat_areas_and_removes_what_is_finer_than_its_cutoff() -> None:
    stripes = torch.zeros(1, 3, 48, 48)
    stripes[..., ::2] = 1
    for seed in range(5):
        kernel = sinc_kernel(rng(seed))
        assert torch.allclose(filtered(torch.full((1, 3, 48, 48), 0.5), kernel), torch.tensor(0.5), atol=1e-4)
        assert float(filtered(stripes, kernel)[..., 12:-12, 12:-12].std()) < 0.5


def test_poisson_noise_grows_with_the_signal() -> None:
    """Through the whole round, on a dark and a bright half."""
    order = OrderConfig(
        blur=0, enlarge=0, reduce=0, keep=1, gaussian=0, poisson=(1, 1), grey=0, jpeg=(100, 100)
    )
    none = OrderConfig(blur=0, enlarge=0, reduce=0, keep=1, gaussian=1, noise=(0, 0), jpeg=(100, 100))
    ramp = np.broadcast_to(np.linspace(10, 240, 128).astype(np.uint8)[None, :, None], (128, 128, 3))
    lq = degrade(np.ascontiguousarray(ramp), DamageConfig(first=order, second=none, final_sinc=0), 1, rng())
    error = lq.astype(float) - ramp
    assert error[:, 64:].std() > 1.3 * error[:, :64].std()


def test_masks_are_holes_of_three_widths() -> None:
    """Thicker brushes leave more hole far from its border: what is left after eroding it."""

    def eroded(mask: np.ndarray) -> float:
        hole = torch.tensor(mask > 0).float()[None, None]
        return float((-torch.nn.functional.max_pool2d(-hole, 9, 1, 4)).mean())

    left = {kind: np.mean([eroded(draw_mask(128, 160, kind, rng(s))) for s in range(20)]) for kind in BRUSHES}
    assert left["thin"] < left["medium"] < left["thick"]
    for kind in BRUSHES:
        mask = draw_mask(128, 160, kind, rng(3))
        assert set(np.unique(mask)) == {0, 255}
        assert np.array_equal(mask, draw_mask(128, 160, kind, rng(3)))


def test_holes_are_black_and_the_mask_says_where() -> None:
    clean = np.maximum(picture(64, 64, 0), 1)
    lq, gt = damage_picture(clean, DamageConfig(kind="holes"), 1, rng())
    hole = lq[..., 3] == 255
    assert (gt == clean).all()
    assert 0 < hole.mean() < 0.9
    assert (lq[hole][:, :3] == 0).all()
    assert (lq[~hole][:, :3] == clean[~hole]).all()


def test_bicubic_damage_is_the_scale_alone() -> None:
    lq, gt = damage_picture(picture(32, 48, 0), DamageConfig(kind="bicubic"), 4, rng())
    assert lq.shape == (8, 12, 3)
    assert gt.shape == (32, 48, 3)


def test_sharpened_targets_are_sharper_and_the_lq_is_made_of_them() -> None:
    clean = picture(64, 64, 0)
    _, gt = damage_picture(clean, DamageConfig(kind="none", sharpened_targets=True), 1, rng())
    assert np.array_equal(gt, sharpened(clean))
    assert np.abs(np.diff(gt.astype(int), axis=1)).mean() > np.abs(np.diff(clean.astype(int), axis=1)).mean()


def moving(frames: int, size: int = 96) -> np.ndarray:
    wide = picture(size, size + 4 * frames, 0)
    return np.stack([wide[:, 4 * t : 4 * t + size] for t in range(frames)])


def test_interlacing_combs_what_moves_and_nothing_else() -> None:
    frames = moving(4)
    woven = interlaced(frames, top_first=True)
    assert np.array_equal(woven[0, ::2], frames[0, ::2])
    assert np.array_equal(woven[0, 1::2], frames[1, 1::2])
    still = np.repeat(frames[:1], 3, axis=0)
    assert np.array_equal(interlaced(still, top_first=False), still)


def test_long_exposure_blurs_motion_around_its_middle() -> None:
    frames = moving(9)
    blurred, sharp = exposed(frames, 3)
    assert np.array_equal(sharp, frames[1::3])
    assert blurred.shape == sharp.shape
    still = np.repeat(frames[:1], 3, axis=0)
    assert np.abs(exposed(still, 3)[0].astype(int) - still[:1]).max() <= 1
    # Light adds up before the transfer curve: half black and half white is far above mid grey.
    flash = np.stack([np.zeros((4, 4, 3)), np.full((4, 4, 3), 255), np.full((4, 4, 3), 255)]).astype(np.uint8)
    assert exposed(flash, 3)[0].min() > 200


def test_exposures_are_odd_and_as_long_and_frequent_as_asked_for() -> None:
    def drawn(share: float) -> list[int]:
        damage = ClipDamageConfig(motion_blur=share, exposure=(3, 7))
        return [draw_exposure(damage, rng(seed)) for seed in range(200)]

    assert set(drawn(1)) == {3, 5, 7}
    assert set(drawn(0)) == {1}
    assert drawn(0.25).count(1) == pytest.approx(150, abs=25)


def test_age_follows_its_shares() -> None:
    frames = moving(3)
    assert age(frames, ClipDamageConfig(), rng()) is frames
    assert np.array_equal(
        age(frames, ClipDamageConfig(interlaced=1), rng(1))[0, ::2], frames[0, ::2]
    ) or np.array_equal(age(frames, ClipDamageConfig(interlaced=1), rng(1))[0, 1::2], frames[0, 1::2])


@pytest.mark.parametrize("codec", ["vp9", "av1"])
def test_newer_codecs_degrade_in_order_and_repeat(codec: str) -> None:
    settings = CodecConfig(
        share=1, x264=0, x265=0, mpeg2=0, jpeg=0, gop=(2, 4), vp9=codec == "vp9", av1=codec == "av1"
    )
    clean = moving(5)
    coded = compress_randomly(clean, settings, rng(1))
    assert np.array_equal(coded, compress_randomly(clean, settings, rng(1)))
    for t, frame in enumerate(coded):
        assert np.abs(clean.astype(float) - frame).mean(axis=(1, 2, 3)).argmin() == t


def test_second_codec_adds_to_the_first() -> None:
    once = CodecConfig(share=1, x265=0, mpeg2=0, jpeg=0, x264_crf=(35, 35))
    twice = CodecConfig(share=1, x265=0, mpeg2=0, jpeg=0, x264_crf=(35, 35), twice=1)
    clean = moving(5)
    errors = [np.abs(compress_randomly(clean, c, rng()).astype(float) - clean).mean() for c in (once, twice)]
    assert errors[1] > errors[0]

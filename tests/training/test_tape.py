"""What a cassette does to pictures: bands, late colour, noise in streaks, unsteady lines, lost coating."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.data.clip_damage import age, played_from_tape
from training.data.tape import Tape, draw_tape, play
from training.options import ClipDamageConfig

PRISTINE = Tape(
    luma_blur=0.1,
    peaking=0,
    chroma_blur=0.1,
    chroma_right=0,
    chroma_down=0,
    luma_noise=0,
    chroma_noise=0,
    jitter=0,
    lost=0,
)
LUMA = np.array([0.299, 0.587, 0.114])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def played(frames: np.ndarray, seed: int = 0, **flaws: float) -> np.ndarray:
    return play(frames, replace(PRISTINE, **flaws), rng(seed)).astype(float)


def grating(period: int, low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    """One frame of 32x96 of upright stripes."""
    stripes = np.where((np.arange(96) // (period // 2) % 2)[:, None], high, low).astype(np.uint8)
    return np.broadcast_to(stripes, (1, 32, 96, 3)).copy()


def grey_grating(period: int) -> np.ndarray:
    return grating(period, (60, 60, 60), (180, 180, 180))


def moving(count: int) -> np.ndarray:
    """A smooth picture that moves by 3 pixels a frame."""
    y, x = np.mgrid[0:64, 0:96]
    waves = [128 + 60 * np.sin((x + 3 * t) / 9) * np.cos(y / 7) for t in range(count)]
    return np.repeat(np.stack(waves)[..., None], 3, axis=-1).astype(np.uint8)


def test_a_pristine_cassette_in_a_perfect_player_changes_nothing() -> None:
    frames = moving(3)
    assert np.abs(played(frames) - frames).max() <= 1


@pytest.mark.parametrize(("period", "left"), [(2, (0, 0.1)), (32, (0.75, 1.1))])
def test_luma_keeps_what_is_coarse_and_loses_what_is_fine(period: int, left: tuple[float, float]) -> None:
    clean = grey_grating(period)
    kept = played(clean, luma_blur=1.2).std() / clean.std()
    assert left[0] <= kept <= left[1]


def test_colour_is_smeared_along_the_line_where_luma_is_not() -> None:
    # Two colours of the same luma, and stripes of luma as wide.
    red, green = (200, 60, 60), (60, 131, 60)
    colours, greys = grating(8, red, green), grey_grating(8)
    inside = (..., slice(20, -20), 0)
    assert played(colours, chroma_blur=5)[inside].std() < 0.1 * colours[inside].std()
    assert np.abs(played(greys, chroma_blur=5) - greys).max() <= 1


def test_colour_comes_late() -> None:
    frame = np.full((1, 32, 96, 3), 100, np.uint8)
    frame[:, 16:, 48:, 0] = 200
    moved = played(frame, chroma_right=3, chroma_down=1)
    redness = moved[0, ..., 0] - moved[0, ..., 1]
    assert redness[24, 50] < 20 < redness[24, 52]
    # A line of a field is two of the frame.
    assert redness[17, 80] < 20 < redness[18, 80]


def test_luma_noise_is_as_strong_as_asked_and_of_lumas_band() -> None:
    grey = np.full((8, 64, 96, 3), 128, np.uint8)
    noise = played(grey, luma_noise=8, luma_blur=0.8) @ LUMA - 128
    assert noise.std() == pytest.approx(8, rel=0.05)
    along = (noise[..., 1:] * noise[..., :-1]).mean() / noise.var()
    across = (noise[:, 2:] * noise[:, :-2]).mean() / noise.var()
    assert along > 0.5
    assert abs(across) < 0.05


def test_colour_noise_leaves_luma_and_runs_along_the_lines() -> None:
    grey = np.full((8, 64, 96, 3), 128, np.uint8)
    noisy = played(grey, chroma_noise=8, chroma_blur=4)
    assert np.abs(noisy @ LUMA - 128).max() < 2
    difference = noisy[..., 0] - noisy @ LUMA
    along = (difference[..., 4:] * difference[..., :-4]).mean() / difference.var()
    assert along > 0.6


def test_lines_begin_too_early_or_late_neighbours_of_a_field_by_about_the_same() -> None:
    edge = np.zeros((1, 96, 64, 3), np.uint8)
    edge[:, :, 32:] = 255
    # Where each line becomes bright, to a fraction of a pixel.
    begins = 64 - played(edge, jitter=1)[0].mean(axis=-1).sum(axis=1) / 255
    assert begins.std() > 0.5
    in_field = np.abs(begins[2:] - begins[:-2]).mean()
    between_fields = np.abs(begins[1:] - begins[:-1]).mean()
    assert in_field < 0.7 < between_fields


def test_lost_coating_leaves_streaks() -> None:
    grey = np.full((20, 64, 96, 3), 100, np.uint8)
    streaks = np.abs(played(grey, lost=5e-4) - 100).max(axis=-1) > 50
    assert streaks.any(axis=2).sum() == pytest.approx(20 * 64 * 96 * 5e-4 / 2, rel=0.4)
    assert (streaks.sum(axis=2)[streaks.any(axis=2)]).mean() > 4


def test_peaking_leaves_a_fringe_beside_edges() -> None:
    edge = np.full((1, 8, 64, 3), 60, np.uint8)
    edge[:, :, 32:] = 180
    assert played(edge, peaking=1).max() > 190


def test_wear_makes_it_worse_and_draws_repeat() -> None:
    frames = moving(4)
    errors = [np.abs(played_from_tape(frames, s, rng()).astype(float) - frames).mean() for s in (0, 0.5, 1)]
    assert errors == sorted(errors)
    assert np.array_equal(played_from_tape(frames, 0.5, rng(4)), played_from_tape(frames, 0.5, rng(4)))
    assert draw_tape(0.5, rng(1)) != draw_tape(0.5, rng(2))


def test_a_long_clip_is_played_as_a_short_one() -> None:
    frames = np.concatenate([moving(20)] * 2)
    assert np.abs(played(frames, luma_blur=0.8)[20:] - played(frames[:20], luma_blur=0.8)).max() <= 1


@pytest.mark.parametrize("count", [6, 7])
def test_fields_of_two_moments_come_back_as_frames_of_one(count: int) -> None:
    frames = moving(count)
    back = played_from_tape(frames, 0, rng(3), fields="two moments")
    assert back.shape == frames.shape
    inside = slice(1, count - 2)
    right = np.abs(back[inside].astype(float) - frames[inside]).mean()
    late = np.abs(back[inside].astype(float) - np.roll(frames, 1, axis=0)[inside]).mean()
    assert right < 4 < late


def test_fields_of_one_moment_are_deinterlaced_too() -> None:
    frames = moving(5)
    woven, made = (played_from_tape(frames, 1, rng(3), fields=f) for f in ("woven", "one moment"))
    # What lay apart on the tape no longer alternates from line to line.
    alternating = [np.abs(np.diff(p.astype(float), axis=1)).mean() for p in (woven, made)]
    assert alternating[1] < 0.8 * alternating[0]
    assert made.shape == frames.shape


def test_age_deinterlaces_its_share_of_what_was_played() -> None:
    frames = moving(4)

    def alternation(deinterlaced: float, seed: int) -> float:
        damage = ClipDamageConfig(tape=1, tape_strength=(1, 1), deinterlaced=deinterlaced)
        return float(np.abs(np.diff(age(frames, damage, rng(seed)).astype(float), axis=1)).mean())

    always = [alternation(1, seed) for seed in range(12)]
    never = [alternation(0, seed) for seed in range(12)]
    assert np.mean(always) < 0.85 * np.mean(never)

"""Samples are repeatable, moved and degraded as recipes say."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from PIL import Image

import diffir_video as dv
from diffir_video.media import transcode
from tests.training.conftest import Recipe, picture
from training.config import (
    CodecConfig,
    NoiseConfig,
    SharpenConfig,
    SourceConfig,
    TrainConfig,
    ValidationDamage,
)
from training.data.degradations import (
    add_camera_noise,
    compress_randomly,
    draw_sharpening,
    interpolated_noise,
    sharpen,
)
from training.data.frames import Footage, load_source, shrink_area
from training.data.loader import batches
from training.data.windows import Crop, WindowDataset, augment, cut_from_clip, pan_over, validation_windows
from training.evaluation.ffmpeg import encode


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# x265 refuses pictures of less than 64 pixels.
TOO_SMALL = CodecConfig(share=1, x264=0, x265=1, mpeg2=0, jpeg=0)


def moving(frames: int = 8, size: int = 96) -> np.ndarray:
    wide = picture(size, size + 4 * frames, 0)
    return np.stack([wide[:, 4 * t : 4 * t + size] for t in range(frames)])


def test_sample_is_a_function_of_seed_and_index(recipe: Recipe) -> None:
    first, again = WindowDataset(recipe.config()), WindowDataset(recipe.config())
    assert all(torch.equal(a, b) for a, b in zip(first[3], again[3], strict=True))
    other_seed = WindowDataset(recipe.config("seed=4"))
    assert not torch.equal(first[3][1], other_seed[3][1])
    assert not torch.equal(first[3][1], first[4][1])


def test_shapes_of_a_batch(recipe: Recipe) -> None:
    lq, gt = next(batches(recipe.config(), first_step=0))
    assert (lq.shape, gt.shape) == ((4, 9, 32, 32), (4, 3, 32, 32))
    assert lq.dtype == gt.dtype == torch.float32
    assert 0 <= float(lq.min()) < float(lq.max()) <= 1


def test_resumed_loader_goes_on_where_it_stopped(recipe: Recipe) -> None:
    config = recipe.config()
    whole = [lq for lq, _ in batches(config, first_step=0)]
    rest = [lq for lq, _ in batches(config, first_step=2)]
    assert len(whole) == 4
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], rest, strict=True))


def test_worker_makes_the_same_samples(recipe: Recipe) -> None:
    here = [lq for lq, _ in batches(recipe.config(), first_step=0)]
    there = [lq for lq, _ in batches(recipe.config("data.workers=1"), first_step=0)]
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


def test_ground_truth_is_the_middle_frame_of_a_clean_window(recipe: Recipe) -> None:
    dataset = WindowDataset(recipe.config("data.noise.clean=1", "data.codec.share=0"))
    for index in range(5):
        lq, gt = dataset[index]
        assert torch.equal(lq[:, 3:6], gt)


def test_noise_has_the_level_asked_for() -> None:
    flat = np.full((4, 64, 64, 3), 128, np.uint8)
    noisy = add_camera_noise(flat, NoiseConfig(sigma=(20, 20), poisson=0, clean=0), rng())
    assert noisy.dtype == np.uint8
    assert (noisy.astype(float) - 128).std() == pytest.approx(20, rel=0.03)


def test_noise_that_grows_with_the_signal_has_its_level_at_mid_grey() -> None:
    flat = np.full((4, 64, 64, 3), 128, np.uint8)
    for seed in range(5):
        noisy = add_camera_noise(flat, NoiseConfig(sigma=(20, 20), poisson=1, clean=0), rng(seed))
        assert (noisy.astype(float) - 128).std() == pytest.approx(20, rel=0.03)


@pytest.mark.parametrize(("skew", "mean"), [(1.0, 20), (3.0, 10)])
def test_weak_noise_is_as_frequent_as_asked_for(skew: float, mean: float) -> None:
    flat = np.full((1, 32, 32, 3), 128, np.uint8)
    noise = NoiseConfig(sigma=(0, 40), skew=skew, poisson=0, clean=0)
    drawn = [(add_camera_noise(flat, noise, rng(seed)) - 128.0).std() for seed in range(200)]
    assert np.mean(drawn) == pytest.approx(mean, rel=0.15)


def test_poisson_noise_grows_with_the_signal() -> None:
    halves = np.full((4, 64, 64, 3), 60, np.uint8)
    halves[:, :, 32:] = 190
    noisy = add_camera_noise(halves, NoiseConfig(sigma=(15, 15), poisson=1, clean=0), rng()).astype(float)
    assert noisy[:, :, 32:].std() > 1.1 * noisy[:, :, :32].std()


def neighbours_alike(noise: np.ndarray, axis: int, by: int = 1) -> float:
    """The correlation of values `by` places apart, colour by colour."""
    ahead, behind = (
        np.take(noise, range(by, noise.shape[axis]), axis),
        np.take(noise, range(noise.shape[axis] - by), axis),
    )
    return float((ahead * behind).mean() / noise.var())


def test_interpolated_noise_is_that_of_a_mosaic_or_of_an_enlargement() -> None:
    shape = (2, 65, 96, 3)
    mosaics, enlarged = list[np.ndarray](), list[np.ndarray]()
    for seed in range(12):
        noise = interpolated_noise(shape, np.random.default_rng(seed))
        assert (noise.shape, noise.dtype) == (shape, np.float32)
        assert abs(noise.mean()) < 0.05
        # A colour's own site keeps what it had; green is between its four neighbours halfway.
        red_sites, between = noise[:, 2:-2:2, 2:-2:2, 0], noise[:, 2:-2:2, 3:-1:2, 0]
        halfway = (noise[:, 2:-2:2, 2:-2:2, 0] + noise[:, 2:-2:2, 4::2, 0]) / 2
        is_mosaic = np.allclose(between, halfway, atol=1e-6)
        (mosaics if is_mosaic else enlarged).append(noise)
        if is_mosaic:
            assert red_sites.std() == pytest.approx(1, abs=0.06)
        for axis in (1, 2):
            assert neighbours_alike(noise, axis) > 0.15
            assert abs(neighbours_alike(noise, axis, by=8)) < 0.1
        assert abs((noise[0] * noise[1]).mean()) < 0.05
    assert len(mosaics) >= 2
    assert len(enlarged) >= 2


def test_the_share_of_interpolated_noise_is_the_one_asked_for() -> None:
    flat = np.full((1, 64, 64, 3), 128, np.uint8)
    noise = NoiseConfig(sigma=(20, 20), poisson=0.5, clean=0, interpolated=0.5)
    found = [
        neighbours_alike(add_camera_noise(flat, noise, np.random.default_rng(seed)) - 128.0, 2) > 0.15
        for seed in range(40)
    ]
    assert 10 < sum(found) < 30


@pytest.mark.parametrize("codec", ["x264", "x265", "mpeg2", "jpeg"])
def test_every_codec_degrades_and_keeps_the_frames_in_order(codec: str) -> None:
    settings = CodecConfig(
        share=1,
        x264=float(codec == "x264"),
        x265=float(codec == "x265"),
        mpeg2=float(codec == "mpeg2"),
        jpeg=float(codec == "jpeg"),
        x264_crf=(30, 30),
        x265_crf=(30, 30),
    )
    clean = moving()
    coded = compress_randomly(clean, settings, rng())
    error = np.abs(coded.astype(float) - clean).mean(axis=(1, 2, 3))
    assert coded.shape == clean.shape
    assert (error > 0).all()
    for t, picture_ in enumerate(coded):
        distances = np.abs(clean.astype(float) - picture_).mean(axis=(1, 2, 3))
        assert distances.argmin() == t


def test_lower_rate_is_worse() -> None:
    errors = [
        np.abs(transcode(moving(), "libx264", options={"crf": crf}).astype(float) - moving()).mean()
        for crf in ("18", "28", "38")
    ]
    assert errors == sorted(errors)


def test_codec_that_refuses_is_a_typed_error() -> None:
    with pytest.raises(dv.EncoderError, match="63x64"):
        transcode(np.zeros((2, 64, 63, 3), np.uint8), "libx264")
    with pytest.raises(dv.EncoderError, match="nonesuch"):
        transcode(np.zeros((2, 64, 64, 3), np.uint8), "nonesuch")


def test_pan_moves_and_sometimes_rests() -> None:
    photo = picture(200, 200, 0)
    moved = [np.ptp(pan_over(photo, 5, 32, rng(seed)), axis=0).any() for seed in range(40)]
    assert 10 < sum(moved) < 40


def test_clip_crop_stays_within_one_shot() -> None:
    frames = np.zeros((12, 32, 32, 3), np.uint8)
    frames[5:] = 200
    clip = Footage("cut", frames, (5,))
    assert clip.shots() == [(0, 5), (5, 12)]
    for seed in range(30):
        assert np.ptp(cut_from_clip(clip, 4, 16, rng(seed))) == 0


def test_shrinking_averages_squares() -> None:
    frames = np.array([[0, 2, 9], [4, 6, 9]], np.uint8)[None, :, :, None]
    assert shrink_area(frames, 2).tolist() == [[[[3]]]]


def test_sources_are_cached_and_broken_files_skipped(
    recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (recipe.folder / "photos" / "broken.png").write_bytes(b"no picture")
    source = SourceConfig(root=recipe.folder / "photos", kind="photos", shrink=2, exclude=("1",))
    footage = load_source(source, tmp_path / "cache")
    assert [f.name for f in footage] == ["0", "2"]
    assert footage[0].frames.shape == (1, 36, 44, 3)
    assert "broken.png" in caplog.text
    Image.open(recipe.folder / "photos" / "0.png").verify()
    assert load_source(source, tmp_path / "cache")[0].frames.tobytes() == footage[0].frames.tobytes()


def test_names_with_dots_are_not_taken_for_one_another(recipe: Recipe) -> None:
    folder = recipe.folder / "dotted"
    folder.mkdir()
    for name, seed in (("scene.v1.png", 0), ("scene.v2.png", 1)):
        Image.fromarray(picture(72, 88, seed)).save(folder / name)
    first, second = load_source(SourceConfig(root=folder, kind="photos", shrink=1), recipe.folder / "cache")
    assert (first.name, second.name) == ("scene.v1", "scene.v2")
    assert np.array_equal(first.frames[0], picture(72, 88, 0))
    assert np.array_equal(second.frames[0], picture(72, 88, 1))


def test_patch_larger_than_all_material_is_an_error_at_once(recipe: Recipe) -> None:
    with pytest.raises(dv.UsageError, match="no photos of 128 pixels or more"):
        WindowDataset(recipe.config("patch_size=64"))


def test_photo_smaller_than_the_largest_patch_is_left_out(
    recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray(picture(63, 90, 0)).save(recipe.folder / "photos" / "small.png")
    dataset = WindowDataset(recipe.config())
    assert "small.png: smaller than 64 pixels: 90x63" in caplog.text
    for index in range(20):
        assert dataset[index][1].shape == (2, 3, 32, 32)


def test_windows_are_of_their_phases_size(recipe: Recipe) -> None:
    phases = "phases=[{steps: 1, patch_size: 16, batch_size: 4}, {steps: 3, patch_size: 32, batch_size: 2}]"
    shapes = [(tuple(lq.shape), tuple(gt.shape)) for lq, gt in batches(recipe.config(phases), first_step=0)]
    assert shapes == [((4, 9, 16, 16), (4, 3, 16, 16))] + 3 * [((2, 9, 32, 32), (2, 3, 32, 32))]


@pytest.mark.parametrize("workers", [0, 1])
def test_error_of_a_sample_is_one_line(recipe: Recipe, workers: int) -> None:
    config = recipe.config(f"data.workers={workers}")
    with pytest.raises(dv.EncoderError) as caught:
        list(batches(replace(config, data=replace(config.data, codec=TOO_SMALL)), first_step=0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "mpeg2video", "mjpeg"])
def test_transcoding_is_repeatable(encoder: str) -> None:
    """Smooth moving waves once gave another x264 stream in half of the runs (its AVX-512 lookahead)."""
    pixel_format = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
    first, *others = (transcode(moving(), encoder, pixel_format=pixel_format) for _ in range(8))
    assert all(np.array_equal(first, other) for other in others)


def test_picture_too_small_for_x265_is_refused() -> None:
    with pytest.raises(dv.EncoderError, match="64x64"):
        transcode(np.zeros((2, 64, 64, 3), np.uint8), "libx265")


def test_as_many_sequences_are_sharpened_as_asked_for() -> None:
    amounts = [draw_sharpening(SharpenConfig(share=0.25, most=2), rng(seed)) for seed in range(400)]
    sharpened = [amount for amount in amounts if amount]
    assert len(sharpened) == pytest.approx(100, abs=30)
    assert np.mean(sharpened) == pytest.approx(1, abs=0.2)
    assert max(amounts) <= 2


def test_sharpening_raises_detail_and_leaves_flat_areas_alone() -> None:
    frames = np.full((20, 16, 16, 3), 100, np.uint8)
    frames[:, :, 8:] = 140
    sharpened = sharpen(frames, 1.0)
    assert (sharpened[:, :, :7] == 100).all()
    assert (sharpened[:, :, 9:] == 140).all()
    assert sharpened[:, :, 7].max() < 100 < 140 < sharpened[:, :, 8].min()
    assert sharpen(frames, 0.0) is frames


@pytest.mark.parametrize(("y", "x"), [(0, 0), (3, 5), (16, 16)])
def test_sharpened_crop_is_the_crop_of_the_sharpened_frames(y: int, x: int) -> None:
    frames = moving(size=48)
    crop = Crop(np.arange(4), y, x, 32)
    assert np.array_equal(crop.sharpened(frames, 1.3), crop.of(sharpen(frames, 1.3)))


def test_picked_pan_keeps_the_photographs_pixels() -> None:
    checkers = np.indices((64, 64)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 200
    photo = np.ascontiguousarray(checkers.astype(np.uint8))
    assert set(np.unique(pan_over(photo, 3, 16, rng(), picked=True))) <= {0, 200}
    assert set(np.unique(pan_over(photo, 3, 16, rng()))) == {100}


def clips_recipe(recipe: Recipe, *overrides: str) -> TrainConfig:
    """The recipe on one clip of a moving pattern, encoded whole in three variants."""
    folder = recipe.folder / "clips"
    folder.mkdir(exist_ok=True)
    raw = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        "64x64",
        "-i",
        "-",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "bgr0",
    ]
    command = ["ffmpeg", "-v", "error", "-y", *raw, str(folder / "moving.mkv")]
    subprocess.run(command, input=moving(frames=12, size=64).tobytes(), check=True)
    source = {"root": str(folder), "kind": "clips", "shrink": 1, "encoded_variants": 3}
    recipe.values["data"]["train"] = [source]  # pyright: ignore[reportIndexIssue, reportArgumentType]
    return recipe.config("data.codec.share=1", *overrides)


def test_clip_smaller_than_a_patch_is_left_out(recipe: Recipe, caplog: pytest.LogCaptureFixture) -> None:
    config = clips_recipe(recipe, "patch_size=64")
    small = moving(frames=4, size=32)
    encode(small, 20, recipe.folder / "clips" / "small.mkv")
    assert WindowDataset(config)[0][1].shape == (2, 3, 64, 64)
    assert "small.mkv: smaller than 64 pixels: 32x32" in caplog.text


def test_clip_shorter_than_the_window_is_validated_on_its_repeated_last_frame(recipe: Recipe) -> None:
    (recipe.folder / "short").mkdir()
    encode(moving(frames=2, size=64), 10, recipe.folder / "short" / "short.mkv")
    validation = f"data.validation=[{{root: {recipe.folder}/short, kind: clips, shrink: 1}}]"
    ((lq, gt),) = validation_windows(recipe.config(validation), sigma=0, crf=None)
    assert (lq.shape, gt.shape) == ((1, 9, 64, 64), (1, 3, 64, 64))
    assert torch.equal(lq[:, 3:6], lq[:, 6:9])
    assert not torch.equal(lq[:, :3], lq[:, 3:6])


def test_compressed_samples_of_clips_are_cut_from_whole_encoded_ones(recipe: Recipe) -> None:
    config = clips_recipe(recipe, "data.noise.clean=1", "data.codec.x264_crf=[30, 30]")
    dataset = WindowDataset(config)
    made = sorted((recipe.folder / "cache").glob("moving-*-[0-9].npy"))
    assert len(made) == 3
    assert [np.load(file).shape for file in made] == 3 * [(12, 64, 64, 3)]
    for index in range(6):
        lq, gt = dataset[index]
        middle = lq[:, 3:6].float()
        assert 0 < float((middle - gt.float()).abs().mean()) < 12
    assert torch.equal(WindowDataset(config)[2][0], dataset[2][0])


def test_variants_are_made_once(recipe: Recipe) -> None:
    config = clips_recipe(recipe)
    WindowDataset(config)
    stamps = {p: p.stat().st_mtime_ns for p in (recipe.folder / "cache").iterdir()}
    WindowDataset(config)
    assert {p: p.stat().st_mtime_ns for p in (recipe.folder / "cache").iterdir()} == stamps


def test_sharpened_variant_has_sharpened_ground_truth(recipe: Recipe) -> None:
    settings = ("data.noise.clean=1", "data.sharpen.share=1", "data.sharpen.most=2")
    only_x264 = ("data.codec.x264_crf=[1, 1]", "data.codec.mpeg2=0", "data.codec.jpeg=0")
    config = clips_recipe(recipe, *settings, *only_x264)
    for index in range(4):
        lq, gt = WindowDataset(config)[index]
        assert float((lq[:, 3:6].float() - gt.float()).abs().mean()) < 4


def test_clips_are_played_from_tape_before_they_are_encoded(recipe: Recipe) -> None:
    settings = ("data.noise.clean=1", "data.codec.x264_crf=[1, 1]", "data.codec.mpeg2=0", "data.codec.jpeg=0")
    plain = clips_recipe(recipe, *settings)
    worn = clips_recipe(recipe, *settings, "data.clip_damage={tape: 1, tape_strength: [1, 1]}")

    def error(config: TrainConfig) -> float:
        dataset = WindowDataset(config)
        pairs = [dataset[index] for index in range(12)]
        return fmean(float((lq[:, 3:6].float() - gt.float()).abs().mean()) for lq, gt in pairs)

    assert error(worn) > 2 * error(plain)
    assert len(list((recipe.folder / "cache").glob("moving-*-[0-9].npy"))) == 6


def test_lines_of_aged_pictures_stay_as_they_lie() -> None:
    frames = np.arange(2 * 6 * 8 * 3, dtype=np.uint16).reshape(2, 6, 8, 3).astype(np.uint8)
    for seed in range(16):
        assert np.array_equal(augment(frames, rng(seed), may_reverse=False, may_turn=False), frames)
    assert any(augment(frames, rng(seed)).shape != frames.shape for seed in range(16))


def test_validation_clips_are_played_from_tape_where_asked(recipe: Recipe) -> None:
    config = clips_recipe(recipe)
    config = replace(config, data=replace(config.data, validation=config.data.train))
    ((plain, gt),) = validation_windows(config, sigma=0, crf=None)
    ((worn, same),) = validation_windows(config, sigma=0, crf=None, tape=0.8)
    assert (worn - plain).abs().mean() > 0.01
    assert torch.equal(same, gt)
    assert str(ValidationDamage(tape=0.5, crf=23)) == "tape0.5_sigma0_crf23"

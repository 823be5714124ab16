"""Crops, sizes and samples: what part of the pictures is restored, and how large it becomes."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from diffir_video import (
    Crop,
    DiffIRS2,
    JobOptions,
    ModelConfig,
    Restorer,
    StreamInfo,
    UsageError,
    VideoReader,
    open_video,
    plan_file,
    restore_file,
)
from diffir_video.cli import main
from diffir_video.job import sample_file
from diffir_video.media import fitted_to, limited_to, resized
from tests.media_samples import sample, video_pts

IDENTITY = Restorer(None)


def info_of(path: Path) -> StreamInfo:
    with VideoReader(path) as reader:
        return reader.info


def restored(name: str, output: Path, restorer: Restorer = IDENTITY, **options) -> StreamInfo:
    options = {"encoder": "ffv1", **options}
    report = restore_file(sample(name), output, restorer=restorer, options=JobOptions(**options))
    assert report.lost() == []
    assert video_pts(output) == video_pts(sample(name))
    return info_of(output)


def test_a_crop_holds_the_very_samples_of_that_place(tmp_path: Path) -> None:
    restored("calm_bt601.mkv", tmp_path / "out.mkv", crop=Crop(64, 32, 16, 8))
    with VideoReader(sample("calm_bt601.mkv")) as whole, VideoReader(tmp_path / "out.mkv") as part:
        for before, after in zip(whole, part, strict=True):
            inside = before.data[:, 8 + 4 : 40 - 4, 16 + 4 : 80 - 4]
            assert (after.data[:, 4:-4, 4:-4] - inside).abs().max() < 2 / 255


def test_a_crop_is_of_the_upright_picture_and_centred_by_itself() -> None:
    with open_video(sample("rotated.mp4")) as reader:
        whole = next(iter(reader)).data
    with open_video(sample("rotated.mp4"), crop=Crop(40, 60)) as reader:
        assert torch.equal(next(iter(reader)).data, whole[:, 50:110, 28:68])


@pytest.mark.parametrize("crop", [Crop(200, 10), Crop(100, 90, 61, 0), Crop(0, 10)])
def test_a_crop_that_lies_outside_is_refused(crop: Crop, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="doesn't lie in the pictures, which are 160x96"):
        restored("bframes.mp4", tmp_path / "out.mkv", crop=crop)
    assert os.listdir(tmp_path) == []


def test_the_output_has_the_size_asked_for_after_a_model_that_enlarges(tmp_path: Path) -> None:
    config = ModelConfig(dim=4, blocks=(1, 1), heads=(1, 1), refinement_blocks=0, scale=2, cpen_width=4)
    info = restored(
        "upright.mp4", tmp_path / "out.mkv", Restorer(DiffIRS2(config), device="cpu"), size=(80, 48)
    )
    assert (info.width, info.height, info.sample_aspect_ratio or 1) == (80, 48, 1)


def test_an_enlarged_and_reduced_picture_is_still_the_same(tmp_path: Path) -> None:
    restored("calm_bt601.mkv", tmp_path / "large.mkv", size=(320, 192))
    options = JobOptions(encoder="ffv1", max_size=(160, 1000))
    restore_file(tmp_path / "large.mkv", tmp_path / "back.mkv", restorer=IDENTITY, options=options)
    with VideoReader(sample("calm_bt601.mkv")) as reader, VideoReader(tmp_path / "back.mkv") as back:
        for before, after in zip(reader, back, strict=True):
            assert before.data.shape == after.data.shape
            assert (before.data - after.data).square().mean().sqrt() < 0.02


def test_another_shape_is_made_up_for_by_the_pixels() -> None:
    info = StreamInfo(720, 576, Fraction(1, 25), "yuv420p", sample_aspect_ratio=Fraction(16, 15))
    assert fitted_to(info, (768, 576)).sample_aspect_ratio == 1
    assert fitted_to(info, (360, 288)).sample_aspect_ratio == Fraction(16, 15)
    wide = fitted_to(StreamInfo(1280, 720, Fraction(1, 25), "yuv420p"), (426, 240))
    assert wide.sample_aspect_ratio is None


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        ((1920, 1080), (1280, 720)),
        ((640, 640), (640, 360)),
        ((500, 200), (356, 200)),
        ((500, 201), (356, 200)),
        ((95, 95), (94, 52)),
        ((3, 3), (2, 2)),
        ((1, 1), (1, 1)),
    ],
)
def test_a_largest_size_keeps_the_shape_and_enlarges_nothing(
    most: tuple[int, int], expected: tuple[int, int]
) -> None:
    limited = limited_to(StreamInfo(1280, 720, Fraction(1, 25), "yuv420p"), most)
    assert (limited.width, limited.height) == expected


def test_a_picture_made_smaller_keeps_its_subsampling(tmp_path: Path) -> None:
    options = JobOptions(max_size=(95, 95))
    report = restore_file(sample("bframes.mp4"), tmp_path / "out.mp4", restorer=IDENTITY, options=options)
    assert (report.width, report.height, report.pixel_format) == (94, 56, "yuv420p")


def test_a_flat_picture_stays_flat_at_any_size() -> None:
    for width, height in ((7, 5), (64, 48), (33, 100)):
        assert torch.allclose(
            resized(torch.full((3, 24, 32), 0.3), width, height), torch.tensor(0.3), atol=1e-6
        )


def test_a_plan_tells_the_size(tmp_path: Path) -> None:
    options = JobOptions(size=(80, 48), crop=Crop(100, 60))
    plan = plan_file(sample("bframes.mp4"), tmp_path / "out.mp4", restorer=IDENTITY, options=options)
    assert (plan.width, plan.height) == (80, 48)


def test_the_command_takes_crop_and_size(tmp_path: Path) -> None:
    command = ["restore", str(sample("upright.mp4")), "--model", "identity", str(tmp_path / "out.mp4")]
    assert main([*command, "--crop", "80x48+10+6", "--max-size", "40x40"]) == 0
    assert (info_of(tmp_path / "out.mp4").width, info_of(tmp_path / "out.mp4").height) == (40, 24)
    for wrong in (["--crop", "80"], ["--crop", "80x48+1"], ["--size", "8x8", "--max-size", "9x9"]):
        assert main([*command, "--overwrite", *wrong]) == 2


def test_a_sample_is_from_all_over_the_file_with_the_original_beside_it(tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    options = JobOptions(encoder="ffv1")
    report = sample_file(sample("short.mp4"), output, Fraction(2), restorer=IDENTITY, options=options)
    assert report.run.frames_out == 50
    assert video_pts(output) == [Fraction(n, 25) for n in range(50)]
    with VideoReader(sample("short.mp4")) as reader:
        frames = {frame.pts_seconds: frame.data for frame in reader}
    with VideoReader(output) as reader:
        both = [frame.data for frame in reader]
    for index, seconds in ((0, Fraction(38, 25)), (24, Fraction(62, 25)), (25, Fraction(138, 25))):
        left, right = both[index].chunk(2, dim=-1)
        assert (left - frames[seconds]).abs().mean() < 0.01
        assert (right - frames[seconds]).abs().mean() < 0.01


def test_a_sample_of_a_range_is_from_all_over_the_range(tmp_path: Path) -> None:
    options = JobOptions(encoder="ffv1", start=Fraction(5))
    report = sample_file(
        sample("short.mp4"), tmp_path / "out.mkv", Fraction(2), restorer=IDENTITY, options=options
    )
    assert report.run.frames_out == 50


@pytest.mark.parametrize("isolate", [False, True])
def test_a_sample_tells_of_damage_in_any_of_its_pieces_once(isolate: bool, tmp_path: Path) -> None:
    with VideoReader(sample("damaged.ts")) as reader:
        whole = sum(1 for _ in reader), reader.losses
    assert whole[1].concealed_frames
    seconds = Fraction(reader.info.duration_seconds or 0)
    report = sample_file(
        sample("damaged.ts"),
        tmp_path / "out.mkv",
        seconds,
        restorer=IDENTITY,
        options=JobOptions(isolate=isolate),
    )
    assert (report.run.frames_out, report.losses, report.exit_code) == (*whole, 5)


def test_a_sample_of_a_range_without_frames_says_which_range(tmp_path: Path) -> None:
    for start, end in ((Fraction(19, 10), Fraction(1)), (Fraction(99), None)):
        options = JobOptions(start=start, end=end)
        with pytest.raises(UsageError, match=rf"no frame of '.*' is from {float(start):g} s to "):
            sample_file(
                sample("bframes.mp4"), tmp_path / "out.mkv", Fraction(5), restorer=IDENTITY, options=options
            )
    assert os.listdir(tmp_path) == []


def test_the_restored_half_of_a_sample_is_restored(tmp_path: Path) -> None:
    command = ["restore", str(sample("calm_bt601.mkv")), str(tmp_path / "out.mkv"), "--sample", "1s"]
    assert main([*command, "--encoder", "ffv1"]) == 0
    with VideoReader(tmp_path / "out.mkv") as reader:
        both = [frame.data for frame in reader]
    assert len(both) == 10
    left, right = both[5].chunk(2, dim=-1)
    assert (left - right).abs().max() > 1 / 255

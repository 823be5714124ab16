"""A dry run: what would be done, how long it takes, what would be lost; and nothing is written."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from diffir_video import (
    JobOptions,
    MediaInputError,
    OutputError,
    Restorer,
    UsageError,
    plan_file,
    restore_file,
)
from diffir_video.job import restore_pipe, sample_file
from diffir_video.media import VideoReader
from tests.media_samples import sample, video_pts


def test_a_plan_estimates_time_size_and_memory(tmp_path: Path) -> None:
    plan = plan_file(sample("bframes.mp4"), tmp_path / "out.mp4", restorer=Restorer(None))
    assert (plan.frames, plan.measured_frames, plan.width, plan.height) == (50, 16, 160, 96)
    assert plan.seconds is not None
    assert plan.seconds > 0
    assert plan.size_bytes is not None
    assert 10_000 < plan.size_bytes < 1_000_000
    assert plan.memory_bytes > 50e6
    assert "about 0:00:0" in str(plan)
    assert "no video was written" in str(plan)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["joined.ts", "joined.vob", "wrapped.ts", "start_offset.mkv", "mpeg2.ts"])
def test_a_plan_counts_the_frames_of_the_whole_file(name: str, tmp_path: Path) -> None:
    """Also where its clock is reset on the way, or doesn't begin at 0."""
    with VideoReader(sample(name)) as reader:
        frames = [frame.pts_seconds for frame in reader]
    output = tmp_path / "out.mkv"
    plan = plan_file(sample(name), output, restorer=Restorer(None))
    assert plan.frames == len(frames)
    start, end = frames[20], frames[-10]
    part = plan_file(sample(name), output, restorer=Restorer(None), options=JobOptions(start=start, end=end))
    assert part.frames == sum(start <= pts < end for pts in frames)


def test_a_plan_counts_pictures(tmp_path: Path) -> None:
    for index in range(5):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{index}.png")
    options = JobOptions(start=Fraction(1, 25), end=Fraction(4, 25))
    plan = plan_file(tmp_path, tmp_path / "out.mkv", restorer=Restorer(None), options=options)
    assert plan.frames == 3


def test_a_sample_is_of_all_of_a_file_whose_clock_is_reset(tmp_path: Path) -> None:
    def hues(path: Path) -> set[tuple[int, ...]]:
        with VideoReader(path) as reader:
            return {tuple((frame.data[:, 2, 2] * 4).round().int().tolist()) for frame in reader}

    sample_file(sample("joined.ts"), tmp_path / "out.mkv", Fraction(1), restorer=Restorer(None))
    first, both = hues(sample("first.ts")), hues(sample("joined.ts"))
    assert first < both
    assert not hues(tmp_path / "out.mkv") <= first


def test_a_sample_of_a_file_that_begins_late_has_frames(tmp_path: Path) -> None:
    sample_file(sample("start_offset.mkv"), tmp_path / "out.mkv", Fraction(1), restorer=Restorer(None))
    assert len(video_pts(tmp_path / "out.mkv")) == 25


def test_a_plan_names_what_the_container_can_not_hold(tmp_path: Path) -> None:
    plan = plan_file(sample("odd.mkv"), tmp_path / "out.mkv", restorer=Restorer(None))
    assert plan.notes == ("pixel format yuv420p becomes yuv444p",)


def test_a_plan_names_subtitles_that_change_their_codec(tmp_path: Path) -> None:
    plan = plan_file(sample("everything.mkv"), tmp_path / "out.mp4", restorer=Restorer(None))
    assert "subtitle track 3 (subrip, fra) becomes mov_text" in plan.notes
    assert os.listdir(tmp_path) == []


def test_a_range_without_frames_is_refused_as_by_the_job(tmp_path: Path) -> None:
    options = JobOptions(start=Fraction(99))
    for does in (plan_file, restore_file):
        with pytest.raises(UsageError, match=r"no frame of .* is from 99 s to its end"):
            does(sample("bframes.mp4"), tmp_path / "out.mp4", restorer=Restorer(None), options=options)
    assert os.listdir(tmp_path) == []


def test_a_plan_is_refused_where_the_job_would_be(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="can't hold subtitle"):
        plan_file(sample("everything.mkv"), tmp_path / "out.ts", restorer=Restorer(None))
    with pytest.raises(MediaInputError):
        plan_file(tmp_path / "missing.mkv", tmp_path / "out.mp4", restorer=Restorer(None))
    assert os.listdir(tmp_path) == []


def test_video_that_mpeg_ts_can_not_carry_is_refused_by_every_job_before_a_frame(tmp_path: Path) -> None:
    def progress(told: object) -> None:
        raise AssertionError(told)

    options, output = JobOptions(encoder="ffv1"), tmp_path / "out.ts"
    restorer = Restorer(None)
    jobs = (
        lambda: plan_file(sample("mpeg2.ts"), output, restorer=restorer, options=options),
        lambda: restore_file(
            sample("mpeg2.ts"), output, restorer=restorer, options=options, progress=progress
        ),
        lambda: restore_pipe(
            sample("mpeg2.ts"), output, restorer=restorer, options=options, progress=progress
        ),
        lambda: sample_file(
            sample("mpeg2.ts"), output, Fraction(1), restorer=restorer, options=options, progress=progress
        ),
    )
    for job in jobs:
        with pytest.raises(OutputError, match=r"mpegts can't hold ffv1.*; write to \.mkv"):
            job()
        assert os.listdir(tmp_path) == []

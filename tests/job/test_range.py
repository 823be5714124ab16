"""A part of a file: its frames, sound and chapters from one moment up to another, beginning at 0."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from diffir_video import JobOptions, Restorer, UsageError
from diffir_video.cli import main
from diffir_video.job import FileReport, plan_file, restore_file
from diffir_video.run_report import Progress
from tests.media_samples import packets, sample, video_pts

HALF, ONE_AND_A_HALF = Fraction(1, 2), Fraction(3, 2)


def restore(
    name: str, output: Path, progress: Callable[[Progress], None] | None = None, **options
) -> FileReport:
    options = {"encoder_options": {"preset": "ultrafast"}, "segment_frames": 10, **options}
    return restore_file(
        sample(name), output, restorer=Restorer(None), options=JobOptions(**options), progress=progress
    )


@pytest.mark.parametrize("name", ["bframes.mp4", "vfr.mp4", "everything.mkv", "vp9_opus.webm"])
def test_the_part_is_cut_out_of_all_tracks(name: str, tmp_path: Path) -> None:
    output = tmp_path / ("out.mkv" if name.endswith(".webm") else f"out{Path(name).suffix}")
    end = Fraction(13, 10)
    report = restore(name, output, start=HALF, end=end)
    inside = [pts for pts in video_pts(sample(name)) if HALF <= pts < end]
    assert video_pts(output) == [pts - inside[0] for pts in inside]
    assert report.lost() == []
    sound = [p for p in packets(sample(name))[1] if inside[0] <= p.dts * p.time_base < end]
    found = packets(output)[1]
    assert [bytes(packet) for packet in found] == [bytes(packet) for packet in sound]
    for before, after in zip(sound, found, strict=True):
        shifted = before.pts * before.time_base - inside[0]
        assert abs(after.pts * after.time_base - shifted) <= before.time_base


def test_chapters_are_cut_with_it(tmp_path: Path) -> None:
    restore("everything.mkv", tmp_path / "out.mkv", start=HALF, end=ONE_AND_A_HALF)
    with av.open(str(tmp_path / "out.mkv")) as container:
        tick = container.chapters()[0]["time_base"] or 0
        spans = [(chapter["start"] * tick, chapter["end"] * tick) for chapter in container.chapters()]
    first_frame = Fraction(13, 25)
    assert spans == [(0, 1 - first_frame), (1 - first_frame, ONE_AND_A_HALF - first_frame)]


def test_a_chapter_that_begins_where_the_part_ends_is_not_in_it(tmp_path: Path) -> None:
    assert restore("everything.mkv", tmp_path / "out.mkv", end=Fraction(1)).exit_code == 0
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One"]


def test_a_chapter_without_length_is_there_where_its_moment_is(tmp_path: Path) -> None:
    def titles(path: Path) -> list[str]:
        with av.open(str(path)) as container:
            return [chapter["metadata"]["title"] for chapter in container.chapters()]

    for suffix in (".mkv", ".mp4"):
        assert restore("marks.mkv", tmp_path / f"whole{suffix}").lost() == []
        assert titles(tmp_path / f"whole{suffix}") == ["Begin", "All", "Goal"]
    restore("marks.mkv", tmp_path / "after.mkv", start=HALF)
    assert titles(tmp_path / "after.mkv") == ["All", "Goal"]
    restore("marks.mkv", tmp_path / "before.mkv", end=HALF)
    assert titles(tmp_path / "before.mkv") == ["Begin", "All"]


def test_without_a_start_the_clock_stays(tmp_path: Path) -> None:
    restore("start_offset.mkv", tmp_path / "out.mkv", end=Fraction(6))
    expected = [pts for pts in video_pts(sample("start_offset.mkv")) if pts < 6]
    assert video_pts(tmp_path / "out.mkv") == expected


def test_an_interrupted_part_goes_on(tmp_path: Path) -> None:
    def stop(progress: object) -> None:
        if (tmp_path / ".out.mp4.diffir-job" / "000001.segment").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore("bframes.mp4", tmp_path / "out.mp4", start=HALF, progress=stop)
    assert restore("bframes.mp4", tmp_path / "out.mp4", start=HALF).resumed_segments == 1
    restore("bframes.mp4", tmp_path / "whole.mp4", start=HALF)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_a_part_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no frame"):
        restore("bframes.mp4", tmp_path / "out.mp4", start=Fraction(99))
    assert list(tmp_path.iterdir()) == []


def test_a_plan_counts_the_part(tmp_path: Path) -> None:
    plan = plan_file(
        sample("bframes.mp4"), tmp_path / "out.mp4", restorer=Restorer(None), options=JobOptions(start=HALF)
    )
    assert plan.frames in (37, 38)


def test_times_are_written_as_clocks_show_them(tmp_path: Path) -> None:
    arguments = ["restore", str(sample("bframes.mp4")), str(tmp_path / "out.mp4"), "--model", "identity"]
    assert main([*arguments, "--start", "0:00:01", "--end", "0:1.2"]) == 0
    assert len(video_pts(tmp_path / "out.mp4")) == 5
    assert main([*arguments, "--start", "soon"]) == 2

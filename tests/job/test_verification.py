"""Verification: a file that holds what was put into it passes, and whatever else it holds is named."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from diffir_video.frame import ColorTags
from diffir_video.job.verification import Expected, verify_by_decoding, verify_timeline
from diffir_video.media import Timeline, VideoReader, read_timeline
from tests.media_samples import sample


def put_in(name: str, found: Timeline) -> Expected:
    """What a job that made this very sample would have put into it."""
    with VideoReader(sample(name)) as reader:
        info = reader.info
    assert found.video.end is not None
    others = [track for track in found.tracks if track is not found.video and not track.is_timecode]
    return Expected(
        info=info,
        color=found.color,
        color_meant=found.color,
        pts=found.video.pts,
        end=round(found.video.end / info.time_base),
        chapters=found.chapters,
        copied_packets={track.index: track.packets for track in others if track.packets},
        copied_pcm_bytes={},
        copy_source_unreadable=False,
        timecodes=sum(track.is_timecode for track in found.tracks),
    )


def later_by_a_tick(expected: Expected) -> Expected:
    return replace(expected, pts=array("q", [*expected.pts[:-1], expected.pts[-1] + 1]))


@pytest.mark.parametrize("name", ["bframes.mp4", "everything.mkv", "mpeg2.ts", "ten_bit.mp4", "timecode.mov"])
def test_what_was_put_in_is_found(name: str) -> None:
    found = read_timeline(sample(name))
    verification = verify_timeline(put_in(name, found), found)
    assert verification.problems == ()
    assert verification.pts_exact


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("bframes.mp4", later_by_a_tick, "timestamps: the input's put in, off by up to 0.078 ms found"),
        ("bframes.mp4", lambda e: replace(e, pts=e.pts[:-1]), "frames: 49 put in, 50 found"),
        ("bframes.mp4", lambda e: replace(e, end=e.end + 512), "end: 2.0400 s put in, 2.0000 s found"),
        ("bframes.mp4", lambda e: replace(e, end=e.end - 2), "end: 1.9998 s put in, 2.0000 s found"),
        (
            "bframes.mp4",
            lambda e: replace(e, info=replace(e.info, width=162)),
            "size: 162x96 put in, 160x96 found",
        ),
        (
            "bframes.mp4",
            lambda e: replace(e, info=replace(e.info, sample_aspect_ratio=Fraction(161, 160))),
            "pixel aspect: 161/160 put in, 1 found",
        ),
        ("bframes.mp4", lambda e: replace(e, copied_packets={}), "packets of other tracks: [] put in"),
        ("everything.mkv", lambda e: replace(e, chapters=3), "chapters: 3 put in, 2 found"),
        ("timecode.mov", lambda e: replace(e, timecodes=2), "timecode tracks: 2 put in, 1 found"),
        (
            "bframes.mp4",
            lambda e: replace(e, copy_source_unreadable=True),
            "audio or subtitles end where the input became unreadable",
        ),
    ],
)
def test_what_is_found_instead_is_named(
    name: str, change: Callable[[Expected], Expected], problem: str
) -> None:
    found = read_timeline(sample(name))
    verification = verify_timeline(change(put_in(name, found)), found)
    assert len(verification.problems) == 1
    assert verification.problems[0].startswith(problem)


def test_frames_without_a_time_are_no_frames_at_their_times() -> None:
    found = read_timeline(sample("bframes.mp4"))
    timeless = replace(found.video, pts=found.video.pts[:-1])
    tracks = tuple(timeless if track is found.video else track for track in found.tracks)
    verification = verify_timeline(put_in("bframes.mp4", found), replace(found, tracks=tracks))
    assert "timestamps: the input's put in, none for 1 frames found in the output" in verification.problems
    assert not verification.pts_exact


@pytest.mark.parametrize(
    ("put", "found", "problems"),
    [
        (ColorTags(), ColorTags(color_range=1, chroma_location=1), 0),
        (ColorTags(matrix=1), ColorTags(), 1),
        (ColorTags(), ColorTags(matrix=1), 1),
        (ColorTags(color_range=2), ColorTags(color_range=1), 1),
        (ColorTags(), ColorTags(color_range=2), 1),
        (ColorTags(transfer=16, primaries=9), ColorTags(transfer=1, primaries=1), 2),
    ],
)
def test_colours_are_the_same_where_they_mean_the_same(
    put: ColorTags, found: ColorTags, problems: int
) -> None:
    timeline = read_timeline(sample("bframes.mp4"))
    expected = replace(put_in("bframes.mp4", timeline), color=put, color_meant=put)
    verification = verify_timeline(expected, replace(timeline, color=found))
    assert len(verification.problems) == problems
    assert all(problem.startswith("colour ") for problem in verification.problems)


@pytest.mark.parametrize(("name", "more"), [("bframes.mp4", 1), ("damaged.ts", 0)])
def test_a_file_that_does_not_decode_to_all_its_frames_undamaged_is_found_out(name: str, more: int) -> None:
    with VideoReader(sample(name), strict=True) as reader:
        frames = sum(1 for _ in reader) + more
    found = read_timeline(sample(name))
    decoded = verify_by_decoding(verify_timeline(put_in(name, found), found), sample(name), frames)
    assert not decoded.checks[-1].passed
    assert decoded.problems[-1].startswith(f"decoded frames: {frames} put in, {frames - more}")

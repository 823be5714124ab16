"""Interlaced pictures are noticed and made progressive, one for one and at their times."""

from __future__ import annotations

import pytest
import torch

from diffir_video.frame import Frame
from diffir_video.media import LiveInput, LivePicture, VideoReader
from diffir_video.media.deinterlace import Deinterlace
from tests.media_samples import sample, video_pts


def read(name: str, how: Deinterlace) -> tuple[list[Frame], tuple[str, ...]]:
    with VideoReader(sample(name), deinterlace=how) as reader:
        return list(reader), reader.notes


def combing(frames: list[Frame]) -> float:
    """How much neighbouring lines differ more than lines of one field: near 0 for one moment."""
    pictures = torch.stack([frame.data for frame in frames])
    neighbours = (pictures[..., 1:, :] - pictures[..., :-1, :]).abs().mean()
    same_field = (pictures[..., 2:, :] - pictures[..., :-2, :]).abs().mean()
    return float(neighbours / same_field)


@pytest.mark.parametrize("name", ["interlaced.mp4", "interlaced.ts"])
def test_interlaced_pictures_are_found_and_made_progressive(name: str) -> None:
    combed, _ = read(name, "off")
    whole, notes = read(name, "auto")
    assert notes == ("interlaced pictures are made progressive (bwdif)",)
    assert combing(whole) < 0.95 * combing(combed)


@pytest.mark.parametrize("name", ["interlaced.mp4", "interlaced.ts"])
@pytest.mark.parametrize("how", ["auto", "bwdif"])
def test_every_picture_stays_at_its_time(name: str, how: Deinterlace) -> None:
    frames, _ = read(name, how)
    assert [frame.pts_seconds for frame in frames] == video_pts(sample(name))
    assert [frame.duration for frame in frames] == [frame.duration for frame in read(name, "off")[0]]


def test_pictures_that_become_interlaced_are_found_where_they_do() -> None:
    left, said = read("interlaced_later.ts", "off")
    whole, notes = read("interlaced_later.ts", "auto")
    assert [frame.pts for frame in whole] == [frame.pts for frame in left]
    assert len(whole) > 70
    assert notes == ("interlaced pictures are made progressive (bwdif)",)
    assert "interlaced and stay so" in said[0]
    assert combing(whole[26:]) < 0.95 * combing(left[26:])
    for before, after in zip(left[:25], whole[:25], strict=True):
        assert torch.equal(before.data, after.data)


@pytest.mark.parametrize("name", ["bframes.mp4", "mpeg2.ts", "ten_bit.mp4"])
def test_progressive_pictures_are_left_alone(name: str) -> None:
    frames, notes = read(name, "auto")
    assert notes == ()
    for left, right in zip(frames, read(name, "off")[0], strict=True):
        assert torch.equal(left.data, right.data)


def test_interlaced_pictures_left_so_are_told() -> None:
    _, notes = read("interlaced.mp4", "off")
    assert "interlaced and stay so" in notes[0]


def live(name: str, how: Deinterlace) -> list[LivePicture]:
    with LiveInput(str(sample(name)), name=name, deinterlace=how) as connection:
        return [item for item in connection if isinstance(item, LivePicture)]


@pytest.mark.parametrize("how", ["auto", "off", "bwdif"])
@pytest.mark.parametrize("name", ["interlaced.ts", "interlaced_later.ts", "mpeg2.ts"])
def test_a_live_stream_is_made_progressive_as_a_file_is(name: str, how: Deinterlace) -> None:
    pictures, (frames, _) = live(name, how), read(name, how)
    assert [picture.pts for picture in pictures] == [frame.pts for frame in frames]
    assert [picture.duration for picture in pictures] == [frame.duration for frame in frames]
    for picture, frame in zip(pictures, frames, strict=True):
        assert torch.equal(picture.to_rgb(), frame.data)


def test_a_live_stream_that_changes_its_size_loses_no_picture_to_the_filter() -> None:
    left, made = live("resized.ts", "off"), live("resized.ts", "bwdif")
    assert len({picture.stream.width for picture in left}) == 2
    assert [(p.pts, p.stream.width) for p in made] == [(p.pts, p.stream.width) for p in left]


def test_interlacing_in_a_live_stream_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        live("interlaced_later.ts", "auto")
    assert [r.message for r in caplog.records if "interlaced" in r.message] == [
        "interlaced_later.ts: interlaced; each picture is made progressive, and waits for the next"
    ]

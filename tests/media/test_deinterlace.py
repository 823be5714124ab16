"""Interlaced pictures are noticed and made progressive, one for one and at their times."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import pytest
import torch

from diffir_video.frame import Frame
from diffir_video.media import LiveInput, LivePicture, VideoReader
from diffir_video.media.deinterlace import Deinterlace, Deinterlacer, FieldOrder, is_second_field
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


@pytest.mark.parametrize("how", ["auto-fields", "bwdif-fields"])
@pytest.mark.parametrize("name", ["interlaced.mp4", "interlaced.ts"])
def test_each_field_becomes_a_frame_at_its_time(name: str, how: Deinterlace) -> None:
    with VideoReader(sample(name), deinterlace=how) as reader:
        frames, info, notes = list(reader), reader.info, reader.notes
    times = [frame.pts_seconds for frame in frames]
    assert times[::2] == video_pts(sample(name))
    assert [b - a for a, b in pairwise(times)] == [Fraction(1, 50)] * (len(times) - 1)
    assert {frame.duration * info.time_base for frame in frames if frame.duration} == {Fraction(1, 50)}
    assert info.average_rate == 50
    assert info.frame_count in (None, len(frames))
    assert notes == ("each field of interlaced pictures is made a frame (bwdif)",)


@pytest.mark.parametrize(
    ("name", "how", "field_order"),
    [
        ("interlaced.mp4", "auto-fields", "auto"),
        ("interlaced.mp4", "auto-fields", "top"),
        ("bottom_first.mp4", "auto-fields", "auto"),
        ("bottom_first_untold.mkv", "bwdif-fields", "bottom"),
    ],
)
def test_frames_of_fields_are_those_that_the_fields_were_taken_of(
    name: str, how: Deinterlace, field_order: FieldOrder
) -> None:
    with VideoReader(sample(name), deinterlace=how, field_order=field_order) as reader:
        frames = list(reader)
    with VideoReader(sample("fifty.mkv")) as reader:
        taken_of = list(reader)
    assert len(frames) == len(taken_of) == 100

    def distances(shift: int) -> torch.Tensor:
        pairs = zip(frames[2:-2], taken_of[2 + shift : 98 + shift], strict=True)
        return torch.stack([(a.data - b.data).abs().mean() for a, b in pairs])

    assert (distances(0) < distances(-1)).all()
    assert (distances(0) < distances(1)).all()


def test_fields_in_the_wrong_order_go_back_and_forth() -> None:
    frames, _ = read("bottom_first_untold.mkv", "bwdif-fields")
    with VideoReader(sample("fifty.mkv")) as reader:
        taken_of = list(reader)
    swapped = [(a.data - b.data).abs().mean() for a, b in zip(frames[2:-3], taken_of[3:-2], strict=True)]
    right = [(a.data - b.data).abs().mean() for a, b in zip(frames[2:-3], taken_of[2:-3], strict=True)]
    assert all(s < r for s, r in zip(swapped[::2], right[::2], strict=True))


def test_pictures_before_the_first_interlaced_one_stay_one_each() -> None:
    left, _ = read("interlaced_later.ts", "off")
    frames, _ = read("interlaced_later.ts", "auto-fields")
    assert [frame.pts_seconds for frame in frames[:25]] == [frame.pts_seconds for frame in left[:25]]
    assert len(frames) == 25 + 2 * (len(left) - 25)
    assert [frame.pts_seconds for frame in frames[25::2]] == [frame.pts_seconds for frame in left[25:]]


@pytest.mark.parametrize("name", ["bframes.mp4", "mpeg2.ts"])
def test_progressive_pictures_have_no_fields_to_be_made_frames(name: str) -> None:
    frames, notes = read(name, "auto-fields")
    left, _ = read(name, "off")
    assert notes == ()
    assert [(f.pts_seconds, f.duration) for f in frames] == [
        (f.pts_seconds, f.duration and 2 * f.duration) for f in left
    ]
    with VideoReader(sample(name), deinterlace="auto-fields") as reader:
        assert reader.info.average_rate == 25


def fields_of(change: Callable[[int, Any], None], pictures: int = 12) -> list[Any]:
    """What is made of an interlaced file's first pictures, each changed by its index."""
    deinterlacer = Deinterlacer("bwdif-fields", Fraction(1, 12800))
    made: list[Any] = []
    with av.open(str(sample("interlaced.mp4"))) as container:
        for index, picture in zip(range(pictures), container.decode(video=0), strict=False):
            change(index, picture)
            made += deinterlacer.push(picture)
    return made + list(deinterlacer.flush())


def test_a_second_field_before_a_gap_comes_when_it_was_taken() -> None:
    def change(index: int, picture: Any) -> None:
        picture.pts += 12800 * (index >= 6)

    pts = [picture.pts for picture in fields_of(change)]
    assert pts[::2] == [1024 * index + 25600 * (index >= 6) for index in range(12)]
    assert [b - a for a, b in zip(pts[::2], pts[1::2], strict=True)] == [512] * 12


def test_a_clock_that_jumps_back_takes_no_second_field_with_it() -> None:
    def change(index: int, picture: Any) -> None:
        picture.pts -= 3000 * (index >= 6)

    pts = [picture.pts for picture in fields_of(change)]
    assert [b - a for a, b in zip(pts[::2], pts[1::2], strict=True)] == [512] * 12


@pytest.mark.parametrize("has_durations", [True, False])
def test_second_fields_have_times_where_the_next_picture_has_none(has_durations: bool) -> None:
    def change(index: int, picture: Any) -> None:
        picture.duration = picture.duration if has_durations else 0
        if index > 2 and index % 2:
            picture.pts = picture.dts = None

    pictures = fields_of(change)
    timed = [(a.pts, b.pts) for a, b in zip(pictures[::2], pictures[1::2], strict=True) if a.pts is not None]
    assert len(timed) == 7
    assert {second - first for first, second in timed} == {512}
    untimed = [b for a, b in zip(pictures[::2], pictures[1::2], strict=True) if a.pts is None]
    assert [(picture.pts, picture.dts) for picture in untimed] == [(None, None)] * 5


def test_a_single_picture_has_two_fields() -> None:
    pictures = fields_of(lambda index, picture: None, pictures=1)
    assert [picture.pts for picture in pictures] == [0, 512]
    assert [is_second_field(picture) for picture in pictures] == [False, True]


@pytest.mark.parametrize(("how", "count"), [("auto", 50), ("auto-fields", 100)])
def test_what_the_container_alone_calls_interlaced_is_made_progressive(how: Deinterlace, count: int) -> None:
    """As captures of tapes often are: HuffYUV's decoder says nothing of any picture."""
    combed, _ = read("interlaced_huffyuv.mov", "off")
    frames, notes = read("interlaced_huffyuv.mov", how)
    assert len(frames) == count
    assert notes
    assert combing(frames) < 0.95 * combing(combed)
    if how == "auto-fields":
        with VideoReader(sample("fifty.mkv")) as reader:
            taken_of = list(reader)
        right, before, after = (
            sum((frames[i].data - taken_of[i + shift].data).abs().mean() for i in range(2, 96))
            for shift in (0, -1, 1)
        )
        assert right < 0.75 * min(before, after)


@pytest.mark.parametrize("how", ["off", "auto", "bwdif-fields"])
def test_a_reader_is_gone_once_nobody_has_it(how: Deinterlace) -> None:
    """Its decoder has threads, which a process forked later would wait for as it collects garbage."""
    gc.collect()
    gc.disable()
    try:
        with VideoReader(sample("interlaced.mp4"), deinterlace=how) as reader:
            next(iter(reader))
        left = weakref.ref(reader)
        del reader
        assert left() is None
    finally:
        gc.enable()


def test_untimed_pictures_have_times_for_each_field() -> None:
    frames, _ = read("untimed_interlaced.h264", "bwdif-fields")
    left, _ = read("untimed_interlaced.h264", "off")
    assert len(frames) == 2 * len(left)
    assert [frame.pts_seconds for frame in frames[::2]] == [frame.pts_seconds for frame in left]


def live(name: str, how: Deinterlace) -> list[LivePicture]:
    with LiveInput(str(sample(name)), name=name, deinterlace=how) as connection:
        return [item for item in connection if isinstance(item, LivePicture)]


@pytest.mark.parametrize("how", ["auto", "auto-fields", "off", "bwdif", "bwdif-fields"])
@pytest.mark.parametrize("name", ["interlaced.ts", "interlaced_later.ts", "mpeg2.ts"])
def test_a_live_stream_is_made_progressive_as_a_file_is(name: str, how: Deinterlace) -> None:
    pictures, (frames, _) = live(name, how), read(name, how)
    assert [picture.pts for picture in pictures] == [frame.pts for frame in frames]
    assert {picture.time_base for picture in pictures} == {frame.time_base for frame in frames}
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

"""Everything beside the video arrives as it was: byte for byte, at its time, with its names."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.stream import Disposition

from diffir_video import JobOptions, Restorer, restore_file
from diffir_video.errors import OutputError
from diffir_video.media import VideoReader, VideoWriter
from tests.media_samples import ffmpeg, packets, sample


def copy(source: Path, output: Path, **options) -> VideoWriter:
    with (
        VideoReader(source) as reader,
        VideoWriter(output, reader.info, copy_from=source, **options) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    return writer


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("bframes.mp4", ".mp4"),
        ("bframes.mp4", ".mov"),
        ("h264.mkv", ".mkv"),
        ("vp9_opus.webm", ".mkv"),
        ("mpeg2.ts", ".ts"),
        ("start_offset.mkv", ".mkv"),
        ("everything.mkv", ".mkv"),
        ("vfr.mp4", ".mp4"),
    ],
)
def test_copied_packets_are_identical_in_bytes_and_time(name: str, suffix: str, tmp_path: Path) -> None:
    copy(sample(name), tmp_path / f"out{suffix}")
    before, after = packets(sample(name)), packets(tmp_path / f"out{suffix}")
    assert before.keys() == after.keys()
    for index in set(before) - {0}:
        assert [bytes(packet) for packet in after[index]] == [bytes(packet) for packet in before[index]]
        assert [times(packet) for packet in after[index]] == [times(packet) for packet in before[index]]


@pytest.mark.parametrize(
    ("name", "suffix"), [("bframes.mp4", ".mkv"), ("mpeg2.ts", ".mp4"), ("h264.mkv", ".ts")]
)
def test_between_containers_audio_keeps_its_place_to_a_tick(name: str, suffix: str, tmp_path: Path) -> None:
    copy(sample(name), tmp_path / f"out{suffix}")
    before, after = packets(sample(name))[1], packets(tmp_path / f"out{suffix}")[1]
    assert len(before) == len(after)
    for source, target in zip(before, after, strict=True):
        tick = max(source.time_base, target.time_base)
        assert abs(source.pts * source.time_base - target.pts * target.time_base) <= tick


def test_names_languages_dispositions_chapters_and_attachments_are_kept(tmp_path: Path) -> None:
    copy(sample("everything.mkv"), tmp_path / "out.mkv")
    with av.open(str(sample("everything.mkv"))) as before, av.open(str(tmp_path / "out.mkv")) as after:
        assert after.metadata["title"] == "Awkward clip"
        assert [chapter["metadata"]["title"] for chapter in after.chapters()] == ["One", "Two"]
        assert [(c["start"], c["end"]) for c in after.chapters()] == [
            (c["start"], c["end"]) for c in before.chapters()
        ]
        assert [stream.type for stream in after.streams] == [stream.type for stream in before.streams]
        for source, target in zip(before.streams, after.streams, strict=True):
            assert target.disposition == source.disposition
            for key in ("language", "title", "filename", "mimetype"):
                assert target.metadata.get(key) == source.metadata.get(key)
        assert after.streams.attachments[0].data == before.streams.attachments[0].data


def tagged(path: Path, **tags: str) -> Path:
    given = [f"{name.replace('__', '.')}={value}" for name, value in tags.items()]
    options = [option for tag in given for option in ("-metadata", tag)]
    muxed = ["-c", "copy", "-movflags", "use_metadata_tags"]
    ffmpeg("-i", str(sample("silent.mp4")), *muxed, *options, str(path))
    return path


def test_what_a_phone_says_of_itself_is_kept(tmp_path: Path) -> None:
    source = tagged(tmp_path / "in.mp4", com__apple__quicktime__make="Camera", title="Beach")
    for suffix in (".mp4", ".mov", ".mkv"):
        report = restore_file(source, tmp_path / f"out{suffix}", restorer=Restorer(None))
        assert report.dropped == ()
        with av.open(str(tmp_path / f"out{suffix}")) as container:
            tags = {name.lower(): value for name, value in container.metadata.items()}
        assert (tags["com.apple.quicktime.make"], tags["title"]) == ("Camera", "Beach")


def test_tags_that_the_container_leaves_out_are_told(tmp_path: Path) -> None:
    source = tagged(tmp_path / "in.mp4", reel="7", title="Beach")
    report = restore_file(source, tmp_path / "out.mp4", restorer=Restorer(None))
    assert (report.dropped, report.exit_code) == (("tags of the file: reel",), 0)


def test_a_subtitle_the_container_can_not_hold_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"mpegts can't hold subtitle track 3 \(subrip, fra\).*\.mkv"):
        copy(sample("everything.mkv"), tmp_path / "out.ts")
    assert os.listdir(tmp_path) == []


def test_an_attachment_the_container_can_not_hold_is_named(tmp_path: Path) -> None:
    source = tmp_path / "attached.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=64, height=48)
        container.add_attachment("note.txt", "text/plain", b"hello")
        for packet in [*stream.encode(av.VideoFrame(64, 48, "yuv420p")), *stream.encode()]:
            container.mux(packet)
    assert copy(source, tmp_path / "out.mp4").dropped[0].startswith("attachment track 1")
    assert copy(source, tmp_path / "out.mkv").dropped == ()


def pictures(path: Path) -> list[bytes]:
    """The cover pictures of a file."""
    with av.open(str(path)) as container:
        covers = [s for s in container.streams.video if s.disposition & Disposition.attached_pic]
        return [bytes(packet) for cover in covers for packet in container.demux(cover) if packet.size]


@pytest.mark.parametrize("name", ["cover.mp4", "cover.mkv"])
@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mkv"])
def test_a_cover_picture_is_kept_by_mp4_and_matroska(name: str, suffix: str, tmp_path: Path) -> None:
    writer = copy(sample(name), tmp_path / f"out{suffix}")
    assert writer.dropped == ()
    assert pictures(tmp_path / f"out{suffix}") == pictures(sample(name)) != []
    assert writer.copied_packets[2] == 1


def test_a_cover_picture_keeps_its_name_in_matroska(tmp_path: Path) -> None:
    copy(sample("cover.mkv"), tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams[2].metadata["filename"] == "cover.mkv.png"


@pytest.mark.parametrize("suffix", [".mov", ".ts"])
def test_a_cover_picture_that_the_container_can_not_hold_is_named(suffix: str, tmp_path: Path) -> None:
    assert copy(sample("cover.mp4"), tmp_path / f"out{suffix}").dropped == ("cover picture 2 (png)",)


@pytest.mark.parametrize(("name", "suffix"), [("cover.mp4", ".mp4"), ("cover.mkv", ".mkv")])
def test_a_part_of_a_file_has_the_cover_picture_of_the_whole(name: str, suffix: str, tmp_path: Path) -> None:
    output, options = tmp_path / f"out{suffix}", JobOptions(start=Fraction(1))
    report = restore_file(sample(name), output, restorer=Restorer(None), options=options)
    assert (report.lost(), report.dropped) == ([], ())
    assert pictures(output) == pictures(sample(name))


@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
def test_a_timecode_stays_with_the_video(suffix: str, tmp_path: Path) -> None:
    output = tmp_path / f"out{suffix}"
    report = restore_file(sample("timecode.mov"), output, restorer=Restorer(None))
    assert (report.lost(), report.dropped, report.exit_code) == ([], (), 0)
    assert report.verification.copied_tracks == 1
    with av.open(str(output)) as container:
        assert [s.metadata.get("timecode") for s in container.streams] == ["01:00:00:00", None, "01:00:00:00"]


def test_a_timecode_that_the_file_is_tagged_with_becomes_a_track(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    report = restore_file(sample("timecode.dv"), output, restorer=Restorer(None))
    assert report.dropped == ()
    with av.open(str(output)) as container:
        assert container.streams[-1].metadata["timecode"] == "00:00:00:00"


def test_a_track_of_timecodes_that_the_container_can_not_hold_is_named(tmp_path: Path) -> None:
    report = restore_file(sample("timecode.mov"), tmp_path / "out.mkv", restorer=Restorer(None))
    assert report.lost() == []
    assert report.dropped == ("data track 2 (unknown codec, eng)",)


def test_audio_ends_where_a_cut_input_ends(tmp_path: Path) -> None:
    writer = copy(sample("cut_bframes.mp4"), tmp_path / "out.mp4")
    found = packets(tmp_path / "out.mp4")[1]
    assert len(found) == writer.copied_packets[1]
    whole = packets(sample("bframes.mp4"))[1]
    assert [bytes(packet) for packet in found] == [bytes(packet) for packet in whole[: len(found)]]


def test_audio_is_interleaved_with_the_video(tmp_path: Path) -> None:
    copy(sample("long.mp4"), tmp_path / "out.mp4", encoder_options={"preset": "ultrafast"})
    latest = {0: 0.0, 1: 0.0}
    tracks = packets(tmp_path / "out.mp4")
    stored = [(packet.pos, index, packet) for index, track in tracks.items() for packet in track]
    for _, index, packet in sorted(stored, key=lambda entry: entry[0]):
        latest[index] = float(packet.dts * packet.time_base)
        assert abs(latest[0] - latest[1]) < 0.5


def times(packet: Any) -> tuple[Fraction, Fraction]:
    return packet.pts * packet.time_base, packet.dts * packet.time_base

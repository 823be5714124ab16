"""Reading: every frame that is there, when it was, upright; one clear error for what isn't a video."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffir_video.errors import MediaInputError
from diffir_video.frame import ColorTags, Frame
from diffir_video.media import ReadLosses, VideoReader, probe_media
from tests.media_samples import ffmpeg, packets, sample, video_pts


def read(path: Path | str) -> tuple[list[Frame], ReadLosses]:
    with VideoReader(path) as reader:
        return list(reader), reader.losses


@pytest.mark.parametrize(
    "name",
    [
        "bframes.mp4",
        "index_at_end.mp4",
        "fragmented.mp4",
        "h264.mkv",
        "vp9_opus.webm",
        "mpeg2.ts",
        "odd.mkv",
        "vfr.mp4",
        "ten_bit.mp4",
        "start_offset.mkv",
        "start_offset.mp4",
        "gray.mkv",
        "packed_rgb.mkv",
        "nv12.mkv",
    ],
)
def test_every_frame_is_delivered_at_its_own_time(name: str) -> None:
    frames, losses = read(sample(name))
    assert [frame.pts_seconds for frame in frames] == video_pts(sample(name))
    assert not losses


def test_frames_of_matroska_before_time_zero_are_where_they_were() -> None:
    """FFmpeg says no time of them: they are counted back from the first that has one."""
    frames, losses = read(sample("before_zero.mkv"))
    assert [frame.pts for frame in frames] == list(range(-200, 1800, 40))
    assert not losses


def test_frames_are_float_rgb_within_zero_and_one() -> None:
    frames, _ = read(sample("bframes.mp4"))
    for frame in frames:
        assert frame.data.shape == (3, 96, 160)
        assert frame.data.dtype == torch.float32
        assert 0 <= frame.data.min() < frame.data.max() <= 1


def test_durations_are_the_containers() -> None:
    frames, _ = read(sample("bframes.mp4"))
    assert [frame.duration for frame in frames] == [512] * 50
    assert frames[0].time_base == Fraction(1, 12800)


def test_info_is_known_before_the_first_frame() -> None:
    with VideoReader(sample("ten_bit.mp4")) as reader:
        info = reader.info
    assert (info.width, info.height, info.bit_depth, info.pixel_format) == (160, 96, 10, "yuv420p10le")
    assert info.color == ColorTags(matrix=9, primaries=9, transfer=16, color_range=1)
    assert (info.frame_count, info.average_rate, info.duration_seconds) == (50, 25, 2.0)


def test_a_rotated_clip_is_turned_upright() -> None:
    upright, _ = read(sample("upright.mp4"))
    rotated, _ = read(sample("rotated.mp4"))
    with VideoReader(sample("rotated.mp4")) as reader:
        assert (reader.info.width, reader.info.height) == (96, 160)
    for before, after in zip(upright, rotated, strict=True):
        torch.testing.assert_close(after.data, torch.rot90(before.data, 1, (-2, -1)))


def test_pixels_that_are_not_square_are_told() -> None:
    with VideoReader(sample("anamorphic.mp4")) as reader:
        assert reader.info.sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("name", ["alpha.mkv", "alpha.webm"])
def test_an_alpha_channel_is_left_out_and_reported(name: str) -> None:
    frames, losses = read(sample(name))
    assert len(frames) == 5
    assert losses.describe() == ["the alpha channel was left out"]


@pytest.mark.parametrize("name", ["cut_bframes.mp4", "cut_fragmented.mp4", "cut_h264.mkv", "cut_mpeg2.ts"])
def test_a_cut_file_gives_its_prefix_and_says_what_is_missing(name: str) -> None:
    whole, _ = read(sample(name.removeprefix("cut_")))
    prefix, losses = read(sample(name))
    assert 10 < len(prefix) < len(whole)
    assert losses
    assert losses.missing_bytes > 0
    for part, original in zip(prefix[:-4], whole, strict=False):
        assert part.pts == original.pts
        assert torch.equal(part.data, original.data)


def test_a_cut_mp4_counts_the_frames_it_lacks() -> None:
    prefix, losses = read(sample("cut_bframes.mp4"))
    assert losses.missing_frames + losses.truncated_packets + len(prefix) == 50


@pytest.mark.parametrize(("rate", "shape"), [("25", "720x576"), ("30000/1001", "720x480")])
def test_raw_dv_has_the_rate_of_its_frames(rate: str, shape: str, tmp_path: Path) -> None:
    """Not that of its ticks, 60000 a second, which an encoder or Y4M's header would take for it."""
    clip = tmp_path / "tape.dv"
    sound = ("-f", "lavfi", "-i", "sine=r=48000:d=0.4", "-ac", "2")
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=s={shape}:r={rate}:d=0.4", *sound, "-target", _TAPES[rate]),
        str(clip),
    )
    with VideoReader(clip) as reader:
        assert reader.info.average_rate == Fraction(rate)
    assert probe_media(clip).average_rate == str(Fraction(rate))


_TAPES = {"25": "pal-dv", "30000/1001": "ntsc-dv"}


@pytest.mark.parametrize("part", [1, 0.6])
def test_frames_that_avi_shows_for_longer_are_not_missing(part: float, tmp_path: Path) -> None:
    """It has an empty chunk for every frame's time in which the frame before stays, and counts them."""
    clip = tmp_path / "held.avi"
    held = "select=not(between(n\\,5\\,9))"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2", "-vf", held, "-fps_mode", "passthrough"),
        str(clip),
    )
    data = clip.read_bytes()
    clip.write_bytes(data[: round(len(data) * part)])
    frames, losses = read(clip)
    assert [frame.pts for frame in frames[3:7]] == [3, 4, 10, 11]
    assert losses.missing_frames == 49 - frames[-1].pts - losses.truncated_packets
    assert bool(losses) == (part < 1)


def test_damage_in_the_middle_loses_no_time(tmp_path: Path) -> None:
    data = bytearray(sample("bframes.mp4").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    frames, losses = read(damaged)
    expected = video_pts(sample("bframes.mp4"))
    assert {frame.pts_seconds for frame in frames} <= set(expected)
    assert len(frames) >= 40
    assert losses


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.mp4", "no such file"),
        ("empty.mp4", "empty"),
        ("text.mp4", "no such format"),
        ("folder.mp4", "not a regular file"),
    ],
)
def test_what_is_no_video_is_one_clear_error(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(MediaInputError, match=reason) as caught:
        VideoReader(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_mp4_without_its_index_says_so() -> None:
    with pytest.raises(MediaInputError, match="moov"):
        VideoReader(sample("cut_index_at_end.mp4"))


def test_a_file_without_video_says_what_it_holds() -> None:
    with pytest.raises(MediaInputError, match=r"no video stream \(it holds audio\)"):
        VideoReader(sample("audio_only.m4a"))


def test_a_frame_size_beyond_memory_is_refused_before_it_is_allocated() -> None:
    with pytest.raises(MediaInputError, match="larger than"):
        VideoReader(sample("huge.mkv"))


def test_a_change_of_frame_size_is_an_error_that_says_where() -> None:
    with VideoReader(sample("resized.ts")) as reader, pytest.raises(MediaInputError, match="64x48 to 96x64"):
        list(reader)


@pytest.mark.parametrize("name", ["-y.mp4", "concat:a.mp4", ";ls.mp4", "http:.mp4", "a%03d.mp4"])
def test_names_are_taken_literally(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(sample("upright.mp4"), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read(name)[0]) == 5


def test_a_playlist_is_refused(tmp_path: Path) -> None:
    shutil.copy(sample("small.ts"), tmp_path / "segment.ts")
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nsegment.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaInputError):
        VideoReader(playlist)


def test_probing_reads_headers_only() -> None:
    info = probe_media(sample("everything.mkv"))
    kinds = [track.kind for track in info.tracks]
    assert kinds == ["video", "audio", "audio", "subtitle", "subtitle", "attachment"]
    assert info.chapters == 2
    assert info.tracks[2].language == "deu"
    assert info.missing_bytes == 0
    assert len(packets(sample("everything.mkv"))) == 5


def test_an_animated_webp_is_told_as_what_it_is(tmp_path: Path) -> None:
    pictures = [Image.fromarray(np.full((16, 16, 3), level, np.uint8)) for level in (0, 255)]
    pictures[0].save(tmp_path / "moving.webp", save_all=True, append_images=pictures[1:])
    with pytest.raises(MediaInputError, match="an animation, which FFmpeg does not read"):
        VideoReader(tmp_path / "moving.webp")

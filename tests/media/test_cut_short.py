"""How many bytes a file lacks, by what it says of itself."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import pytest

from diffir_video import MediaInputError
from diffir_video.media.cut_short import missing_bytes
from tests.media_samples import ffmpeg, sample


def mp4(_: Path) -> Path:
    return sample("bframes.mp4")


def mp4_of_64_bits(folder: Path) -> Path:
    """Its pictures in a box that could be larger than 4 GiB, in the place of it and of an empty one."""
    data = sample("bframes.mp4").read_bytes()
    begin = data.index(b"\0\0\0\x08free")
    (length,) = struct.unpack_from(">I", data, begin + 8)
    path = folder / "large.mp4"
    path.write_bytes(data[:begin] + struct.pack(">I4sQ", 1, b"mdat", 8 + length) + data[begin + 16 :])
    return path


def matroska(_: Path) -> Path:
    return sample("h264.mkv")


def transport_stream(_: Path) -> Path:
    return sample("mpeg2.ts")


def transport_stream_of_a_disc(folder: Path) -> Path:
    """Every packet with a time code of four bytes in front."""
    path = folder / "disc.m2ts"
    ffmpeg("-i", str(sample("mpeg2.ts")), "-c", "copy", "-mpegts_m2ts_mode", "1", str(path))
    return path


MADE = [mp4, mp4_of_64_bits, matroska, transport_stream, transport_stream_of_a_disc]


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_a_whole_file_lacks_nothing_and_a_cut_one_what_was_cut_off(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    whole, cut = make(tmp_path), tmp_path / "cut"
    cut.write_bytes(whole.read_bytes()[:-50])
    assert (missing_bytes(whole), missing_bytes(cut)) == (0, 50)


@pytest.mark.parametrize("left", [1, 7])
def test_a_file_that_ends_within_the_head_of_a_box_lacks_something(left: int, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(sample("bframes.mp4").read_bytes() + b"\0\0\0\x10free"[:left])
    assert missing_bytes(cut) > 0


def test_a_recording_that_says_not_how_long_it_is_lacks_nothing(tmp_path: Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(sample("h264.mkv")), "-c", "copy"]
    live = subprocess.run([*command, "-f", "matroska", "-"], check=True, capture_output=True).stdout
    (tmp_path / "live.mkv").write_bytes(live[:-50])
    assert missing_bytes(tmp_path / "live.mkv") == 0


def test_what_says_nothing_of_itself_lacks_nothing(tmp_path: Path) -> None:
    (tmp_path / "raw.h264").write_bytes(b"\0\0\0\x01g" + bytes(1000))
    assert missing_bytes(tmp_path / "raw.h264") == 0
    with pytest.raises(MediaInputError, match=r"can't read .*gone.mp4' any more"):
        missing_bytes(tmp_path / "gone.mp4")

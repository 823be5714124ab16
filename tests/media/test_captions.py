"""Closed captions that lie in the pictures are there again, in every frame, in files and live."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import pytest
import torch

from diffir_video import JobOptions, Restorer, restore_file
from diffir_video.frame import Frame, StreamInfo
from diffir_video.media import VideoReader
from diffir_video.media.captions import with_captions
from diffir_video.media.live_input import LiveInput
from diffir_video.media.live_output import LiveEncoder, PacketMuxer
from diffir_video.media.live_picture import LivePicture

FRAMES = 75

# CTA-608: a pop-on caption is loaded, one pair of characters a frame, shown, and erased.
_LOAD = ((0x14, 0x20), (0x14, 0x2E), (0x14, 0x70), *(tuple(b"HE"), tuple(b"LL"), tuple(b"O!")))
_SHOW, _ERASE = (0x14, 0x2F), (0x14, 0x2C)
_PAIRS = {**dict(enumerate(_LOAD)), 10: _SHOW, 11: _SHOW, 50: _ERASE, 51: _ERASE}


def _construct(first: int, second: int) -> bytes:
    """A valid cc_data construct of field 1; each byte has odd parity."""
    odd = [byte | 0x80 if byte.bit_count() % 2 == 0 else byte for byte in (first, second)]
    return bytes((0xFC, *odd))


def captions_at(index: int) -> bytes:
    return _construct(*_PAIRS.get(index, (0, 0)))


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captions") / "captioned.mkv"
    _write(path)
    return path


def _write(path: Path, from_frame: int = 0) -> None:
    """Three seconds of H.264 with B-frames in Matroska, with a caption."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, width=64, height=48)
        packets: list[Any] = []
        for index in range(FRAMES):
            picture = av.VideoFrame(64, 48, "yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            packets += stream.encode(picture)
        for packet in [*packets, *stream.encode(None)]:
            index = round(packet.pts * packet.time_base * 25)
            made = packet if index < from_frame else with_captions(packet, captions_at(index), "libx264")
            made.stream = stream
            container.mux(made)


def read_captions(path: Path) -> list[bytes | None]:
    with VideoReader(path) as reader:
        return [frame.captions for frame in reader]


def as_subtitles(path: Path) -> str:
    """The captions as FFmpeg's own decoder shows them, times included."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi"]
    command += ["-i", f"movie={path}[out0+subcc]", "-map", "0:s", "-f", "srt", "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_reader_gives_them_with_their_frames(captioned: Path) -> None:
    assert read_captions(captioned) == [captions_at(index) for index in range(FRAMES)]
    assert "HELLO!" in as_subtitles(captioned)


@pytest.mark.parametrize(
    ("encoder", "suffix"),
    [("libx264", ".mp4"), ("libx264", ".ts"), ("libx265", ".mkv"), ("libx265", ".mp4")],
)
def test_a_restored_file_shows_them_at_their_times(
    encoder: str, suffix: str, captioned: Path, tmp_path: Path
) -> None:
    options = JobOptions(encoder=encoder, segment_frames=30)
    report = restore_file(captioned, tmp_path / f"out{suffix}", restorer=Restorer(None), options=options)
    assert report.exit_code == 0
    assert report.notes == ()
    output = Path(report.output)
    assert read_captions(output) == [captions_at(index) for index in range(FRAMES)]
    assert as_subtitles(output) == as_subtitles(captioned)


def test_they_lie_in_the_first_of_two_fields_alone(captioned: Path, tmp_path: Path) -> None:
    options = JobOptions(deinterlace="bwdif-fields", verify=True)
    report = restore_file(captioned, tmp_path / "out.mkv", restorer=Restorer(None), options=options)
    assert report.exit_code == 0
    found = read_captions(Path(report.output))
    assert found[::2] == [captions_at(index) for index in range(FRAMES)]
    assert found[1::2] == [None] * FRAMES
    assert as_subtitles(Path(report.output)) == as_subtitles(captioned)
    with LiveInput(str(captioned), name="captioned", deinterlace="bwdif-fields") as connection:
        pictures = [item for item in connection if isinstance(item, LivePicture)]
    assert [picture.captions for picture in pictures] == found


def test_a_process_of_its_own_hands_them_over(captioned: Path, tmp_path: Path) -> None:
    options = JobOptions(isolate=True)
    report = restore_file(captioned, tmp_path / "out.mkv", restorer=Restorer(None), options=options)
    assert read_captions(Path(report.output)) == [captions_at(index) for index in range(FRAMES)]


def test_an_encoder_without_them_is_named(captioned: Path, tmp_path: Path) -> None:
    options = JobOptions(encoder="ffv1")
    report = restore_file(captioned, tmp_path / "out.mkv", restorer=Restorer(None), options=options)
    assert report.notes.count("ffv1 can't carry the closed captions; libx264 and libx265 can") == 1
    assert set(read_captions(Path(report.output))) == {None}


def test_captions_that_begin_late_are_not_lost_in_silence(tmp_path: Path) -> None:
    late = tmp_path / "late.mkv"
    _write(late, from_frame=10)
    assert read_captions(late)[9:11] == [None, captions_at(10)]
    options = JobOptions(encoder="ffv1")
    report = restore_file(late, tmp_path / "out.mkv", restorer=Restorer(None), options=options)
    assert report.notes[-1] == "ffv1 can't carry the closed captions; libx264 and libx265 can"


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_bytes_that_look_like_a_start_code_arrive(encoder: str) -> None:
    awkward = bytes((0xFD, 0, 0)) * 2 + bytes((0xFC, 0, 0)) + bytes((0, 0, 0)) * 4 + bytes((0xFE, 0, 1)) * 30
    assert [picture.captions for picture in _through_live(encoder, [awkward] * 3)] == [awkward] * 3


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_live_pictures_keep_them(encoder: str) -> None:
    given = [captions_at(index) if index % 3 else None for index in range(12)]
    assert [picture.captions for picture in _through_live(encoder, given)] == given


def _through_live(encoder: str, captions: list[bytes | None]) -> list[LivePicture]:
    """Frames with captions through a live encoder, and what a live input makes of its bytes."""
    tick = Fraction(1, 90000)
    info = StreamInfo(width=96, height=80, time_base=tick, pixel_format="yuv420p", average_rate=Fraction(25))
    live = LiveEncoder(info, encoder=encoder)
    muxer = PacketMuxer([live.format])
    data = b""
    for index, given in enumerate(captions):
        frame = Frame(torch.full((3, 80, 96), 0.5), index * 3600, tick, 3600, captions=given)
        for packet in live.encode(frame, keyframe=index == 0):
            data += muxer.mux(0, packet)
    live.close()
    data += muxer.finish()
    with LiveInput(_Bytes(data), name="captions", format="nut") as source:
        return [item for item in source if isinstance(item, LivePicture)]


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        return taken

"""Pipes: what one program writes is restored for the next one, frame by frame."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

import diffir_video as dv
from diffir_video.job import restore_pipe
from diffir_video.media import VideoReader
from tests.media_samples import decoded_bytes, sample, video_pts

FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
RESTORE = [sys.executable, "-m", "diffir_video.cli", "restore", "--model", "identity"]


def to_y4m(source: Path) -> bytes:
    command = [*FFMPEG, "-i", str(source), "-f", "yuv4mpegpipe", "-strict", "-1", "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def from_y4m(data: bytes, pixel_format: str) -> np.ndarray:
    command = [*FFMPEG, "-f", "yuv4mpegpipe", "-i", "-", "-f", "rawvideo", "-pix_fmt", pixel_format, "-"]
    raw = subprocess.run(command, check=True, capture_output=True, input=data).stdout
    return np.frombuffer(raw, np.uint8)


@pytest.mark.parametrize(
    ("name", "pixel_format"),
    [
        ("calm_bt601.mkv", "yuv420p"),
        ("calm_ten_bit.mkv", "yuv420p10le"),
        ("calm_odd.mkv", "yuv420p"),
        ("gray.mkv", "gray"),
        ("lossless444_bt709.mkv", "yuv444p"),
    ],
)
def test_y4m_in_and_out_changes_no_code(name: str, pixel_format: str) -> None:
    given = to_y4m(sample(name))
    restored = subprocess.run([*RESTORE, "-", "-"], check=True, capture_output=True, input=given)
    before, after = from_y4m(given, pixel_format), from_y4m(restored.stdout, pixel_format)
    assert before.size == after.size
    if name.startswith(("calm", "gray")):
        assert np.array_equal(before, after)
    assert b"frames" in restored.stderr


def test_a_pipe_becomes_a_file_and_a_file_a_pipe(tmp_path: Path) -> None:
    data = sample("mpeg2.ts").read_bytes()
    output = tmp_path / "out.mkv"
    finished = subprocess.run([*RESTORE, "-", str(output)], check=True, capture_output=True, input=data)
    assert b"note: 1 other tracks are not copied" in finished.stderr
    assert video_pts(output) == video_pts(sample("mpeg2.ts"))
    piped = subprocess.run([*RESTORE, str(sample("bframes.mp4")), "-"], check=True, capture_output=True)
    assert from_y4m(piped.stdout, "gray").size == len(decoded_bytes(sample("bframes.mp4"), "gray"))


def test_a_pipe_without_other_tracks_says_nothing_of_them() -> None:
    given = to_y4m(sample("calm_bt601.mkv"))
    restored = subprocess.run([*RESTORE, "-", "-"], check=True, capture_output=True, input=given)
    assert b"other tracks" not in restored.stderr


@pytest.mark.parametrize(("name", "told"), [("vfr.mp4", True), ("bframes.mp4", False), ("mpeg2.ts", False)])
def test_a_pipe_tells_of_frames_that_come_at_no_one_rate(name: str, told: bool, tmp_path: Path) -> None:
    """Y4M has no timestamps."""
    with (tmp_path / "out.y4m").open("wb") as output:
        report = restore_pipe(sample(name), output, restorer=dv.Restorer(None))
    assert any("their times: Y4M has one rate" in note for note in report.notes) == told


def test_what_is_found_late_is_noted_too(tmp_path: Path) -> None:
    with (tmp_path / "out.y4m").open("wb") as output:
        report = restore_pipe(sample("interlaced_later.ts"), output, restorer=dv.Restorer(None))
    assert any("interlaced" in note for note in report.notes)


def test_a_pipe_becomes_pictures(tmp_path: Path) -> None:
    data = to_y4m(sample("calm_bt601.mkv"))
    subprocess.run([*RESTORE, "-", str(tmp_path / "%d.png")], check=True, capture_output=True, input=data)
    assert len(list(tmp_path.glob("*.png"))) == 10


def test_a_closed_pipe_ends_the_command_at_once() -> None:
    process = subprocess.Popen(
        [*RESTORE, str(sample("long.mp4")), "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1000)
    process.stdout.close()
    assert process.wait(timeout=60) == 4
    assert process.stderr.read().decode().splitlines() == [
        "diffir-video: nobody reads the output any more; the command behind the pipe ended"
    ]
    process.stderr.close()


@pytest.mark.parametrize("data", [b"", b"no video at all"])
def test_a_pipe_without_video_is_one_clear_error(data: bytes) -> None:
    finished = subprocess.run([*RESTORE, "-", "-"], check=False, capture_output=True, input=data)
    assert finished.returncode == 3
    assert b"standard input" in finished.stderr
    assert finished.stdout == b""


def test_a_pipe_that_breaks_off_in_a_frame_is_a_loss() -> None:
    whole = to_y4m(sample("calm_bt601.mkv"))
    finished = subprocess.run([*RESTORE, "-", "-"], check=False, capture_output=True, input=whole[:-1000])
    assert finished.returncode == 5
    assert b"LOST: 1 incomplete packets at the end left out" in finished.stderr
    assert finished.stdout.count(b"FRAME\n") == whole.count(b"FRAME\n") - 1


def test_a_y4m_file_that_breaks_off_in_a_frame_is_a_loss(tmp_path: Path) -> None:
    (tmp_path / "in.y4m").write_bytes(to_y4m(sample("calm_bt601.mkv"))[:-1000])
    with VideoReader(tmp_path / "in.y4m") as reader:
        assert len(list(reader)) == 9
        assert reader.losses.truncated_packets == 1


def test_frames_of_a_y4m_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "in.y4m").write_bytes(to_y4m(sample("bframes.mp4")))
    with VideoReader(tmp_path / "in.y4m") as reader:
        assert len(list(reader)) == 50
        assert not reader.losses

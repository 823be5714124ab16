"""Chroma siting: read from whatever says it, used for the colours, and said again by the output."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av.logging
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from diffir_video import JobOptions, Restorer
from diffir_video.frame import ColorTags, Frame, StreamInfo
from diffir_video.job import restore_file
from diffir_video.media import VideoReader, VideoWriter, Y4mWriter
from tests.media_samples import decoded_bytes, sample

UNSPECIFIED, LEFT, CENTRE, TOP_LEFT, TOP, BOTTOM_LEFT, BOTTOM = range(7)


def info(location: int, pixel_format: str = "yuv420p", bit_depth: int = 8) -> StreamInfo:
    tags = ColorTags(matrix=6, color_range=1, chroma_location=location)
    return StreamInfo(128, 64, Fraction(1, 25), pixel_format, bit_depth, tags, average_rate=Fraction(25))


def coloured_waves() -> Tensor:
    """(3, 64, 128): the colour swings along x and along y, its luma doesn't."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(128), indexing="ij")
    cb, cr = 0.2 * torch.sin(2 * torch.pi * x / 16), 0.2 * torch.sin(2 * torch.pi * y / 16)
    return torch.stack([0.5 + 1.402 * cr, 0.5 - 0.344136 * cb - 0.714136 * cr, 0.5 + 1.772 * cb])


def displacement(colours: Tensor) -> float:
    """How far `coloured_waves` have moved, in pixels: the larger of both directions."""
    red, green, blue = colours[:, 16:48, 16:112].double()
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return max(_moved((blue - luma).mean(0)), _moved((red - luma).mean(1)))


def _moved(wave: Tensor) -> float:
    turn = torch.arange(len(wave), dtype=torch.float64) * (2 * torch.pi / 16)
    phase = torch.atan2((wave * turn.cos()).sum(), (wave * turn.sin()).sum())
    return abs(float(phase)) * 16 / (2 * torch.pi)


def written(path: Path, stream: StreamInfo, **options) -> VideoWriter:
    with VideoWriter(path, stream, **options) as writer:
        for pts in range(3):
            writer.write(Frame(coloured_waves(), pts, stream.time_base, 1))
    return writer


def read(path: Path) -> tuple[int, Tensor]:
    with VideoReader(path) as reader:
        return reader.info.color.chroma_location, next(iter(reader)).data


def with_options(encoder: str) -> dict[str, str]:
    return {"libx264": {"qp": "1"}, "libx265": {"x265-params": "qp=4"}, "ffv1": {}}.get(encoder, {"crf": "4"})


@pytest.mark.parametrize(
    ("name", "location"),
    [
        ("topleft.mp4", TOP_LEFT),
        ("hdr10_topleft.mp4", TOP_LEFT),
        ("topleft_av1.mp4", TOP_LEFT),
        ("centre_vp9.mkv", CENTRE),
        ("centre_calm.mkv", CENTRE),
        ("motion_jpeg.avi", CENTRE),
        ("mpeg1.mpg", CENTRE),
    ],
)
def test_the_siting_is_what_stream_container_or_codec_say(name: str, location: int) -> None:
    assert read(sample(name))[0] == location


@pytest.mark.parametrize("name", ["bframes.mp4", "ten_bit.mp4", "mpeg2.ts", "vp9_opus.webm", "gray.mkv"])
def test_where_nothing_says_it_the_siting_is_unspecified(name: str) -> None:
    assert read(sample(name))[0] == UNSPECIFIED


def test_only_the_horizontal_siting_counts_where_chroma_has_every_row() -> None:
    assert read(sample("motion_jpeg422.avi"))[0] == CENTRE
    assert read(sample("mpeg2_422.ts"))[0] == UNSPECIFIED


@pytest.mark.parametrize(("suffix", "options"), [(".jpg", {"subsampling": "4:2:0"}), (".webp", {})])
def test_a_picture_has_its_colours_where_other_programs_see_them(
    suffix: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / f"in{suffix}"
    picture = coloured_waves().mul(255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(path, quality=100, **options)
    theirs = np.asarray(Image.open(path).convert("RGB"), np.float32)
    ours = read(path)[1].permute(1, 2, 0).numpy() * 255
    assert np.abs(ours - theirs).max() < 5
    assert displacement(torch.as_tensor(ours).permute(2, 0, 1)) < 0.05


@pytest.mark.parametrize(("tag", "location"), [("420jpeg", 2), ("420mpeg2", 1), ("420paldv", 3)])
def test_y4m_names_it_in_its_header(tag: str, location: int, tmp_path: Path) -> None:
    with (tmp_path / "out.y4m").open("wb") as file:
        writer = Y4mWriter(file, info(location))
        writer.write(Frame(coloured_waves(), 0, Fraction(1, 25)))
    assert f" C{tag} ".encode() in (tmp_path / "out.y4m").read_bytes()[:99]
    assert writer.notes == ()
    found, colours = read(tmp_path / "out.y4m")
    assert found == location
    assert displacement(colours) < 0.05


@pytest.mark.parametrize(("location", "pixel_format"), [(BOTTOM, "yuv420p"), (CENTRE, "yuv420p10le")])
def test_what_y4m_can_not_name_becomes_left_and_is_told(
    location: int, pixel_format: str, tmp_path: Path
) -> None:
    with (tmp_path / "out.y4m").open("wb") as file:
        writer = Y4mWriter(file, info(location, pixel_format, 10 if "10" in pixel_format else 8))
        writer.write(Frame(coloured_waves(), 0, Fraction(1, 25)))
    assert "becomes left" in writer.notes[0]
    assert displacement(read(tmp_path / "out.y4m")[1]) < 0.05


@pytest.mark.parametrize(
    ("encoder", "suffix", "locations"),
    [
        ("libx264", ".mp4", [CENTRE, TOP_LEFT, TOP, BOTTOM_LEFT, BOTTOM]),
        ("libx264", ".mkv", [CENTRE, TOP_LEFT, TOP, BOTTOM_LEFT, BOTTOM]),
        ("libx265", ".mp4", [CENTRE, TOP_LEFT, TOP, BOTTOM_LEFT, BOTTOM]),
        ("libx265", ".ts", [TOP_LEFT]),
        ("libsvtav1", ".mp4", [LEFT, TOP_LEFT]),
        ("libsvtav1", ".mkv", [LEFT, CENTRE, TOP_LEFT, TOP]),
        ("libvpx-vp9", ".webm", [LEFT, CENTRE, TOP_LEFT, TOP]),
        ("ffv1", ".mkv", [LEFT, CENTRE, TOP_LEFT, TOP]),
    ],
)
def test_the_output_says_the_sources_siting(
    encoder: str, suffix: str, locations: Sequence[int], tmp_path: Path
) -> None:
    for location in locations:
        path = tmp_path / f"{location}{suffix}"
        writer = written(path, info(location), encoder=encoder, encoder_options=with_options(encoder))
        found, colours = read(path)
        assert found == location
        assert displacement(colours) < 0.05
        assert writer.notes == ()


@pytest.mark.parametrize(
    ("encoder", "suffix", "location"),
    [
        ("libvpx-vp9", ".mp4", CENTRE),
        ("libsvtav1", ".mp4", CENTRE),
        ("ffv1", ".mkv", BOTTOM_LEFT),
        ("ffv1", ".mp4", TOP_LEFT),
    ],
)
def test_a_siting_the_output_can_not_say_becomes_left_with_a_note_and_no_shifted_colour(
    encoder: str, suffix: str, location: int, tmp_path: Path
) -> None:
    path = tmp_path / f"out{suffix}"
    writer = written(path, info(location), encoder=encoder, encoder_options=with_options(encoder))
    found, colours = read(path)
    assert found == UNSPECIFIED
    assert any("chroma siting" in note and "becomes left" in note for note in writer.notes)
    assert displacement(colours) < 0.05


def test_left_is_what_no_siting_means(tmp_path: Path) -> None:
    for name, location in (("untagged.mp4", UNSPECIFIED), ("left.mp4", LEFT)):
        assert written(tmp_path / name, info(location)).notes == ()
        assert read(tmp_path / name)[0] == UNSPECIFIED
    assert decoded_bytes(tmp_path / "untagged.mp4") == decoded_bytes(tmp_path / "left.mp4")


def test_an_hdr_file_sited_top_left_stays_so(tmp_path: Path) -> None:
    fast = {"preset": "ultrafast", "crf": "30"}
    report = restore_file(
        sample("hdr10_topleft.mp4"),
        tmp_path / "out.mp4",
        restorer=Restorer(None),
        options=JobOptions(encoder="libx265", encoder_options=fast),
    )
    checks = {check.name: check for check in report.verification.checks}
    assert checks["colour chroma location"].found == str(TOP_LEFT)
    assert report.lost() == []
    assert report.notes == ()
    assert "topleft" in shown_by_ffmpeg(tmp_path / "out.mp4")


def test_the_codes_of_a_file_sited_in_the_centre_survive(tmp_path: Path) -> None:
    source = sample("centre_calm.mkv")
    restore_file(source, tmp_path / "out.mkv", restorer=Restorer(None), options=JobOptions(encoder="ffv1"))
    assert decoded_bytes(tmp_path / "out.mkv", "yuv420p") == decoded_bytes(source, "yuv420p")


def test_readers_in_several_threads_each_find_their_own(capfd: pytest.CaptureFixture[str]) -> None:
    names = ["topleft.mp4", "centre_vp9.mkv", "bframes.mp4", "motion_jpeg.avi"] * 5
    paths = [sample(name) for name in names]
    with ThreadPoolExecutor(4) as threads:
        found = [location for location, _ in threads.map(read, paths)]
    assert found == [TOP_LEFT, CENTRE, UNSPECIFIED, CENTRE] * 5
    assert capfd.readouterr() == ("", "")


def test_reading_leaves_the_log_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    read(sample("topleft.mp4"))
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before
    assert capfd.readouterr() == ("", "")


def shown_by_ffmpeg(path: Path) -> str:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "verbose", "-i", os.fspath(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr

"""HDR stays HDR: tags, the mastering display, the light level, and more than 8 bits."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from diffir_video import DiffIRS2, JobOptions, ModelConfig, Restorer
from diffir_video.frame import ContentLight, MasteringDisplay, StreamInfo
from diffir_video.job import restore_file
from diffir_video.media import VideoReader
from tests.media_samples import decoded_bytes, ffmpeg, sample

FAST = {"libx265": {"preset": "ultrafast"}, "libx264": {"preset": "ultrafast"}, "libsvtav1": {"preset": "13"}}


def info_of(path: Path) -> StreamInfo:
    with VideoReader(path) as reader:
        return reader.info


def test_the_metadata_is_read_from_the_stream() -> None:
    info = info_of(sample("hdr10.mp4"))
    assert info.content_light == ContentLight(1000, 400)
    assert info.mastering_display == MasteringDisplay(
        red=(Fraction(34, 50), Fraction(16, 50)),
        green=(Fraction(265, 1000), Fraction(69, 100)),
        blue=(Fraction(15, 100), Fraction(6, 100)),
        white=(Fraction(3127, 10000), Fraction(329, 1000)),
        max_luminance=Fraction(1000),
        min_luminance=Fraction(1, 10000),
    )
    assert info_of(sample("bframes.mp4")).mastering_display is None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("encoder", ["libx265", "libx264", "libsvtav1"])
def test_the_metadata_is_written_again(encoder: str, suffix: str, tmp_path: Path) -> None:
    output = tmp_path / f"out{suffix}"
    report = restore_file(
        sample("hdr10.mp4"),
        output,
        restorer=Restorer(None),
        options=JobOptions(encoder=encoder, encoder_options=FAST[encoder]),
    )
    put, found = info_of(sample("hdr10.mp4")), info_of(output)
    assert report.notes == ()
    assert found.color == put.color
    assert found.content_light == put.content_light
    assert found.mastering_display is not None
    assert put.mastering_display is not None
    for name in ("red", "green", "blue", "white"):
        assert [float(x) for x in getattr(found.mastering_display, name)] == pytest.approx(
            [float(x) for x in getattr(put.mastering_display, name)], abs=5e-5
        )
    assert float(found.mastering_display.max_luminance) == pytest.approx(1000, rel=1e-3)
    assert float(found.mastering_display.min_luminance) == pytest.approx(1e-4, abs=2**-14)


def test_an_encoder_that_can_not_write_it_says_so(tmp_path: Path) -> None:
    report = restore_file(
        sample("hdr10.mp4"), tmp_path / "out.mkv", restorer=Restorer(None), options=JobOptions(encoder="ffv1")
    )
    assert "ffv1 can't write the HDR mastering metadata" in report.notes[0]


def with_unit(path: Path, unit: bytes, folder: Path, *, after: bool) -> Path:
    """A file's H.265 with one more NAL unit, before or after the first slice."""
    stream = folder / "stream.hevc"
    ffmpeg("-i", str(path), "-c:v", "copy", "-an", str(stream))
    data = stream.read_bytes()
    marks = [mark.start() for mark in re.finditer(rb"\x00\x00\x01", data)]
    first_slice = next(number for number, mark in enumerate(marks) if data[mark + 3] >> 1 < 32)
    place = marks[first_slice + after]
    escaped = re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", unit)
    stream.write_bytes(data[:place] + b"\x00\x00\x01" + escaped + data[place:])
    return stream


ONE_WINDOW = b"\xb5\x00\x3c\x00\x01\x04" + b"\x01\x40" + bytes(31)
HDR10_PLUS = b"\x4e\x01\x04" + bytes([len(ONE_WINDOW)]) + ONE_WINDOW + b"\x80"
# A reference processing unit that maps nothing: one piece of order 1 for each component.
DOLBY_VISION = bytes.fromhex("7c011908000840e4d9413c00ffe007ff003fff400100068002000d000400009081975f80")


@pytest.mark.parametrize(
    ("name", "unit", "after"), [("HDR10+", HDR10_PLUS, False), ("Dolby Vision", DOLBY_VISION, True)]
)
def test_metadata_of_each_scene_are_missed_aloud(name: str, unit: bytes, after: bool, tmp_path: Path) -> None:
    """SMPTE ST 2094-40 in an SEI message, Dolby Vision in a NAL unit of its own kind."""
    with VideoReader(with_unit(sample("hdr10.mp4"), unit, tmp_path, after=after)) as reader:
        assert [name in note for note in reader.notes] == [True]
    with VideoReader(sample("hdr10.mp4")) as reader:
        assert reader.notes == ()


@pytest.mark.parametrize(("name", "transfer"), [("hdr10.mp4", 16), ("hlg.mp4", 18)])
def test_an_enlarged_clip_keeps_tags_and_depth(name: str, transfer: int, tmp_path: Path) -> None:
    config = ModelConfig(dim=4, blocks=(1, 1), heads=(1, 1), refinement_blocks=0, scale=2, cpen_width=4)
    output = tmp_path / "out.mp4"
    restore_file(
        sample(name),
        output,
        restorer=Restorer(DiffIRS2(config), device="cpu"),
        options=JobOptions(encoder="libx265", encoder_options=FAST["libx265"]),
    )
    found = info_of(output)
    assert (found.width, found.height, found.bit_depth, found.color.transfer) == (320, 192, 10, transfer)
    assert found.content_light == info_of(sample(name)).content_light
    mastered = info_of(sample(name)).mastering_display
    assert (found.mastering_display is None) == (mastered is None) == (name == "hlg.mp4")
    if found.mastering_display is not None and mastered is not None:
        assert found.mastering_display.red == mastered.red
        assert float(found.mastering_display.max_luminance) == pytest.approx(1000)
    luma = np.frombuffer(decoded_bytes(output, "yuv420p10le"), np.uint16)[: 320 * 192]
    assert len(np.unique(luma)) > 256

"""An alpha channel is a loss only where something shows through."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from diffir_video.media import IsolatedReader, PictureReader, ReadLosses, VideoReader, open_video
from tests.media_samples import sample

OPAQUE, NEARLY_OPAQUE = 255, 250


def make(path: Path, alpha: int, codec: str, pixel_format: str) -> Path:
    """A picture that is opaque but for one pixel, made from 8-bit RGBA."""
    picture = np.full((48, 64, 4), 255, np.uint8)
    picture[5, 63, 3] = alpha
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgba"]
    command += ["-s", "64x48", "-i", "-", "-c:v", codec, "-pix_fmt", pixel_format, str(path)]
    subprocess.run(command, input=picture.tobytes(), check=True)
    return path


def losses_of(path: Path) -> ReadLosses:
    with open_video(path) as reader:
        assert reader.has_alpha
        assert len(list(reader)) == 1
        return reader.losses


@pytest.mark.parametrize(
    ("codec", "pixel_format", "name"),
    [
        ("png", "rgba", "a.png"),
        ("png", "rgba64be", "a.png"),
        ("png", "ya8", "a.png"),
        ("png", "ya16be", "a.png"),
        ("ffv1", "yuva420p", "a.mkv"),
        ("ffv1", "yuva444p10le", "a.mkv"),
        ("ffv1", "yuva422p16le", "a.mkv"),
        ("ffv1", "gbrap10le", "a.mkv"),
        ("ffv1", "gbrap16le", "a.mkv"),
        ("ffv1", "bgra", "a.mkv"),
        ("qtrle", "argb", "a.mov"),
        ("prores_ks", "yuva444p10le", "a.mov"),
        ("rawvideo", "abgr", "a.nut"),
        ("rawvideo", "vuya", "a.nut"),
        ("rawvideo", "yuva444p12be", "a.nut"),
    ],
)
def test_one_pixel_is_enough_wherever_a_format_has_it(
    codec: str, pixel_format: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "opaque").mkdir()
    assert not losses_of(make(tmp_path / "opaque" / name, OPAQUE, codec, pixel_format))
    assert losses_of(make(tmp_path / name, NEARLY_OPAQUE, codec, pixel_format)) == ReadLosses(alpha=True)


@pytest.mark.parametrize(("color", "is_lost"), [(0, True), (1, False)])
def test_of_a_palette_only_colours_that_are_there_count(color: int, is_lost: bool, tmp_path: Path) -> None:
    Image.new("P", (32, 24), color).save(tmp_path / "a.png", transparency=0)
    assert losses_of(tmp_path / "a.png").alpha == is_lost


@pytest.mark.parametrize("reader_of", [VideoReader, IsolatedReader])
@pytest.mark.parametrize(("end", "is_lost"), [(None, True), (Fraction(3, 25), False)])
def test_what_shows_through_later_counts_where_it_is_read(
    end: Fraction | None, is_lost: bool, reader_of: type[VideoReader | IsolatedReader]
) -> None:
    with reader_of(sample("opaque_at_first.mkv"), end=end) as reader:
        assert reader.has_alpha
        assert not reader.losses
        list(reader)
        assert reader.losses.alpha == is_lost


def test_a_sequence_s_later_pictures_count(tmp_path: Path) -> None:
    paths = [make(tmp_path / f"{i}.png", OPAQUE if i < 2 else NEARLY_OPAQUE, "png", "rgba") for i in range(3)]
    reader = PictureReader(paths)
    assert [reader.losses.alpha for _ in reader] == [False, False, True]

"""Code values to RGB and back, against zscale (zimg) in floating point doing the same."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import imageio_ffmpeg
import numpy as np
import pytest

from diffir_video.frame import ColorTags
from diffir_video.media.color import PictureDecoder, PictureEncoder
from diffir_video.media.pixel_layout import PixelLayout, native_layout
from tests.media.test_color import plane, smooth_picture

# Large for its waves: theirs, unlike ours, blurs chroma a little on every pass.
WIDTH, HEIGHT = 384, 256
_EDGE = 4
MATRICES = {"170m": 6, "709": 1, "2020_ncl": 9}
RANGES = {"limited": 1, "full": 2}


def zscaled(data: bytes, pixel_format: str, matrix: str, color_range: str) -> tuple[np.ndarray, bytes]:
    """The picture's RGB (3, H, W) in [0, 1], and its codes after the way there and back."""
    size = f"{WIDTH}x{HEIGHT}"
    there = f"zscale=min={matrix}:rin={color_range}:cin=left:m=gbr:r=full:f=bilinear:d=none,format=gbrpf32le"
    back = f"zscale=m={matrix}:r={color_range}:c=left:f=bilinear:d=none,format={pixel_format}"

    def run(filters: str, kind: str) -> bytes:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-s", size]
        command += [
            "-pix_fmt",
            pixel_format,
            "-i",
            "-",
            "-vf",
            filters,
            "-f",
            "rawvideo",
            "-pix_fmt",
            kind,
            "-",
        ]
        return subprocess.run(command, input=data, check=True, capture_output=True).stdout

    green, blue, red = np.frombuffer(run(there, "gbrpf32le"), np.float32).reshape(3, HEIGHT, WIDTH)
    return np.stack([red, green, blue]), run(f"{there},{back}", pixel_format)


@pytest.mark.parametrize("depth", ["", "10le"])
@pytest.mark.parametrize("chroma", ["420", "422", "444"])
@pytest.mark.parametrize("color_range", RANGES)
@pytest.mark.parametrize("matrix", MATRICES)
def test_both_ways_agree_with_zscale(matrix: str, color_range: str, chroma: str, depth: str) -> None:
    pixel_format = f"yuv{chroma}p{depth}"
    layout = native_layout(pixel_format)
    assert layout is not None
    picture = smooth_picture(pixel_format, WIDTH, HEIGHT)
    data = b"".join(np.ascontiguousarray(plane(picture, index)).tobytes() for index in range(3))
    tags = ColorTags(matrix=MATRICES[matrix], color_range=RANGES[color_range])
    rgb = PictureDecoder(pixel_format, WIDTH, HEIGHT, tags).decode(picture)
    back = PictureEncoder(pixel_format, WIDTH, HEIGHT, tags).encode(rgb)
    their_rgb, their_codes = zscaled(data, pixel_format, matrix, color_range)

    for index, theirs in enumerate(planes_of(their_codes, layout)):
        ours = plane(back, index).astype(int)
        assert np.array_equal(ours, plane(picture, index))
        difference = np.abs(ours - theirs)
        # At its edges zimg continues a picture as a mirror, not as a line.
        assert difference[_EDGE:-_EDGE, _EDGE:-_EDGE].max() <= 1
        assert difference.mean() <= 0.3
    # zimg rounds the chroma that it interpolated before it makes RGB of it.
    assert np.abs(rgb.numpy() - their_rgb).max() * (2**layout.bit_depth - 1) <= 1.1


def planes_of(data: bytes, layout: PixelLayout) -> Iterator[np.ndarray]:
    samples = np.frombuffer(data, layout.dtype)
    for index in range(3):
        rows, columns = layout.plane_size(index, WIDTH, HEIGHT)
        yield samples[: rows * columns].reshape(rows, columns).astype(int)
        samples = samples[rows * columns :]

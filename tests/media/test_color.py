"""Code values become RGB and come back: by the stream's own matrix and range, and without loss."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
import torch

from diffir_video.errors import MediaInputError
from diffir_video.frame import ColorTags
from diffir_video.media import VideoReader
from diffir_video.media.color import PictureDecoder, PictureEncoder, resolved_tags
from diffir_video.media.pixel_layout import native_layout
from tests.media_samples import decoded_bytes, sample

LIMITED, FULL = 1, 2


def plane(frame: av.VideoFrame, index: int) -> np.ndarray:
    layout = native_layout(frame.format.name)
    assert layout is not None
    height, width = layout.plane_size(index, frame.width, frame.height)
    buffer: Any = frame.planes[index]
    samples = np.frombuffer(buffer, layout.dtype)
    return samples.reshape(-1, frame.planes[index].line_size // samples.itemsize)[:height, :width]


def random_picture(pixel_format: str, width: int, height: int) -> av.VideoFrame:
    """Independent random codes around the middle, so that no colour leaves the RGB cube."""
    layout = native_layout(pixel_format)
    assert layout is not None
    rng = np.random.default_rng(width * height)
    frame = av.VideoFrame(width, height, pixel_format)
    middle = 2 ** (layout.bit_depth - 1)
    for index in range(layout.plane_count):
        codes = plane(frame, index)
        codes[...] = rng.integers(middle - middle // 8, middle + middle // 8, codes.shape)
    return frame


def smooth_picture(pixel_format: str, width: int, height: int) -> av.VideoFrame:
    """Slow waves over most of the codes, whose colours stay in the RGB cube."""
    layout = native_layout(pixel_format)
    assert layout is not None
    frame = av.VideoFrame(width, height, pixel_format)
    middle = 2 ** (layout.bit_depth - 1)
    for index, swing in enumerate((0.3, 0.3, 0.25)):
        codes = plane(frame, index)
        rows, columns = codes.shape
        y, x = np.mgrid[0:rows, 0:columns] / [[[rows]], [[columns]]]
        wave = np.sin(2 * np.pi * (x + index * y)) * np.cos(2 * np.pi * (y - x / 2 + index / 3))
        codes[...] = np.rint(middle * (1 + swing * wave))
    return frame


@pytest.mark.parametrize("size", [(64, 48), (65, 49), (3, 5), (2, 1), (1, 1)])
@pytest.mark.parametrize("location", [0, 2, 3, 5])
@pytest.mark.parametrize(
    "pixel_format",
    [
        *("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p"),
        *("yuv420p10le", "yuv444p16le", "gbrp", "gray"),
    ],
)
def test_a_picture_survives_the_way_to_rgb_and_back_without_one_changed_code(
    pixel_format: str, location: int, size: tuple[int, int]
) -> None:
    tags = ColorTags(chroma_location=location)
    picture = random_picture(pixel_format, *size)
    rgb = PictureDecoder(pixel_format, *size, tags).decode(picture)
    back = PictureEncoder(pixel_format, *size, tags).encode(rgb)
    for index in range(len(picture.planes)):
        np.testing.assert_array_equal(plane(back, index), plane(picture, index))


@pytest.mark.parametrize(
    ("tags", "red"),
    [
        (ColorTags(matrix=1, color_range=LIMITED), (63, 102, 240)),
        (ColorTags(matrix=6, color_range=LIMITED), (81, 90, 240)),
        (ColorTags(matrix=1, color_range=FULL), (54, 99, 255)),
        (ColorTags(matrix=9, color_range=LIMITED), (74, 97, 240)),
    ],
)
def test_red_has_the_codes_that_the_standards_give_it(tags: ColorTags, red: tuple[int, int, int]) -> None:
    picture = torch.zeros(3, 8, 8)
    picture[0] = 1.0
    frame = PictureEncoder("yuv420p", 8, 8, tags).encode(picture)
    assert tuple(int(plane(frame, index)[2, 2]) for index in range(3)) == red


def test_black_and_white_are_zero_and_one_in_both_ranges() -> None:
    for color_range, black, white in ((LIMITED, 16, 235), (FULL, 0, 255)):
        frame = av.VideoFrame(2, 1, "yuv444p")
        plane(frame, 0)[...] = [[black, white]]
        plane(frame, 1)[...] = plane(frame, 2)[...] = 128
        rgb = PictureDecoder("yuv444p", 2, 1, ColorTags(color_range=color_range)).decode(frame)
        torch.testing.assert_close(rgb[:, 0], torch.tensor([[0.0, 1.0]] * 3))


def test_our_rgb_agrees_with_swscale_where_no_chroma_is_interpolated() -> None:
    path = sample("lossless444_bt709.mkv")
    with VideoReader(path) as reader:
        ours = torch.stack([frame.data for frame in reader])
    raw = np.frombuffer(decoded_bytes(path, "gbrp16le"), np.uint16).reshape(len(ours), 3, 96, 160)
    theirs = torch.as_tensor(raw[:, [2, 0, 1]].astype(np.float32) / 65535)
    assert (ours - theirs).abs().max() < 1 / 255


@pytest.mark.parametrize(
    ("size", "matrix"), [((720, 576), 6), ((1280, 544), 1), ((1000, 720), 1), ((640, 360), 6)]
)
def test_an_unspecified_matrix_is_chosen_by_the_frame_size(size: tuple[int, int], matrix: int) -> None:
    layout = native_layout("yuv420p")
    assert layout is not None
    assert resolved_tags(ColorTags(), layout, *size).matrix == matrix


def test_a_matrix_that_is_no_linear_map_is_refused_by_name() -> None:
    with pytest.raises(MediaInputError, match="colour matrix 14"):
        PictureDecoder("yuv420p", 8, 8, ColorTags(matrix=14))


def test_values_outside_the_cube_are_clamped() -> None:
    frame = PictureEncoder("gbrp", 1, 1, ColorTags()).encode(torch.tensor([-0.5, 0.5, 1.5]).view(3, 1, 1))
    assert [int(plane(frame, index)[0, 0]) for index in range(3)] == [128, 255, 0]


def test_ten_bits_are_not_rounded_to_eight() -> None:
    ramp = torch.linspace(0, 1, 1024).expand(3, 4, -1).contiguous()
    frame = PictureEncoder("yuv444p10le", 1024, 4, ColorTags(color_range=FULL)).encode(ramp)
    assert len(np.unique(plane(frame, 0))) == 1024

"""What it takes to make RGB of a picture's codes, and codes of RGB, at 1920x1080: `make bench`."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from diffir_video.frame import ColorTags
from diffir_video.media.color import PictureDecoder, PictureEncoder
from diffir_video.media.pixel_layout import wait_for
from tests.media.test_color import random_picture

WIDTH, HEIGHT = 1920, 1080

DEVICES = [
    torch.device("cpu"),
    pytest.param(
        torch.device("cuda"),
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ),
]


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
@pytest.mark.benchmark(group="codes to RGB, 1920x1080")
def test_decoding(benchmark: BenchmarkFixture, pixel_format: str, device: torch.device) -> None:
    picture = random_picture(pixel_format, WIDTH, HEIGHT)
    decoder = PictureDecoder(pixel_format, WIDTH, HEIGHT, ColorTags(), device=device)

    def decode() -> torch.Tensor:
        rgb = decoder.decode(picture)
        wait_for(device)
        return rgb

    assert benchmark(decode).device.type == device.type


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
@pytest.mark.benchmark(group="RGB to codes, 1920x1080")
def test_encoding(benchmark: BenchmarkFixture, pixel_format: str, device: torch.device) -> None:
    picture = random_picture(pixel_format, WIDTH, HEIGHT)
    rgb = PictureDecoder(pixel_format, WIDTH, HEIGHT, ColorTags(), device=device).decode(picture)
    encoder = PictureEncoder(pixel_format, WIDTH, HEIGHT, ColorTags())
    assert benchmark(encoder.encode, rgb).format.name == pixel_format

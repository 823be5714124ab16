"""The tail of a live frame, by torch and by the kernels in C, side by side: `make bench`."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import diffir_video as dv
from diffir_video.inference.convolutions import Convolutions
from diffir_video.inference.native import NativeConvolutions
from tests.network.test_variants import config

WIDTH, HEIGHT = 640, 360


@pytest.mark.benchmark(group="the tail of a frame of denoise-live, 640x360", min_rounds=3, warmup=True)
@pytest.mark.parametrize("by", ["torch", "C"])
def test_tail(benchmark: BenchmarkFixture, by: str) -> None:
    """The output convolution, the blend's weights, eight pictures, six of them smoothed, and the sum."""
    model = config("denoise-live")
    net = dv.DiffIRS2(model).eval().G
    ours = NativeConvolutions(net, 0) if by == "C" else Convolutions(net, torch.float32, torch.float32)
    step = model.unshuffle
    x = torch.randn(1, 2 * model.dim, HEIGHT // step, WIDTH // step).contiguous(
        memory_format=torch.channels_last
    )
    lq = torch.rand(1, model.lq_channels, HEIGHT, WIDTH)
    with torch.inference_mode():
        benchmark(lambda: ours.to_picture(x, lq))

"""What makes the folded network fast on a CPU, piece by piece and as a whole: `make bench`.

docs/performance.md says what was expected of each and what came of it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

import diffir_video as dv
from diffir_video.inference import FoldedDIRformer, InferenceOptions
from diffir_video.inference.convolutions import with_unshuffle_before
from diffir_video.inference.strips import plain_norm
from tests.network.test_variants import config

# On several cores, how torch shares them would be in the figures as well.
pytestmark = pytest.mark.usefixtures("one_thread")

# denoise-nano's first level at 640x360, and a strip of it.
WIDTH, HEIGHT, STRIP_ROWS = 320, 180, 16


def measure(benchmark: BenchmarkFixture, piece: Callable[[], object]) -> None:
    with torch.inference_mode():
        benchmark(piece)


@pytest.mark.benchmark(group="norm of 5120 pixels, 32 channels", warmup=True)
@pytest.mark.parametrize("by", ["layer_norm", "products"])
def test_norm(benchmark: BenchmarkFixture, by: str) -> None:
    x = torch.randn(STRIP_ROWS * WIDTH, 32)
    if by == "layer_norm":
        measure(benchmark, lambda: F.layer_norm(x, (32,), eps=1e-5))
    else:
        measure(benchmark, lambda: plain_norm(x, centred=True))


@pytest.mark.benchmark(group="GELU of 16 of 32 channels", warmup=True)
@pytest.mark.parametrize("of", ["a slice", "a contiguous copy"])
def test_gelu(benchmark: BenchmarkFixture, of: str) -> None:
    hidden = torch.randn(STRIP_ROWS * WIDTH, 32)
    gate = hidden[:, :16]
    measure(benchmark, lambda: F.gelu(gate if of == "a slice" else gate.contiguous()))


@pytest.mark.benchmark(group="five frames to the first features, 640x360", warmup=True)
@pytest.mark.parametrize("by", ["pixel_unshuffle, 3x3", "one 6x6 with stride 2"])
def test_embedding(benchmark: BenchmarkFixture, by: str) -> None:
    lq, kernel = torch.rand(1, 15, 2 * HEIGHT, 2 * WIDTH), torch.randn(16, 60, 3, 3)
    if by.startswith("pixel"):
        layout = torch.channels_last
        kernel = kernel.contiguous(memory_format=layout)
        measure(
            benchmark,
            lambda: F.conv2d(F.pixel_unshuffle(lq, 2).contiguous(memory_format=layout), kernel, padding=1),
        )
    else:
        strided = with_unshuffle_before(kernel, 2)
        measure(benchmark, lambda: F.conv2d(lq, strided, stride=2, padding=2))


@pytest.mark.benchmark(group="output convolution, 32 channels", warmup=True)
@pytest.mark.parametrize("channels", [17, 16])
def test_output(benchmark: BenchmarkFixture, channels: int) -> None:
    """Five logits of the blend or, as one of them may be 0, four."""
    x = torch.randn(1, 32, HEIGHT, WIDTH).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(channels, 32, 3, 3).contiguous(memory_format=torch.channels_last)
    measure(benchmark, lambda: F.conv2d(x, kernel, padding=1))


@pytest.mark.benchmark(group="denoise-nano, a frame of 640x360, rows in a strip", min_rounds=3, warmup=True)
@pytest.mark.parametrize("rows", [4, 8, 16, 32, 180])
def test_strips(benchmark: BenchmarkFixture, rows: int) -> None:
    folded, lq = folded_nano(rows=rows)
    measure(benchmark, lambda: folded.restore_with_held_maps(lq))


@pytest.mark.benchmark(group="denoise-nano, a frame of 640x360, one thread", min_rounds=3, warmup=True)
@pytest.mark.parametrize("way", ["reference", "prior", "statistics", "prior bf16", "statistics bf16"])
def test_ways(benchmark: BenchmarkFixture, way: str) -> None:
    dtype = torch.bfloat16 if way.endswith("bf16") else torch.float32
    folded, lq = folded_nano(dtype=dtype)
    if way == "reference":
        net = dv.DiffIRS2(config("denoise-nano-uncompensated")).eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        noise = torch.randn(1, net.config.prior_width)
        measure(benchmark, lambda: net.restore(lq, net.estimate_prior(lq, noise)))
    elif way.startswith("prior"):
        measure(benchmark, lambda: folded.restore(lq))
    else:
        measure(benchmark, lambda: folded.restore_with_held_maps(lq))


def folded_nano(
    *, rows: int | None = None, dtype: torch.dtype = torch.float32
) -> tuple[FoldedDIRformer, Tensor]:
    torch.manual_seed(0)
    model = config("denoise-nano")
    tile = "auto" if rows is None else int((rows * WIDTH * model.unshuffle**2) ** 0.5)
    options = InferenceOptions(tile=tile, backend="eager")
    folded = FoldedDIRformer(dv.DiffIRS2(model).eval().G, dtype=dtype, options=options)
    folded.fold(torch.randn(model.prior_width))
    lq = torch.rand(1, model.lq_channels, 2 * HEIGHT, 2 * WIDTH)
    folded.restore_keeping_maps(lq)
    return folded, lq

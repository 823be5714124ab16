"""Ratios within one run: `make bench`. Nothing here passes or fails on absolute time."""

from __future__ import annotations

from contextlib import nullcontext
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture

import diffir_video as dv
from diffir_video.errors import BackendError
from diffir_video.inference import FoldedDIRformer, InferenceOptions
from diffir_video.inference.native.library import load_kernels, torch_team
from diffir_video.pipeline import run
from diffir_video.precision import DTYPES, Precision, products_of
from diffir_video.stages import NullSink
from tests.network.test_variants import config

# One training batch of the denoise-nano recipe.
BATCH, PATCH = 8, 96


@pytest.mark.benchmark(group="training step of denoise-nano, stage 1", min_rounds=5, warmup=True)
@pytest.mark.parametrize("formulation", ["nchw fp32", "channels_last fp32", "channels_last bf16"])
def test_training_step(benchmark: BenchmarkFixture, formulation: str) -> None:
    layout = torch.contiguous_format if "nchw" in formulation else torch.channels_last
    torch.manual_seed(0)
    net = dv.DiffIRS1(config("denoise-nano-uncompensated")).to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    lq, gt = torch.rand(BATCH, net.config.lq_channels, PATCH, PATCH), torch.rand(BATCH, 3, PATCH, PATCH)
    precision = torch.autocast("cpu", torch.bfloat16) if "bf16" in formulation else nullcontext()

    def step() -> None:
        net.zero_grad(set_to_none=True)
        with precision:
            restored, _ = net(lq, gt)
        (restored.float() - gt).abs().mean().backward()

    benchmark(step)


@pytest.mark.benchmark(group="a gated unit and its gradient, 8 x 64 x 48 x 48, one thread", warmup=True)
@pytest.mark.parametrize("halves", ["as they lie", "packed"])
def test_gated_unit(benchmark: BenchmarkFixture, halves: str, one_thread: None) -> None:
    hidden = torch.randn(8, 64, 48, 48).bfloat16().contiguous(memory_format=torch.channels_last)
    hidden.requires_grad_()
    gradient = torch.ones(8, 32, 48, 48, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)

    def there_and_back() -> None:
        gate, value = hidden.chunk(2, dim=1)
        if halves == "packed":
            gate, value = (half.contiguous(memory_format=torch.channels_last) for half in (gate, value))
        (F.gelu(gate) * value).backward(gradient)
        hidden.grad = None

    benchmark(there_and_back)


@pytest.mark.skipif(torch_team() is None, reason="torch's OpenMP can't be shared here")
@pytest.mark.benchmark(group="denoise-nano in C, a frame of 640x360, threads", min_rounds=10, warmup=True)
@pytest.mark.parametrize("threads", ["torch's", "the kernels' own"])
def test_threads_of_the_kernels(benchmark: BenchmarkFixture, threads: str) -> None:
    torch.manual_seed(0)
    model = config("denoise-nano")
    folded = FoldedDIRformer(dv.DiffIRS2(model).eval().G, options=InferenceOptions(backend="compile"))
    folded.fold(torch.randn(model.prior_width))
    lq = torch.rand(1, model.lq_channels, 360, 640)
    team = load_kernels().team
    team.value = torch_team() if threads == "torch's" else None
    try:
        benchmark(lambda: folded.restore(lq))
    finally:
        team.value = torch_team()


@pytest.mark.skipif(not load_kernels().has_tiles, reason="this processor has no AMX")
@pytest.mark.benchmark(group="deblur in C, bfloat16, a frame of 128x128, products", min_rounds=5, warmup=True)
@pytest.mark.parametrize("by", ["tiles", "vectors"])
def test_tiles_of_the_kernels(benchmark: BenchmarkFixture, by: str) -> None:
    torch.manual_seed(0)
    model = config("deblur")
    net, options = dv.DiffIRS2(model).eval().G, InferenceOptions(backend="compile")
    folded = FoldedDIRformer(net, dtype=torch.bfloat16, options=options)
    folded.fold(torch.randn(model.prior_width))
    lq = torch.rand(1, 3, 128, 128)
    load_kernels().use_tiles(by == "tiles")
    try:
        benchmark(lambda: folded.restore(lq))
    finally:
        load_kernels().use_tiles(True)


@pytest.mark.benchmark(group="deblur in C, a frame of 128x128, products", min_rounds=5, warmup=True)
@pytest.mark.parametrize("precision", ["fp32", "bf16x3", "bf16", "int8"])
def test_precisions_of_the_kernels(benchmark: BenchmarkFixture, precision: Precision) -> None:
    torch.manual_seed(0)
    model = config("deblur")
    options = InferenceOptions(backend="compile", products=products_of(precision))
    try:
        folded = FoldedDIRformer(dv.DiffIRS2(model).eval().G, dtype=DTYPES[precision], options=options)
    except BackendError as exc:
        pytest.skip(str(exc))
    folded.fold(torch.randn(model.prior_width))
    lq = torch.rand(1, 3, 128, 128)
    benchmark(lambda: folded.restore(lq))


@pytest.mark.benchmark(group="one frame of 640x360", min_rounds=5, warmup=True)
@pytest.mark.parametrize("part", ["prior", "restore", "both"])
def test_frame(benchmark: BenchmarkFixture, part: str) -> None:
    torch.manual_seed(0)
    net = dv.DiffIRS2(config("denoise-nano-uncompensated")).eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    lq, noise = torch.rand(1, net.config.lq_channels, 360, 640), torch.randn(1, net.config.prior_width)

    @torch.inference_mode()
    def frame() -> None:
        prior = noise if part == "restore" else net.estimate_prior(lq, noise)
        if part != "prior":
            net.restore(lq, prior)

    benchmark(frame)


class Noise:
    """The same frame again and again, without a decoder."""

    def __init__(self, frames: int) -> None:
        self.info = dv.StreamInfo(320, 180, Fraction(1, 25), "yuv420p")
        self._data, self._frames = torch.rand(3, 180, 320), frames

    def __iter__(self):
        return (dv.Frame(self._data, pts, self.info.time_base) for pts in range(self._frames))

    def close(self) -> None:
        return None


@pytest.mark.benchmark(group="the loop, 16 frames of 320x180", min_rounds=3, warmup=True)
@pytest.mark.parametrize("through", ["restorer alone", "run()"])
def test_loop(benchmark: BenchmarkFixture, through: str) -> None:
    torch.manual_seed(0)
    restorer = dv.Restorer(dv.DiffIRS2(config("denoise-nano")), device="cpu")
    if through == "run()":
        benchmark(lambda: run(Noise(16), restorer, NullSink()))
    else:
        clip = dv.Clip.from_frames(list(Noise(16)))
        benchmark(lambda: restorer.restore(clip))

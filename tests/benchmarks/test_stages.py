"""Levels of reuse, stages of the pipeline and the tail of a live frame, side by side: `make bench`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import diffir_video as dv
from diffir_video import JobOptions
from diffir_video.bench import write_sample_clip
from diffir_video.inference.convolutions import Convolutions
from diffir_video.inference.native import NativeConvolutions
from diffir_video.media import VideoReader, VideoWriter
from diffir_video.prior import ReuseLevel
from tests.network.test_variants import config

WIDTH, HEIGHT, FRAMES = 640, 360, 24


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "clip.mkv"
    write_sample_clip(path, WIDTH, HEIGHT, FRAMES)
    return path


def decoded(path: Path) -> list[dv.Frame]:
    with VideoReader(path) as reader:
        return list(reader)


@pytest.mark.benchmark(
    group=f"reuse levels, denoise-nano, {FRAMES} frames of 640x360", min_rounds=3, warmup=True
)
@pytest.mark.parametrize("level", ["off", "prior", "statistics"])
def test_levels(benchmark: BenchmarkFixture, level: ReuseLevel, clip: Path) -> None:
    restorer = dv.Restorer.from_pretrained("denoise-nano", device="cpu", reuse=level)
    frames = decoded(clip)

    def restore() -> None:
        stream = restorer.open_stream()
        stream.push(frames)
        stream.finish()

    benchmark(restore)


def stages(clip: Path, folder: Path) -> dict[str, Callable[[], object]]:
    restorer = dv.Restorer.from_pretrained("denoise-nano", device="cpu", reuse="statistics")
    frames, output = decoded(clip), folder / "out.mkv"
    with VideoReader(clip) as reader:
        info = reader.info

    def restore() -> None:
        stream = restorer.open_stream()
        stream.push(frames)
        stream.finish()

    def encode() -> None:
        with VideoWriter(output, info, overwrite=True) as writer:
            for frame in frames:
                writer.write(frame)

    return {
        "decode": lambda: decoded(clip),
        "restore": restore,
        "encode": encode,
        "file to file": lambda: dv.restore_file(
            clip, output, restorer=restorer, options=JobOptions(overwrite=True)
        ),
    }


@pytest.mark.benchmark(group=f"pipeline stages, {FRAMES} frames of 640x360", min_rounds=3, warmup=True)
@pytest.mark.parametrize("stage", ["decode", "restore", "encode", "file to file"])
def test_stages(benchmark: BenchmarkFixture, stage: str, clip: Path, tmp_path: Path) -> None:
    benchmark(stages(clip, tmp_path)[stage])


@pytest.mark.benchmark(group="the tail of a frame of denoise-live, 640x360", min_rounds=3, warmup=True)
@pytest.mark.parametrize("by", ["torch", "C"])
def test_tail(benchmark: BenchmarkFixture, by: str) -> None:
    """The output convolution, the blend's weights, eight pictures, six of them smoothed, and the sum."""
    model = config("denoise-live")
    net = dv.DiffIRS2(model).eval().G
    ours = (
        NativeConvolutions(net, half=False) if by == "C" else Convolutions(net, torch.float32, torch.float32)
    )
    step = model.unshuffle
    x = torch.randn(1, 2 * model.dim, HEIGHT // step, WIDTH // step).contiguous(
        memory_format=torch.channels_last
    )
    lq = torch.rand(1, model.lq_channels, HEIGHT, WIDTH)
    with torch.inference_mode():
        benchmark(lambda: ours.to_picture(x, lq))

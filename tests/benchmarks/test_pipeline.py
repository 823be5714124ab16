"""What sharing priors saves, and what each stage of a file job takes of the whole: `make bench`.

A real clip, the same frames in every test of a group, so that the ratios in brackets are the result.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import diffir_video as dv
from diffir_video.media import VideoReader, VideoWriter
from diffir_video.pipeline import run
from diffir_video.prior import ReuseLevel
from diffir_video.stages import NullSink

CLIP = Path("data/eval/carphone_pristine.mp4")
FRAMES, MODEL = 24, "denoise-nano"

pytestmark = pytest.mark.skipif(
    not CLIP.exists(), reason=f"no {CLIP}: diffir-train data fetch --root data --only eval"
)


class Held:
    """Frames in memory, in the place of a decoder."""

    def __init__(self) -> None:
        with VideoReader(CLIP) as reader:
            self.info = reader.info
            self.frames = list(islice(reader, FRAMES))

    def __iter__(self):
        return iter(self.frames)

    def close(self) -> None:
        return None


@cache
def noisy() -> dv.Clip:
    """The clip at σ 25, as denoise-nano meets it."""
    pictures = torch.stack([frame.data for frame in Held()])
    noise = 25 / 255 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    return dv.Clip((pictures + noise).clamp(0, 1), tuple(range(FRAMES)), Fraction(1, 25))


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same frames as a file of their own."""
    path = tmp_path_factory.mktemp("stages") / "short.mkv"
    encode(Held(), path)
    return path


def encode(held: Held, path: Path) -> None:
    with VideoWriter(path, held.info, overwrite=True) as writer:
        for frame in held:
            writer.write(frame)


@pytest.mark.benchmark(group=f"reuse, {MODEL}, {FRAMES} frames of a real clip", min_rounds=3, warmup=True)
@pytest.mark.parametrize("reuse", ["off", "prior", "statistics"])
def test_reuse(benchmark: BenchmarkFixture, reuse: ReuseLevel) -> None:
    restorer = dv.Restorer.from_pretrained(MODEL, device="cpu", precision="fp32", reuse=reuse)
    restored = benchmark(lambda: restorer.restore(noisy()))
    assert restored.data.shape == noisy().data.shape


@pytest.mark.benchmark(group=f"stages of a file job, {MODEL}, {FRAMES} frames", min_rounds=3, warmup=True)
@pytest.mark.parametrize("stage", ["decode", "restore", "encode", "end to end"])
def test_stage(benchmark: BenchmarkFixture, stage: str, short_clip: Path, tmp_path: Path) -> None:
    """End to end over the slowest of the others is what their overlap leaves of it."""
    restorer = dv.Restorer.from_pretrained(MODEL, device="cpu", precision="fp32", reuse="prior")
    held, output = Held(), tmp_path / "out.mkv"

    def decode() -> int:
        with VideoReader(short_clip) as reader:
            return sum(1 for _ in reader)

    def whole() -> int:
        options = dv.JobOptions(overwrite=True)
        return dv.restore_file(short_clip, output, restorer=restorer, options=options).run.frames_out

    ways = {
        "decode": decode,
        "restore": lambda: run(held, restorer, NullSink()).frames_out,
        "encode": lambda: encode(held, output) or FRAMES,
        "end to end": whole,
    }
    assert benchmark(ways[stage]) == FRAMES

"""What finding and compensating motion takes, next to the network it is for: `make bench`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

import diffir_video as dv
from diffir_video.inference import FoldedDIRformer, InferenceOptions
from diffir_video.inference.native import motion as native
from diffir_video.network import motion
from tests.network.test_motion import noisy, panned
from tests.network.test_variants import config

HEIGHT, WIDTH = 360, 640
MODEL = config("denoise-nano")


def pictures(count: int) -> list[Tensor]:
    """A noisy pan."""
    views = panned(*((t % 3, t) for t in range(count)), height=HEIGHT, width=WIDTH)
    return [noisy(view, 25, seed) for seed, view in enumerate(views.reshape(count, 3, HEIGHT, WIDTH))]


@pytest.mark.benchmark(group="motion of a window of five frames of 640x360", min_rounds=5, warmup=True)
@pytest.mark.parametrize("by", ["plain torch", "kernels"])
def test_search(benchmark: BenchmarkFixture, by: str) -> None:
    find = native.find_motion if by == "kernels" else motion.find_motion
    lq = torch.cat(pictures(5))[None]
    benchmark(lambda: find(lq, MODEL.frames, MODEL.past))


@pytest.mark.benchmark(group="denoise-nano in C, bfloat16, a frame of 640x360, motion", warmup=True)
@pytest.mark.parametrize("part", ["gathered only", "compensated only", "gathered", "compensated"])
def test_frame_with_motion(benchmark: BenchmarkFixture, part: str) -> None:
    """Frame after frame of a video: four of a window's five pictures are known from the one before."""
    torch.manual_seed(0)
    model = MODEL if "compensated" in part else config("denoise-nano-uncompensated")
    options = InferenceOptions(backend="compile")
    folded = FoldedDIRformer(dv.DiffIRS2(model).eval().G, dtype=torch.bfloat16, options=options)
    folded.fold(torch.randn(model.prior_width))
    video = pictures(12)
    restore: Callable[[Tensor], Tensor] = (lambda lq: lq) if "only" in part else folded.restore
    number = 0

    def next_frame() -> None:
        nonlocal number
        number += 1
        restore(folded.gather([[video[(number + k) % len(video)] for k in range(model.frames)]]))

    benchmark(next_frame)

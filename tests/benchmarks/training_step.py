"""Steps per second of stage 1 against the same network written plainly.

``python -m tests.benchmarks.training_step``: both take turns in one run, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch

import diffir_video as dv
from tests.benchmarks.plain import written_plainly
from tests.network.test_variants import config

BATCH, PATCH = 8, 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="for torch; recipes use 1 beside the loader's")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps = {"as the recipes train": step(plain=False), "written plainly": step(plain=True)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, take in steps.items():
            started = time.perf_counter()
            take()
            seconds[name].append(time.perf_counter() - started)
    speeds = {name: 1 / median(taken[2:]) for name, taken in seconds.items()}
    for name, speed in speeds.items():
        print(f"{name}: {speed:.3f} steps per second")
    ours, plain = speeds.values()
    print(f"ratio: {ours / plain:.2f}")


def step(*, plain: bool) -> Callable[[], None]:
    """A whole step on random pictures: forward, L1, backward, Adam."""
    torch.manual_seed(0)
    net = dv.DiffIRS1(config("denoise-nano-uncompensated"))
    net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if plain:
        written_plainly(net)
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    lq, gt = torch.rand(BATCH, net.config.lq_channels, PATCH, PATCH), torch.rand(BATCH, 3, PATCH, PATCH)

    def take() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=not plain):
            restored = net.restore(lq, net.extract_prior(lq, gt))
        optimizer.zero_grad(set_to_none=True)
        (restored.float() - gt).abs().mean().backward()
        optimizer.step()

    return take


if __name__ == "__main__":
    main()

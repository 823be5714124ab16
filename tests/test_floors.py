"""Floors: what one frame can't take less than, counted and not guessed."""

from __future__ import annotations

import time
from statistics import median

import pytest
import torch

from diffir_video.floors import MachineRates, floors_of, measure_rates
from diffir_video.inference.native import NativeProduct
from diffir_video.network import DiffIRS2, ModelConfig
from diffir_video.prior import ReuseLevel


def model(first_level: int) -> ModelConfig:
    return ModelConfig(dim=16, blocks=(first_level, 1), heads=(1, 1), refinement_blocks=0, prior_width=16)


ONE_BLOCK = model(1)
RATES = MachineRates(products=1e9, traffic=1e9)


def floors(config: ModelConfig, reuse: ReuseLevel, height: int = 32, width: int = 48):
    torch.manual_seed(0)
    net = DiffIRS2(config).eval()
    return floors_of(net, torch.rand(1, 3, height, width), reuse, torch.float32, RATES)


def test_what_blocks_compute_is_counted_by_hand() -> None:
    """One block more on both ways, of 16 and 32 channels: 1×1, depthwise 3×3, C×C, means of norms."""
    with_blocks = floors(ONE_BLOCK, "statistics").flop
    without = floors(model(0), "statistics").flop

    def block(channels: int) -> int:
        hidden = int(channels * ONE_BLOCK.ffn_expansion)
        attention = channels * channels + 9 * channels + channels * channels
        feed_forward = channels * 2 * hidden + 9 * 2 * hidden + hidden * channels
        means_of_norms = 2 * 2 * channels
        return 2 * 32 * 48 * (attention + feed_forward + means_of_norms)

    assert with_blocks - without == block(16) + block(32)


def test_held_maps_need_less_of_both() -> None:
    made, held = floors(ONE_BLOCK, "prior"), floors(ONE_BLOCK, "statistics")
    assert held.flop < made.flop
    assert held.bytes == 4 * 4 * (16 + 32 + 8) * 32 * 48
    assert made.bytes == 5 * 4 * (16 + 32 + 8) * 32 * 48
    assert floors(ONE_BLOCK, "off") == made


def test_the_higher_of_both_counts() -> None:
    found = floors(ONE_BLOCK, "prior")
    assert found.arithmetic_seconds == pytest.approx(found.flop / 1e9)
    assert found.traffic_seconds == pytest.approx(found.bytes / 1e9)
    assert found.seconds == max(found.arithmetic_seconds, found.traffic_seconds)


def test_rates_are_those_of_a_computer() -> None:
    rates = measure_rates(torch.device("cpu"), torch.float32)
    assert 1e8 < rates.products < 1e15
    assert 1e8 < rates.traffic < 1e14


def test_the_rate_of_products_is_at_least_the_kernels_own() -> None:
    """Else a network that they run would pass what can't be beaten."""
    x, product = torch.randn(128, 128, 256), NativeProduct(torch.randn(256, 256), 0)
    seconds: list[float] = []
    for _ in range(3):
        started = time.perf_counter()
        product(x)
        seconds.append(time.perf_counter() - started)
    own = 2 * x.numel() * 256 / median(seconds)
    assert measure_rates(torch.device("cpu"), torch.float32).products > own / 2

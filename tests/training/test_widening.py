"""A widened network computes what the narrow one does, and its copies learn apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import diffir_video as dv
from diffir_video.checkpoint import save_checkpoint
from diffir_video.errors import UsageError
from diffir_video.network import DiffIRS1, DiffIRS2, ModelConfig
from training.cli import main
from training.widening import widen

_COMPACT = ModelConfig(
    dim=8,
    blocks=(1, 2, 1),
    heads=(1, 2, 4),
    refinement_blocks=1,
    ffn_expansion=1.5,
    unshuffle=2,
    past=1,
    future=1,
    blend=True,
    cpen_blocks=1,
    cpen_width=8,
    prior_width=16,
)
_CONFIGS = {
    "compact": _COMPACT,
    "two levels, bias-free norm": replace(_COMPACT, blocks=(1, 1), heads=(1, 2), norm="bias_free"),
    "four levels": replace(_COMPACT, blocks=(1, 1, 1, 1), heads=(1, 2, 4, 8)),
    "uneven feed-forwards, as published": replace(_COMPACT, ffn_expansion=2.66),
    "enlarging tail": replace(
        _COMPACT, unshuffle=1, past=0, future=0, blend=False, scale=4, tail="upsample", refinement_blocks=0
    ),
}


@pytest.mark.parametrize(("name", "factor"), [*((name, 2) for name in _CONFIGS), ("compact", 3)])
def test_a_wider_network_restores_the_same_picture(name: str, factor: int) -> None:
    config = _CONFIGS[name]
    net = _random_stage2(config)
    wide = widen(net, factor)
    assert wide.config == replace(config, dim=config.dim * factor)
    lq = torch.rand(1, config.lq_channels, 32, 48, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, config.prior_width, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        prior = net.estimate_prior(lq, noise)
        torch.testing.assert_close(wide.estimate_prior(lq, noise), prior)
        expected = net.restore(lq, prior)
        restored = wide.restore(lq, prior)
    assert (restored - expected).norm() / expected.norm() < 1e-5


def test_stage_1_keeps_its_prior_too() -> None:
    torch.manual_seed(0)
    net = DiffIRS1(_COMPACT).eval()
    wide = widen(net, 2)
    assert isinstance(wide, DiffIRS1)
    lq, gt = torch.rand(1, 9, 32, 32), torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(wide.extract_prior(lq, gt), net.extract_prior(lq, gt))


def test_copies_of_a_channel_get_gradients_of_their_own() -> None:
    wide = widen(_random_stage2(_COMPACT), 2)
    lq = torch.rand(1, 9, 32, 32, generator=torch.Generator().manual_seed(1))
    wide.restore(lq, torch.ones(1, 16)).square().mean().backward()
    gradient = wide.G.patch_embed.proj.weight.grad
    assert gradient is not None
    apart = (gradient[0::2] - gradient[1::2]).flatten(1).norm(dim=1) / gradient[0::2].flatten(1).norm(dim=1)
    assert apart.min() > 0.05


def test_a_factor_that_widens_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"factor = 1"):
        widen(_random_stage2(_COMPACT), 1)


def test_the_command_writes_a_checkpoint_that_loads(tmp_path: Path) -> None:
    narrow, wide = tmp_path / "narrow.safetensors", tmp_path / "wide.safetensors"
    save_checkpoint(_random_stage2(_COMPACT), narrow)
    assert main(["widen", str(narrow), str(wide), "--factor", "2"]) == 0
    assert dv.load_checkpoint(wide).config.dim == 16
    assert main(["widen", str(narrow), str(wide), "--factor", "2"]) == 4


def _random_stage2(config: ModelConfig) -> DiffIRS2:
    torch.manual_seed(0)
    return DiffIRS2(config).eval()

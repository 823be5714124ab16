"""The network computes what the published implementation computed, from weights under the published names."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

import diffir_video as dv
from training.losses import pixel_loss, prior_divergence, prior_loss, restoration_loss

TOLERANCE = 1e-5
VARIANTS = ("deblur", "inpaint", "sr_x1", "sr_x2", "sr_x4")


@dataclass(frozen=True)
class Golden:
    tensors: Mapping[str, Tensor]
    keys: Mapping[int, dict[str, list[int]]]
    s1: dv.DiffIRS1
    s2: dv.DiffIRS2

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]


def golden_weight(name: str, shape: tuple[int, ...], seed: int = 7) -> Tensor:
    """The float32 tensor that stands under `name` in the golden state dict."""
    generator = torch.Generator().manual_seed((zlib.crc32(name.encode()) + seed) % 2**31)
    r = torch.randn(shape, generator=generator)
    if name.endswith("temperature") or ("norm" in name and name.endswith("weight")):
        return 1 + 0.1 * r
    if len(shape) == 1:
        return 0.05 * r
    gain = 20 if ".kernel." in name else 1
    return gain * r / math.sqrt(math.prod(shape[1:]))


def config_of(task: str, published: Mapping[str, Any]) -> dv.ModelConfig:
    """Our configuration for the settings stored with the vectors."""
    scale = published.get("scale", 1)
    super_resolution, inpaint = task.startswith("sr"), task == "inpaint"
    return dv.ModelConfig(
        dim=published["dim"],
        blocks=tuple(published["num_blocks"]),
        refinement_blocks=0 if inpaint else published["num_refinement_blocks"],
        heads=tuple(published["heads"]),
        ffn_expansion=published["ffn_expansion_factor"],
        norm="bias" if published["LayerNorm_type"] == "WithBias" else "bias_free",
        tail="upsample" if super_resolution else "conv",
        residual=not inpaint,
        image_channels=4 if inpaint else 3,
        scale=scale,
        unshuffle=4 // scale if super_resolution else 1,
        cpen_blocks=published["n_encoder_res"],
        timesteps=published["timesteps"],
        linear_start=published["linear_start"],
        linear_end=published["linear_end"],
        denoiser_blocks=published["n_denoise_res"],
    )


@pytest.fixture(scope="module", params=VARIANTS)
def golden(request: pytest.FixtureRequest) -> Golden:
    with safe_open(Path(__file__).parent / f"{request.param}.safetensors", framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    config = config_of(request.param, json.loads(metadata["config"]))
    s1, s2 = dv.DiffIRS1(config).eval(), dv.DiffIRS2(config).eval()
    for net in (s1, s2):
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter.copy_(golden_weight(name, tuple(parameter.shape)))
    keys = {stage: json.loads(metadata[f"s{stage}.keys"]) for stage in (1, 2)}
    return Golden(tensors, keys, s1, s2)


def relative_error(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@torch.no_grad()
def test_stage_1_prior_and_output(golden: Golden) -> None:
    prior = golden.s1.extract_prior(golden["lq"], golden["gt"])
    assert relative_error(prior, golden["s1.prior"]) <= TOLERANCE
    assert relative_error(golden.s1.restore(golden["lq"], prior), golden["s1.output"]) <= TOLERANCE


@torch.no_grad()
def test_stage_2_condition_prior_and_output(golden: Golden) -> None:
    condition = golden.s2.extract_condition(golden["lq"])
    prior = golden.s2.estimate_prior(golden["lq"], noise=golden["noise"])
    assert relative_error(condition, golden["s2.condition"]) <= TOLERANCE
    assert relative_error(prior, golden["s2.prior"]) <= TOLERANCE
    assert relative_error(golden.s2.restore(golden["lq"], prior), golden["s2.output"]) <= TOLERANCE


@torch.no_grad()
def test_stage_2_training_starts_from_the_noisy_stage_1_prior(golden: Golden) -> None:
    prior = golden.s2.estimate_training_prior(golden["lq"], golden["s1.prior"], golden["noise"])
    assert relative_error(prior, golden["s2.train.prior"]) <= TOLERANCE


def test_losses_of_the_golden_tensors(golden: Golden) -> None:
    """Expected values are NumPy's arithmetic, written out from the definitions in the losses' docstrings."""
    restored, gt = golden["s2.output"].double().numpy(), golden["gt"].double().numpy()
    assert float(pixel_loss(golden["s2.output"], golden["gt"])) == pytest.approx(
        abs(restored - gt).mean(), rel=1e-5
    )
    p, q = golden["s2.train.prior"].double(), golden["s1.prior"].double()
    assert float(prior_loss(golden["s2.train.prior"], golden["s1.prior"])) == pytest.approx(
        abs((p - q).numpy()).mean(), rel=1e-5
    )
    log_p = p / 0.15 - (p / 0.15).logsumexp(1, keepdim=True)
    log_q = q / 0.15 - (q / 0.15).logsumexp(1, keepdim=True)
    kl = float((log_q.exp() * (log_q - log_p)).sum())
    ours = float(prior_divergence(golden["s2.train.prior"], golden["s1.prior"]))
    assert ours == pytest.approx(kl, rel=1e-4, abs=1e-6)


# From the golden tensors alone, in float64 NumPy: stage 1's loss is mean |s1.output - gt|, that of stage 2's
# prior phase mean |s2.train.prior - s1.prior|. The weights are random, so pictures are far from [0, 1].
STAGE_LOSSES = {
    "deblur": (5.884321, 0.060870),
    "inpaint": (3.923096, 0.054824),
    "sr_x1": (5.348158, 0.067274),
    "sr_x2": (14.365151, 0.081685),
    "sr_x4": (21.605752, 0.096881),
}


@torch.no_grad()
def test_stage_losses_are_the_published_networks(golden: Golden, request: pytest.FixtureRequest) -> None:
    """The whole way of a training step: our networks, then our losses, against the numbers above."""
    stage1, prior_phase = STAGE_LOSSES[request.node.callspec.params["golden"]]
    lq, gt = golden["lq"], golden["gt"]
    s1_prior = golden.s1.extract_prior(lq, gt)
    restored = golden.s1.restore(lq, s1_prior)
    assert float(restoration_loss(restored, gt, 0.0)) == pytest.approx(stage1, rel=1e-5)
    prior = golden.s2.estimate_training_prior(lq, s1_prior, golden["noise"])
    assert float(prior_loss(prior, s1_prior)) == pytest.approx(prior_phase, rel=1e-4)


@pytest.mark.parametrize("stage", [1, 2])
def test_state_dict_has_the_published_names_and_shapes(golden: Golden, stage: int) -> None:
    net = golden.s1 if stage == 1 else golden.s2
    assert {name: list(tensor.shape) for name, tensor in net.state_dict().items()} == golden.keys[stage]


@pytest.mark.parametrize("wrapper", ["params_ema", "params", "state_dict", None])
@pytest.mark.parametrize("stage", [1, 2])
def test_published_file_loads_with_nothing_but_names_and_shapes(
    golden: Golden, stage: int, wrapper: str | None, tmp_path: Path
) -> None:
    net = golden.s1 if stage == 1 else golden.s2
    state = {name: golden_weight(name, tuple(shape)) for name, shape in golden.keys[stage].items()}
    # Buffers and second names are not parameters: the file holds what the network computed for them.
    state |= {n: t for n, t in net.state_dict().items() if n.startswith("diffusion.")}
    if wrapper == "state_dict":
        state = {f"generator.{name}": tensor for name, tensor in state.items()}
    torch.save({wrapper: state} if wrapper else state, tmp_path / "net.pth")

    loaded = dv.load_checkpoint(tmp_path / "net.pth")

    assert loaded.stage == stage
    assert loaded.config == net.config
    assert not loaded.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_schedule_has_the_published_coefficients(golden: Golden) -> None:
    diffusion = golden.s2.diffusion
    expected = {
        "betas": [0.1, 0.2942856, 0.5909523, 0.99],
        "alphas_cumprod": [0.9, 0.6351429, 0.2598038, 0.002598],
        "posterior_mean_coef1": [1, 0.7651869, 0.6362698, 0.5059268],
        "posterior_mean_coef2": [0, 0.2302458, 0.3152556, 0.0742124],
    }
    for name, values in expected.items():
        assert getattr(diffusion, name).tolist() == pytest.approx(values, abs=1e-6), name


def test_stage_2_file_with_nothing_but_its_parameters_loads(golden: Golden, tmp_path: Path) -> None:
    """Buffers and second names follow from the rest."""
    parameters = {name: tensor.detach() for name, tensor in golden.s2.named_parameters()}
    torch.save(parameters, tmp_path / "net.pth")
    loaded = dv.load_checkpoint(tmp_path / "net.pth")
    for name, tensor in golden.s2.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name

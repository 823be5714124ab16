"""What the diffusion's prior is worth, beside the ground truth's in stage 1 and beside a constant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from statistics import fmean

import torch
from torch import Tensor

from diffir_video.metrics import psnr_y
from diffir_video.network import DiffIRS1, DiffIRS2
from diffir_video.tiling import pad_to_multiple
from training.evaluation.material import Damage

_NOISE_SEED = 0


@dataclass(frozen=True, slots=True)
class LabelledInput:
    """One damaged clip with its truth, both (T, 3, H, W) float in [0, 1]; the truth may be larger."""

    clip: str
    damage: Damage
    damaged: Tensor
    truth: Tensor


@dataclass(frozen=True, slots=True)
class PriorComparison:
    """Mean PSNR-Y in dB of the same frames, restored with three priors.

    stage1_gt_prior: stage 1, its prior read from the ground truth. stage2: the shipped model, its prior from
    the diffusion. stage2_mean_prior: the shipped model fed the mean of its own priors over all inputs.
    """

    stage1_gt_prior: float
    stage2: float
    stage2_mean_prior: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Sample:
    """One frame to restore: (1, 3·window, H', W') padded input and (1, 3, H, W) truth."""

    damage: Damage
    lq: Tensor
    truth: Tensor


@torch.inference_mode()
def compare_priors(
    stage1: DiffIRS1, stage2: DiffIRS2, inputs: Callable[[], Iterable[LabelledInput]], frames_per_clip: int
) -> dict[Damage, PriorComparison]:
    """Restore `frames_per_clip` evenly spread frames of every input with the three priors.

    The mean prior is taken over all frames of all inputs, so it is one constant for everything.
    inputs: gives the same clips on each of its two calls, so that they need not all be held.
    """
    priors = [_diffusion_prior(stage2, s.lq) for s in _samples(inputs(), stage2, frames_per_clip)]
    mean_prior = torch.stack(priors).mean(dim=0)
    rows: dict[Damage, list[tuple[float, ...]]] = {}
    for sample, prior in zip(_samples(inputs(), stage2, frames_per_clip), priors, strict=True):
        padded_truth = pad_to_multiple(sample.truth, stage1.multiple * stage1.config.scale)
        gt_prior = stage1.extract_prior(sample.lq, padded_truth)
        outputs = (
            stage1.restore(sample.lq, gt_prior),
            stage2.restore(sample.lq, prior),
            stage2.restore(sample.lq, mean_prior),
        )
        rows.setdefault(sample.damage, []).append(tuple(_psnr_of_crop(o, sample.truth) for o in outputs))
    return {
        damage: PriorComparison(*map(fmean, zip(*figures, strict=True))) for damage, figures in rows.items()
    }


def _samples(inputs: Iterable[LabelledInput], network: DiffIRS2, frames_per_clip: int) -> Iterator[_Sample]:
    past, future = network.config.past, network.config.future
    for item in inputs:
        count = len(item.truth)
        wanted = min(frames_per_clip, count)
        for t in (position * count // wanted for position in range(wanted)):
            window = [min(max(i, 0), count - 1) for i in range(t - past, t + future + 1)]
            lq = item.damaged[window].flatten(0, 1).unsqueeze(0)
            yield _Sample(item.damage, pad_to_multiple(lq, network.multiple), item.truth[t].unsqueeze(0))


def _diffusion_prior(network: DiffIRS2, lq: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(_NOISE_SEED)
    noise = torch.randn(1, network.config.prior_width, generator=generator)
    return network.estimate_prior(lq, noise=noise)


def _psnr_of_crop(output: Tensor, truth: Tensor) -> float:
    height, width = truth.shape[-2:]
    return psnr_y(output[..., :height, :width].clamp(0, 1), truth).item()

"""What each part of DiffIR is worth: the same frames with other priors, another DIRformer, other steps.

The paper's ablations (section 4.5) train a network for each line; here one pair of networks is taken apart,
which costs a minute instead of days and asks a harder question: what the trained network makes of each part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from diffir_video.errors import UsageError
from diffir_video.metrics import mean_psnr, psnr_y
from diffir_video.network import DiffIRS1, DiffIRS2, PriorDiffusion
from diffir_video.tiling import pad_to_multiple
from training.evaluation.stages import LabelledInput, check_stages_match, windows_in_shots

STEPS = (1, 2, 4, 8)
_NOISE_SEED = 0


@dataclass(frozen=True, slots=True)
class Ablations:
    """Mean PSNR-Y in dB over the frames, by what was changed; the prior's error, relative and absolute.

    relative_prior_error: ‖S2 - S1‖ / ‖S1‖, the mean over frames; prior_error: their mean absolute difference.
    """

    psnr_y: Mapping[str, float]
    by_steps: Mapping[int, float]
    relative_prior_error: float
    prior_error: float


@torch.inference_mode()
def ablate(
    stage1: DiffIRS1, stage2: DiffIRS2, inputs: Iterable[LabelledInput], frames_per_input: int
) -> Ablations:
    """Take both stages of one model apart on evenly spread frames of every input.

    No window crosses a cut. Raises UsageError for a recurrent network, and for stages of two kinds.
    """
    check_stages_match(stage1, stage2)
    if stage2.config.recurrent:
        raise UsageError("a recurrent network sees what it restored before, and here frames stand alone")
    samples = [s for item in inputs for s in _samples(item, stage2, frames_per_input)]
    priors = [_sampled(stage2, stage2.diffusion, lq) for lq, _ in samples]
    mean_prior = torch.stack(priors).mean(dim=0)
    rows: dict[str, list[float]] = {}
    by_steps: dict[int, list[float]] = {}
    errors: list[tuple[float, float]] = []
    samplers = {count: _with_steps(stage2, count) for count in STEPS}
    for (lq, gt), prior in zip(samples, priors, strict=True):
        gt_prior = stage1.extract_prior(lq, pad_to_multiple(gt, stage1.multiple * stage1.config.scale))
        error = prior - gt_prior
        relative = float(error.square().sum().sqrt() / gt_prior.square().sum().sqrt())
        errors.append((relative, float(error.abs().mean())))
        for name, net, used in (
            ("stage 2, its own prior", stage2, prior),
            ("stage 2, stage 1's prior", stage2, gt_prior),
            ("stage 2, one mean prior for all", stage2, mean_prior),
            ("stage 2, no prior (zeros)", stage2, torch.zeros_like(prior)),
            ("stage 1, its own prior", stage1, gt_prior),
            ("stage 1's DIRformer, stage 2's prior (not joint)", stage1, prior),
        ):
            rows.setdefault(name, []).append(_psnr(net.restore(lq, used), gt))
        for count, diffusion in samplers.items():
            used = _sampled(stage2, diffusion, lq)
            by_steps.setdefault(count, []).append(_psnr(stage2.restore(lq, used), gt))
    relative, absolute = (fmean(column) for column in zip(*errors, strict=True))
    return Ablations(
        {name: fmean(values) for name, values in rows.items()},
        {count: fmean(values) for count, values in by_steps.items()},
        relative,
        absolute,
    )


def _samples(item: LabelledInput, net: DiffIRS2, wanted: int) -> list[tuple[Tensor, Tensor]]:
    """(window (1, lq_channels, H', W') padded, truth (1, 3, H, W)) of frames spread over the clip."""
    count = len(item.truth)
    windows = windows_in_shots(item.damaged, net.config.past, net.config.future)
    wanted = min(wanted, count)
    samples: list[tuple[Tensor, Tensor]] = []
    for t in (position * count // wanted for position in range(wanted)):
        lq = pad_to_multiple(item.damaged[windows[t]].flatten(0, 1).unsqueeze(0), net.multiple)
        samples.append((lq, item.truth[t].unsqueeze(0)))
    return samples


def _with_steps(net: DiffIRS2, count: int) -> PriorDiffusion:
    """The network's denoiser under a schedule of another number of steps than it was trained for."""
    config = net.config
    return PriorDiffusion(
        net.condition,
        net.denoise,
        timesteps=count,
        linear_start=config.linear_start,
        linear_end=config.linear_end,
    )


def _sampled(net: DiffIRS2, diffusion: PriorDiffusion, lq: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(_NOISE_SEED)
    noise = torch.randn(1, net.config.prior_width, generator=generator)
    return diffusion.sample(net.extract_condition(lq), noise)


def _psnr(restored: Tensor, gt: Tensor) -> float:
    height, width = gt.shape[-2:]
    return mean_psnr(psnr_y(restored[..., :height, :width].clamp(0, 1), gt))

"""What the diffusion's prior is worth, beside the ground truth's in stage 1 and beside a constant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import fmean

import torch
from torch import Tensor

from diffir_video.errors import UsageError
from diffir_video.metrics import PSNR_CEILING, psnr_y
from diffir_video.network import DiffIR, DiffIRS1, DiffIRS2
from diffir_video.prior import CutDetector, FrameStatistics
from diffir_video.tiling import pad_to_multiple
from training.evaluation.material import Damage

_NOISE_SEED = 0

# What both stages of one network have in common: frames seen, and a prior that fits either.
_SHARED = ("past", "future", "recurrent", "scale", "image_channels", "prior_width", "multiple")


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
    """Frames of one clip to restore: (K, lq_channels, H', W') padded windows and (K, 3, H, W) truth.

    starts: indices, of these K, of the first frames of shots, and K.
    """

    damage: Damage
    lq: Tensor
    truth: Tensor
    starts: tuple[int, ...]


def shots_of(frames: Tensor) -> list[tuple[int, int]]:
    """(start, end) of each shot, `end` exclusive, as a restorer finds them; (T, 3, H, W) float in [0, 1]."""
    cuts = CutDetector()
    starts = [i for i, s in enumerate(FrameStatistics.of(list(frames))) if cuts.starts_shot(s)]
    return list(pairwise([*starts, len(frames)]))


def windows_in_shots(frames: Tensor, past: int, future: int) -> list[list[int]]:
    """Every frame's window, as indices: like a restorer's, none crosses a cut, and shots' ends are repeated.

    frames: (T, 3, H, W) float in [0, 1].
    """
    return [
        [min(max(i, start), end - 1) for i in range(t - past, t + future + 1)]
        for start, end in shots_of(frames)
        for t in range(start, end)
    ]


def check_stages_match(stage1: DiffIRS1, stage2: DiffIRS2) -> None:
    """Raise UsageError where one stage can't be given what the other is."""
    first, second = ({name: getattr(net.config, name) for name in _SHARED} for net in (stage1, stage2))
    unlike = [name for name in _SHARED if first[name] != second[name]]
    if unlike:
        has = [", ".join(f"{name} {values[name]}" for name in unlike) for values in (first, second)]
        raise UsageError(f"stage 1 has {has[0]}, stage 2 has {has[1]}: expected two stages of one network")


@torch.inference_mode()
def compare_priors(
    stage1: DiffIRS1, stage2: DiffIRS2, inputs: Callable[[], Iterable[LabelledInput]], frames_per_clip: int
) -> dict[Damage, PriorComparison]:
    """Restore `frames_per_clip` frames of every input, evenly spread, with the three priors.

    A recurrent network takes the first ones, in turn. The mean prior is taken over all frames of all inputs,
    so it is one constant for everything. Neither a window nor what a recurrent network remembers crosses a
    cut.
    inputs: gives the same clips on each of its two calls, so that they need not all be held.
    Raises UsageError for stages of two kinds of networks.
    """
    check_stages_match(stage1, stage2)
    priors = [_diffusion_priors(stage2, s.lq) for s in _samples(inputs(), stage2, frames_per_clip)]
    mean_prior = torch.cat(priors).mean(dim=0, keepdim=True)
    rows: dict[Damage, list[tuple[float, ...]]] = {}
    for sample, own in zip(_samples(inputs(), stage2, frames_per_clip), priors, strict=True):
        padded_truth = pad_to_multiple(sample.truth, stage1.multiple * stage1.config.scale)
        pairs = zip(torch.split(sample.lq, 1), torch.split(padded_truth, 1), strict=True)
        gt_priors = torch.cat([stage1.extract_prior(lq, truth) for lq, truth in pairs])
        outputs = (
            _restore(stage1, sample, gt_priors),
            _restore(stage2, sample, own),
            _restore(stage2, sample, mean_prior.expand_as(own)),
        )
        figures = (_psnrs_of_crop(output, sample.truth) for output in outputs)
        rows.setdefault(sample.damage, []).extend(zip(*figures, strict=True))
    return {
        damage: PriorComparison(*map(fmean, zip(*figures, strict=True))) for damage, figures in rows.items()
    }


def _restore(network: DiffIR, sample: _Sample, priors: Tensor) -> Tensor:
    if network.config.recurrent:
        shots = [slice(*shot) for shot in pairwise(sample.starts)]
        parts = [network.restore_in_turn(sample.lq[None, shot], priors[None, shot])[0] for shot in shots]
        return torch.cat(parts)
    # One by one: all windows' features at once would not fit.
    pairs = zip(torch.split(sample.lq, 1), torch.split(priors, 1), strict=True)
    return torch.cat([network.restore(window, prior) for window, prior in pairs])


def _samples(inputs: Iterable[LabelledInput], network: DiffIRS2, frames_per_clip: int) -> Iterator[_Sample]:
    past, future = network.config.past, network.config.future
    for item in inputs:
        count = len(item.truth)
        wanted = min(frames_per_clip, count)
        step = 1 if network.config.recurrent else count / wanted
        middles = [int(position * step) for position in range(wanted)]
        indices = windows_in_shots(item.damaged, past, future)
        windows = torch.stack([item.damaged[indices[t]].flatten(0, 1) for t in middles])
        yield _Sample(
            item.damage,
            pad_to_multiple(windows, network.multiple),
            item.truth[middles],
            (*(start for start, _ in shots_of(item.damaged[middles])), wanted),
        )


def _diffusion_priors(network: DiffIRS2, lq: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(_NOISE_SEED)
    noise = torch.randn(1, network.config.prior_width, generator=generator)
    return torch.cat([network.estimate_prior(window, noise=noise) for window in torch.split(lq, 1)])


def _psnrs_of_crop(output: Tensor, truth: Tensor) -> list[float]:
    height, width = truth.shape[-2:]
    values = psnr_y(output[..., :height, :width].clamp(0, 1), truth).clamp(max=PSNR_CEILING)
    return [float(value) for value in values]

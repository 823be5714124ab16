"""How good the averaged weights are, on samples they are never trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from diffir_video.errors import UsageError
from diffir_video.metrics import SSIM_WINDOW, mean_psnr, psnr_y, ssim
from diffir_video.network import DiffIR, ModelConfig, middle_frame
from training.config import TrainConfig
from training.data.pictures import PictureDataset
from training.data.windows import validation_windows

# (lq, gt) → restored, of the network being validated.
Restore = Callable[[DiffIR, Tensor, Tensor], Tensor]

# (lq, gt) of one sample each, by the damage done.
Samples = Mapping[str, list[tuple[Tensor, Tensor]]]

_PICTURES = 8
_ROWS = 3


def validation_samples(config: TrainConfig) -> Samples:
    """The recipe's validation material, the same on every call; nothing where the recipe names none.

    Raises UsageError for pictures that are too small to measure.
    """
    samples = _material(config)
    sides = [min(gt.shape[-2:]) for pairs in samples.values() for _, gt in pairs]
    if sides and min(sides) < SSIM_WINDOW:
        raise UsageError(
            f"validation on pictures of {min(sides)} pixels: SSIM needs {SSIM_WINDOW} or more; raise "
            "patch_size, or set data.validation=[]"
        )
    return samples


def _material(config: TrainConfig) -> Samples:
    if not config.data.validation:
        return {}
    if config.data.samples == "pictures":
        dataset = PictureDataset(config, config.data.validation)
        pairs = [dataset[index] for index in range(_PICTURES)]
        return {"picture": [(lq[None].float() / 255, gt[None].float() / 255) for lq, gt in pairs]}
    return {
        str(damage): validation_windows(config, sigma=damage.sigma, crf=damage.crf, tape=damage.tape)
        for damage in config.data.validation_damage
    }


@torch.no_grad()
def validate(
    net: DiffIR, restore: Restore, samples: Samples, device: torch.device
) -> tuple[dict[str, float], list[Tensor]]:
    """(figures, rows of a sheet): mean PSNR-Y before and after, and SSIM after, for each kind of damage."""
    figures: dict[str, float] = {}
    rows: list[Tensor] = []
    for name, pairs in samples.items():
        triples = [_restored(net, restore, lq.to(device), gt.to(device)) for lq, gt in pairs]
        figures[f"{name}_input"] = fmean(mean_psnr(psnr_y(before, gt)) for before, _, gt in triples)
        figures[f"{name}_psnr_y"] = fmean(mean_psnr(psnr_y(after, gt)) for _, after, gt in triples)
        figures[f"{name}_ssim"] = fmean(float(ssim(after, gt).mean()) for _, after, gt in triples)
        rows += [torch.cat(triple, dim=3)[-1].cpu() for triple in triples[:_ROWS]]
    return figures, rows


def _restored(net: DiffIR, restore: Restore, lq: Tensor, gt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return at_output_size(lq, net.config), restore(net, lq, gt).clamp(0, 1), gt


def at_output_size(lq: Tensor, model: ModelConfig) -> Tensor:
    """What a restoration is measured against: the LQ's middle frame, bicubically enlarged where needed."""
    before = middle_frame(lq, model)[:, :3]
    if model.scale == 1:
        return before
    return F.interpolate(before, scale_factor=float(model.scale), mode="bicubic").clamp(0, 1)

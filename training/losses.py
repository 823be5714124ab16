"""The published losses (DiffIR, section 3; KL as in its training code, which logs it and never sums it).

`luma_psnr` is not of the paper.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from diffir_video.metrics import luma

KL_TEMPERATURE = 0.15

# A squared error that counts as none: 50 dB.
_NO_ERROR = 1e-5


def pixel_loss(restored: Tensor, gt: Tensor) -> Tensor:
    """Mean absolute difference of two (N, 3, H, W) pictures in [0, 1]; a scalar."""
    return F.l1_loss(restored.float(), gt)


def restoration_loss(restored: Tensor, gt: Tensor, psnr_weight: float) -> Tensor:
    """`pixel_loss`, less `psnr_weight` times `luma_psnr` where that is not 0; a scalar."""
    loss = pixel_loss(restored, gt)
    return loss - psnr_weight * luma_psnr(restored, gt) if psnr_weight else loss


def luma_psnr(restored: Tensor, gt: Tensor) -> Tensor:
    """PSNR-Y in dB of each pair of (N, 3, H, W) pictures in [0, 1], at most 50, then their mean; a scalar.

    A pair counts by the ratio of its error, so weak damage weighs as much as strong. The mean absolute
    difference of RGB cares most for chroma, and finds the median of what a codec may have removed, which is
    nothing, where the mean would be better by this measure.
    """
    squared = (luma(restored.float()) - luma(gt)).square().mean(dim=(1, 2, 3))
    return -10 * (squared + _NO_ERROR).log10().mean()


def prior_loss(prior: Tensor, s1_prior: Tensor) -> Tensor:
    """Mean absolute difference of the sampled prior from stage 1's, both (N, width); a scalar."""
    return F.l1_loss(prior.float(), s1_prior)


def prior_divergence(prior: Tensor, s1_prior: Tensor) -> Tensor:
    """KL(softmax(s1_prior / 0.15) ‖ softmax(prior / 0.15)), mean over the batch; a scalar in nats."""
    return F.kl_div(
        F.log_softmax(prior.float() / KL_TEMPERATURE, dim=1),
        F.softmax(s1_prior / KL_TEMPERATURE, dim=1),
        reduction="batchmean",
    )

"""The published losses (DiffIR, section 3; KL as in its training code, which logs it and never sums it).

`luma_psnr` and `temporal_loss` are not of the paper.
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


def restoration_loss(
    restored: Tensor, gt: Tensor, psnr_weight: float, temporal_weight: float = 0.0
) -> Tensor:
    """`pixel_loss`, and what else the recipe weighs in: `luma_psnr` (less), `temporal_loss`; a scalar."""
    loss = pixel_loss(restored, gt)
    if psnr_weight:
        loss = loss - psnr_weight * luma_psnr(restored, gt)
    if temporal_weight:
        loss = loss + temporal_weight * temporal_loss(restored, gt)
    return loss


def temporal_loss(restored: Tensor, gt: Tensor) -> Tensor:
    """Mean absolute difference of frame differences: of samples 0 and 1, 2 and 3, …, neighbours in time.

    restored, gt: (N, 3, H, W) in [0, 1], N even. A scalar; an error that stands still costs nothing.
    """
    error = restored.float() - gt
    return (error[1::2] - error[::2]).abs().mean()


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

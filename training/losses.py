"""The published losses (DiffIR, section 3; KL as in its training code, which logs it and never sums it)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

KL_TEMPERATURE = 0.15


def pixel_loss(restored: Tensor, gt: Tensor) -> Tensor:
    """Mean absolute difference of two (N, 3, H, W) pictures in [0, 1]; a scalar."""
    return F.l1_loss(restored.float(), gt)


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

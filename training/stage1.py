"""Stage 1: CPEN sees LQ and ground truth; CPEN and DIRformer learn together (DiffIR, section 3.1)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diffir_video.checkpoint import load_checkpoint
from diffir_video.errors import UsageError
from diffir_video.network import DiffIR, DiffIRS1, DIRformer
from diffir_video.zoo import find_weights
from training.config import TrainConfig
from training.interruption import StopRequest
from training.losses import pixel_loss, restoration_loss
from training.recurrence import restore_windows
from training.schedule import learning_rate
from training.trainer import Trainer


def train_stage1(config: TrainConfig, *, resume: bool = False, stop: StopRequest | None = None) -> Trainer:
    """Run the recipe to its last step; the run folder then holds ``checkpoints/last.safetensors``.

    Raises UsageError on a recipe that can't run, DivergenceError when the loss blows up.
    """
    config.refuse("stage1", "stage2", stage="stage 1")
    torch.manual_seed(config.seed)  # pyright: ignore[reportUnknownMemberType]
    net = DiffIRS1(config.model)
    if config.init is not None:
        net.G.load_state_dict(_dirformer_of(config.init, config).state_dict())
    trainer = Trainer(config, net, restore_with_gt_prior, resume=resume, stop=stop)
    in_a_row = config.data.windows_per_sequence
    for step, parts in trainer.steps():
        net.E.requires_grad_(step >= config.cpen_frozen_steps)
        for part in parts:
            with trainer.autocast():
                prior = net.extract_prior(part.lq[part.prior_from], part.gt[part.prior_from])
                restored = restore_windows(net, part.lq, part.for_all(prior), in_a_row)
            loss = restoration_loss(restored, part.gt, config.psnr_weight, config.temporal_weight)
            trainer.backward(loss, pixel=pixel_loss(restored, part.gt))
        trainer.descend(learning_rate(step, config))
    return trainer


def _dirformer_of(init: Path, config: TrainConfig) -> DIRformer:
    """The DIRformer to start from; raises UsageError if its shapes are not the recipe's."""
    dirformer = load_checkpoint(find_weights(init)).G
    wanted = DIRformer(config.model).state_dict()
    if {k: v.shape for k, v in dirformer.state_dict().items()} != {k: v.shape for k, v in wanted.items()}:
        raise UsageError(f"{init} holds a DIRformer of another shape than the recipe's: {dirformer.config}")
    return dirformer


def restore_with_gt_prior(net: DiffIR, lq: Tensor, gt: Tensor) -> Tensor:
    """What stage 1 can do at best: the prior comes from the ground truth itself."""
    assert isinstance(net, DiffIRS1)
    return restore_windows(net, lq, net.extract_prior(lq, gt), len(lq))

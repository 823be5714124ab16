"""Stage 2: the diffusion learns to find stage 1's prior from the LQ (DiffIR, section 3.2, algorithm 1)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from diffir_video.checkpoint import load_checkpoint
from diffir_video.errors import UsageError
from diffir_video.network import DiffIR, DiffIRS1, DiffIRS2, ModelConfig
from diffir_video.zoo import find_weights
from training.config import TrainConfig
from training.interruption import StopRequest
from training.losses import pixel_loss, prior_divergence, prior_loss, restoration_loss
from training.recurrence import restore_windows
from training.schedule import learning_rate
from training.trainer import Trainer


def train_stage2(config: TrainConfig, *, resume: bool = False, stop: StopRequest | None = None) -> Trainer:
    """Run the recipe: first the prior alone, then CPEN, denoiser and DIRformer jointly.

    Stage 1 stays frozen and DIRformer starts from its weights. Raises UsageError on a recipe that can't run,
    DivergenceError when the loss blows up.
    """
    config.refuse("stage2", stage="stage 2")
    stage1 = load_stage1(config)
    torch.manual_seed(config.seed)  # pyright: ignore[reportUnknownMemberType]
    net = DiffIRS2(config.model)
    net.G.load_state_dict(stage1.G.state_dict())
    if config.init is not None:
        net.load_state_dict(load_finetuned(config.init, config).state_dict())
    trainer = Trainer(config, net, restore_with_sampled_prior, resume=resume, stop=stop)
    trainer.placed(stage1)
    in_a_row = config.data.windows_per_sequence
    for step, parts in trainer.steps():
        joint = step >= config.prior_steps
        for part in parts:
            seen = part.prior_from
            with torch.no_grad(), trainer.autocast():
                s1_prior = stage1.extract_prior(part.lq[seen], part.gt[seen]).float()
            with trainer.autocast():
                prior = net.estimate_training_prior(part.lq[seen], s1_prior, part.noise[seen])
                restored = None
                if joint:
                    restored = restore_windows(net, part.lq, part.for_all(prior), in_a_row)
            loss = l_prior = prior_loss(prior, s1_prior)
            logged = {"prior": l_prior, "kl": prior_divergence(prior, s1_prior)}
            if restored is not None:
                loss = loss + restoration_loss(restored, part.gt, config.psnr_weight, config.temporal_weight)
                logged["pixel"] = pixel_loss(restored, part.gt)
            trainer.backward(loss, **logged)
        trainer.descend(learning_rate(step, config))
    return trainer


def load_stage1(config: TrainConfig) -> DiffIRS1:
    """The frozen stage-1 network of the recipe; raises UsageError if it is none, or of another model."""
    if config.stage1 is None:
        raise UsageError("stage 2 starts from a stage-1 checkpoint: set stage1=PATH")
    net = load_checkpoint(find_weights(config.stage1))
    if not isinstance(net, DiffIRS1):
        raise UsageError(f"{config.stage1} is a stage-{net.stage} checkpoint; stage 2 starts from stage 1")
    if not _differ_in_compensation_alone(net.config, config.model):
        raise UsageError(f"{config.stage1} holds another model than the recipe: {net.config}, {config.model}")
    return net.requires_grad_(False)


def load_finetuned(init: Path, config: TrainConfig) -> DiffIRS2:
    """The stage-2 network that a run goes on from, with the recipe's model.

    Raises UsageError if it is none, or of another model; only whether motion is compensated may differ.
    """
    net = load_checkpoint(find_weights(init))
    if not isinstance(net, DiffIRS2):
        raise UsageError(f"{init} is a stage-{net.stage} checkpoint; expected one of stage 2")
    if not _differ_in_compensation_alone(net.config, config.model):
        raise UsageError(f"{init} holds another model than the recipe: {net.config}, {config.model}")
    if net.config == config.model:
        return net
    taught = DiffIRS2(config.model)
    taught.load_state_dict(net.state_dict())
    return taught


def _differ_in_compensation_alone(one: ModelConfig, other: ModelConfig) -> bool:
    """Whether the models are the same but, perhaps, for where neighbours are: no weight has to do with it."""
    return replace(one, compensated=other.compensated) == other


def restore_with_sampled_prior(net: DiffIR, lq: Tensor, _gt: Tensor) -> Tensor:
    """What the shipped model does: the prior is sampled from fixed noise, the ground truth unseen."""
    assert isinstance(net, DiffIRS2)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(lq), net.config.prior_width, generator=generator)
    return restore_windows(net, lq, net.estimate_prior(lq, noise.to(lq.device)), len(lq))

"""Stage 2: the diffusion learns to find stage 1's prior from the LQ (DiffIR, section 3.2, algorithm 1)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diffir_video.checkpoint import load_checkpoint
from diffir_video.errors import UsageError
from diffir_video.network import DiffIR, DiffIRS1, DiffIRS2
from training.config import TrainConfig
from training.losses import prior_divergence, prior_loss, restoration_loss
from training.trainer import Trainer, cosine


def train_stage2(config: TrainConfig, *, resume: bool = False) -> Trainer:
    """Run the recipe: first the prior alone, then CPEN, denoiser and DIRformer jointly.

    Stage 1 stays frozen and DIRformer starts from its weights. Raises UsageError on a recipe that can't run,
    DivergenceError when the loss blows up.
    """
    stage1 = load_stage1(config)
    torch.manual_seed(config.seed)  # pyright: ignore[reportUnknownMemberType]
    net = DiffIRS2(config.model)
    net.G.load_state_dict(stage1.G.state_dict())
    if config.init is not None:
        net.load_state_dict(load_finetuned(config.init, config).state_dict())
    trainer = Trainer(config, net, restore_with_sampled_prior, resume=resume)
    for step, lq, gt in trainer.steps():
        joint = step >= config.prior_steps
        with torch.no_grad(), trainer.autocast():
            s1_prior = stage1.extract_prior(lq, gt).float()
        noise = trainer.noise(step, like=s1_prior)
        with trainer.autocast():
            prior = net.estimate_training_prior(lq, s1_prior, noise)
            restored = net.restore(lq, prior) if joint else None
        l_prior = prior_loss(prior, s1_prior)
        loss = l_prior
        if restored is not None:
            loss = loss + restoration_loss(restored, gt, config.psnr_weight)
        trainer.descend(
            loss, _learning_rate(step, config), prior=l_prior, kl=prior_divergence(prior, s1_prior)
        )
    return trainer


def load_stage1(config: TrainConfig) -> DiffIRS1:
    """The frozen stage-1 network of the recipe; raises UsageError if it is none, or of another model."""
    if config.stage1 is None:
        raise UsageError("stage 2 starts from a stage-1 checkpoint: set stage1=PATH")
    net = load_checkpoint(config.stage1)
    if not isinstance(net, DiffIRS1):
        raise UsageError(f"{config.stage1} is a stage-{net.stage} checkpoint; stage 2 starts from stage 1")
    if net.config != config.model:
        raise UsageError(f"{config.stage1} holds another model than the recipe: {net.config}, {config.model}")
    net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return net.requires_grad_(False)


def load_finetuned(init: Path, config: TrainConfig) -> DiffIRS2:
    """The stage-2 network that a run goes on from; raises UsageError if it is none, or of another model."""
    net = load_checkpoint(init)
    if not isinstance(net, DiffIRS2):
        raise UsageError(f"{init} is a stage-{net.stage} checkpoint; init takes one of stage 2")
    if net.config != config.model:
        raise UsageError(f"{init} holds another model than the recipe: {net.config}, {config.model}")
    return net


def _learning_rate(step: int, config: TrainConfig) -> float:
    if step < config.prior_steps:
        phase = {"start": 0, "end": config.prior_steps}
        return cosine(step, **phase, first=config.prior_learning_rate, last=config.learning_rate / 10)
    return cosine(
        step,
        start=config.prior_steps,
        end=config.max_steps,
        first=config.learning_rate,
        last=config.final_learning_rate,
        warmup=config.warmup_steps,
    )


def restore_with_sampled_prior(net: DiffIR, lq: Tensor, _gt: Tensor) -> Tensor:
    """What the shipped model does: the prior is sampled from fixed noise, the ground truth unseen."""
    assert isinstance(net, DiffIRS2)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(lq), net.config.prior_width, generator=generator)
    return net.restore(lq, net.estimate_prior(lq, noise))

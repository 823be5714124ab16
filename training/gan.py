"""GAN stage: the joint phase of stage 2 goes on, against a discriminator and with a perceptual loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffir_video.errors import UsageError
from training.config import TrainConfig
from training.discriminator import Discriminator
from training.losses import pixel_loss, prior_loss
from training.perceptual import PerceptualLoss
from training.schedule import learning_rate
from training.stage2 import load_finetuned, load_stage1, restore_with_sampled_prior
from training.trainer import Learner, Trainer


def train_gan(config: TrainConfig, *, resume: bool = False) -> Trainer:
    """Run the recipe from a stage-2 checkpoint, its prior still held to stage 1's.

    Raises UsageError on a recipe that can't run, or whose perceptual weights are missing; DivergenceError
    when a loss blows up.
    """
    stage1 = load_stage1(config)
    if config.stage2 is None:
        raise UsageError("the GAN stage starts from a stage-2 checkpoint: set stage2=PATH")
    net = load_finetuned(config.stage2, config)
    torch.manual_seed(config.seed)  # pyright: ignore[reportUnknownMemberType]
    weights = config.gan
    trainer = Trainer(config, net, restore_with_sampled_prior, resume=resume)
    device = trainer.processes.device
    trainer.placed(stage1)
    perceptual = PerceptualLoss(weights.perceptual_weights).to(device) if weights.perceptual else None
    opponent = Discriminator(weights.channels).to(device)
    learner = Learner(opponent, config, trainer.processes)
    trainer.also_save("discriminator", opponent, learner)

    for step, parts in trainer.steps():
        rate = learning_rate(step, config)
        restorations: list[Tensor] = []
        opponent.requires_grad_(False)
        for part in parts:
            with torch.no_grad(), trainer.autocast():
                s1_prior = stage1.extract_prior(part.lq, part.gt).float()
            with trainer.autocast():
                prior = net.estimate_training_prior(part.lq, s1_prior, part.noise)
                restored = net.restore(part.lq, prior)
                judged = opponent(restored)
            restored = restored.float()
            losses = {
                "pixel": pixel_loss(restored, part.gt),
                "prior": prior_loss(prior, s1_prior),
                "adversarial": vanilla_gan_loss(judged, real=True),
            }
            if perceptual is not None:
                losses["perceptual"] = perceptual(restored, part.gt)
            loss = torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()
            trainer.backward(loss, **losses)
            restorations.append(restored.detach())
        trainer.descend(rate)

        opponent.requires_grad_(True)
        for part, restored in zip(parts, restorations, strict=True):
            with trainer.autocast():
                on_real, on_restored = opponent(part.gt), opponent(restored)
            losses = {
                "real": vanilla_gan_loss(on_real, real=True),
                "restored": vanilla_gan_loss(on_restored, real=False),
            }
            learner.backward(losses["real"] + losses["restored"], **losses)
        judgement = learner.descend(rate, step)
        trainer.log(**{f"discriminator_{name}": value for name, value in judgement.items()})
    return trainer


def vanilla_gan_loss(logits: Tensor, *, real: bool) -> Tensor:
    """Binary cross-entropy of (N, 1, H, W) logits with one answer for all pixels; a scalar."""
    target = torch.full_like(logits, float(real), dtype=torch.float32)
    return F.binary_cross_entropy_with_logits(logits.float(), target)

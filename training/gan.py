"""GAN stage: the joint phase of stage 2 goes on, against a discriminator and with a perceptual loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffir_video.errors import UsageError
from training.config import TrainConfig
from training.discriminator import MULTIPLE, Discriminator
from training.interruption import StopRequest
from training.losses import pixel_loss, prior_loss, restoration_loss
from training.perceptual import SMALLEST_PICTURE, PerceptualLoss
from training.recurrence import restore_windows
from training.schedule import learning_rate
from training.stage2 import load_finetuned, load_stage1, restore_with_sampled_prior
from training.trainer import Learner, Trainer


def train_gan(config: TrainConfig, *, resume: bool = False, stop: StopRequest | None = None) -> Trainer:
    """Run the recipe from a stage-2 checkpoint, its prior still held to stage 1's.

    Raises UsageError on a recipe that can't run, or whose perceptual weights are missing; DivergenceError
    when a loss blows up.
    """
    config.refuse("init", stage="the GAN stage")
    _check_patches(config)
    stage1 = load_stage1(config)
    if config.stage2 is None:
        raise UsageError("the GAN stage starts from a stage-2 checkpoint: set stage2=PATH")
    net = load_finetuned(config.stage2, config)
    torch.manual_seed(config.seed)  # pyright: ignore[reportUnknownMemberType]
    weights = config.gan
    trainer = Trainer(config, net, restore_with_sampled_prior, resume=resume, stop=stop)
    device = trainer.processes.device
    trainer.placed(stage1)
    perceptual = PerceptualLoss(weights.perceptual_weights).to(device) if weights.perceptual else None
    opponent = Discriminator(weights.channels).to(device)
    learner = Learner(opponent, config, trainer.processes)
    trainer.also_save("discriminator", opponent, learner)

    in_a_row = config.data.windows_per_sequence
    for step, parts in trainer.steps():
        rate = learning_rate(step, config)
        restorations: list[Tensor] = []
        opponent.requires_grad_(False)
        for part in parts:
            seen = part.prior_from
            with torch.no_grad(), trainer.autocast():
                s1_prior = stage1.extract_prior(part.lq[seen], part.gt[seen]).float()
            with trainer.autocast():
                prior = net.estimate_training_prior(part.lq[seen], s1_prior, part.noise[seen])
                # Repeating a prior once changes nothing but the order that its gradients are summed in.
                served = part.for_all(prior) if part.served > 1 else prior
                restored = restore_windows(net, part.lq, served, in_a_row)
                judged = opponent(restored)
            restored = restored.float()
            losses = {
                "pixel": restoration_loss(restored, part.gt, config.psnr_weight, config.temporal_weight),
                "prior": prior_loss(prior, s1_prior),
                "adversarial": vanilla_gan_loss(judged, real=True),
            }
            if perceptual is not None:
                losses["perceptual"] = perceptual(restored, part.gt)
            loss = torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()
            trainer.backward(loss, **(losses | {"pixel": pixel_loss(restored, part.gt)}))
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


def _check_patches(config: TrainConfig) -> None:
    """Raise UsageError for a patch that the discriminator, or the perceptual loss, can't take."""
    smallest = SMALLEST_PICTURE if config.gan.perceptual else MULTIPLE
    for phase in config.all_phases:
        if phase.patch_size % MULTIPLE or phase.patch_size < smallest:
            raise UsageError(
                f"patch_size = {phase.patch_size}: the GAN stage takes multiples of {MULTIPLE}, "
                f"{smallest} or more"
            )


def vanilla_gan_loss(logits: Tensor, *, real: bool) -> Tensor:
    """Binary cross-entropy of (N, 1, H, W) logits with one answer for all pixels; a scalar."""
    target = torch.full_like(logits, float(real), dtype=torch.float32)
    return F.binary_cross_entropy_with_logits(logits.float(), target)

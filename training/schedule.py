"""What a recipe says of each step: learning rate, patch and batch size, and which samples are its own."""

from __future__ import annotations

import math

from training.config import TrainConfig
from training.options import PhaseConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of a step: of the prior phase, or of the joint one that follows it."""
    in_prior_phase = step < config.prior_steps
    start = 0 if in_prior_phase else config.prior_steps
    if config.schedule == "step":
        first = config.prior_learning_rate if in_prior_phase else config.learning_rate
        every = config.prior_decay_steps if in_prior_phase else config.decay_steps
        factor = config.prior_decay_factor if in_prior_phase else config.decay_factor
        return first * factor ** ((step - start) // every) if every else first
    if in_prior_phase:
        first, last = config.prior_learning_rate, config.learning_rate / 10
        return cosine(step, start=0, end=config.prior_steps, first=first, last=last)
    return cosine(
        step,
        start=start,
        end=config.max_steps,
        first=config.learning_rate,
        last=config.final_learning_rate,
        warmup=config.warmup_steps,
    )


def cosine(step: int, *, start: int, end: int, first: float, last: float, warmup: int = 0) -> float:
    """A learning rate that rises over `warmup` steps from `start` and falls along a cosine until `end`."""
    done = step - start
    if done < warmup:
        return first * (done + 1) / warmup
    progress = (done - warmup) / max(1, end - start - warmup)
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def items_per_batch(phase: PhaseConfig, config: TrainConfig) -> int:
    """Items that the data set makes for one batch: pictures, or sequences that windows are cut from."""
    per_item = config.data.windows_per_sequence if config.data.samples == "windows" else 1
    return phase.batch_size // per_item


def items_of_step(step: int, config: TrainConfig) -> range:
    """The items of a step's batch, of all processes together; steps take turns in one endless order."""
    first = 0
    for phase in config.all_phases[:-1]:
        count = items_per_batch(phase, config)
        if step < phase.steps:
            return range(first + step * count, first + (step + 1) * count)
        first += phase.steps * count
        step -= phase.steps
    count = items_per_batch(config.all_phases[-1], config)
    return range(first + step * count, first + (step + 1) * count)


def patch_size_of_item(index: int, config: TrainConfig) -> int:
    """Side of the ground truth that an item is cut for."""
    for phase in config.all_phases[:-1]:
        count = phase.steps * items_per_batch(phase, config)
        if index < count:
            return phase.patch_size
        index -= count
    return config.all_phases[-1].patch_size

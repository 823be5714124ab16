"""One process or many, on this machine or several: started, told apart and brought to one gradient.

The engine is Lightning Fabric. Modules are not wrapped for it: a wrapper averages the gradients of its own
``forward`` alone, and a phase that trains part of a network through another method goes without, as happened
to the published code. Here the gradients of a step are averaged in one message after its backward passes,
whatever made them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from diffir_video.errors import UsageError
from training.config import TrainConfig


class Processes:
    """The processes of a run, this one among them; `rank` counts from 0, `count` is of all together."""

    def __init__(self, config: TrainConfig) -> None:
        """Starts the others, unless torchrun did. Raises UsageError on a missing device."""
        if config.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("device = 'cuda': PyTorch sees no CUDA device; set device=cpu")
        devices, nodes = _wanted(config)
        several = devices * nodes > 1
        accelerator = "cuda" if config.device == "auto" and torch.cuda.is_available() else config.device
        # Fabric's own types are partly unknown.
        self._fabric: Any = Fabric(
            accelerator="cpu" if accelerator == "auto" else accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy="ddp" if several else "auto",
            precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        )
        self._fabric.launch()
        self.rank: int = self._fabric.global_rank
        self.count: int = self._fabric.world_size
        if config.devices * config.nodes not in (1, self.count):
            raise UsageError(
                f"devices × nodes = {config.devices * config.nodes}, but {self.count} processes were started"
            )

    @property
    def device(self) -> torch.device:
        return self._fabric.device

    @property
    def is_first(self) -> bool:
        """Whether this one writes the run's files."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[None]:
        """The context that forward passes run in."""
        return self._fabric.autocast()

    def all_well(self, well: bool) -> bool:
        """Wait until all are here; whether all of them say that they are well."""
        if self.count == 1:
            return well
        ill = torch.tensor(float(not well), device=self.device)
        return float(self._fabric.all_reduce(ill, reduce_op="sum")) == 0

    def average(self, parameters: Iterable[nn.Parameter], scalars: Mapping[str, Tensor]) -> dict[str, float]:
        """Make every gradient the mean of all processes', in place; returns the means of the scalars.

        All processes come with gradients of the same parameters and scalars of the same names.
        """
        values = torch.stack([s.detach().float().to(self.device) for s in scalars.values()])
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.count > 1:
            message = torch.cat([values, *(g.flatten() for g in gradients)])
            mean: Tensor = self._fabric.all_reduce(message, reduce_op="mean")
            values, *flat = torch.split(mean, [len(values), *(g.numel() for g in gradients)])
            for gradient, averaged in zip(gradients, flat, strict=True):
                gradient.copy_(averaged.view_as(gradient))
        return {name: float(value) for name, value in zip(scalars, values, strict=True)}


def _wanted(config: TrainConfig) -> tuple[int, int]:
    """(devices of each node, nodes): torchrun's, where it started this process, or the recipe's."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        return devices, int(os.environ["WORLD_SIZE"]) // devices
    return config.devices, config.nodes

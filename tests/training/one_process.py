"""A process of a run, for tests: trains as told and keeps what it saw of gradients and weights.

``python -m tests.training.one_process STAGE RECIPE FOLDER KEY=VALUE…``; under torchrun, one of several.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from training.gan import train_gan
from training.processes import Processes
from training.recipe import load_config
from training.stage1 import train_stage1
from training.stage2 import train_stage2

TRAIN = {"stage1": train_stage1, "stage2": train_stage2, "gan": train_gan}


def main() -> None:
    stage, recipe, folder, *settings = sys.argv[1:]
    gradients: list[Tensor] = []
    average = Processes.average

    def average_and_keep(
        self: Processes, parameters: Iterable[nn.Parameter], scalars: Mapping[str, Tensor]
    ) -> dict[str, float]:
        parameters = list(parameters)
        means = average(self, parameters, scalars)
        gradients.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
        return means

    Processes.average = average_and_keep
    trainer = TRAIN[stage](load_config(Path(recipe), settings))
    rank = os.environ.get("RANK", "alone")
    torch.save({"gradients": gradients, "net": trainer.net.state_dict()}, Path(folder) / f"{rank}.pt")


if __name__ == "__main__":
    main()

"""Batches of the recipe's samples, from any step on, for one of several processes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from training.config import TrainConfig
from training.data.pictures import PictureDataset
from training.data.windows import WindowDataset
from training.schedule import items_of_step


def batches(
    config: TrainConfig, first_step: int, *, rank: int = 0, processes: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of step `first_step` and on: lq (N, channels, P / s, P / s), gt (N, 3, P, P), float in [0, 1].

    A run resumed at a step sees the same data as one that never stopped. Of several processes each gets its
    share of every batch, in order: together they hold what one process would.
    """
    dataset = WindowDataset(config) if config.data.samples == "windows" else PictureDataset(config)
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        dataset,
        batch_sampler=_Shares(config, first_step, rank, processes),
        num_workers=config.data.workers,
        prefetch_factor=8 if config.data.workers else None,
        worker_init_fn=_use_one_thread,
    )
    for items in loader:
        lq, gt = (t.flatten(0, 1) if config.data.samples == "windows" else t for t in items)
        yield lq.float() / 255, gt.float() / 255


class _Shares(Sampler[list[int]]):
    """The items of each step still to do that are this process's."""

    def __init__(self, config: TrainConfig, first_step: int, rank: int, processes: int) -> None:
        self._config, self._first_step = config, first_step
        self._rank, self._processes = rank, processes

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self._first_step, self._config.max_steps):
            items = items_of_step(step, self._config)
            count = len(items) // self._processes
            yield list(items[self._rank * count : (self._rank + 1) * count])


def _use_one_thread(_worker: int) -> None:
    torch.set_num_threads(1)

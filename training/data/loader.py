"""Batches of the recipe's samples, from any step on, for one of several processes."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    Sampler,
    default_collate,  # pyright: ignore[reportUnknownVariableType]
)

from diffir_video.errors import DiffirVideoError
from training.config import TrainConfig
from training.data.pictures import PictureDataset
from training.data.windows import WindowDataset
from training.schedule import items_of_step


def batches(
    config: TrainConfig, first_step: int, *, rank: int = 0, processes: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of step `first_step` and on: lq (N, channels, P / s, P / s), gt (N, 3, P, P), float in [0, 1].

    The material is opened at once, which may mean to decode and encode it first. A run resumed at a step sees
    the same data as one that never stopped. Of several processes each gets its share of every batch, in
    order: together they hold what one process would. Errors are those of the data sets, whatever process they
    happen in.
    """
    dataset = WindowDataset(config) if config.data.samples == "windows" else PictureDataset(config)
    loader: DataLoader[Any] = DataLoader(
        _Reporting(dataset),
        batch_sampler=_Shares(config, first_step, rank, processes),
        num_workers=config.data.workers,
        prefetch_factor=8 if config.data.workers else None,
        worker_init_fn=_begin_worker,
        collate_fn=_collated,
    )
    return _batches_of(loader, of_windows=config.data.samples == "windows")


def _batches_of(loader: DataLoader[Any], *, of_windows: bool) -> Iterator[tuple[Tensor, Tensor]]:
    for items in loader:
        if isinstance(items, DiffirVideoError):
            raise items
        lq, gt = (t.flatten(0, 1) if of_windows else t for t in items)
        yield lq.float() / 255, gt.float() / 255


class _Reporting(Dataset[Any]):
    """Errors as items: the loader would wrap those of a worker in a trace of many lines."""

    def __init__(self, dataset: Dataset[tuple[Tensor, Tensor]]) -> None:
        self._dataset = dataset

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor] | DiffirVideoError:
        try:
            return self._dataset[index]
        except DiffirVideoError as exc:
            return exc


def _collated(items: list[Any]) -> Any:
    errors = [item for item in items if isinstance(item, DiffirVideoError)]
    return errors[0] if errors else default_collate(items)


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


def _begin_worker(_worker: int) -> None:
    # See `encode_variants`.
    gc.freeze()
    torch.set_num_threads(1)
    # Batch systems and terminals signal all processes of a run: the one that trains saves, then ends these.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

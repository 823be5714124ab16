"""Frames that know nothing of each other, restored side by side, each by its part of the processors.

Threads that work on one frame wait for each other at every step, and all of them where only one has work.
What comes out is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from diffir_video.inference import FoldedDIRformer, limit_threads
from diffir_video.prior_network import PriorNetwork

# A window's pictures, (3, H, W) each, oldest first.
Pictures = Sequence[Tensor]
Restore = Callable[[FoldedDIRformer, Tensor], Tensor]

_Made = TypeVar("_Made")
_Work = Callable[[FoldedDIRformer, Sequence[Pictures]], list[_Made]]


class Lanes:
    """Networks of one stream beside its own, `folded`, and the threads that run them all."""

    def __init__(self, network: PriorNetwork) -> None:
        self._network = network
        self._borrowed: list[FoldedDIRformer] = []
        self._executor: ThreadPoolExecutor | None = None

    def restore(self, folded: FoldedDIRformer, windows: Sequence[Pictures]) -> list[tuple[Tensor, Tensor]]:
        """Restore every window with a prior of its own; afterwards `folded` serves the last one.

        Returns priors, (prior_width,), and pictures, (3, s·H, s·W).
        """
        middle = self._network.net.config.past

        def work(network: FoldedDIRformer, windows: Sequence[Pictures]) -> list[tuple[Tensor, Tensor]]:
            made: list[tuple[Tensor, Tensor]] = []
            for pictures in windows:
                prior = self._network.estimate_prior(pictures[middle])
                network.fold(prior)
                made.append((prior, network.restore(network.gather([pictures]))[0]))
            return made

        return self._share(folded, windows, work)

    def restore_held(
        self, folded: FoldedDIRformer, windows: Sequence[Pictures], restore: Restore
    ) -> list[Tensor]:
        """Restore every window, (3, s·H, s·W) each, with the prior, and it may be the maps, of `folded`.

        restore: which of a folded network's methods is to do it.
        """

        def work(network: FoldedDIRformer, windows: Sequence[Pictures]) -> list[Tensor]:
            network.serve_as(folded)
            return list(restore(network, network.gather(windows)))

        return self._share(folded, windows, work)

    def close(self) -> None:
        """End the threads and give the networks back."""
        if self._executor is not None:
            self._executor.shutdown()
        for folded in self._borrowed:
            self._network.give_back(folded)
        self._executor, self._borrowed = None, []

    def _share(self, folded: FoldedDIRformer, windows: Sequence[Pictures], work: _Work[_Made]) -> list[_Made]:
        """Equal runs of windows for each lane, in order; `folded` has the last run, and what is left."""
        if not windows:
            return []
        lanes = min(folded.lanes(*windows[0][0].shape[1:]), len(windows))
        share, threads = len(windows) // lanes, torch.get_num_threads() // lanes
        if lanes == 1:
            return work(folded, windows)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(thread_name_prefix="diffir-lane")
        while len(self._borrowed) < lanes - 1:
            self._borrowed.append(self._network.borrow_folded())
        running = [
            self._executor.submit(
                _in_lane, work, network, windows[share * lane : share * (lane + 1)], threads
            )
            for lane, network in enumerate([*self._borrowed[: lanes - 1], folded])
        ]
        made = [each for lane in running for each in lane.result()]
        left = windows[share * lanes :]
        return made + work(folded, left) if left else made


@torch.inference_mode()
def _in_lane(
    work: _Work[_Made], network: FoldedDIRformer, windows: Sequence[Pictures], threads: int
) -> list[_Made]:
    limit_threads(threads)
    return work(network, windows)

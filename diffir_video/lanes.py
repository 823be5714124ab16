"""Frames that know nothing of each other, restored side by side, each by its part of the processors.

Threads that work on one frame wait for each other at every step, and all of them where only one has work.
What comes out is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from diffir_video.inference import FoldedDIRformer, limit_threads
from diffir_video.prior_network import PriorNetwork

# A window's pictures, (3, H, W) each; a prior, (prior_width,), and the picture it restored, (3, s·H, s·W).
Pictures = Sequence[Tensor]
Made = tuple[Tensor, Tensor]


class Lanes:
    """Networks of one stream beside its own, and the threads that run them."""

    def __init__(self, network: PriorNetwork) -> None:
        self._network = network
        self._middle = network.net.config.past
        self._borrowed: list[FoldedDIRformer] = []
        self._executor: ThreadPoolExecutor | None = None

    def restore(self, folded: FoldedDIRformer, windows: Sequence[Pictures]) -> list[Made]:
        """Restore every window with a prior of its own; afterwards `folded` serves the last one."""
        if not windows:
            return []
        lanes = min(folded.lanes(*windows[0][0].shape[1:]), len(windows))
        count = len(windows) // lanes if lanes > 1 else 0
        made = self._restore_side_by_side(folded, windows[: lanes * count], lanes) if count else []
        return made + self._restore_in_turn(folded, windows[lanes * count :])

    def close(self) -> None:
        """End the threads and give the networks back."""
        if self._executor is not None:
            self._executor.shutdown()
        for folded in self._borrowed:
            self._network.give_back(folded)
        self._executor, self._borrowed = None, []

    def _restore_side_by_side(
        self, folded: FoldedDIRformer, windows: Sequence[Pictures], lanes: int
    ) -> list[Made]:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(thread_name_prefix="diffir-lane")
        while len(self._borrowed) < lanes - 1:
            self._borrowed.append(self._network.borrow_folded())
        threads, share = torch.get_num_threads() // lanes, len(windows) // lanes
        running = [
            self._executor.submit(
                self._restore_lane, network, windows[share * lane : share * (lane + 1)], threads
            )
            for lane, network in enumerate([*self._borrowed[: lanes - 1], folded])
        ]
        return [made for lane in running for made in lane.result()]

    def _restore_lane(self, folded: FoldedDIRformer, windows: Sequence[Pictures], threads: int) -> list[Made]:
        limit_threads(threads)
        return self._restore_in_turn(folded, windows)

    @torch.inference_mode()
    def _restore_in_turn(self, folded: FoldedDIRformer, windows: Sequence[Pictures]) -> list[Made]:
        made: list[Made] = []
        for pictures in windows:
            prior = self._network.estimate_prior(pictures[self._middle])
            folded.fold(prior)
            made.append((prior, folded.restore(folded.gather([pictures]))[0]))
        return made

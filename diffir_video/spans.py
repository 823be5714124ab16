"""Windows of frames through the network, each with the prior that was decided for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import cast

import torch
from torch import Tensor

from diffir_video.errors import DiffirVideoError
from diffir_video.inference import FoldedDIRformer
from diffir_video.lanes import Lanes, Restore
from diffir_video.prior import Decision, RefreshReason, Reuse, ReusePolicy
from diffir_video.prior_network import PriorNetwork
from diffir_video.shots import Window


class SpanRestorer:
    """Restores one stream's windows in order; holds its prior, attention maps and last output.

    redone_in_float32: frames that came out with a NaN or an infinity and were restored again.
    """

    def __init__(self, network: PriorNetwork) -> None:
        self._network = network
        self._folded: FoldedDIRformer | None = None
        self._maps_are_kept = False
        self._prior: Tensor | None = None
        self._last: Tensor | None = None
        self._next_priors = _NextPriors(network)
        self._lanes = Lanes(network)
        self.redone_in_float32 = 0

    def restore(
        self, windows: Sequence[Window], decisions: Sequence[Decision], policy: ReusePolicy
    ) -> list[Tensor]:
        """One (3, s·H', s·W') picture for each window, not clamped; duplicates share a tensor.

        policy: how new priors are smoothed, and how long they may take.
        Raises DiffirVideoError when not even float32 makes numbers of a frame.
        """
        restored: list[Tensor] = []
        is_delayed = policy.prior_delay > 0 or not self._next_priors.is_empty
        one_by_one = is_delayed or self._network.net.config.recurrent
        if not one_by_one and not policy.prior_smoothing and all(d.level == "off" for d in decisions):
            return self._restore_independent(windows, decisions)
        for start, end in _single(decisions) if one_by_one else _spans(decisions):
            span = zip(windows[start:end], decisions[start:end], strict=True)
            fresh = [window for window, decision in span if decision.reuse is not Reuse.DUPLICATE]
            self._take_due_prior(policy.prior_smoothing)
            pictures = iter(self._restore_finitely(fresh, decisions[start], policy) if fresh else ())
            restored += self._with_duplicates(pictures, decisions[start:end])
        return restored

    def _restore_independent(self, windows: Sequence[Window], decisions: Sequence[Decision]) -> list[Tensor]:
        """As `restore`, where each window has a prior of its own, and none knows of another."""
        fresh = [w for w, d in zip(windows, decisions, strict=True) if d.reuse is not Reuse.DUPLICATE]
        if self._folded is None:
            self._folded = self._network.borrow_folded()
        made = self._lanes.restore(self._folded, [self._pictures_of(window) for window in fresh])
        pictures = self._finite(fresh, [picture for _, picture in made])
        if made:
            self._prior, self._maps_are_kept = made[-1][0], False
        return self._with_duplicates(pictures, decisions)

    def _with_duplicates(self, pictures: Iterator[Tensor], decisions: Sequence[Decision]) -> list[Tensor]:
        """The pictures, and in the place of each duplicate that of the frame before it."""
        restored: list[Tensor] = []
        for decision in decisions:
            if decision.reuse is not Reuse.DUPLICATE:
                self._last = next(pictures)
            assert self._last is not None, "a duplicate has a frame before it"
            restored.append(self._last)
        return restored

    def close(self) -> None:
        """Forget what is held and give the borrowed networks back."""
        self._lanes.close()
        if self._folded is not None:
            self._network.give_back(self._folded)
        self._folded = self._prior = self._last = None
        self._next_priors.close()

    def _restore_finitely(
        self, windows: Sequence[Window], first: Decision, policy: ReusePolicy
    ) -> Iterator[Tensor]:
        return self._finite(windows, self._restore_span(windows, first, policy))

    def _finite(self, windows: Sequence[Window], pictures: Sequence[Tensor]) -> Iterator[Tensor]:
        # A sum is finite where all of it is. Asked once for all: each answer has to wait for the device.
        sums = [picture.sum() for picture in pictures]
        finite = cast(list[bool], torch.stack(sums).isfinite().tolist()) if sums else []  # pyright: ignore[reportUnknownMemberType]
        for window, picture, is_finite in zip(windows, pictures, finite, strict=True):
            yield picture if is_finite else self._redo(window)

    def _redo(self, window: Window) -> Tensor:
        self.redone_in_float32 += 1
        picture = self._network.restore_in_float32(torch.cat(self._pictures_of(window))[None])
        if not picture.isfinite().all():
            at = float(window.middle.frame.pts_seconds)
            raise DiffirVideoError(
                f"the frame at {at:.3f} s is NaN or infinity, not even float32 helps: check the weights"
            )
        return picture

    def _restore_span(
        self, windows: Sequence[Window], first: Decision, policy: ReusePolicy
    ) -> Sequence[Tensor]:
        if self._folded is None:
            self._folded = self._network.borrow_folded()
        if first.reason is not None:
            self._refresh(windows[0], first.reason, policy)
        if first.level == "statistics":
            return self._restore_with_held_maps(self._folded, windows)
        return self._restore_held(windows, FoldedDIRformer.restore)

    def _refresh(self, window: Window, reason: RefreshReason, policy: ReusePolicy) -> None:
        """Have a prior made of `window`: now where none of its shot is held, else while that one serves."""
        picture = window.middle.picture
        if policy.prior_delay and reason in ("drift", "age", "level"):
            self._next_priors.begin(picture, policy.prior_delay)
            self._maps_are_kept = self._maps_are_kept and reason != "level"
            return
        self._next_priors.forget()
        smoothing = 0.0 if window.middle.starts_shot else policy.prior_smoothing
        self._serve(self._network.estimate_prior(picture), smoothing)

    def _take_due_prior(self, smoothing: float) -> None:
        prior = self._next_priors.take_due()
        if prior is not None:
            self._serve(prior, smoothing)

    def _serve(self, prior: Tensor, smoothing: float) -> None:
        assert self._folded is not None
        if self._prior is not None and smoothing:
            prior = smoothing * self._prior + (1 - smoothing) * prior
        self._prior = prior
        self._folded.fold(prior)
        self._maps_are_kept = False

    def _restore_with_held_maps(self, folded: FoldedDIRformer, windows: Sequence[Window]) -> list[Tensor]:
        """Maps come from a whole window and serve whole ones: repeated frames would have other maps."""
        outputs: list[Tensor] = []
        for is_whole, group in groupby(windows, key=lambda window: window.is_whole):
            some = list(group)
            if not is_whole:
                outputs += self._restore_held(some, FoldedDIRformer.restore)
                continue
            if not self._maps_are_kept:
                outputs += folded.restore_keeping_maps(folded.gather([self._pictures_of(some[0])]))
                self._maps_are_kept = True
                some = some[1:]
            outputs += self._restore_held(some, FoldedDIRformer.restore_with_held_maps)
        return outputs

    def _restore_held(self, windows: Sequence[Window], restore: Restore) -> list[Tensor]:
        assert self._folded is not None
        return self._lanes.restore_held(
            self._folded, [self._pictures_of(window) for window in windows], restore
        )

    def _pictures_of(self, window: Window) -> list[Tensor]:
        """A window's pictures, (3, H', W') each; a recurrent network's past is what it made of it."""
        if not self._network.net.config.recurrent:
            return [seen.picture for seen in window.frames]
        picture = window.middle.picture
        before = picture if self._last is None or not window.is_whole else self._last.clamp(0, 1)
        return [before, picture]


class _NextPriors:
    """Priors that are computed beside the frames, each for a frame that is known beforehand.

    A prior serves from that frame on, neither sooner nor later: the same input gives the same output.
    """

    def __init__(self, network: PriorNetwork) -> None:
        self._network = network
        self._executor: ThreadPoolExecutor | None = None
        self._due: deque[tuple[int, Future[Tensor]]] = deque()
        self._frame = 0

    @property
    def is_empty(self) -> bool:
        return not self._due

    def begin(self, picture: Tensor, delay: int) -> None:
        """Compute the prior of a picture, (3 or 4, H, W), for the `delay`-th frame after it."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="diffir-prior")
        self._due.append((self._frame + delay, self._executor.submit(self._estimate, picture)))

    def take_due(self) -> Tensor | None:
        """The prior to serve from the next frame on, None where none is due; waits if it isn't ready."""
        self._frame += 1
        prior = None
        while self._due and self._due[0][0] <= self._frame:
            prior = self._due.popleft()[1].result()
        return prior

    def forget(self) -> None:
        for _, future in self._due:
            future.cancel()
        self._due.clear()

    def close(self) -> None:
        self.forget()
        if self._executor is not None:
            self._executor.shutdown()
        self._executor = None

    @torch.inference_mode()
    def _estimate(self, picture: Tensor) -> Tensor:
        return self._network.estimate_prior(picture)


def _single(decisions: Sequence[Decision]) -> Iterator[tuple[int, int]]:
    return ((index, index + 1) for index in range(len(decisions)))


def _spans(decisions: Sequence[Decision]) -> Iterator[tuple[int, int]]:
    """(start, end) of runs that go through the network together."""
    start = 0
    for index in range(1, len(decisions) + 1):
        if index == len(decisions) or decisions[index].reuse is Reuse.NEW:
            yield start, index
            start = index

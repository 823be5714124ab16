"""`LiveRestorer`: a restorer that does as much for each frame as the governor allows, and never fails."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor

from diffir_video.frame import Frame
from diffir_video.prior import Decision, RefreshReason, ReusePolicy, ReuseReport
from diffir_video.stages import FrameRestorer, FrameRestorerStream
from streams.frames import LiveFrame
from streams.governor import Governor, Level
from streams.stats import LiveStats

_log = logging.getLogger(__name__)


@runtime_checkable
class Sharing(Protocol):
    """What a restorer and its streams have whose frames may share a prior, as `Restorer` and its own do."""

    policy: ReusePolicy


@runtime_checkable
class Deciding(Sharing, Protocol):
    """What a stream has that says why it shared or not, as `Restorer`'s own do."""

    latest_decision: Decision | None


@runtime_checkable
class Enlarging(Protocol):
    """What a restorer has that says how many times as wide and high its output is, as `Restorer` does."""

    @property
    def scale(self) -> int: ...


class LiveRestorer:
    """Wraps a `Restorer` for `pipeline.run`: one frame out for each frame in, in order, whatever happens.

    Where the network fails, the frame passes as it came, and the failure is counted; where the network
    enlarges, frames that pass are enlarged as well, bilinearly. throttle: makes the
    network this many times slower, to see what the governor does. on_pair: gets each picture, (3, H, W) in
    [0, 1], before and after.
    """

    def __init__(
        self,
        restorer: FrameRestorer,
        governor: Governor,
        stats: LiveStats,
        *,
        throttle: float = 1.0,
        on_pair: Callable[[Tensor, Tensor], None] | None = None,
    ) -> None:
        self.restorer, self.governor, self.stats = restorer, governor, stats
        self.throttle, self.on_pair = throttle, on_pair
        self.scale = restorer.scale if isinstance(restorer, Enlarging) else 1

    def open_stream(self) -> LiveRestorerStream:
        return LiveRestorerStream(self)


@dataclass(slots=True)
class _Slot:
    """A frame on its way; `done` once it may leave. seen: what the network was given of it."""

    frame: LiveFrame
    seen: LiveFrame | None = None
    done: LiveFrame | None = None


class LiveRestorerStream:
    """One pass: the network's own stream, begun anew wherever frames stop following on each other."""

    def __init__(self, owner: LiveRestorer) -> None:
        self._owner = owner
        self._stream: FrameRestorerStream | None = None
        self._ended = ReuseReport()
        self._slots: deque[_Slot] = deque()
        self._counted: dict[RefreshReason, int] = {}
        self._key: tuple[object, ...] | None = None
        self._since_restored = 0
        self._last_output: Tensor | None = None

    @property
    def reuse(self) -> ReuseReport:
        """What the network's streams decided so far, together."""
        return (
            self._ended if self._stream is None else ReuseReport.combined([self._ended, self._stream.reuse])
        )

    def push(self, frames: Sequence[Frame]) -> list[Frame]:
        out: list[Frame] = []
        for frame in frames:
            assert isinstance(frame, LiveFrame)
            self._take(frame)
            out += self._leave()
        return out

    def finish(self) -> list[Frame]:
        self._end_stream()
        return self._leave()

    def _take(self, frame: LiveFrame) -> None:
        if frame.bridge is not None:
            self._end_stream()
            self._slots.append(_Slot(frame, done=self._bridged(frame)))
            return
        level = self._owner.governor.level
        key = (frame.epoch, tuple(frame.data.shape), level.shrink, level.every, level.passes)
        if key != self._key:
            self._end_stream()
            self._key = key
        if self._is_due(level) and self._is_in_time(frame):
            self._restore(frame, level)
        else:
            self._slots.append(_Slot(frame, done=self._passed(frame)))

    def _is_due(self, level: Level) -> bool:
        self._since_restored += 1
        if level.passes or self._since_restored < level.every:
            return False
        self._since_restored = 0
        return True

    def _is_in_time(self, frame: LiveFrame) -> bool:
        # Frames before this one that wait for their future wait for this one.
        if self._slots or self._owner.governor.has_time_for(time.monotonic() - frame.arrived):
            return True
        self._owner.stats.count_frame("late")
        return False

    def _restore(self, frame: LiveFrame, level: Level) -> None:
        seen = frame if level.shrink == 1 else frame.with_data(_shrunk(frame.data, level.shrink))
        self._slots.append(_Slot(frame, seen=seen))
        started = time.monotonic()
        try:
            restored = self._stream_at(level).push([seen])
        except Exception as exc:  # noqa: BLE001 - a live stream goes on without its model
            self._give_up(exc)
            return
        self._fill(restored)
        self._count_priors(len(restored))
        seconds = time.monotonic() - started
        if self._owner.throttle > 1:
            time.sleep(seconds * (self._owner.throttle - 1))
            seconds *= self._owner.throttle
        self._owner.stats.observe("restore", seconds)
        self._owner.governor.restored(seconds)

    def _stream_at(self, level: Level) -> FrameRestorerStream:
        """The network's stream, sharing what the level lets it share; that ends no stream."""
        if self._stream is None:
            self._stream, self._counted = self._owner.restorer.open_stream(), {}
        if isinstance(self._owner.restorer, Sharing) and isinstance(self._stream, Sharing):
            self._stream.policy = level.policy(self._owner.restorer.policy)
        return self._stream

    def _count_priors(self, restored: int) -> None:
        """Count what the stream's report has more of than before; `restored` frames ago it was asked last."""
        assert self._stream is not None
        is_refreshed, stats = False, self._owner.stats
        for reason, priors in self._stream.reuse.refreshes.items():
            new = priors - self._counted.get(reason, 0)
            if new:
                stats.count_priors(reason, new)
                is_refreshed = True
            self._counted[reason] = priors
        stats.set_prior_age(0 if is_refreshed else stats.prior_age + restored)
        if isinstance(self._stream, Deciding) and self._stream.latest_decision is not None:
            stats.set_drift(self._stream.latest_decision.drift, self._stream.policy.threshold)

    def _end_stream(self) -> None:
        """Bring the frames out that wait for a future; the next frame begins a stream."""
        if self._stream is None:
            return
        try:
            restored = self._stream.finish()
        except Exception as exc:  # noqa: BLE001 - as in _restore
            self._give_up(exc)
            return
        self._fill(restored)
        self._count_priors(len(restored))
        self._forget_stream()

    def _forget_stream(self) -> None:
        if self._stream is not None:
            self._ended = ReuseReport.combined([self._ended, self._stream.reuse])
        self._stream = None

    def _give_up(self, exc: Exception) -> None:
        self._forget_stream()
        self._owner.stats.count_error("restore")
        text = f"the model failed, frames pass unrestored: {type(exc).__name__}: {exc}"
        self._owner.stats.tell(text)
        _log.error("%s", text)
        for slot in self._slots:
            if slot.done is None:
                slot.done = self._passed(slot.frame)

    def _fill(self, restored: Sequence[Frame]) -> None:
        waiting = [slot for slot in self._slots if slot.done is None]
        for slot, result in zip(waiting, restored, strict=False):
            assert slot.seen is not None
            data = result.data
            if slot.seen is not slot.frame:
                data = _with_change(self._passed(slot.frame).data, slot.seen.data, data)
            slot.done = slot.frame.with_data(data)
            self._owner.stats.count_frame("restored")

    def _leave(self) -> list[Frame]:
        out: list[Frame] = []
        while self._slots and self._slots[0].done is not None:
            slot = self._slots.popleft()
            assert slot.done is not None
            self._last_output = slot.done.data
            out.append(slot.done)
            self._report(slot.frame, slot.done)
        return out

    def _report(self, frame: LiveFrame, done: LiveFrame) -> None:
        owner = self._owner
        if owner.on_pair is not None:
            owner.on_pair(frame.data, done.data)
        if frame.bridge is None:
            now = time.monotonic()
            owner.governor.delivered(now - frame.arrived, now)

    def _bridged(self, frame: LiveFrame) -> LiveFrame:
        # What waited for its future until now leaves before this frame.
        before = self._slots[-1].done if self._slots else None
        last = self._last_output if before is None else before.data
        return frame.with_data(last) if frame.bridge == "hold" and last is not None else self._passed(frame)

    def _passed(self, frame: LiveFrame) -> LiveFrame:
        """The frame as it came, at the size of the output."""
        scale = self._owner.scale
        if scale == 1:
            return frame
        height, width = frame.data.shape[-2:]
        return frame.with_data(_resized(frame.data, (scale * height, scale * width)))


def _shrunk(data: Tensor, factor: int) -> Tensor:
    """(3, H, W) → (3, H/n, W/n), each pixel the mean of those it stands for."""
    return F.avg_pool2d(data[None], factor, ceil_mode=True)[0]


def _with_change(frame: Tensor, seen: Tensor, restored: Tensor) -> Tensor:
    """What the network changed at a smaller size, enlarged and added to the picture."""
    change = restored - _resized(seen, restored.shape[-2:])
    return (frame + _resized(change, frame.shape[-2:])).clamp_(0.0, 1.0)


def _resized(data: Tensor, size: Sequence[int]) -> Tensor:
    """(3, H, W) → (3, *size), bilinearly."""
    if tuple(data.shape[-2:]) == tuple(size):
        return data
    return F.interpolate(data[None], size=list(size), mode="bilinear", align_corners=False)[0]

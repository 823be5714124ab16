"""`LiveStats`: what a live filter counts, for Prometheus, for the page, and for its governor."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

Stage = Literal["decode", "queue", "restore", "encode", "glass_to_glass"]

_WINDOW_SECONDS = 10.0
_BUCKETS = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
_EVENTS_KEPT = 50
_SECONDS = re.compile(r"\d+(\.\d+)? s\b")
_WINDOW_VALUES = 2000


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling a person: when (seconds since the epoch), and what.

    since, times: when it was first so, and how often it was told since, of what was told again and again.
    """

    at: float
    text: str
    since: float
    times: int = 1

    @property
    def subject(self) -> str:
        """What it is about: an address, or a level."""
        return self.text.partition(": ")[0]

    def repeats(self, other: Event) -> bool:
        """Whether both say the same, but for seconds, such as those until the next attempt."""
        return _SECONDS.sub("", self.text) == _SECONDS.sub("", other.text)


@dataclass(slots=True)
class _Window:
    """The values of the last seconds."""

    _values: deque[tuple[float, float]] = field(
        default_factory=lambda: deque[tuple[float, float]](maxlen=_WINDOW_VALUES)
    )

    def add(self, value: float) -> None:
        self._values.append((time.monotonic(), value))

    def recent(self) -> list[float]:
        since = time.monotonic() - _WINDOW_SECONDS
        return [value for at, value in tuple(self._values) if at >= since]


class LiveStats:
    """Counters, histograms and gauges of one filter, in a registry of its own. Safe from any thread.

    Frames are counted where they are decoded ("in"), restored ("restored"), passed because there was no time
    left to restore them ("late") and handed to the sinks ("out"); bridging frames, which no source sent, as
    "bridge". in = out + dropped + in flight holds without those.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._frames = Counter("diffir_frames", "Frames by stage", ["stage"], registry=self.registry)
        self._dropped = Counter(
            "diffir_dropped", "Frames left out", ["stage", "reason"], registry=self.registry
        )
        self._latency = Histogram(
            "diffir_latency_seconds",
            "Seconds by stage; glass_to_glass: from decoded to handed to the sinks",
            ["stage"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._reconnects = Counter(
            "diffir_reconnects", "Attempts after a first one", ["end"], registry=self.registry
        )
        self._priors = Counter(
            "diffir_prior_refreshes",
            "Priors computed, by reason",
            ["reason"],
            registry=self.registry,
        )
        self._prior_age = Gauge(
            "diffir_prior_age_frames", "Frames since the prior in use was computed", registry=self.registry
        )
        self._drift = Gauge(
            "diffir_prior_drift", "How far the picture is from the prior's", registry=self.registry
        )
        self._errors = Counter(
            "diffir_errors", "Failures survived, by stage", ["stage"], registry=self.registry
        )
        self._level = Gauge("diffir_ladder_level", "0 is full quality", registry=self.registry)
        self._ladder_steps = Counter(
            "diffir_ladder_steps", "Changes of the level", ["direction"], registry=self.registry
        )
        self._queue = Gauge("diffir_queue_depth", "Items waiting", ["queue"], registry=self.registry)
        self._up = Gauge("diffir_end_up", "1 while frames flow", ["end"], registry=self.registry)
        gpu = Gauge("diffir_gpu_memory_bytes", "Allocated by this process on its GPU", registry=self.registry)
        gpu.set_function(_gpu_bytes)
        self._windows: dict[str, _Window] = {}
        self._counts: dict[str, int] = {}
        self._seen: dict[str, float] = {}
        self._events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self._lock = threading.Lock()
        self.level_name = "full"
        self.level = 0
        self.prior_age = 0
        self.drift: float | None = None
        self.drift_threshold = 0.0

    def count_frame(self, stage: str) -> None:
        self._frames.labels(stage).inc()
        with self._lock:
            self._seen[stage] = time.monotonic()
            self._counts[stage] = self._counts.get(stage, 0) + 1
            self._windows.setdefault(f"frames/{stage}", _Window()).add(1)

    def count_dropped(self, stage: str, reason: str, frames: int = 1) -> None:
        self._dropped.labels(stage, reason).inc(frames)
        self._add(f"dropped/{stage}", frames)

    def observe(self, stage: Stage, seconds: float) -> None:
        self._latency.labels(stage).observe(seconds)
        with self._lock:
            self._windows.setdefault(stage, _Window()).add(seconds)

    def count_reconnect(self, end: str) -> None:
        self._reconnects.labels(end).inc()

    def count_priors(self, reason: str, priors: int) -> None:
        self._priors.labels(reason).inc(priors)
        self._add("priors", priors)

    def set_prior_age(self, frames: int) -> None:
        self.prior_age = frames
        self._prior_age.set(frames)

    def set_drift(self, drift: float | None, threshold: float) -> None:
        """Drift of the latest frame, None for the first of a shot, and from where the prior is refreshed."""
        self.drift, self.drift_threshold = drift, threshold
        self._drift.set(drift or 0.0)

    def count_error(self, stage: str) -> None:
        self._errors.labels(stage).inc()
        self._add("errors")

    def set_level(self, level: int, name: str) -> None:
        if level != self.level:
            self._ladder_steps.labels("down" if level > self.level else "up").inc()
        self.level, self.level_name = level, name
        self._level.set(level)

    def set_queue(self, queue: str, depth: int) -> None:
        self._queue.labels(queue).set(depth)

    def set_up(self, end: str, up: bool) -> None:
        self._up.labels(end).set(int(up))

    def tell(self, text: str) -> None:
        """Keep a line for the page; it must hold no secret.

        What is told of one thing again and again is one line, that of the latest time: a peer that is away
        for hours leaves room for everything else.
        """
        now = time.time()
        event = Event(now, text, now)
        with self._lock:
            before = next((e for e in reversed(self._events) if e.subject == event.subject), None)
            if before is not None and event.repeats(before):
                self._events.remove(before)
                event = replace(event, since=before.since, times=before.times + 1)
            self._events.append(event)

    def events(self) -> list[Event]:
        """The latest last."""
        with self._lock:
            return list(self._events)

    def count(self, key: str) -> int:
        """Frames of a stage so far ("in", "out", "bridge" ...), "dropped/STAGE", "priors" or "errors"."""
        with self._lock:
            return self._counts.get(key, 0)

    def last_seen(self, stage: str) -> float | None:
        """When the latest frame passed a stage (monotonic seconds), None if none has."""
        with self._lock:
            return self._seen.get(stage)

    def _add(self, key: str, count: int = 1) -> None:
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + count

    def fps(self, stage: str) -> float:
        """Frames per second through a stage over the last ten seconds."""
        with self._lock:
            window = self._windows.get(f"frames/{stage}")
        return len(window.recent()) / _WINDOW_SECONDS if window else 0.0

    def percentiles(self, stage: Stage, *points: float) -> list[float | None]:
        """Seconds at `points` (0 to 1) over the last ten seconds; None where nothing was measured."""
        with self._lock:
            window = self._windows.get(stage)
        return percentiles(window.recent() if window else [], *points)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def sample(self, name: str, **labels: str) -> float:
        """The value of a metric as Prometheus would see it, 0 where nothing was counted."""
        return self.registry.get_sample_value(name, labels) or 0.0


def percentiles(values: Sequence[float], *points: float) -> list[float | None]:
    """The values at `points` (0 to 1), the nearest from below; None for each without values."""
    ordered = sorted(values)
    if not ordered:
        return [None for _ in points]
    return [ordered[min(int(point * len(ordered)), len(ordered) - 1)] for point in points]


def _gpu_bytes() -> float:
    return float(torch.cuda.memory_allocated()) if torch.cuda.is_available() else 0.0

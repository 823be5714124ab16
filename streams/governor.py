"""`Governor`: keeps the delay within its budget by doing less, and does more again as soon as it can."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from diffir_video.errors import UsageError
from diffir_video.prior import MAX_PRIOR_AGE, ReuseLevel, ReusePolicy
from streams.stats import percentiles

# Load is what the model would need of each second. Down above one, up when the next level is well below it.
_TOO_MUCH = 1.0
_ENOUGH = 0.85
# Share of the budget that the measured delay may take before something is given up.
_NEARLY_LATE = 0.8
_WINDOW = 50
_SMOOTHING = 0.1
# A source that has just connected delivers what it had gathered, up to three seconds of it, as fast as it is
# decoded: no measure of its pace.
_FIRST_SECONDS = 1.0
# Seconds without a frame after which a source counts as connected anew.
_GAP = 1.0
# What a frame of denoise-nano takes on a CPU, of one with a prior of its own.
_REUSE_COST: Mapping[ReuseLevel, float] = {"off": 1.0, "prior": 0.85, "statistics": 0.6}
# A new prior is computed beside this many frames, so that none of them waits for it.
_PRIOR_DELAY = 2


@dataclass(frozen=True, slots=True)
class Level:
    """One rung of the ladder: how a frame is treated.

    reuse, max_prior_age: what restored frames share, and for how many frames (None: the restorer's own
    limit). every: each n-th frame is restored, the others pass. shrink: the network sees the picture at
    1/n of its size; what it changed is enlarged and added. passes: nothing is restored.
    """

    name: str
    reuse: ReuseLevel = "off"
    max_prior_age: int | None = None
    every: int = 1
    shrink: int = 1
    passes: bool = False

    @property
    def frame_cost(self) -> float:
        """What a restored frame costs, in restored frames that share nothing."""
        return 0.0 if self.passes else _REUSE_COST[self.reuse] / self.shrink**2

    @property
    def load(self) -> float:
        """What this level costs on average, in restored frames that share nothing."""
        return self.frame_cost / self.every

    def policy(self, own: ReusePolicy) -> ReusePolicy:
        """What frames share at this level in a stream whose own policy is `own`."""
        # A threshold chosen for one level of reuse means nothing at another.
        threshold = own.refresh_threshold if self.reuse == own.level else None
        age = max(own.max_prior_age, self.max_prior_age or 1)
        delay = max(own.prior_delay, _PRIOR_DELAY)
        return replace(
            own, level=self.reuse, refresh_threshold=threshold, max_prior_age=age, prior_delay=delay
        )


_LONGER = 2 * MAX_PRIOR_AGE

LADDER: tuple[Level, ...] = (
    Level("full"),
    Level("prior", reuse="prior", max_prior_age=_LONGER),
    Level("statistics", reuse="statistics", max_prior_age=_LONGER),
    Level("half_rate", reuse="statistics", max_prior_age=_LONGER, every=2),
    Level("half_size", reuse="statistics", max_prior_age=_LONGER, shrink=2),
    Level("passthrough", passes=True),
)


def ladder_from(own: ReusePolicy | None) -> tuple[Level, ...]:
    """`LADDER` for a restorer that shares as `own` says at its best; None for one that can't share."""
    if own is None:
        kept = [level for level in LADDER if level.reuse == "off" or level.load < _REUSE_COST["statistics"]]
        return tuple(replace(level, reuse="off", max_prior_age=None) for level in kept)
    return (
        replace(LADDER[0], reuse=own.level),
        *(level for level in LADDER[1:] if level.load < _REUSE_COST[own.level]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernorConfig:
    """latency_seconds: the budget; None never leaves the first level.

    settle_seconds: after a step, before the next one down. calm_seconds: how long all must have been
    well before a step up. retry_seconds: how long a step up must last, or else the next one waits as long.
    """

    latency_seconds: float | None = 0.3
    settle_seconds: float = 0.5
    calm_seconds: float = 1.5
    retry_seconds: float = 4.0

    def __post_init__(self) -> None:
        if self.latency_seconds is not None and self.latency_seconds <= 0:
            raise UsageError(f"the latency budget must be positive, got {self.latency_seconds:g} s")


class Governor:
    """Chooses the level of the ladder. Tell it of every frame; `on_change` hears of every step.

    Levels come in falling order of load. Two things lead down: frames come faster than they can be
    restored, or their delay nears the budget. Safe to use from several threads.
    """

    def __init__(
        self,
        config: GovernorConfig,
        *,
        levels: Sequence[Level] = LADDER,
        on_change: Callable[[int, Level, str], None] | None = None,
    ) -> None:
        if not levels:
            raise UsageError("a ladder needs at least one level")
        self._config, self._levels = config, tuple(levels)
        self._on_change = on_change
        self._lock = threading.Lock()
        self._index = 0
        self._full_cost: float | None = None
        self._latest_cost: float | None = None
        self._interval: float | None = None
        self._connected_at = float("-inf")
        self._last_arrival: float | None = None
        self._delays: deque[float] = deque(maxlen=_WINDOW)
        self._changed_at = float("-inf")
        self._stepped_up_at = float("-inf")
        self._uneasy_at = float("-inf")
        self._failed_at = float("-inf")

    @property
    def level(self) -> Level:
        return self._levels[self._index]

    @property
    def index(self) -> int:
        return self._index

    @property
    def config(self) -> GovernorConfig:
        return self._config

    def configure(self, config: GovernorConfig) -> None:
        """Take another budget and other thresholds from now on; without a budget all is done again."""
        with self._lock:
            self._config = config
            has_risen = config.latency_seconds is None and self._index > 0
            if has_risen:
                self._index = 0
                self._delays.clear()
                self._full_cost = self._latest_cost = None
        if has_risen and self._on_change is not None:
            self._on_change(0, self.level, "there is no latency budget any more")

    def arrived(self, at: float) -> None:
        """A frame came from the source, dropped or not."""
        with self._lock:
            interval = None if self._last_arrival is None else at - self._last_arrival
            self._last_arrival = at
            if interval is None or interval >= _GAP:
                self._connected_at = at
            elif interval > 0 and at - self._connected_at > _FIRST_SECONDS:
                self._interval = _smoothed(self._interval, interval)

    def restored(self, seconds: float) -> None:
        """The network worked `seconds` on one frame at the present level."""
        with self._lock:
            if self.level.frame_cost:
                self._latest_cost = seconds / self.level.frame_cost
                self._full_cost = _smoothed(self._full_cost, self._latest_cost)

    def has_time_for(self, age: float) -> bool:
        """Whether a frame that came `age` seconds ago can still be restored within the budget.

        Going by what restoring took on average and, where that was longer, the last time. Where there is no
        time, the delay that it would have had counts as one.
        """
        with self._lock:
            budget = self._config.latency_seconds
            if budget is None or self._full_cost is None or self._latest_cost is None:
                return True
            cost = max(self._full_cost, self._latest_cost) * self.level.frame_cost
            # One slow frame is no reason to let more than one frame pass.
            self._latest_cost = self._full_cost
            if age + cost <= _NEARLY_LATE * budget:
                return True
            self._delays.append(age + cost)
            return False

    def delivered(self, delay: float, now: float) -> None:
        """A frame left, `delay` seconds after it arrived; decides whether the level changes."""
        with self._lock:
            if self._config.latency_seconds is None:
                return
            self._delays.append(delay)
            step = self._decide(now)
        if step is not None and self._on_change is not None:
            self._on_change(self._index, self.level, step)

    def _decide(self, now: float) -> str | None:
        reason = self._reason_to_step_down()
        if reason is not None:
            self._uneasy_at = now
            if self._index + 1 < len(self._levels) and now - self._changed_at >= self._config.settle_seconds:
                if now - self._stepped_up_at < self._config.retry_seconds:
                    self._failed_at = now
                self._step(+1, now)
                return reason
            return None
        if self._index > 0 and self._may_step_up(now):
            self._step(-1, now)
            return "there is time to spare"
        return None

    def _reason_to_step_down(self) -> str | None:
        load = self._load_at(self._index)
        if load is not None and load > _TOO_MUCH:
            return f"the model needs {load:.2f} s per second"
        budget = self._config.latency_seconds
        assert budget is not None
        (late,) = percentiles(self._delays, 0.9)
        # Passing frames through can't be the reason for their delay to stay high.
        if late is not None and len(self._delays) >= 5 and late > _NEARLY_LATE * budget:
            return f"frames are {late * 1000:.0f} ms late, {budget * 1000:.0f} ms are allowed"
        return None

    def _may_step_up(self, now: float) -> bool:
        calm_since = max(self._changed_at, self._uneasy_at)
        if now - calm_since < self._config.calm_seconds:
            return False
        if now - self._failed_at < self._config.retry_seconds:
            return False
        above = self._load_at(self._index - 1)
        # Nothing is measured while nothing is restored: all there is, is to try.
        return above is None or self.level.passes or above < _ENOUGH

    def _load_at(self, index: int) -> float | None:
        if self._full_cost is None or not self._interval:
            return None
        return self._full_cost * self._levels[index].load / self._interval

    def _step(self, direction: int, now: float) -> None:
        self._index += direction
        self._changed_at = now
        if direction < 0:
            self._stepped_up_at = now
        self._delays.clear()
        if self.level.passes or (direction < 0 and self._levels[self._index + 1].passes):
            self._full_cost = self._latest_cost = None


def _smoothed(old: float | None, new: float) -> float:
    return new if old is None else old + _SMOOTHING * (new - old)

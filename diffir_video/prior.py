"""When neighbouring frames may share a prior: cuts, drift, age, exact duplicates.

A prior is a global average over the frame, so what it tells moves with the light, the colour and the noise of
a shot and hardly at all with what moves in it. `FrameStatistics` hold just that, at the price of two passes
over the pixels; docs/reuse.md compares them with other statistics and shows how the threshold was chosen.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import lru_cache
from numbers import Integral, Real
from statistics import fmean, median
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from diffir_video.errors import UsageError

ReuseLevel = Literal["off", "prior", "statistics"]
RefreshReason = Literal["off", "first", "cut", "drift", "age", "level"]

# Chosen by `make calibrate-reuse`; the curve is in docs/reuse.md. Maps bear less drift than the prior.
REFRESH_THRESHOLDS: Mapping[ReuseLevel, float] = {"off": 0.0, "prior": 0.038, "statistics": 0.019}
MAX_PRIOR_AGE = 48

_BLOCK_ROWS, _BLOCK_COLUMNS = 9, 16
_LUMA = (0.299, 0.587, 0.114)
# Adjacent rows of which detail is measured: one pair in four tells as much as all of them.
_DETAIL_ROW_STEP = 4
# Keeps logarithms of black and of perfectly smooth frames finite: 13 code values, a tenth of one.
_BLACK, _SMOOTH = 0.05, 0.0004
_DETAIL_WEIGHT = 0.05

# Drift is that of the last few frames together, a multiple of the usual distances between a codec's kinds of
# frames, unless one alone is this many thresholds away.
_TYPICAL_FRAMES = 6
_SUDDEN = 3

# A cut changes the block means by this much (of 1) more than twice what the shot's own motion does.
_CUT_EXCESS = 12 / 255
_PACE_FRAMES = 5
_UNKNOWN_PACE = 6 / 255
# Less is a frame shown again, as it is or encoded once more: it tells nothing of how fast the others move.
_REPEATED = 0.5 / 255


class Reuse(StrEnum):
    """What a frame is restored with.

    NEW: a prior of its own. HELD: that of the last refresh. DUPLICATE: the output of the frame before, whose
    pixels and window it shares.
    """

    NEW = "new"
    HELD = "held"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReusePolicy:
    """How far frames may share.

    level: "off" is one prior per frame, as in the paper; "prior" holds it between two refreshes; "statistics"
        holds the channel-attention maps as well, so that the network is purely local in between.
    refresh_threshold: drift from which the prior is refreshed; infinite for never, None for the level's own.
    max_prior_age: frames after which it is refreshed whatever the drift.
    prior_smoothing: share, 0 to below 1, of the prior before in each new one of the same shot.
    prior_delay: frames for which a shot's held prior goes on serving while the next is computed beside them,
        so that none waits for it; 0 computes each before the frame it is made of. With "off" no prior is
        held: a stream that comes to that level then waits, and a `Restorer` that begins there refuses it.

    Raises UsageError on anything else.
    """

    level: ReuseLevel = "off"
    refresh_threshold: float | None = None
    max_prior_age: int = MAX_PRIOR_AGE
    prior_smoothing: float = 0.0
    prior_delay: int = 0

    def __post_init__(self) -> None:
        _require(self.level in get_args(ReuseLevel), "reuse", self.level, f"one of {get_args(ReuseLevel)}")
        threshold, smoothing = self.refresh_threshold, self.prior_smoothing
        is_threshold = threshold is None or (_is_number(threshold) and threshold >= 0)
        _require(is_threshold, "refresh threshold", threshold, "0 or more")
        _require(_is_count(self.max_prior_age, 1), "max prior age", self.max_prior_age, "1 frame or more")
        _require(_is_number(smoothing) and 0 <= smoothing < 1, "prior smoothing", smoothing, "0 to below 1")
        _require(_is_count(self.prior_delay, 0), "prior delay", self.prior_delay, "0 frames or more")

    @property
    def threshold(self) -> float:
        """The refresh threshold in force."""
        if self.refresh_threshold is not None:
            return self.refresh_threshold
        return REFRESH_THRESHOLDS[self.level]


@dataclass(frozen=True, slots=True)
class FrameStatistics:
    """What is remembered of a frame.

    blocks: means of 9 x 16 blocks, (3, 9, 16) float32 in [0, 1], on the CPU.
    detail: mean absolute second difference of luma, in [0, 4]: noise, grain and texture.
    """

    blocks: Tensor
    detail: float

    @classmethod
    def of(cls, pictures: Sequence[Tensor]) -> list[FrameStatistics]:
        """Measure pictures (3, H, W) in [0, 1] on their device, with one transfer for all of them."""
        if not pictures:
            return []
        measured = torch.stack([_measure(picture) for picture in pictures]).cpu()
        return [cls(row[:-1].view(3, _BLOCK_ROWS, _BLOCK_COLUMNS), row[-1].item()) for row in measured]

    @classmethod
    def typical(cls, frames: Sequence[FrameStatistics]) -> FrameStatistics:
        """What these frames of one shot have in common: mean blocks, the geometric mean of detail.

        Codecs give frames of one noise very different detail, by turns.
        """
        blocks = torch.stack([frame.blocks for frame in frames]).mean(0)
        detail = math.exp(fmean(math.log(frame.detail + _SMOOTH) for frame in frames)) - _SMOOTH
        return cls(blocks, detail)

    def equals(self, other: FrameStatistics) -> bool:
        """Whether everything measured is the same, as it is for equal pictures."""
        return self.detail == other.detail and torch.equal(self.blocks, other.blocks)

    def change_from(self, earlier: FrameStatistics) -> float:
        """Mean absolute difference of the block means, in [0, 1]: high at a cut."""
        return (self.blocks - earlier.blocks).abs().mean().item()

    def drift_from(self, anchor: FrameStatistics) -> float:
        """How far light, colour and noise have moved: 0.05 is a channel 5 % brighter, or noise 2.7 times.

        The largest of the channels' |Δ log mean| plus 0.05 · |Δ log detail|.
        """
        levels = [(s.blocks.mean(dim=(1, 2)) + _BLACK).log() for s in (self, anchor)]
        light = (levels[0] - levels[1]).abs().max().item()
        detail = abs(math.log((self.detail + _SMOOTH) / (anchor.detail + _SMOOTH)))
        return light + _DETAIL_WEIGHT * detail


def _measure(picture: Tensor) -> Tensor:
    picture = picture.float()
    height, width = picture.shape[-2:]
    rows = _averages(height, _BLOCK_ROWS, picture.device)
    columns = _averages(width, _BLOCK_COLUMNS, picture.device)
    blocks = (rows @ picture @ columns.T).flatten()
    upper, lower = _adjacent_rows(picture)
    difference = torch.einsum("c,chw->hw", picture.new_tensor(_LUMA), lower - upper)
    detail = difference.diff(dim=-1).abs().mean() if difference.shape[-1] > 1 else picture.new_zeros(())
    return torch.cat([blocks, detail.view(1)])


@lru_cache(maxsize=16)
def _averages(size: int, blocks: int, device: torch.device) -> Tensor:
    """(blocks, size): each row averages its share of `size` pixels; a product is faster than pooling."""
    edges = [(i * size // blocks, -(-(i + 1) * size // blocks)) for i in range(blocks)]
    averages = torch.zeros(blocks, size, dtype=torch.float32, device="cpu")
    for row, (start, end) in zip(averages, edges, strict=True):
        row[start:end] = 1 / (end - start)
    return averages.to(device)


def _adjacent_rows(picture: Tensor) -> tuple[Tensor, Tensor]:
    if picture.shape[-2] == 1:
        return picture, picture
    lower = picture[:, 1::_DETAIL_ROW_STEP]
    return picture[:, ::_DETAIL_ROW_STEP][:, : lower.shape[1]], lower


class CutDetector:
    """Finds the first frame of each shot as it arrives, from that frame and those before it.

    A cut stands out from the shot's own pace, the median change of its last frames without those shown again,
    so that neither noise nor a fast pan is one. Fades and dissolves are not cuts; they are drift.
    """

    def __init__(self) -> None:
        self._last: FrameStatistics | None = None
        self._changes: deque[float] = deque(maxlen=_PACE_FRAMES)

    def starts_shot(self, statistics: FrameStatistics) -> bool:
        """Whether the next frame, of these statistics, belongs to another shot than the one before."""
        last, self._last = self._last, statistics
        if last is None:
            return True
        change = statistics.change_from(last)
        is_cut = change - 2 * self._pace() > _CUT_EXCESS
        if is_cut:
            self._changes.clear()
        else:
            self._changes.append(change)
        return is_cut

    def _pace(self) -> float:
        if len(self._changes) < 2:
            return _UNKNOWN_PACE
        return median([change for change in self._changes if change > _REPEATED] or self._changes)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for one frame, and why.

    reason: what made the prior be refreshed; None unless NEW. age: frames since the last refresh.
    drift: from what frames were like at that refresh; None for the first frame of a shot.
    """

    pts_seconds: float
    level: ReuseLevel
    reuse: Reuse
    reason: RefreshReason | None
    drift: float | None
    age: int

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Decision:
        """The decision whose fields these are; also after a way through JSON."""
        plain: dict[str, Any] = {**fields, "reuse": Reuse(fields["reuse"])}
        return cls(**plain)


class PriorTracker:
    """Decides frame by frame, each from what came before it, whether the held prior still serves.

    Noise and a codec's kinds of frames make figures of single frames jump to and fro: drift is measured of
    the last frames of the shot together, so that it takes a change that stays. A sudden one is met at once.
    """

    def __init__(self) -> None:
        self._anchor: FrameStatistics | None = None
        self._recent: deque[FrameStatistics] = deque(maxlen=_TYPICAL_FRAMES)
        self._age = 0
        self._level: ReuseLevel = "off"

    def decide(
        self,
        statistics: FrameStatistics,
        policy: ReusePolicy,
        *,
        pts_seconds: float,
        starts_shot: bool,
        is_duplicate: bool,
    ) -> Decision:
        """Decide for the next frame, by a policy that may differ from the frame before's.

        is_duplicate: it and its window equal the frame before and its window, so outputs would be equal too.
        """
        age = 0 if self._anchor is None else self._age + 1
        if starts_shot:
            self._recent.clear()
        self._recent.append(statistics)
        typical, drift = FrameStatistics.typical(self._recent), None
        if self._anchor is not None and not starts_shot:
            drift, sudden = typical.drift_from(self._anchor), statistics.drift_from(self._anchor)
            if sudden > _SUDDEN * policy.threshold:
                # What frames were like before tells no more.
                self._recent = deque([statistics], maxlen=_TYPICAL_FRAMES)
                typical, drift = statistics, sudden
        reason = self._reason_to_refresh(policy, drift, age, is_duplicate=is_duplicate)
        if reason is None:
            self._age = age
            reuse = Reuse.DUPLICATE if is_duplicate else Reuse.HELD
            return Decision(pts_seconds, policy.level, reuse, None, drift, age)
        self._anchor, self._age, self._level = typical, 0, policy.level
        return Decision(pts_seconds, policy.level, Reuse.NEW, reason, drift, age)

    def _reason_to_refresh(
        self, policy: ReusePolicy, drift: float | None, age: int, *, is_duplicate: bool
    ) -> RefreshReason | None:
        if drift is None:
            return "first" if self._anchor is None else "cut"
        if policy.level == "off":
            return "off"
        if policy.level != self._level:
            return "level"
        if is_duplicate:
            return None
        if drift > policy.threshold:
            return "drift"
        return "age" if age >= policy.max_prior_age else None


@dataclass(slots=True)
class ReuseReport:
    """What a stream decided, counted; `decisions` holds each one where they were asked for.

    A job restores the neighbours of its segments' ends twice, and counts them twice.
    level: the last one in force. refreshes: NEW frames by reason. redone_in_float32: frames that came out
    with a NaN or an infinity and were restored again.
    """

    level: ReuseLevel = "off"
    refreshes: dict[RefreshReason, int] = field(default_factory=dict[RefreshReason, int])
    held: int = 0
    duplicates: int = 0
    redone_in_float32: int = 0
    decisions: list[Decision] | None = None

    @property
    def frames(self) -> int:
        return sum(self.refreshes.values()) + self.held + self.duplicates

    def add(self, decision: Decision) -> None:
        """Count one more decision."""
        self.level = decision.level
        if decision.reason is not None:
            self.refreshes[decision.reason] = self.refreshes.get(decision.reason, 0) + 1
        self.held += decision.reuse is Reuse.HELD
        self.duplicates += decision.reuse is Reuse.DUPLICATE
        if self.decisions is not None:
            self.decisions.append(decision)

    @classmethod
    def combined(cls, reports: Sequence[ReuseReport]) -> ReuseReport:
        """The sum of reports of streams that followed each other, or were fed by each other."""
        whole = cls()
        for report in reports:
            whole.level = report.level
            for reason, count in report.refreshes.items():
                whole.refreshes[reason] = whole.refreshes.get(reason, 0) + count
            whole.held += report.held
            whole.duplicates += report.duplicates
            whole.redone_in_float32 += report.redone_in_float32
            if report.decisions is not None:
                whole.decisions = [*(whole.decisions or ()), *report.decisions]
        return whole

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"frames": self.frames, **asdict(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ReuseReport:
        """The report that `to_dict` described; also after a way through JSON."""
        plain = {key: value for key, value in fields.items() if key != "frames"}
        if plain["decisions"] is not None:
            plain["decisions"] = [Decision.from_dict(decision) for decision in plain["decisions"]]
        return cls(**plain)

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.refreshes.items())
        refreshed = sum(self.refreshes.values())
        text = (
            f"reuse {self.level}: {refreshed} priors for {self.frames} frames ({reasons}); "
            f"{self.held} held, {self.duplicates} duplicates"
        )
        redone = self.redone_in_float32
        return f"{text}; {redone} redone in float32 after NaN or infinity" if redone else text


def _is_count(value: object, least: int) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= least


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real)


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise UsageError(f"{name} {value!r}: expected {expected}")

"""What a run tells: how far it is, and at its end what each of its stages did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from diffir_video.prior import ReuseReport

StageName = Literal["decode", "restore", "encode"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. frames_total is the container's word, None where it has none.

    frames_resumed: those of frames_done that were there before the `seconds` began.
    """

    frames_done: int
    frames_total: int | None
    seconds: float
    frames_resumed: int = 0

    @property
    def fps(self) -> float:
        return (self.frames_done - self.frames_resumed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta_seconds(self) -> float | None:
        if self.frames_total is None or self.fps == 0:
            return None
        return max(self.frames_total - self.frames_done, 0) / self.fps


@dataclass(frozen=True, slots=True)
class StageTime:
    """Seconds a stage worked, and seconds it waited for its neighbours."""

    busy_seconds: float
    waiting_seconds: float


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run did. `bottleneck` is the stage that worked longest: the one to make faster first.

    reuse: where priors were refreshed and why.
    """

    frames_in: int
    frames_out: int
    wall_seconds: float
    fps: float
    stages: dict[StageName, StageTime]
    bottleneck: StageName
    reuse: ReuseReport

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reuse": self.reuse.to_dict()}


def combined(
    reports: Sequence[RunReport],
    *,
    frames: int,
    wall_seconds: float,
    closing_seconds: float = 0.0,
    at_once: int = 1,
    reading_seconds: float = 0.0,
) -> RunReport:
    """One report of runs that made `frames` frames of their own in `wall_seconds`.

    closing_seconds: how long sinks were closed beside the runs. at_once: how many runs there were at a time;
    of several, whose waiting for the one source counts as work, `reading_seconds` is what decoding took.
    """
    names: tuple[StageName, ...] = get_args(StageName)
    stages: dict[StageName, StageTime] = {
        name: StageTime(
            sum(report.stages[name].busy_seconds for report in reports),
            sum(report.stages[name].waiting_seconds for report in reports),
        )
        for name in names
    }
    encode = stages["encode"]
    stages["encode"] = replace(encode, busy_seconds=encode.busy_seconds + closing_seconds)
    if at_once > 1:
        stages["decode"] = replace(stages["decode"], busy_seconds=reading_seconds)
    reuse = ReuseReport.combined([report.reuse for report in reports])
    return report_of(frames, frames, wall_seconds, stages, reuse, at_once)


def report_of(
    frames_in: int,
    frames_out: int,
    wall: float,
    stages: dict[StageName, StageTime],
    reuse: ReuseReport,
    at_once: int = 1,
) -> RunReport:
    """The report of a run, or of several.

    at_once: how many restored and encoded, while one decoded for them all.
    """
    shares = {"decode": 1, "restore": at_once, "encode": at_once}
    return RunReport(
        frames_in=frames_in,
        frames_out=frames_out,
        wall_seconds=wall,
        fps=frames_out / wall if wall > 0 else 0.0,
        stages=stages,
        bottleneck=max(stages, key=lambda name: stages[name].busy_seconds / shares[name]),
        reuse=reuse,
    )

"""The picture of what was reused: drift over time, refreshes and cuts."""

from __future__ import annotations

import math
from os import PathLike

from diffir_video.chart import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, RED, Axis, Chart, Colour
from diffir_video.errors import UsageError
from diffir_video.prior import RefreshReason, Reuse, ReuseReport

# The first frame begins a shot as a cut does; at "off" every frame is refreshed, which needs no lines.
_MARKS: dict[str, tuple[tuple[RefreshReason, ...], Colour]] = {
    "cut": (("first", "cut"), RED),
    "refresh: drift": (("drift",), ORANGE),
    "refresh: age": (("age",), GREEN),
    "refresh: level changed": (("level",), PURPLE),
}


def plot_reuse(report: ReuseReport, path: str | PathLike[str], *, threshold: float) -> None:
    """Draw a report that recorded its decisions.

    threshold: the drift from which priors were refreshed; infinite for never.
    Raises UsageError for a report without decisions, OutputError where the file can't be written.
    """
    decisions = report.decisions
    if not decisions:
        raise UsageError("the report holds no decisions to plot; restore with record_decisions=True")
    drifts = [(d.pts_seconds, d.drift or 0.0) for d in decisions]
    shown = [drift for _, drift in drifts] + ([threshold] if math.isfinite(threshold) else [])
    first, last = decisions[0].pts_seconds, decisions[-1].pts_seconds
    chart = Chart(
        str(report),
        Axis("seconds", first, max(last, first + 0.04)),
        Axis("drift", 0, max(1.1 * max(shown), 0.01)),
    )
    for name, (reasons, colour) in _MARKS.items():
        at = [d.pts_seconds for d in decisions if d.reason in reasons]
        if at:
            chart.vertical(at, colour, f"{name} ({len(at)})")
    if math.isfinite(threshold):
        chart.horizontal(threshold, GRAY, "threshold")
    chart.line(drifts, BLUE, "drift")
    duplicates = [(d.pts_seconds, d.drift or 0.0) for d in decisions if d.reuse is Reuse.DUPLICATE]
    if duplicates:
        chart.points(duplicates, BLACK, f"duplicates ({len(duplicates)})")
    chart.save(path)

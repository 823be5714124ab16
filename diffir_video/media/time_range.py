"""`TimeRange`: a part of a file, what of chapters and subtitles lies in it, and packets shifted to it."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from av.packet import Packet

if TYPE_CHECKING:
    from av.container.core import Chapter

# AVI counts the sound of some codecs in blocks: too coarse to take a part's beginning off.
_COARSE, _FINE = Fraction(1, 1000), Fraction(1, 100_000)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A part of a file, in seconds: from `start` on, up to `end`; None is the file's own start or end.

    zero: the time that becomes 0, where that is neither `start` nor the file's own 0.
    """

    start: Fraction | None = None
    end: Fraction | None = None
    zero: Fraction | None = None

    @property
    def origin(self) -> Fraction:
        """The time that becomes 0."""
        if self.zero is not None:
            return self.zero
        return Fraction(0) if self.start is None else self.start

    def holds(self, seconds: Fraction) -> bool:
        is_early = self.start is not None and seconds < self.start
        is_late = self.end is not None and seconds >= self.end
        return not (is_early or is_late)


def shift(packet: Packet[Any], seconds: Fraction) -> None:
    """Bring a packet forward by `seconds`, in its own ticks, or in finer ones where those are coarse."""
    if packet.time_base > _COARSE:
        _refine(packet, ceil(packet.time_base / _FINE))
    ticks = round(seconds / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts - ticks
    packet.dts = None if packet.dts is None else packet.dts - ticks


def _refine(packet: Packet[Any], times: int) -> None:
    """Count a packet's time in ticks so many times as fine."""
    pts, dts, duration = packet.pts, packet.dts, packet.duration
    packet.time_base = packet.time_base / times
    packet.pts = None if pts is None else pts * times
    packet.dts = None if dts is None else dts * times
    packet.duration = (duration or 0) * times


def cut_subtitle(packet: Packet[Any], part: TimeRange) -> None:
    """Let a subtitle that is on screen where `part` starts begin there, and end where it ends."""
    if packet.pts is None or not packet.duration:
        return
    begin, end = packet.pts, packet.pts + packet.duration
    if part.start is not None and begin < (first := ceil(part.start / packet.time_base)) < end:
        packet.pts = packet.dts = begin = first
    if part.end is not None:
        end = max(min(end, floor(part.end / packet.time_base)), begin)
    packet.duration = end - begin


def cut_chapter(chapter: Chapter, part: TimeRange) -> Chapter | None:
    """What of a chapter lies in `part`, counted from its origin; None for nothing.

    One without length marks a moment, and lies in a part that holds it.
    """
    tick = chapter["time_base"]
    assert tick is not None
    begin, end = chapter["start"] * tick, chapter["end"] * tick
    is_mark = begin == end and part.holds(begin)
    if part.start is not None:
        begin = max(begin, part.start)
    if part.end is not None:
        end = min(end, part.end)
    if begin >= end and not is_mark:
        return None
    start, stop = round((begin - part.origin) / tick), round((end - part.origin) / tick)
    cut = chapter.copy()
    cut["start"], cut["end"] = start, stop
    return cut

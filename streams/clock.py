"""`OutputClock`: the source's timestamps on a clock that never stops, jumps or runs backwards."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from streams.frames import TICK, TICKS_PER_SECOND

Track = Literal["video", "audio"]

# Muxers that count milliseconds must still see two times.
_SMALLEST_STEP = TICKS_PER_SECOND // 1000
_USUAL_STEP = {"video": TICKS_PER_SECOND // 25, "audio": TICKS_PER_SECOND // 50}
# A longer step that the wall clock doesn't confirm is a jump of the source's clock.
_TOLERANCE = TICKS_PER_SECOND


@dataclass(slots=True)
class _LastOut:
    ticks: int
    at: float
    step: int
    is_joining: bool = False


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where a picture or packet lies on the output's clock, in ticks; is_jump: the source's clock jumped."""

    ticks: int
    is_jump: bool


class OutputClock:
    """Maps timestamps of one source after another to one output clock, for video and audio together.

    As long as the source's clock runs, its timestamps pass unchanged (in ticks of 1/90000 s). After a
    jump, a wrap, or a new connection they are shifted so that the output goes on as the wall clock did;
    the same shift serves both tracks, so what was in sync stays so. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The newest first; packets of the other track may still be stamped with the one before.
        self._shifts: list[int] = [0]
        self._last: dict[Track, _LastOut] = {}
        self._must_anchor = False

    def stamp(self, track: Track, pts: int | None, time_base: Fraction, now: float) -> Stamp | None:
        """Place a timestamp of `track` that arrived at `now` (seconds); None if it comes too late."""
        with self._lock:
            ticks = None if pts is None else round(pts * time_base / TICK)
            stamp = self._place(track, ticks, now)
            if stamp is not None:
                self._remember(track, stamp.ticks, now)
            return stamp

    def bridge(self, now: float) -> int:
        """The video timestamp of a picture that is shown at `now` in place of the silent source's."""
        with self._lock:
            ticks = self._continued("video", now)
            self._remember("video", ticks, now)
            # The source's next picture may lie a little before what was shown in its place.
            self._last["video"].is_joining = True
            return ticks

    def reconnected(self) -> None:
        """What comes next has a clock of its own: go on from where the output is."""
        with self._lock:
            self._must_anchor = bool(self._last)

    def _place(self, track: Track, ticks: int | None, now: float) -> Stamp | None:
        if ticks is None:
            # RTSP's first pictures may come without; what follows says where they would have been.
            return Stamp(self._continued(track, now), is_jump=False) if track in self._last else None
        if self._must_anchor:
            return self._anchored(track, ticks, now)
        last = self._last.get(track)
        if last is None:
            return Stamp(ticks + self._shifts[0], is_jump=False)
        elapsed = round((now - last.at) * TICKS_PER_SECOND)
        best = min(
            (ticks + shift for shift in self._shifts), key=lambda out: abs(out - last.ticks - last.step)
        )
        step = best - last.ticks
        if last.is_joining and -_TOLERANCE < step < _SMALLEST_STEP:
            return None
        if _SMALLEST_STEP <= step <= _TOLERANCE or (step > 0 and abs(step - elapsed) <= _TOLERANCE):
            return Stamp(best, is_jump=False)
        if step == 0 and track == "video":
            return None
        return self._anchored(track, ticks, now)

    def _anchored(self, track: Track, ticks: int, now: float) -> Stamp:
        self._must_anchor = False
        out = self._continued(track, now)
        self._shifts = [out - ticks, self._shifts[0]]
        for other, last in self._last.items():
            last.is_joining = other != track
        return Stamp(out, is_jump=True)

    def _continued(self, track: Track, now: float) -> int:
        """Where the output's clock stands at `now`, after everything of this track."""
        if not self._last:
            return 0
        last = self._last.get(track) or max(self._last.values(), key=lambda other: other.at)
        elapsed = round((now - last.at) * TICKS_PER_SECOND)
        return last.ticks + max(elapsed, last.step, _SMALLEST_STEP)

    def _remember(self, track: Track, ticks: int, now: float) -> None:
        last = self._last.get(track)
        step = _USUAL_STEP[track]
        if last is not None:
            step = ticks - last.ticks if 0 < ticks - last.ticks < _TOLERANCE // 2 else last.step
        self._last[track] = _LastOut(ticks, now, step)

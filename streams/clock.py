"""`OutputClock`: the source's timestamps on a clock that never stops, jumps or runs backwards."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from streams.frames import TICK, TICKS_PER_SECOND

Track = Literal["video", "audio"]

# Muxers that count milliseconds must still see two times.
_SMALLEST_STEP = TICKS_PER_SECOND // 1000
_USUAL_STEP = {"video": TICKS_PER_SECOND // 25, "audio": TICKS_PER_SECOND // 50}
# A longer step that the wall clock doesn't confirm is a jump of the source's clock.
_TOLERANCE = TICKS_PER_SECOND
# By how much nearer to its own past than to the other track's present a packet from before a jump is.
_CLEARLY = TICKS_PER_SECOND * 3 // 10
# How long a track that is ahead of where the other went on is left out until it is caught up with.
_PATIENCE = 5 * TICKS_PER_SECOND


@dataclass(slots=True)
class _Last:
    """A track's latest: its time at the source and in the output, when it came, and its usual step.

    shift: from the source's time to the output's; None takes the newest. is_joining: something was shown
    in its place.
    """

    source: int | None
    ticks: int
    at: float
    step: int
    shift: int | None
    is_joining: bool = False


@dataclass(frozen=True, slots=True)
class _Pair:
    """A picture of two fields without times: where its first one lies in the output, and when both came."""

    begin: int
    at: float


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where a picture or packet lies on the output's clock, in ticks; is_jump: the source's clock jumped."""

    ticks: int
    is_jump: bool


class OutputClock:
    """Maps timestamps of one source after another to one output clock, for video and audio together.

    As long as the source's clock runs, its timestamps pass unchanged (in ticks of 1/90000 s). After a
    jump, a wrap, or a new connection they are shifted so that the output goes on as the wall clock did.
    The track that comes first after it finds the shift and the other takes the same, whatever gap that
    leaves in it: so what was in sync stays so. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shift = 0
        self._found_by: Track | None = None
        self._last: dict[Track, _Last] = {}
        self._must_anchor = False
        self._pair: _Pair | None = None

    def stamp(self, track: Track, pts: int | None, time_base: Fraction, now: float) -> Stamp | None:
        """Place a timestamp of `track` that arrived at `now` (seconds); None if it comes too late."""
        with self._lock:
            if pts is None:
                # RTSP's first pictures may come without; what follows says where they would have been.
                return self._placed_by_the_wall_clock(track, now) if track in self._last else None
            return self._place(track, round(pts * time_base / TICK), now)

    def stamp_untimed(self, track: Track, now: float) -> Stamp:
        """Place what has no timestamp where the output's clock stands at `now`."""
        with self._lock:
            return self._placed_by_the_wall_clock(track, now)

    def stamp_untimed_second_field(self, now: float) -> Stamp:
        """Place a field that came together with the picture before: half way to the next such picture."""
        with self._lock:
            last = self._last.get("video")
            if last is None:
                return self._placed_by_the_wall_clock("video", now)
            interval = _USUAL_STEP["video"]
            if self._pair is not None and 0 < last.ticks - self._pair.begin < _TOLERANCE // 2:
                interval = last.ticks - self._pair.begin
            self._pair = _Pair(last.ticks, last.at)
            self._last["video"] = replace(last, ticks=last.ticks + max(interval // 2, _SMALLEST_STEP))
            return Stamp(self._last["video"].ticks, is_jump=False)

    def bridge(self, now: float) -> int:
        """The video timestamp of a picture that is shown at `now` in place of the silent source's."""
        with self._lock:
            stamp = self._placed_by_the_wall_clock("video", now)
            # The source's next picture may lie a little before what was shown in its place.
            self._last["video"].is_joining = True
            return stamp.ticks

    def reconnected(self) -> None:
        """What comes next has a clock of its own: go on from where the output is."""
        with self._lock:
            self._must_anchor = bool(self._last)

    def _placed_by_the_wall_clock(self, track: Track, now: float) -> Stamp:
        ticks, last = self._continued(track, now), self._last.get(track)
        if track == "video" and self._pair is not None and last is not None:
            elapsed = round((now - self._pair.at) * TICKS_PER_SECOND)
            ticks = max(self._pair.begin + elapsed, last.ticks + _SMALLEST_STEP)
        source, shift = (None, None) if last is None else (last.source, last.shift)
        self._remember(track, source, ticks, shift, now)
        return Stamp(ticks, is_jump=False)

    def _place(self, track: Track, source: int, now: float) -> Stamp | None:
        last = self._last.get(track)
        if self._must_anchor:
            for each in self._last.values():
                each.shift = None
            self._must_anchor = False
            return self._anchored(track, source, now)
        shift = self._shift if last is None else self._shift_for(last, source)
        if last is None:
            return self._accepted(track, source, shift, now)
        step = source + shift - last.ticks
        follows_the_other = shift != last.shift
        if (follows_the_other and -_PATIENCE < step < _SMALLEST_STEP) or (
            last.is_joining and -_TOLERANCE < step < _SMALLEST_STEP
        ):
            return None
        elapsed = round((now - last.at) * TICKS_PER_SECOND)
        is_plausible = step <= _TOLERANCE or abs(step - elapsed) <= _TOLERANCE or follows_the_other
        if step >= _SMALLEST_STEP and is_plausible:
            return self._accepted(track, source, shift, now, is_jump=follows_the_other)
        if step == 0 and track == "video":
            return None
        return self._anchored(track, source, now)

    def _shift_for(self, last: _Last, source: int) -> int:
        """The newest shift, unless the packet was clearly sent before the jump that it belongs to."""
        if last.shift is None or last.shift == self._shift or self._found_by is None:
            return self._shift
        newest = self._last[self._found_by].source
        if newest is None or last.source is None:
            return self._shift
        is_from_before = abs(source - last.source) + _CLEARLY < abs(source - newest)
        return last.shift if is_from_before else self._shift

    def _accepted(self, track: Track, source: int, shift: int, now: float, *, is_jump: bool = False) -> Stamp:
        self._remember(track, source, source + shift, shift, now)
        return Stamp(source + shift, is_jump)

    def _anchored(self, track: Track, source: int, now: float) -> Stamp:
        self._shift, self._found_by = self._continued(track, now) - source, track
        return self._accepted(track, source, self._shift, now, is_jump=True)

    def _continued(self, track: Track, now: float) -> int:
        """Where the output's clock stands at `now`, after everything of this track."""
        if not self._last:
            return 0
        last = self._last.get(track) or max(self._last.values(), key=lambda other: other.at)
        elapsed = round((now - last.at) * TICKS_PER_SECOND)
        return last.ticks + max(elapsed, last.step, _SMALLEST_STEP)

    def _remember(self, track: Track, source: int | None, ticks: int, shift: int | None, now: float) -> None:
        last = self._last.get(track)
        step = _USUAL_STEP[track]
        if last is not None:
            step = ticks - last.ticks if 0 < ticks - last.ticks < _TOLERANCE // 2 else last.step
        self._last[track] = _Last(source, ticks, now, step, shift)

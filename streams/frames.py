"""`LiveFrame`: a frame that knows when it arrived and which stretch of the stream it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from diffir_video.frame import Frame, StreamInfo

# The clock of everything live: MPEG-TS's own, and a whole multiple of RTMP's milliseconds.
TICKS_PER_SECOND = 90_000
TICK = Fraction(1, TICKS_PER_SECOND)

Bridge = Literal["hold", "slate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFrame(Frame):
    """A `Frame` whose pts is the output's, in ticks of 1/90000 s.

    stream: what the source said of itself at this frame. arrived: `time.monotonic()` when its last byte
    had been decoded. epoch: changes where the source's pictures stop following on each other, so that
    no state may be carried over. bridge: set where it stands in for a silent source: the last frame
    held, or a slate.
    """

    stream: StreamInfo
    arrived: float
    epoch: int
    bridge: Bridge | None = None

"""`PictureClock`: a time for every picture of a file, also for those that come without one."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from contextlib import closing
from fractions import Fraction

import av.error
from av.video.frame import VideoFrame

from diffir_video.media.inputs import NetworkAddress, StandardInput, StrPath
from diffir_video.media.probe import main_video_stream, open_input

# More than any codec reorders: after so many packets in a row with a time, none without comes any more.
_TIMED_IN_A_ROW = 32


class PictureClock:
    """Gives each picture a pts: its own, else its packet's, else the previous one and a frame's length.

    begin: the pts of a first picture that comes without one.
    """

    def __init__(self, time_base: Fraction, average_rate: Fraction | None, *, begin: int = 0) -> None:
        self._usual_duration = _usual_duration(time_base, average_rate)
        self._begin = begin
        self._last: int | None = None
        self._last_duration: int | None = None

    def pts_of(self, picture: VideoFrame) -> tuple[int | None, bool]:
        """The pts, None if it does not come after the previous one; and whether it had to be invented."""
        pts = own_pts(picture)
        inferred = pts is None
        if pts is None:
            step = self._last_duration or self._usual_duration
            pts = self._begin if self._last is None else self._last + step
        if self._last is not None and pts <= self._last:
            return None, inferred
        self._last, self._last_duration = pts, picture.duration or None
        return pts, inferred


def own_pts(picture: VideoFrame) -> int | None:
    """What a picture, or the packet it came in, says."""
    return picture.pts if picture.pts is not None else picture.dts


def begin_of_untimed(path: StrPath, time_base: Fraction, average_rate: Fraction | None) -> int:
    """The pts of a first picture that comes without one, from what lies between it and those that have one.

    Matroska has times before 0, of which FFmpeg tells only with codecs that don't reorder pictures. 0 for
    other files, and for what can't be read twice. Raises what `open_input` raises.
    """
    if isinstance(path, StandardInput | NetworkAddress):
        return 0
    untimed, timed = 0, list[int]()
    with closing(open_input(path)) as container:
        if "matroska" not in container.format.name:
            return 0
        in_a_row = 0
        try:
            for packet in container.demux(main_video_stream(container, path)):
                if packet.pts is None and packet.size:
                    untimed += packet.duration or _usual_duration(time_base, average_rate)
                    in_a_row = 0
                elif packet.pts is not None:
                    timed.append(packet.pts)
                    in_a_row += 1
                if in_a_row == _TIMED_IN_A_ROW:
                    break
        except av.error.FFmpegError:
            # What comes after is not there for the pictures either.
            pass
    return min(timed, default=untimed) - untimed


def _usual_duration(time_base: Fraction, average_rate: Fraction | None) -> int:
    return max(round(1 / (time_base * average_rate)), 1) if average_rate else 1

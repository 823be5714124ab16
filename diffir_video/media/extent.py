"""When a file's video begins and ends, and how many frames that is, before any of it is restored."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction

import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from diffir_video.media.inputs import StrPath
from diffir_video.media.probe import frame_rate, main_video_stream, open_input, stream_duration
from diffir_video.media.resets import ContinuousClock
from diffir_video.media.time_range import TimeRange

_WHOLE = TimeRange()


@dataclass(frozen=True, slots=True)
class VideoExtent:
    """begin, end: seconds on the clock of a `VideoReader`'s frames. None: the file doesn't say."""

    begin: Fraction
    end: Fraction | None
    frames: int | None


def video_extent(path: StrPath, part: TimeRange = _WHOLE) -> VideoExtent:
    """The extent of what of a file's main video lies in `part`.

    It is what headers say, where these say it. A file whose clock may be reset on the way (MPEG-TS, MPEG-PS)
    is read to its end, as no header tells how often it is. Raises as `open_input` and `main_video_stream`.
    """
    with closing(open_input(path)) as container:
        video = main_video_stream(container, path)
        clock = ContinuousClock(container)
        if clock.may_be_reset:
            return _read_extent(container, video, clock, part)
        return _told_extent(container, video, part)


def _told_extent(container: InputContainer, video: VideoStream, part: TimeRange) -> VideoExtent:
    assert video.time_base is not None
    first = (video.start_time or 0) * video.time_base
    begin = first if part.start is None else max(first, part.start)
    duration, rate = stream_duration(container, video), frame_rate(video)
    if duration is None:
        return VideoExtent(begin, part.end, video.frames or None if part == _WHOLE else None)
    last = first + Fraction(duration)
    end = last if part.end is None else min(last, part.end)
    if part == _WHOLE and video.frames:
        return VideoExtent(begin, end, video.frames)
    return VideoExtent(begin, end, None if rate is None else max(round((end - begin) * rate), 0))


def _read_extent(
    container: InputContainer, video: VideoStream, clock: ContinuousClock, part: TimeRange
) -> VideoExtent:
    begin, end, frames = None, None, 0
    for shown, lasts in _times(container, video, clock):
        if part.holds(shown):
            begin = shown if begin is None else min(begin, shown)
            end = shown + lasts if end is None else max(end, shown + lasts)
            frames += 1
    return VideoExtent(begin or Fraction(0), end, frames)


def _times(
    container: InputContainer, video: VideoStream, clock: ContinuousClock
) -> Iterator[tuple[Fraction, Fraction]]:
    """When each packet of the video is shown, and for how long, up to where the file can't be read."""
    try:
        for packet in clock.continued(packet for packet in container.demux() if packet.size):
            if packet.stream_index == video.index and packet.pts is not None:
                yield packet.pts * packet.time_base, (packet.duration or 0) * packet.time_base
    except av.error.FFmpegError:
        return

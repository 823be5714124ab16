"""Cutting a stream into segments that are restored one by one, as if it had never been cut."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from diffir_video.frame import Frame, StreamInfo
from diffir_video.prior import CutDetector, FrameStatistics
from diffir_video.stages import FrameSource

# No segment is longer; from half of it on, a segment ends at the next scene cut. Encoders make a keyframe at
# scene cuts anyway, and x264 and x265 after 250 frames.
SEGMENT_FRAMES = 250

# Scene cuts are looked for in every eighth pixel of every eighth row.
_LOOKED_AT = 8


class SegmentSource:
    """The frames of one segment, between those of its neighbours that a restorer's window sees.

    follows_another: whether it is not the stream's first.
    Iterating gives all of them in order; `holds` tells the segment's own from its neighbours'.
    """

    def __init__(self, cutter: SegmentCutter) -> None:
        self._cutter = cutter
        self._cuts = CutDetector()
        first = cutter.peek(0)
        assert first is not None
        self._first_pts = self._last_pts = first.pts
        self.follows_another = cutter.has_begun

    @property
    def info(self) -> StreamInfo:
        return self._cutter.info

    def __iter__(self) -> Iterator[Frame]:
        cutter = self._cutter
        yield from cutter.before()
        length = 0
        while (frame := cutter.peek(0)) is not None and not self._ends(length, frame):
            cutter.advance()
            length += 1
            self._last_pts = frame.pts
            yield frame
        yield from cutter.after()

    def holds(self, frame: Frame) -> bool:
        """Whether a frame that iterating gave is the segment's own."""
        return self._first_pts <= frame.pts <= self._last_pts

    def is_followed(self) -> bool:
        """Whether the stream goes on; to be asked once its frames have been iterated."""
        return self._cutter.peek(0) is not None

    def close(self) -> None:
        """Nothing to close: the stream goes on with the next segment."""

    def _ends(self, length: int, following: Frame) -> bool:
        """Whether the segment ends after `length` frames, before the frame `following`."""
        thumbnail = following.data[:, ::_LOOKED_AT, ::_LOOKED_AT]
        starts_shot = self._cuts.starts_shot(FrameStatistics.of([thumbnail])[0])
        return length >= self._cutter.longest or (starts_shot and 2 * length >= self._cutter.longest)


class SegmentCutter:
    """Cuts `source` into segments of at most `longest` frames, at scene cuts where they are near.

    Each comes with the last `reach[0]` frames before it and the first `reach[1]` after it, so that its
    first and last frames are restored from the same neighbours as in the uncut stream. The cuts depend
    on nothing but the frames and where the first segment begins. Only these are held in memory.
    Each segment has to be iterated to its end before the next is asked for.
    """

    def __init__(self, source: FrameSource, reach: tuple[int, int], longest: int) -> None:
        self.info = source.info
        self._frames = iter(source)
        self.longest, self._future = longest, reach[1]
        self._past: deque[Frame] = deque(maxlen=reach[0])
        self._ahead: deque[Frame] = deque()
        self.has_begun = False

    def __iter__(self) -> Iterator[SegmentSource]:
        while self.peek(0) is not None:
            yield SegmentSource(self)

    def pass_over(self, last_pts: int) -> None:
        """Begin after the frame of `last_pts`; what the source gives up to there is only looked at."""
        self.has_begun = True
        while (frame := self.peek(0)) is not None and frame.pts <= last_pts:
            self.advance()

    def peek(self, index: int) -> Frame | None:
        """The frame `index` places ahead, None past the end."""
        while len(self._ahead) <= index:
            frame = next(self._frames, None)
            if frame is None:
                return None
            self._ahead.append(frame)
        return self._ahead[index]

    def advance(self) -> None:
        self._past.append(self._ahead.popleft())
        self.has_begun = True

    def before(self) -> list[Frame]:
        return list(self._past)

    def after(self) -> Iterator[Frame]:
        for index in range(self._future):
            frame = self.peek(index)
            if frame is None:
                return
            yield frame

"""Cutting a stream into segments that are restored one by one, as if it had never been cut."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from diffir_video.frame import Frame, StreamInfo
from diffir_video.prior import CutDetector, FrameStatistics
from diffir_video.stages import FrameSource
from diffir_video.steady_thread import SteadyThread

# No segment is longer; from half of it on, a segment ends at the next scene cut. Encoders make a keyframe at
# scene cuts anyway, and x264 and x265 after 250 frames.
SEGMENT_FRAMES = 250

# Scene cuts are looked for in every eighth pixel of every eighth row.
_LOOKED_AT = 8


class StoppedError(Exception):
    """The cutter was stopped: whoever restores segments of it ends without a word."""


class SegmentSource:
    """The frames of one segment, between those of its neighbours that a restorer's window sees.

    number: of segments of its cutter before it. follows_another: whether it is not the stream's first.
    is_followed: whether the stream goes on; known once all frames have been read.
    Iterating gives all of them in order; `holds` tells the segment's own from its neighbours'.
    """

    def __init__(self, cutter: SegmentCutter, number: int) -> None:
        self.number = number
        self._cutter = cutter
        self._cuts = CutDetector()
        first = cutter.peek(0)
        assert first is not None
        self._first_pts = self._last_pts = first.pts
        self.follows_another = cutter.has_begun
        self.is_followed = False
        self._unread = self._read()
        self._read_ahead: deque[Frame] = deque()

    @property
    def info(self) -> StreamInfo:
        return self._cutter.info

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self._cutter.next_of(self._unread, self._read_ahead)) is not None:
            yield frame

    def read_to_end(self) -> None:
        """Keep what is still to be read of it in memory, for whoever iterates."""
        while self._cutter.add_next_of(self._unread, self._read_ahead):
            pass

    def holds(self, frame: Frame) -> bool:
        """Whether a frame that iterating gave is the segment's own."""
        return self._first_pts <= frame.pts <= self._last_pts

    def close(self) -> None:
        """Nothing to close: the stream goes on with the next segment."""

    def _read(self) -> Iterator[Frame]:
        cutter = self._cutter
        yield from cutter.before()
        length = 0
        while (frame := cutter.peek(0)) is not None and not self._ends(length, frame):
            cutter.advance()
            length += 1
            self._last_pts = frame.pts
            yield frame
        self.is_followed = frame is not None
        yield from cutter.after()

    def _ends(self, length: int, following: Frame) -> bool:
        """Whether the segment ends after `length` frames, before the frame `following`."""
        thumbnail = following.data[:, ::_LOOKED_AT, ::_LOOKED_AT]
        starts_shot = self._cuts.starts_shot(FrameStatistics.of([thumbnail])[0])
        return length >= self._cutter.longest or (starts_shot and 2 * length >= self._cutter.longest)


class SegmentCutter:
    """Cuts `source` into segments of at most `longest` frames, at scene cuts where they are near.

    Each comes with the last `reach[0]` frames before it and the first `reach[1]` after it, so that its
    first and last frames are restored from the same neighbours as in the uncut stream. The cuts depend
    on nothing but the frames and where the first segment begins. Only these are held in memory, and of a
    segment that is not read to its end when the next is taken, the rest.

    Several threads may take segments and iterate one each; one at a time reads the source. What reading
    raises, it raises in all of them. With `reads_ahead` each segment is read to its end from the moment it is
    taken, by a thread that `stop` ends, so that nobody has to wait for that who takes the next.
    reading_seconds: how long the source took for all that was read.
    """

    def __init__(
        self, source: FrameSource, reach: tuple[int, int], longest: int, *, reads_ahead: bool = False
    ) -> None:
        self.info = source.info
        self._frames = iter(source)
        self.longest, self._future = longest, reach[1]
        self._past: deque[Frame] = deque(maxlen=reach[0])
        self._ahead: deque[Frame] = deque()
        self.has_begun = False
        self.reading_seconds = 0.0
        self._taken = 0
        self._latest: SegmentSource | None = None
        self._reads_ahead = reads_ahead
        self._reader: SteadyThread | None = None
        self._taking = threading.Lock()
        self._changed = threading.Condition()
        self._is_being_read = False
        self._failure: BaseException | None = None

    def take(self) -> SegmentSource | None:
        """The next segment, None after the last; what is left of the one before it is read first.

        Raises StoppedError once stopped.
        """
        with self._taking:
            if self._latest is not None:
                self._latest.read_to_end()
            self._raise_failure()
            if self.peek(0) is None:
                self._latest = None
                return None
            self._latest = SegmentSource(self, self._taken)
            self._taken += 1
            if self._reads_ahead:
                self._begin_reading(self._latest)
            return self._latest

    def stop(self) -> None:
        """Have everyone who takes or iterates raise StoppedError, also for what was read already.

        Once it returns nobody takes, and what reads ahead has ended.
        """
        with self._changed:
            self._failure = self._failure or StoppedError()
            self._changed.notify_all()
        with self._taking:
            if self._reader is not None:
                self._reader.join()

    def _begin_reading(self, segment: SegmentSource) -> None:
        def read() -> None:
            # Whoever iterates raises what there is to raise.
            with suppress(BaseException):
                segment.read_to_end()

        if self._reader is not None:
            self._reader.join()
        self._reader = SteadyThread(read, name="diffir-read")
        self._reader.start()

    def pass_over(self, last_pts: int) -> None:
        """Begin after the frame of `last_pts`; what the source gives up to there is only looked at."""
        self.has_begun = True
        while (frame := self.peek(0)) is not None and frame.pts <= last_pts:
            self.advance()

    def next_of(self, frames: Iterator[Frame], read_ahead: deque[Frame]) -> Frame | None:
        """The next frame of a segment: from what was read ahead of it, or else read now; None at its end."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure or read_ahead or not self._is_being_read)
            self._raise_failure()
            if read_ahead:
                return read_ahead.popleft()
            self._is_being_read = True
        return self._read_one(frames)

    def add_next_of(self, frames: Iterator[Frame], read_ahead: deque[Frame]) -> bool:
        """Read the next frame of a segment ahead; False at its end."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure or not self._is_being_read)
            self._raise_failure()
            self._is_being_read = True
        return self._read_one(frames, read_ahead) is not None

    def _read_one(self, frames: Iterator[Frame], into: deque[Frame] | None = None) -> Frame | None:
        frame, failure = None, None
        started = time.perf_counter()
        try:
            frame = next(frames, None)
        except BaseException as exc:
            failure = exc
            raise
        finally:
            with self._changed:
                self.reading_seconds += time.perf_counter() - started
                self._failure = self._failure or failure
                if into is not None and frame is not None:
                    into.append(frame)
                self._is_being_read = False
                self._changed.notify_all()
        return frame

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

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

"""`SegmentCloser`: encoders finish their segments while the network is at the next."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from diffir_video.errors import DiffirVideoError
from diffir_video.job.work_folder import WorkFolder
from diffir_video.media import Segment, SegmentWriter

# Two encoders hold twice as many frames; of larger ones that is more than what the wait costs.
_LARGEST_CLOSED_LATER = 1920 * 1088


class SegmentNotes:
    """Notes segments in the journal in their order, in whichever they are finished."""

    def __init__(self, work: WorkFolder) -> None:
        self._work = work
        self._noting = threading.Lock()
        self._finished: dict[int, Segment] = {}

    def add(self, number: int, segment: Segment) -> None:
        """Note the segment after `number` others; one that is not the next waits for those before it."""
        with self._noting:
            self._finished[number] = segment
            while (following := len(self._work.segments)) in self._finished:
                self._work.add(self._finished.pop(following))


class SegmentCloser:
    """Closes segments and has them noted, in order and one at a time.

    An encoder has dozens of frames left when a segment's last one comes; waiting for them, the network would
    stand still at the end of each segment.
    A context manager; what is still to be noted is noted at its end, also where an error ends it.

    frames: of the segments that were closed. busy_seconds: how long encoders took to finish.
    """

    def __init__(self, notes: SegmentNotes, *, pixels: int) -> None:
        """pixels: of a frame; large ones are waited for."""
        self._notes = notes
        self._waits = pixels > _LARGEST_CLOSED_LATER
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="diffir-close")
        self._closing: Future[None] | None = None
        self.busy_seconds = 0.0
        self.frames = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # What ended the job is what its user has to know.
            with suppress(*(() if error is None else (DiffirVideoError,))):
                self.wait()
        finally:
            self._executor.shutdown()

    def close(self, number: int, writer: SegmentWriter, *, source_intact: bool) -> None:
        """Have `writer` closed, and its segment noted at once; raises what closing the one before it raised.

        number: of the segments before it. source_intact: nothing was amiss with the input up to its end.
        """
        self.wait()
        self.frames += writer.frames
        self._closing = self._executor.submit(self._close, number, writer, source_intact)
        if self._waits:
            self.wait()

    def wait(self) -> None:
        """Until all that was closed is noted; raises what closing raised."""
        if self._closing is None:
            return
        closing, self._closing = self._closing, None
        closing.result()

    def _close(self, number: int, writer: SegmentWriter, source_intact: bool) -> None:
        started = time.perf_counter()
        try:
            writer.close()
            self._notes.add(number, replace(writer.segment, source_intact=source_intact))
        finally:
            self.busy_seconds += time.perf_counter() - started

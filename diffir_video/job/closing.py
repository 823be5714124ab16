"""`SegmentCloser`: encoders finish their segments while the network is at the next."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from diffir_video.errors import DiffirVideoError
from diffir_video.job.work_folder import WorkFolder
from diffir_video.media import SegmentWriter
from diffir_video.pipeline import StageTime

# Two encoders hold twice as many frames; of larger ones that is more than what the wait costs.
_LARGEST_CLOSED_LATER = 1920 * 1088


class SegmentCloser:
    """Closes segments, and notes them in the journal, in order and one at a time.

    An encoder has dozens of frames left when a segment's last one comes; waiting for them, the network would
    stand still at the end of each segment.
    A context manager; what is still to be noted is noted at its end, also where an error ends it.

    frames: of the segments that were closed.
    """

    def __init__(self, work: WorkFolder, *, pixels: int) -> None:
        """pixels: of a frame; large ones are waited for."""
        self._work = work
        self._waits = pixels > _LARGEST_CLOSED_LATER
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="diffir-close")
        self._closing: Future[None] | None = None
        self._busy_seconds = self._waited_seconds = 0.0
        self._segments = len(work.segments)
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

    @property
    def time(self) -> StageTime:
        """How long encoders took to finish, and how long that was waited for."""
        return StageTime(self._busy_seconds, self._waited_seconds)

    @property
    def next_segment(self) -> Path:
        """Where the next segment is to be written."""
        return self._work.segment_path(self._segments)

    def close(self, writer: SegmentWriter, *, source_intact: bool) -> None:
        """Have `writer` closed, and its segment noted at once; raises what closing the one before it raised.

        source_intact: nothing was amiss with the input up to the segment's end.
        """
        self.wait()
        self._segments += 1
        self.frames += writer.frames
        self._closing = self._executor.submit(self._close, writer, source_intact)
        if self._waits:
            self.wait()

    def wait(self) -> None:
        """Until all that was closed is noted; raises what closing raised."""
        if self._closing is None:
            return
        closing, self._closing = self._closing, None
        started = time.perf_counter()
        closing.result()
        self._waited_seconds += time.perf_counter() - started

    def _close(self, writer: SegmentWriter, source_intact: bool) -> None:
        started = time.perf_counter()
        try:
            writer.close()
            self._work.add(replace(writer.segment, source_intact=source_intact))
        finally:
            self._busy_seconds += time.perf_counter() - started

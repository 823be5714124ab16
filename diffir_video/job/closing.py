"""`SegmentCloser`: encoders finish their segments while the network is at the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
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
    """

    def __init__(self, work: WorkFolder, *, pixels: int, noted: Callable[[], None] = lambda: None) -> None:
        """pixels: of a frame; large ones are waited for. noted: called after each, by who waits for it."""
        self._work, self._noted = work, noted
        self._waits = pixels > _LARGEST_CLOSED_LATER
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="diffir-close")
        self._closing: _Closing | None = None
        self._busy_seconds = self._waited_seconds = 0.0

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
    def segments(self) -> int:
        """How many are written but not yet noted."""
        return 0 if self._closing is None else 1

    @property
    def frames(self) -> int:
        """Those of what is not yet noted."""
        return 0 if self._closing is None else self._closing.writer.frames

    def close(self, writer: SegmentWriter, *, source_intact: bool) -> None:
        """Have `writer` closed; raises what closing the one before it raised.

        source_intact: nothing was amiss with the input up to the segment's end.
        """
        self.wait()
        self._closing = _Closing(writer, source_intact, self._executor.submit(self._close, writer))
        if self._waits:
            self.wait()

    def wait(self) -> None:
        """Until nothing is left to be noted; raises what closing raised."""
        if self._closing is None:
            return
        closing, self._closing = self._closing, None
        started = time.perf_counter()
        closing.done.result()
        self._waited_seconds += time.perf_counter() - started
        self._work.add(replace(closing.writer.segment, source_intact=closing.source_intact))
        self._noted()

    def _close(self, writer: SegmentWriter) -> None:
        started = time.perf_counter()
        try:
            writer.close()
        finally:
            self._busy_seconds += time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class _Closing:
    writer: SegmentWriter
    source_intact: bool
    done: Future[None]

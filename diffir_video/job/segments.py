"""`restore_segments`: a stream's segments, each restored at once by one of a job's restorers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from diffir_video.frame import Frame, StreamInfo
from diffir_video.job.closing import SegmentCloser, SegmentNotes
from diffir_video.job.cutting import SegmentCutter, SegmentSource, StoppedError
from diffir_video.job.restorers import FileRestorer
from diffir_video.job.sizing import ResizingSink
from diffir_video.job.work_folder import WorkFolder
from diffir_video.media import SegmentWriter
from diffir_video.pipeline import run
from diffir_video.run_report import Progress, RunReport, combined
from diffir_video.stages import FrameSink
from diffir_video.steady_thread import SteadyThread

# How often progress is told while the caller's own restorer has nothing left to do.
_TOLD_EVERY_SECONDS = 0.5


class SegmentInput(Protocol):
    """What is asked of a source while its segments are restored."""

    @property
    def is_intact(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class DeviceShare:
    """What one of a job's restorers did. busy_seconds: while it restored, waiting for others left out."""

    device: str
    segments: int
    frames: int
    busy_seconds: float

    def __str__(self) -> str:
        fps = self.frames / self.busy_seconds if self.busy_seconds > 0 else 0.0
        segments = "1 segment" if self.segments == 1 else f"{self.segments} segments"
        return f"{self.device}: {self.frames} frames in {segments}, {fps:.1f} fps"


class OwnFrames:
    """The sink of a segment's own frames; those of its neighbours end here."""

    def __init__(self, segment: SegmentSource, sink: FrameSink, *, closes: bool) -> None:
        """closes: the sink with itself; else that is left to others."""
        self._segment, self._sink, self._closes = segment, sink, closes

    def write(self, frame: Frame) -> None:
        if self._segment.holds(frame):
            self._sink.write(frame)

    def close(self) -> None:
        if self._closes:
            self._sink.close()

    def abort(self) -> None:
        self._sink.abort()


def restore_segments(
    cutter: SegmentCutter,
    restorers: Sequence[FileRestorer],
    work: WorkFolder,
    info: StreamInfo,
    open_writer: Callable[[SegmentSource, Path], SegmentWriter],
    *,
    source: SegmentInput,
    frames_total: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[RunReport, tuple[DeviceShare, ...]]:
    """Restore what `cutter` gives into segments, noted in `work`'s journal; what that took, and who did it.

    Each of `restorers` takes the next segment whenever it is through with one: the first in the caller's
    thread, the others in threads of their own. The first failure of any, KeyboardInterrupt included, stops
    all and is raised once; finished segments are noted, as far as none before them is missing.

    info: the output's stream. open_writer: what writes a segment to a path. progress: called in the caller's
    thread.
    """
    resumed, frames_resumed = len(work.segments), work.frames
    started = time.perf_counter()
    with ExitStack() as stack:
        stack.callback(cutter.stop)
        notes = SegmentNotes(work)
        shared = _Shared(cutter, work, info, open_writer, source, resumed)
        workers = [
            _Worker(
                restorer,
                shared,
                stack.enter_context(SegmentCloser(notes, pixels=info.width * info.height)),
            )
            for restorer in restorers
        ]
        tell = _Teller(workers, frames_resumed, frames_total, progress)
        _Crew(workers, cutter, tell).work()
    wall = time.perf_counter() - started
    made = sorted((made for worker in workers for made in worker.made), key=lambda made: made.number)
    report = combined(
        [one.report for one in made],
        frames=work.frames - frames_resumed,
        wall_seconds=wall,
        closing_seconds=sum(worker.closer.busy_seconds for worker in workers),
        at_once=len(workers),
        reading_seconds=cutter.reading_seconds,
    )
    return report, tuple(worker.share() for worker in workers)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the workers of a job have in common. resumed: segments that were there before."""

    cutter: SegmentCutter
    work: WorkFolder
    info: StreamInfo
    open_writer: Callable[[SegmentSource, Path], SegmentWriter]
    source: SegmentInput
    resumed: int


@dataclass(frozen=True, slots=True)
class _Made:
    number: int
    report: RunReport


class _Worker:
    """A restorer that takes one segment after the other, until none is left."""

    def __init__(self, restorer: FileRestorer, shared: _Shared, closer: SegmentCloser) -> None:
        self._restorer, self._shared, self.closer = restorer, shared, closer
        self._writer: SegmentWriter | None = None
        self.made: list[_Made] = []

    @property
    def frames(self) -> int:
        """How many it has encoded so far."""
        return self.closer.frames + (0 if (writer := self._writer) is None else writer.frames)

    def share(self) -> DeviceShare:
        return DeviceShare(
            device=str(self._restorer.device),
            segments=len(self.made),
            frames=self.closer.frames,
            busy_seconds=sum(made.report.stages["restore"].busy_seconds for made in self.made),
        )

    def work(self, progress: Callable[[Progress | None], None] | None = None) -> None:
        while (segment := self._shared.cutter.take()) is not None:
            self._restore(segment, progress)
        self.closer.wait()

    def _restore(self, segment: SegmentSource, progress: Callable[[Progress | None], None] | None) -> None:
        shared = self._shared
        number = shared.resumed + segment.number
        writer = self._writer = shared.open_writer(segment, shared.work.segment_path(number))
        sink = OwnFrames(segment, ResizingSink(writer, shared.info), closes=False)
        self.made.append(_Made(number, run(segment, self._restorer, sink, progress=progress)))
        self._writer = None
        self.closer.close(number, writer, source_intact=shared.source.is_intact)
        if progress is not None:
            progress(None)


class _Crew:
    """Workers that work at the same time, and of which none outlives the first failure."""

    def __init__(self, workers: Sequence[_Worker], cutter: SegmentCutter, tell: _Teller) -> None:
        self._first, self._cutter, self._tell = workers[0], cutter, tell
        self._failures: list[BaseException] = []
        self._threads = [
            SteadyThread(partial(self._guarded, worker.work), name=f"diffir-device-{index}")
            for index, worker in enumerate(workers[1:], start=1)
        ]

    def work(self) -> None:
        self._guarded(self._drive)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        if self._failures:
            raise self._failures[0]

    def _drive(self) -> None:
        for thread in self._threads:
            thread.start()
        self._first.work(self._tell)
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_TOLD_EVERY_SECONDS)
                self._tell()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except StoppedError:
            pass
        except BaseException as exc:  # noqa: BLE001 - raised again by work()
            self._failures.append(exc)
            self._cutter.stop()


class _Teller:
    """Tells how far the whole job is, whenever the loop tells how far a segment is, and after each."""

    def __init__(
        self,
        workers: Sequence[_Worker],
        frames_resumed: int,
        frames_total: int | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._workers, self._resumed, self._total = workers, frames_resumed, frames_total
        self._progress = progress
        self._started = time.perf_counter()
        self._done = 0

    def __call__(self, _: Progress | None = None) -> None:
        if self._progress is None:
            return
        # Between a writer and those that are closed, a segment's frames may for a moment be in neither.
        self._done = max(self._done, sum(worker.frames for worker in self._workers))
        seconds = time.perf_counter() - self._started
        self._progress(Progress(self._resumed + self._done, self._total, seconds, self._resumed))

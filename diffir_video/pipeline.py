"""`run`: THE loop. Decode, restore and encode at the same time, joined by bounded queues.

::

    decode thread ──▶ [queue] ──▶ restore, in the caller's thread ──▶ [queue] ──▶ encode thread

File jobs, live filters, workers and benchmarks are this loop with other ends.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

import torch

from diffir_video.allocator import give_back_freed
from diffir_video.errors import DiffirVideoError, UsageError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.run_report import Progress, RunReport, StageName, StageTime, report_of
from diffir_video.stages import (
    BatchingRestorer,
    FrameRestorer,
    FrameRestorerStream,
    FrameSink,
    FrameSource,
    FrameTransfers,
    NoTransfers,
    TransferringStream,
)
from diffir_video.steady_thread import SteadyThread

# Batches waiting between two stages: enough to bridge an uneven frame.
_QUEUED_BATCHES = 2

# Of floats: two frames of 1280 x 720, one of anything larger; larger by itself, it waits alone.
_MOST_FRAMES, _BATCH_BYTES = 4, 24 * 2**20


def run(
    source: FrameSource,
    restorer: FrameRestorer,
    sink: FrameSink,
    *,
    batch: int | None = None,
    queue: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> RunReport:
    """Restore every frame of `source` into `sink`; closes both.

    Frames travel in lists of `batch`, always full but for the last, so that a run repeats exactly; by
    default as many as the restorer wants, or else four or, of large frames, as many as make 24 MiB. At most
    `queue` of them wait between two stages, and none is taken from `source` before there is room for it: 1
    keeps a live stream's delay short, and is the default for frames of more than 24 MiB, else 2.
    `progress` is called in the caller's thread after each list, and when the sink is closed.

    The first failure of any stage, KeyboardInterrupt included, stops all of them, aborts the sink and is
    raised; when `run` returns or raises, its threads have ended. Raises UsageError for `batch` or `queue`
    < 1 and DiffirVideoError when the restorer returns another number of frames than it was given.
    """
    try:
        if batch is None:
            batch = _batch_for(source.info, restorer)
        if batch < 1:
            raise UsageError(f"batch must be at least 1, got {batch}")
        if queue is None:
            queue = 1 if _float_bytes(source.info) > _BATCH_BYTES else _QUEUED_BATCHES
        if queue < 1:
            raise UsageError(f"queue must be at least 1, got {queue}")
        report = _Loop(source, restorer, sink, batch, queue, progress).run()
    except BaseException:
        sink.abort()
        raise
    finally:
        source.close()
        give_back_freed()
    return report


def _batch_for(info: StreamInfo, restorer: FrameRestorer) -> int:
    wanted = restorer.batch_frames(info) if isinstance(restorer, BatchingRestorer) else None
    if wanted is not None:
        return wanted
    return max(1, min(_MOST_FRAMES, _BATCH_BYTES // _float_bytes(info)))


def _float_bytes(info: StreamInfo) -> int:
    return 3 * 4 * info.width * info.height


class _Loop:
    def __init__(
        self,
        source: FrameSource,
        restorer: FrameRestorer,
        sink: FrameSink,
        batch: int,
        queue: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._source, self._sink = source, sink
        self._stream = restorer.open_stream()
        self._transfers = _transfers_of(self._stream)
        self._batch, self._progress = batch, progress
        self._decoded = _Channel[list[Frame]](queue)
        self._restored = _Channel[Callable[[], list[Frame]]](queue)
        self._failure: BaseException | None = None
        self._failing = threading.Lock()
        self._clocks: dict[StageName, _StageClock] = {
            "decode": _StageClock(),
            "restore": _StageClock(),
            "encode": _StageClock(),
        }
        self._frames_in = self._frames_restored = self._frames_out = 0
        self._started = time.perf_counter()

    def run(self) -> RunReport:
        threads = [
            SteadyThread(partial(self._guarded, stage), name=f"diffir-{name}")
            for name, stage in (("decode", self._decode), ("encode", self._encode))
        ]
        try:
            self._guarded(lambda: self._drive(threads))
        finally:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if self._failure is not None:
            raise self._failure
        if self._frames_restored != self._frames_in:
            raise DiffirVideoError(f"{self._frames_in} frames went in, {self._frames_restored} were restored")
        with self._clocks["encode"].busy():
            self._sink.close()
        self._tell_progress()
        return self._report()

    def _drive(self, threads: Sequence[threading.Thread]) -> None:
        for thread in threads:
            thread.start()
        self._restore()
        # Joined here as well: an interrupt while the encoder drains must still stop it.
        for thread in threads:
            thread.join()

    def _guarded(self, stage: Callable[[], None]) -> None:
        """Run a stage; its failure is kept, if it is the first, and stops the others."""
        try:
            stage()
        except _StoppedError:
            pass
        except BaseException as exc:  # noqa: BLE001 - raised again by run()
            with self._failing:
                if self._failure is None:
                    self._failure = exc
            self._stop()

    def _stop(self) -> None:
        self._decoded.stop()
        self._restored.stop()

    def _decode(self) -> None:
        with self._transfers.decoding():
            self._decode_all(iter(self._source))
        self._decoded.end()

    def _decode_all(self, frames: Iterator[Frame]) -> None:
        clock = self._clocks["decode"]
        while True:
            # A frame taken too early would only grow old in the queue.
            with clock.waiting():
                self._decoded.wait_for_room()
            with clock.busy():
                batch = self._transfers.upload(self._take_batch(frames))
            if not batch:
                return
            self._frames_in += len(batch)
            self._decoded.put(batch)

    def _take_batch(self, frames: Iterator[Frame]) -> list[Frame]:
        batch: list[Frame] = []
        while len(batch) < self._batch and not self._decoded.stopped:
            frame = next(frames, None)
            if frame is None:
                break
            batch.append(frame)
        return batch

    def _restore(self) -> None:
        clock = self._clocks["restore"]
        while True:
            with clock.waiting():
                batch = self._decoded.get()
            if batch is None:
                break
            with clock.busy(), torch.inference_mode():
                restored = self._stream.push(batch)
            self._pass_on(restored)
        with clock.busy(), torch.inference_mode():
            restored = self._stream.finish()
        self._pass_on(restored)
        self._restored.end()

    def _pass_on(self, restored: list[Frame]) -> None:
        self._frames_restored += len(restored)
        if restored:
            with self._clocks["restore"].waiting():
                self._restored.put(self._transfers.hand_over(restored))
        self._tell_progress()

    def _tell_progress(self) -> None:
        if self._progress is not None:
            self._progress(
                Progress(self._frames_out, self._source.info.frame_count, time.perf_counter() - self._started)
            )

    def _encode(self) -> None:
        with self._transfers.encoding():
            self._encode_all()

    def _encode_all(self) -> None:
        clock = self._clocks["encode"]
        while True:
            with clock.waiting():
                bring_back = self._restored.get()
            if bring_back is None:
                return
            with clock.busy():
                batch = bring_back()
            # It holds the frames where they were restored.
            del bring_back
            for frame in batch:
                if self._restored.stopped:
                    return
                with clock.busy():
                    self._sink.write(frame)
                self._frames_out += 1

    def _report(self) -> RunReport:
        wall = time.perf_counter() - self._started
        stages: dict[StageName, StageTime] = {name: clock.total() for name, clock in self._clocks.items()}
        return report_of(self._frames_in, self._frames_out, wall, stages, self._stream.reuse)


def _transfers_of(stream: FrameRestorerStream) -> FrameTransfers:
    return stream.open_transfers() if isinstance(stream, TransferringStream) else NoTransfers()


class _StoppedError(Exception):
    """Another stage failed; this one ends without a word."""


ItemT = TypeVar("ItemT")


class _Channel(Generic[ItemT]):
    """A bounded queue between two threads that can be ended by its writer and stopped by anyone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[ItemT] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self.stopped = False

    def wait_for_room(self) -> None:
        """Until the next `put` need not wait; raises _StoppedError once stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopped or len(self._items) < self._size)
            self._raise_if_stopped()

    def put(self, item: ItemT) -> None:
        """Wait for room; raises _StoppedError once stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopped or len(self._items) < self._size)
            self._raise_if_stopped()
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> ItemT | None:
        """Wait for an item, None after the last; raises _StoppedError once stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopped or self._ended or bool(self._items))
            self._raise_if_stopped()
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self.stopped = True
            self._items.clear()
            self._changed.notify_all()

    def _raise_if_stopped(self) -> None:
        if self.stopped:
            raise _StoppedError


class _StageClock:
    def __init__(self) -> None:
        self._busy = self._waiting = 0.0

    @contextmanager
    def busy(self) -> Generator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._busy += time.perf_counter() - started

    @contextmanager
    def waiting(self) -> Generator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._waiting += time.perf_counter() - started

    def total(self) -> StageTime:
        return StageTime(self._busy, self._waiting)

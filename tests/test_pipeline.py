"""The loop: every frame once and in order, one failure stops all, nothing is left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction

import pytest
import torch

from diffir_video import DiffIRS2, DiffirVideoError, Frame, Restorer, StreamInfo, UsageError
from diffir_video.pipeline import run
from diffir_video.prior import ReuseReport
from diffir_video.run_report import Progress, RunReport
from diffir_video.stages import NullSink
from tests.network.test_variants import tiny

TICK = Fraction(1, 25)
INFO = StreamInfo(8, 8, TICK, "yuv420p", frame_count=23)


class Counting:
    """A source of `count` frames that knows how many were taken; fails at `fail_at`."""

    def __init__(self, count: int = 23, fail_at: int | None = None) -> None:
        self.info, self.count, self.fail_at = INFO, count, fail_at
        self.taken, self.closed = 0, False

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.count):
            if index == self.fail_at:
                raise OSError("the disk is gone")
            self.taken += 1
            yield Frame(torch.full((3, 8, 8), index / 100), index, TICK, 1)

    def close(self) -> None:
        self.closed = True


class Recording(NullSink):
    """A sink that keeps what it got; fails at frame `fail_at`, or on `close`."""

    def __init__(self, fail_at: int | None = None, *, fail_on_close: bool = False, pause: float = 0) -> None:
        super().__init__()
        self.kept: list[Frame] = []
        self.fail_at, self.fail_on_close, self.pause = fail_at, fail_on_close, pause
        self.closed = self.aborted = False

    def write(self, frame: Frame) -> None:
        if len(self.kept) == self.fail_at:
            raise OSError("the disk is full")
        time.sleep(self.pause)
        self.kept.append(frame)

    def close(self) -> None:
        if self.fail_on_close:
            raise OSError("the disk is full")
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Late:
    """Returns frames `delay` frames late, as a window into the future makes them; counts its batches."""

    scale = 1

    def __init__(self, delay: int = 0, failure: BaseException | None = None, lose: int = 0) -> None:
        self.delay, self.failure, self.lose = delay, failure, lose
        self.batches: list[int] = []
        self.held: list[Frame] = []
        self.reuse = ReuseReport()

    def open_stream(self) -> Late:
        return self

    def push(self, frames: Sequence[Frame]) -> list[Frame]:
        self.batches.append(len(frames))
        if self.failure is not None and len(self.batches) == 3:
            raise self.failure
        self.held += frames
        ready, self.held = self.held[: len(self.held) - self.delay], self.held[len(self.held) - self.delay :]
        return ready

    def finish(self) -> list[Frame]:
        return self.held[self.lose :]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize(("width", "batch"), [(640, 4), (1280, 2), (1920, 1), (15360, 1)])
def test_large_frames_travel_in_small_batches(width: int, batch: int) -> None:
    """Only what the source says counts: these frames are small."""
    source, restorer = Counting(8), Late()
    source.info = StreamInfo(width, width * 9 // 16, TICK, "yuv420p")
    run(source, restorer, NullSink())
    assert restorer.batches == [batch] * (8 // batch)


@pytest.mark.parametrize("batch", [1, 4, 50])
@pytest.mark.parametrize("delay", [0, 1, 7])
def test_every_frame_arrives_once_and_in_order(delay: int, batch: int) -> None:
    source, sink = Counting(), Recording()
    report = run(source, Late(delay), sink, batch=batch)
    assert [frame.pts for frame in sink.kept] == list(range(23))
    assert [frame.duration for frame in sink.kept] == [1] * 23
    assert (report.frames_in, report.frames_out) == (23, 23)
    assert sink.closed
    assert source.closed
    assert not sink.aborted


def test_the_identity_restorer_changes_nothing() -> None:
    sink = Recording()
    run(Counting(), Restorer.from_pretrained("identity"), sink)
    for index, frame in enumerate(sink.kept):
        assert torch.equal(frame.data, torch.full((3, 8, 8), index / 100))


def test_batches_are_full_but_for_the_last_so_that_a_run_repeats_exactly() -> None:
    restorer = Late()
    run(Counting(), restorer, Recording(pause=0.001), batch=4)
    assert restorer.batches == [4, 4, 4, 4, 4, 3]


def test_decoding_waits_when_encoding_is_slow() -> None:
    source = Counting(1000)
    lead: list[int] = []

    class Watching(Recording):
        def write(self, frame: Frame) -> None:
            time.sleep(0.001)
            lead.append(source.taken - frame.pts)

    run(source, Late(), Watching(), batch=4)
    assert max(lead) <= 4 * 8


def test_an_empty_source_gives_an_empty_result() -> None:
    report = run(Counting(0), Late(), Recording())
    assert (report.frames_in, report.frames_out, report.fps) == (0, 0, 0)


@pytest.mark.parametrize(
    ("source", "restorer", "sink", "failure"),
    [
        (Counting(fail_at=9), Late(), Recording(), "the disk is gone"),
        (Counting(fail_at=0), Late(), Recording(), "the disk is gone"),
        (Counting(1000), Late(failure=RuntimeError("the GPU is gone")), Recording(), "the GPU is gone"),
        (Counting(1000), Late(), Recording(fail_at=0), "the disk is full"),
        (Counting(1000), Late(), Recording(fail_at=500), "the disk is full"),
        (Counting(), Late(), Recording(fail_on_close=True), "the disk is full"),
        (Counting(), Late(failure=KeyboardInterrupt("interrupted")), Recording(), "interrupted"),
    ],
)
def test_a_failure_anywhere_stops_all_and_is_raised_once(
    source: Counting, restorer: Late, sink: Recording, failure: str
) -> None:
    with pytest.raises((OSError, RuntimeError, KeyboardInterrupt), match=failure):
        run(source, restorer, sink)
    assert sink.aborted
    assert not sink.closed
    assert source.closed


class Broken:
    def open_stream(self) -> Late:
        raise OSError("the device is gone")


def test_a_restorer_that_does_not_even_begin_leaves_nothing_behind() -> None:
    source, sink = Counting(), Recording()
    with pytest.raises(OSError, match="the device is gone"):
        run(source, Broken(), sink)
    assert source.closed
    assert sink.aborted


def test_a_failing_progress_callback_stops_the_run_too() -> None:
    def fail(_: Progress) -> None:
        raise BrokenPipeError("nobody reads")

    sink = Recording()
    with pytest.raises(BrokenPipeError, match="nobody reads"):
        run(Counting(1000), Late(), sink, progress=fail)
    assert sink.aborted


def test_a_restorer_that_loses_frames_is_found_out() -> None:
    sink = Recording()
    with pytest.raises(DiffirVideoError, match="23 frames went in, 22 were restored"):
        run(Counting(), Late(delay=2, lose=1), sink)
    assert sink.aborted


@pytest.mark.parametrize(("batch", "queue", "refused"), [(0, 1, "batch"), (1, 0, "queue")])
def test_a_batch_or_a_queue_below_one_makes_no_sense(batch: int, queue: int, refused: str) -> None:
    with pytest.raises(UsageError, match=f"{refused} must be at least 1, got 0"):
        run(Counting(), Late(), Recording(), batch=batch, queue=queue)


@pytest.mark.parametrize(("width", "on_their_way"), [(1920, 6), (3840, 4)])
def test_large_frames_wait_in_short_queues(width: int, on_their_way: int) -> None:
    source = Counting()
    source.info = StreamInfo(width, width * 9 // 16, TICK, "yuv420p")
    taken: list[int] = []

    class Holding(Recording):
        def write(self, frame: Frame) -> None:
            if frame.pts == 0:
                wait_until(lambda: source.taken >= on_their_way)
                time.sleep(0.05)
                taken.append(source.taken)

    run(source, Late(), Holding())
    assert taken == [on_their_way]


def wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 5
    while not condition() and time.monotonic() < limit:
        time.sleep(0.001)


def test_of_two_failures_the_first_is_raised() -> None:
    begun, failed = threading.Event(), threading.Event()

    class FailingFirst(Late):
        def push(self, frames: Sequence[Frame]) -> list[Frame]:
            if self.batches:
                assert begun.wait(5)
                failed.set()
                raise RuntimeError("the GPU is gone")
            return super().push(frames)

    class FailingAfterwards(Recording):
        def write(self, frame: Frame) -> None:
            begun.set()
            assert failed.wait(5)
            time.sleep(0.05)
            raise OSError("the disk is full")

    with pytest.raises(RuntimeError, match="the GPU is gone"):
        run(Counting(), FailingFirst(), FailingAfterwards())


def test_what_is_still_to_be_encoded_when_a_stage_fails_is_not() -> None:
    def fail(_: Progress) -> None:
        wait_until(lambda: bool(sink.kept))
        raise BrokenPipeError("nobody reads")

    sink = Recording(pause=0.01)
    with pytest.raises(BrokenPipeError, match="nobody reads"):
        run(Counting(), Late(), sink, batch=23, progress=fail)
    assert 0 < len(sink.kept) < 23


def test_an_interrupt_does_not_wait_for_a_batch_to_be_full(interrupt: Callable[[], None]) -> None:
    class Interrupting(Counting):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                if frame.pts == 5:
                    interrupt()
                yield frame

    source = Interrupting(100_000)
    with pytest.raises(KeyboardInterrupt):
        run(source, Late(), Recording(), batch=100_000)
    assert source.taken < 100_000


def test_an_interrupt_while_the_encoder_drains_stops_it(interrupt: Callable[[], None]) -> None:
    all_restored = threading.Event()

    class Telling(Late):
        def finish(self) -> list[Frame]:
            all_restored.set()
            return super().finish()

    class Draining(Recording):
        def write(self, frame: Frame) -> None:
            if not self.kept:
                assert all_restored.wait(5)
                time.sleep(0.05)
                interrupt()
            super().write(frame)

    sink = Draining(pause=0.01)
    with pytest.raises(KeyboardInterrupt):
        run(Counting(), Telling(), sink, batch=23)
    assert sink.aborted
    assert len(sink.kept) < 23


def test_a_restorer_needs_no_gradients_of_its_own() -> None:
    modes: list[bool] = []

    class Asking(Late):
        def push(self, frames: Sequence[Frame]) -> list[Frame]:
            modes.append(torch.is_grad_enabled())
            return super().push(frames)

        def finish(self) -> list[Frame]:
            modes.append(torch.is_grad_enabled())
            return super().finish()

    run(Counting(), Asking(), NullSink())
    assert modes == [False] * 7


def test_progress_knows_how_far_it_is() -> None:
    seen: list[Progress] = []
    run(Counting(), Late(), Recording(), progress=seen.append)
    assert [step.frames_done for step in seen] == sorted(step.frames_done for step in seen)
    assert all(step.frames_total == 23 for step in seen)
    assert seen[-1].frames_done == 23
    assert Progress(10, 40, 5.0).fps == 2
    assert Progress(10, 40, 5.0).eta_seconds == 15
    assert Progress(10, None, 5.0).eta_seconds is None


def test_the_last_progress_comes_when_the_sink_is_closed() -> None:
    sink = Recording()
    closed: list[bool] = []
    run(Counting(), Late(), sink, progress=lambda _: closed.append(sink.closed))
    assert closed[-1]
    assert not any(closed[:-1])


def test_the_report_names_the_bottleneck() -> None:
    report = run(Counting(100), Late(), Recording(pause=0.002))
    assert report.bottleneck == "encode"
    assert report.stages["encode"].busy_seconds > 0.1
    assert report.stages["decode"].waiting_seconds > report.stages["decode"].busy_seconds
    assert isinstance(report, RunReport)
    assert report.to_dict()["stages"]["encode"]["busy_seconds"] > 0.1


def test_the_null_sink_counts() -> None:
    sink = NullSink()
    run(Counting(), Late(), sink)
    assert sink.frames == 23


class Ferried:
    """A restorer that restores "elsewhere", where pixels are negative; notes who moved each frame."""

    def __init__(self) -> None:
        self.there: list[str] = []
        self.back: list[str] = []
        self.beside: list[str] = []

    def open_stream(self) -> FerriedStream:
        return FerriedStream(self)


class FerriedStream:
    def __init__(self, owner: Ferried) -> None:
        self._owner = owner
        self.reuse = ReuseReport()

    def open_transfers(self) -> FerriedStream:
        return self

    def push(self, frames: Sequence[Frame]) -> list[Frame]:
        assert all((frame.data <= 0).all() for frame in frames)
        return [frame.with_data(frame.data / 2) for frame in frames]

    def finish(self) -> list[Frame]:
        return []

    def upload(self, frames: list[Frame]) -> list[Frame]:
        self._owner.there += [threading.current_thread().name] * len(frames)
        return [frame.with_data(-frame.data) for frame in frames]

    @contextmanager
    def decoding(self) -> Iterator[None]:
        self._owner.beside.append(threading.current_thread().name)
        yield

    encoding = decoding

    def hand_over(self, frames: list[Frame]) -> Callable[[], list[Frame]]:
        return lambda: [self._brought_back(frame) for frame in frames]

    def _brought_back(self, frame: Frame) -> Frame:
        self._owner.back.append(threading.current_thread().name)
        return frame.with_data(-frame.data)


def test_frames_are_moved_by_the_threads_that_decode_and_encode() -> None:
    restorer, sink = Ferried(), Recording()
    run(Counting(), restorer, sink, batch=4)
    assert restorer.there == ["diffir-decode"] * 23
    assert restorer.back == ["diffir-encode"] * 23
    assert sorted(restorer.beside) == ["diffir-decode", "diffir-encode"]
    assert [frame.pts for frame in sink.kept] == list(range(23))
    for index, frame in enumerate(sink.kept):
        torch.testing.assert_close(frame.data, torch.full((3, 8, 8), index / 200))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_frames_moved_beside_the_gpus_work_are_those_moved_by_itself() -> None:
    torch.manual_seed(0)
    net = DiffIRS2(tiny(past=1))
    pictures = torch.rand(40, 3, 64, 96)
    frames = [Frame(picture, index, TICK) for index, picture in enumerate(pictures)]

    class Source(Counting):
        info = StreamInfo(96, 64, TICK, "yuv420p")

        def __iter__(self) -> Iterator[Frame]:
            return iter(frames)

    sink = Recording()
    restorer = Restorer(net, device="cuda", precision="fp32", reuse="statistics")
    run(Source(), restorer, sink, batch=4)
    stream = restorer.open_stream()
    by_itself = [f for start in range(0, 40, 4) for f in stream.push(frames[start : start + 4])]
    by_itself += stream.finish()
    assert all(frame.data.is_pinned() for frame in sink.kept)
    for moved, own in zip(sink.kept, by_itself, strict=True):
        assert torch.equal(moved.data, own.data.cpu())

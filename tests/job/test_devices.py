"""Several devices at one file: each takes the next segment when it is free, and the file is that of one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from diffir_video import (
    Blended,
    DiffIRS2,
    Frame,
    JobOptions,
    MediaInputError,
    Restorer,
    UsageError,
    VideoReader,
    plan_file,
)
from diffir_video.cli import main
from diffir_video.job import FileReport, restore_file
from diffir_video.restorer import RestorerStream
from diffir_video.run_report import Progress
from tests.media_samples import packets, sample
from tests.network.test_variants import tiny

BeforePush = Callable[[int, int], None]

SECONDS_TO_WAIT = 20
TICKS_OF_SEGMENT = 10 * 512


class Told(Restorer):
    """The identity; `before_push` is told which segment frames are of, of the file's and of its own."""

    def __init__(self, before_push: BeforePush = lambda *_: None) -> None:
        super().__init__(None)
        self.before_push, self.streams = before_push, 0

    def open_stream(self) -> RestorerStream:
        restorer, self.streams = self, self.streams + 1

        class Stream(RestorerStream):
            def push(self, frames: Sequence[Frame]) -> list[Frame]:
                restorer.before_push(frames[0].pts // TICKS_OF_SEGMENT, restorer.streams - 1)
                return super().push(frames)

        return Stream(self)


def restore(
    output: Path,
    restorers: Sequence[Restorer | Blended],
    *,
    source: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> FileReport:
    options = JobOptions(encoder_options={"preset": "ultrafast"}, segment_frames=10)
    source = source or sample("bframes.mp4")
    return restore_file(source, output, restorer=restorers, options=options, progress=progress)


def video_packets(path: Path) -> list[tuple[int, bytes]]:
    return [(packet.pts, bytes(packet)) for packet in packets(path)[0]]


def journal(output: Path) -> list[str]:
    path = output.with_name(f".{output.name}.diffir-job") / "journal.jsonl"
    if not path.exists():
        return []
    return [json.loads(line)["file"] for line in path.read_text().splitlines()]


def threads_of_jobs() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("diffir-")]


def meeting(parties: int) -> BeforePush:
    """Holds each restorer at its first segment until all are there: then all have some of the work."""
    barrier = threading.Barrier(parties)
    met: set[int] = set()

    def wait(_: int, own: int) -> None:
        if own == 0 and threading.get_ident() not in met:
            met.add(threading.get_ident())
            barrier.wait(SECONDS_TO_WAIT)

    return wait


def windowed(**settings: object) -> Restorer:
    torch.manual_seed(0)
    return Restorer(DiffIRS2(tiny(past=1, future=1, **settings)), device="cpu", reuse="prior", refresh=4)


@pytest.mark.parametrize("count", [2, 3])
def test_the_file_is_that_of_one_device(count: int, tmp_path: Path) -> None:
    one, several = tmp_path / "one.mkv", tmp_path / "several.mkv"
    restore(one, [windowed()])
    report = restore(several, [windowed() for _ in range(count)])
    assert video_packets(several) == video_packets(one)
    assert report.lost() == []
    assert (report.segments, report.run.frames_out, report.run.reuse.frames) == (5, 50, 50 + 8)
    assert [share.device for share in report.devices] == ["cpu"] * count
    assert sum(share.frames for share in report.devices) == 50
    assert sum(share.segments for share in report.devices) == 5


def test_whichever_device_is_free_takes_the_next_segment(tmp_path: Path) -> None:
    others_done = threading.Event()

    def wait_for_the_others(*_: int) -> None:
        assert others_done.wait(SECONDS_TO_WAIT)

    def go_on(_: int, own: int) -> None:
        if own == 3:
            others_done.set()

    report = restore(tmp_path / "out.mkv", [Told(go_on), Told(wait_for_the_others)])
    assert sorted(share.segments for share in report.devices) == [1, 4]
    assert "cpu: 10 frames in 1 segment," in str(report)
    assert FileReport.from_dict(json.loads(report.to_json())) == report


def test_segments_are_noted_in_their_order_whichever_is_finished_first(tmp_path: Path) -> None:
    output, noted_meanwhile = tmp_path / "out.mkv", []
    last_begun = threading.Event()

    def hold_the_first(number: int, _: int) -> None:
        if number == 4:
            last_begun.set()
        elif number == 0:
            assert last_begun.wait(SECONDS_TO_WAIT)
            noted_meanwhile.extend(journal(output))

    report = restore(output, [Told(hold_the_first), Told(hold_the_first)])
    assert noted_meanwhile == []
    assert (report.segments, report.lost()) == (5, [])


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failure_of_one_stops_all_and_the_job_goes_on_later(failing: int, tmp_path: Path) -> None:
    met = meeting(2)

    def fail(number: int, own: int) -> None:
        met(number, own)
        raise MemoryError("this device is full")

    restorers = [Told(met), Told(met)]
    restorers[failing].before_push = fail
    one, output = tmp_path / "one.mkv", tmp_path / "out.mkv"
    restore(one, [Told()])
    with pytest.raises(MemoryError, match="this device is full"):
        restore(output, restorers)
    assert threads_of_jobs() == []
    assert not output.exists()
    done = journal(output)
    assert done == [f"{number:06d}.segment" for number in range(len(done))]
    report = restore(output, [Told(), Told()])
    assert report.resumed_segments == len(done)
    assert video_packets(output) == video_packets(one)


def test_segments_that_will_be_redone_take_no_space(tmp_path: Path) -> None:
    output, last_begun = tmp_path / "out.mkv", threading.Event()

    def hold_the_second(number: int, _: int) -> None:
        if number == 1:
            assert last_begun.wait(SECONDS_TO_WAIT)
            raise MemoryError("after what comes later is finished")
        if number == 4:
            last_begun.set()

    with pytest.raises(MemoryError, match="after what"):
        restore(output, [Told(hold_the_second), Told(hold_the_second)])
    assert journal(output) == ["000000.segment"]
    folder = tmp_path / ".out.mkv.diffir-job"
    assert [path.name for path in folder.glob("*.segment")] == ["000000.segment"]


def test_an_interrupt_stops_all(tmp_path: Path) -> None:
    met = meeting(2)

    def interrupt(number: int, own: int) -> None:
        met(number, own)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "out.mkv", [Told(interrupt), Told(met)])
    assert threads_of_jobs() == []
    assert not (tmp_path / "out.mkv").exists()


def test_an_interrupt_waits_for_the_device_that_is_still_at_work(
    interrupt: Callable[[], None], tmp_path: Path
) -> None:
    others_done, interrupted = threading.Event(), threading.Event()

    def go_on(_: int, own: int) -> None:
        if own == 3:
            others_done.set()

    def interrupt_who_waits(*_: int) -> None:
        assert others_done.wait(SECONDS_TO_WAIT)
        time.sleep(0.3)
        if not interrupted.is_set():
            interrupted.set()
            interrupt()
        time.sleep(0.3)

    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "out.mkv", [Told(go_on), Told(interrupt_who_waits)])
    assert threads_of_jobs() == []
    assert not (tmp_path / "out.mkv").exists()


def test_what_reading_raises_is_raised_once_and_no_cut_segment_is_noted(tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    with pytest.raises(MediaInputError, match="changes its frame size"):
        restore(output, [Told(), Told()], source=sample("resized.ts"))
    assert threads_of_jobs() == []
    assert not output.exists()


def test_progress_is_told_in_the_callers_thread_and_reaches_the_end(tmp_path: Path) -> None:
    told: list[int] = []

    def tell(progress: Progress) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(progress.frames_done)

    restore(tmp_path / "out.mkv", [Told(), Told()], progress=tell)
    assert told == sorted(told)
    assert told[-1] == 50


def test_restorers_that_would_differ_are_refused(tmp_path: Path) -> None:
    first = windowed()
    for restorers, message in [
        ([], "got none"),
        ([first, first], "given twice"),
        ([first, Restorer(None)], "differ in weights|differ in "),
        ([Blended(first, 0.5), Blended(windowed(), 0.6)], "differ in strength: 0.5 and 0.6"),
    ]:
        with pytest.raises(UsageError, match=message):
            restore(tmp_path / "out.mkv", restorers)


def test_more_than_the_memory_holds_is_refused_before_the_first_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 4000 pages of 4000 bytes, where ten frames take 1.8 MB.
    monkeypatch.setattr("os.sysconf", lambda _: 4000)
    with pytest.raises(UsageError, match="6 devices at one file hold up to 50 frames of 160x96"):
        restore(tmp_path / "out.mkv", [Told() for _ in range(6)])
    assert list(tmp_path.iterdir()) == []


def test_a_plan_counts_on_all_devices(tmp_path: Path) -> None:
    plan = plan_file(sample("bframes.mp4"), tmp_path / "out.mkv", restorer=[Told(), Told()])
    assert plan.frames == 50
    assert plan.seconds is not None


def test_the_command_names_devices_in_a_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = str(sample("bframes.mp4"))
    command = ["restore", "--model", "denoise-nano", "--segment-frames", "10", "--preset", "web"]
    assert main([*command, source, "one.mp4", "--device", "cpu"]) == 0
    assert main([*command, source, "two.mp4", "--device", "cpu,cpu", "--report", "report.json"]) == 0
    assert video_packets(Path("two.mp4")) == video_packets(Path("one.mp4"))
    devices = json.loads(Path("report.json").read_text())["devices"]
    assert sum(share["frames"] for share in devices) == 50
    capsys.readouterr()
    assert main(["restore", source, "-", "--device", "cpu,cpu"]) == 2
    assert "name one device here" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the CUDA device the test must lack")
@pytest.mark.parametrize("device", ["all", "cuda:1", "cpu,cuda:0"])
def test_devices_that_are_not_here_are_refused(
    device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["restore", str(sample("bframes.mp4")), str(tmp_path / "o.mp4"), "--device", device]) == 2
    assert "sees no" in capsys.readouterr().err or "sees none" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_make_the_file_of_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one.mkv", tmp_path / "two.mkv"
    restore(one, [Restorer.from_pretrained("denoise-nano", device="cuda:0")])
    report = restore(two, [Restorer.from_pretrained("denoise-nano", device=f"cuda:{i}") for i in range(2)])
    assert {share.device for share in report.devices} == {"cuda:0", "cuda:1"}
    assert_alike(two, one)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_one_gpu_twice_makes_the_file_of_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one.mkv", tmp_path / "two.mkv"
    restore(one, [Restorer.from_pretrained("denoise-nano", device="cuda:0")])
    restore(two, [Restorer.from_pretrained("denoise-nano", device="cuda:0") for _ in range(2)])
    assert_alike(two, one)


def assert_alike(left: Path, right: Path) -> None:
    """But for rounding: frames are made on the CPU for several devices, and on the GPU for one."""
    with VideoReader(left) as ours, VideoReader(right) as theirs:
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.pts == other.pts
            assert float((mine.data - other.data).abs().mean()) < 0.25 / 255

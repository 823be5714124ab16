"""A file that crashes the decoder takes down the process that reads it, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.media_samples import sample, video_pts
from tests.streams.peers import wait_until

# A shell's background jobs ignore SIGINT, and hand that on to their children.
HEEDING = ["env", "--default-signal=INT"]
RESTORE = [*HEEDING, sys.executable, "-m", "diffir_video.cli", "restore", "--model", "identity"]


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    # A segment each, so that a file takes long enough to be caught at.
    command = [*RESTORE, "--encoder-option", "preset=slow", "--segment-frames", "20", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_worker(command: subprocess.Popen[str], number: int, when: Callable[[], bool]) -> None:
    assert wait_until(when, 60)
    (worker,) = psutil.Process(command.pid).children()
    worker.send_signal(number)


def is_begun(output: Path) -> bool:
    return output.with_name(f".{output.name}.diffir-job").exists()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_is_an_input_that_cannot_be_read(number: int, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    command = start(sample("long.mp4"), output)
    end_worker(command, number, (tmp_path / ".out.mp4.diffir-job" / "journal.jsonl").exists)
    _, said = command.communicate(timeout=60)
    assert command.returncode == 3
    assert f"long.mp4' crashed FFmpeg's decoder or the network ({signal.Signals(number).name})" in said
    assert not output.exists()
    assert "Traceback" not in said


def test_the_files_after_it_are_restored(tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name, clip in (("a.mp4", "short.mp4"), ("b.mp4", "long.mp4"), ("c.mp4", "upright.mp4")):
        (source / name).symlink_to(sample(clip))
    command = start(source, output)
    end_worker(command, signal.SIGSEGV, lambda: is_begun(output / "b.mp4"))
    printed, said = command.communicate(timeout=120)
    assert command.returncode == 3
    assert "b.mp4: FAILED" in printed
    assert "SIGSEGV" in printed
    assert "1 of 3 files failed" in said
    assert video_pts(output / "a.mp4") == video_pts(sample("short.mp4"))
    assert video_pts(output / "c.mp4") == video_pts(sample("upright.mp4"))
    assert not (output / "b.mp4").exists()


def test_a_job_that_was_killed_goes_on(tmp_path: Path) -> None:
    """As when memory runs out: that is no fault of the input."""
    output = tmp_path / "out.mp4"
    arguments = (sample("short.mp4"), output)
    command = start(*arguments)
    end_worker(command, signal.SIGKILL, (tmp_path / ".out.mp4.diffir-job" / "journal.jsonl").exists)
    _, said = command.communicate(timeout=60)
    assert command.returncode == 1
    assert "out of memory perhaps" in said
    assert start(*arguments).wait(60) == 0
    assert video_pts(output) == video_pts(sample("short.mp4"))


def test_no_worker_outlives_the_command(tmp_path: Path) -> None:
    command = start(sample("long.mp4"), tmp_path / "out.mp4")
    assert wait_until(lambda: is_begun(tmp_path / "out.mp4"), 60)
    (worker,) = psutil.Process(command.pid).children()
    os.kill(command.pid, signal.SIGKILL)
    command.communicate(timeout=60)
    assert wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 10)


def test_an_interrupt_while_the_worker_is_started_is_not_lost(tmp_path: Path) -> None:
    """Python ignores what a signal raises while it forks."""
    program = (
        "import os, signal, sys\n"
        "from diffir_video.cli import main\n"
        "os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "sys.exit(main())"
    )
    arguments = ["restore", "--model", "identity", str(sample("long.mp4")), str(tmp_path / "out.mp4")]
    command = [*HEEDING, sys.executable, "-c", program, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 130
    assert ended.stderr.startswith("diffir-video: interrupted")
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_presses_ctrl_c_again_and_again_ends_it_once(number: int, code: int, tmp_path: Path) -> None:
    """As `timeout` does, too, which tells a process and then its group."""
    command = start("--device", "cpu,cpu", sample("long.mp4"), tmp_path / "out.mp4")
    assert wait_until((tmp_path / ".out.mp4.diffir-job" / "journal.jsonl").exists, 60)
    while command.poll() is None:
        command.send_signal(number)
        time.sleep(0.01)
    _, said = command.communicate(timeout=60)
    assert command.returncode == code
    assert said.endswith("the same command goes on from there\n")
    assert said.count("diffir-video:") == 1

"""`Supervisor`: a command's work in a process of its own.

FFmpeg's decoders are large and old, and a file may be made to crash them. What such a file then takes down is
the worker that reads it; the command says so, and goes on with the next file.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

_LONGEST_NAME = 1 << 16
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT})


class Supervisor:
    """Starts workers one after the other and waits for each.

    crashed: by which signal the worker of an input ended, for every input that brought one down.
    goes_on: whether there is more to do after the input of the last worker.
    """

    def __init__(self) -> None:
        self.crashed: dict[str, str] = {}
        # Both processes see it: what a worker was at is known when it is gone.
        self._current = mmap.mmap(-1, _LONGEST_NAME)

    def is_at(self, input: str, *, of_many: bool = False) -> None:
        """Said by a worker of what it is about to read; of_many: and others come after it."""
        name = os.fsencode(input)[: _LONGEST_NAME - 2]
        self._current[: len(name) + 2] = bytes([of_many]) + name + b"\0"

    @property
    def current(self) -> str:
        """What the last worker was reading, empty if it got to nothing."""
        return os.fsdecode(self._current[1:].partition(b"\0")[0])

    @property
    def goes_on(self) -> bool:
        return bool(self._current[0])

    def start_worker(self) -> int | None:
        """Go on as the worker, None, or when it has ended, with its exit code: below 0 for a signal's number.

        Signals sent to the supervisor are passed on to the worker, which doesn't outlive it.
        """
        self._current[:2] = bytes(2)
        sys.stdout.flush()
        sys.stderr.flush()
        supervisor = os.getpid()
        # What comes while it forks waits until it is known where to: what raises in there is lost.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_FORWARDED, signal.SIGTSTP))
        worker = os.fork()
        if worker == 0:
            _end_with(supervisor)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return None
        with _forwarding_to(worker):
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            _, status = os.waitpid(worker, 0)
        code = os.waitstatus_to_exitcode(status)
        if code < 0 and -code in _CRASHES:
            self.crashed[self.current] = signal.Signals(-code).name
        return code


def why_crashed(input: str, signal_name: str) -> str:
    return (
        f"{input!r} crashed FFmpeg's decoder or the network ({signal_name}): it is damaged, or made to do so"
    )


def _end_with(supervisor: int) -> None:
    # A process group of its own: what the terminal sends comes once, by way of the supervisor.
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(1)


@contextmanager
def _forwarding_to(worker: int) -> Generator[None]:
    def forward(number: int, _: FrameType | None) -> None:
        os.kill(worker, number)

    def stop(_number: int, _: FrameType | None) -> None:
        os.kill(worker, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.kill(worker, signal.SIGCONT)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""SIGINT and SIGTERM: at once, or between the steps of a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar

from diffir_video.errors import DiffirVideoError


class InterruptedRunError(DiffirVideoError):
    """SIGINT ended the run between two steps."""

    exit_code: ClassVar[int] = 130


class TerminatedRunError(DiffirVideoError):
    """SIGTERM ended the run between two steps."""

    exit_code: ClassVar[int] = 143


class TerminatedError(KeyboardInterrupt):
    """SIGTERM: as an interrupt, with an exit code of its own."""


class StopRequest:
    """Signals that ask to stop: raised at once, or, while `may_wait`, the first of them noted.

    signal_number: of the one that was noted, None before. A second one is raised whatever `may_wait` says.
    """

    def __init__(self) -> None:
        self.may_wait = False
        self.signal_number: int | None = None

    def receive(self, number: int, _frame: FrameType | None = None) -> None:
        """What a handler does. Raises KeyboardInterrupt, TerminatedError for SIGTERM, unless it notes it."""
        if self.may_wait and self.signal_number is None:
            self.signal_number = number
            return
        raise TerminatedError if number == signal.SIGTERM else KeyboardInterrupt

    def error(self, message: str) -> DiffirVideoError:
        """What ends a run that was asked to stop; `message` follows the word for the signal."""
        if self.signal_number == signal.SIGTERM:
            return TerminatedRunError(f"terminated {message}")
        return InterruptedRunError(f"interrupted {message}")


@contextmanager
def stop_requests() -> Generator[StopRequest]:
    """Inside the block SIGINT and SIGTERM go to the request; only the main thread can have it so."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""What FFmpeg logs while something is done: the only place where it says some things."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from threading import Lock

import av.logging

WARNING, INFO = av.logging.WARNING, av.logging.INFO

_QUIET = -8

# FFmpeg has one log, one level and one callback for all threads.
_one_at_a_time = Lock()


@contextmanager
def logged_messages(level: int) -> Generator[list[tuple[str, str]]]:
    """What FFmpeg logs from this thread inside the block, at `level` or graver: (who says it, text).

    Complete after the block. What other threads log meanwhile goes where it went before: nowhere, unless
    the program set a level of PyAV's log. To be kept short, and free of what waits for FFmpeg's threads:
    logging takes the interpreter lock.
    """
    with _one_at_a_time:
        level_before, skip_before = av.logging.get_level(), av.logging.get_skip_repeated()
        unheard = av.logging.Capture(local=False) if level_before is None else nullcontext()
        ours = av.logging.Capture()
        messages: list[tuple[str, str]] = []
        with unheard, ours:
            # A message that equals the one before, of an earlier block, would be left out.
            av.logging.set_skip_repeated(False)
            av.logging.set_level(max(level, level_before or level))
            try:
                yield messages
            finally:
                if level_before is None:
                    _let_messages_pass()
                av.logging.set_level(level_before)
                av.logging.set_libav_level(INFO)
                av.logging.set_skip_repeated(skip_before)
                messages += [(name, text) for grade, name, text in ours.logs if grade <= level]


def _let_messages_pass() -> None:
    """Until other threads' messages that were let in are through: they compare themselves with the level."""
    av.logging.set_libav_level(_QUIET)
    av.logging.restore_default_callback()
    time.sleep(0.001)

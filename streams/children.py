"""FFmpeg as a child process that owns a network connection and can be killed at any moment.

FFmpeg's network output inside this process could freeze all of it; as a child, it can at worst freeze
itself. Its input or output is a pipe that is never waited on without a limit, and its messages are drained.
"""

from __future__ import annotations

import logging
import os
import select
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from typing import IO, Any, cast

from streams.unseen import CannotHideError, start

_log = logging.getLogger(__name__)

_KEPT_LINES = 20


class ChildError(Exception):
    """The child ended or stopped reading; the text is its last word, without secrets."""


class FFmpegChild:
    """A running FFmpeg program.

    arguments: without the program's own name. hide: takes secrets out of a line of its messages, and out of
    the arguments that other users of the machine can see.
    reads: whether it is fed through its standard input. stdout: None to read what it writes with
    `output`, a file descriptor to let it write there.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        name: str,
        hide: Callable[[str], str],
        reads: bool,
        stdout: int | None = subprocess.DEVNULL,
    ) -> None:
        self.name = name
        self._hide = hide
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._was_interrupted = False
        # A session of its own: Ctrl-C in a terminal is for us, who then end the stream properly.
        self._process = _started(
            [ffmpeg_program(), *arguments],
            hide,
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
        self._drain = threading.Thread(target=self._drain_messages, name=f"diffir-drain-{name}", daemon=True)
        self._drain.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def was_interrupted(self) -> bool:
        """Whether it was ended from here, by `interrupt` or when its time to `finish` was over."""
        return self._was_interrupted

    @property
    def output(self) -> IO[bytes]:
        """What the child writes; only with `stdout=None`."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def last_words(self) -> str:
        return "; ".join(list(self._lines)[-4:]) or "it said nothing"

    def write(self, data: bytes, stall_seconds: float | None) -> None:
        """Feed the child; raises ChildError when it has ended, or taken nothing for `stall_seconds`.

        None waits for as long as the child lives.
        """
        pipe = self._process.stdin
        assert pipe is not None
        poller = select.poll()
        poller.register(pipe.fileno(), select.POLLOUT)
        rest = memoryview(data)
        since = time.monotonic()
        while rest:
            left = None if stall_seconds is None else since + stall_seconds - time.monotonic()
            if left is not None and left <= 0:
                raise ChildError(f"took nothing for {stall_seconds:g} s")
            if not poller.poll(None if left is None else left * 1000):
                continue
            try:
                written = os.write(pipe.fileno(), rest)
            except BlockingIOError:
                continue
            except OSError as exc:
                raise ChildError(self._ended()) from exc
            rest = rest[written:]
            since = time.monotonic()

    def finish(self, seconds: float | None) -> bool:
        """End its input and give it `seconds` to end by itself; kills it otherwise. True if it ended well.

        None waits for as long as it takes; `interrupt` ends that.
        """
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.interrupt()
            code = -1
        self.kill()
        return code == 0

    def interrupt(self) -> None:
        """End it now, from any thread; whoever uses it learns by a ChildError and calls `kill`."""
        self._was_interrupted = self._was_interrupted or self.is_running
        self._process.kill()

    def kill(self) -> None:
        """End it now and leave nothing of it behind. Safe to call again."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._drain.join()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _ended(self) -> str:
        try:
            code = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            return f"closed its input: {self.last_words}"
        self._drain.join(0.5)
        return f"ended with code {code}: {self.last_words}"

    def _drain_messages(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        for line in stderr:
            text = self._hide(line.decode("utf-8", "replace").strip())
            if text:
                self._lines.append(text)
                _log.debug("%s: %s", self.name, text)


def nobody_reads(descriptor: int) -> bool:
    """Whether the other end of a pipe or socket is closed."""
    poller = select.poll()
    poller.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poller.poll(0))


def _started(command: Sequence[str], hide: Callable[[str], str], **options: Any) -> subprocess.Popen[bytes]:
    try:
        return start(command, hide, **options)
    except CannotHideError as exc:
        _warn_of_visible_secrets(str(exc))
        return cast("subprocess.Popen[bytes]", subprocess.Popen(command, **options))


@cache
def _warn_of_visible_secrets(why: str) -> None:
    """Once: every reconnect would say the same."""
    _log.warning("%s: other users of this machine can read stream addresses in its process list", why)


@cache
def ffmpeg_program() -> str:
    """The FFmpeg that imageio-ffmpeg brings: it has SRT and WHIP, which PyAV's libraries lack."""
    import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]

    return imageio_ffmpeg.get_ffmpeg_exe()

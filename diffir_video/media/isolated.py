"""`IsolatedReader`: a `VideoReader` in a process of its own, whose end is not the end of this one.

Frames come through shared memory, all else as pickled tuples through a socket. The process ends when its
socket does, so that none is left behind, however this one ends.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from diffir_video.errors import DiffirVideoError, MediaInputError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.media.deinterlace import Deinterlace, FieldOrder
from diffir_video.media.geometry import Crop
from diffir_video.media.inputs import StrPath
from diffir_video.media.losses import ReadLosses
from diffir_video.media.read_options import ReadOptions, check_path, check_read_options
from diffir_video.media.reader import VideoReader

# Frames the process may be ahead by.
_SLOTS = 4

_PROGRAM = "import sys; from diffir_video.media.isolated import serve; serve(*map(int, sys.argv[1:]))"


class IsolatedReader:
    """As `VideoReader`, whose arguments but `device` it takes, but read and decoded in another process.

    Where that process ends before its time, killed by a fault of a decoder or for the memory it took, the
    frames before are kept and `losses.crashed` says so; without a first frame MediaInputError is raised.
    """

    def __init__(
        self,
        path: StrPath,
        *,
        deinterlace: Deinterlace = "off",
        field_order: FieldOrder = "auto",
        start: Fraction | None = None,
        end: Fraction | None = None,
        crop: Crop | None = None,
        excursions: bool = False,
    ) -> None:
        check_path(path)
        options = ReadOptions(
            deinterlace=deinterlace, field_order=field_order, start=start, end=end, crop=crop
        )
        check_read_options(**options)
        self._path = path
        ours, theirs = socket.socketpair()
        self._memory = os.memfd_create("diffir-video frames")
        # A reader that is left half way, as by `break`, may never be closed. The number of a descriptor that
        # is closed is soon another file's: this closes it once.
        self._close_memory = weakref.finalize(self, os.close, self._memory)
        passed = (theirs.fileno(), self._memory)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *map(str, passed)],
            pass_fds=passed,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        theirs.close()
        self._connection = Connection(ours.detach())
        self._frames: Generator[Frame] | None = None
        try:
            self._tell((path, {**options, "excursions": excursions}))
            said = self._hear()
            if said is None:
                raise MediaInputError(f"can't read {str(path)!r}: its decoder crashed ({self._cause()})")
            self.info: StreamInfo
            self.notes: tuple[str, ...]
            self.other_tracks: int
            self.has_alpha: bool
            self.losses: ReadLosses
            self.has_captions = False
            self.info, self.notes, self.other_tracks, self.has_alpha, self.losses = said
        except BaseException:
            self.close()
            raise
        self._skipping: tuple[int, bool] | None = None

    @property
    def is_intact(self) -> bool:
        """Whether nothing was lost or had to be guessed so far, not even a timestamp."""
        return not self.losses and not self.losses.inferred_pts

    def skip_before(self, pts: int, *, decode: bool) -> None:
        """As of `VideoReader`."""
        self._skipping = (pts, decode)

    def __iter__(self) -> Iterator[Frame]:
        if self._frames is None:
            self._frames = self._deliver()
        return self._frames

    def close(self) -> None:
        """End the process; safe to call again."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._close_memory()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deliver(self) -> Generator[Frame]:
        if not self._close_memory.alive:
            return
        with mmap.mmap(self._memory, 0) as memory:
            self._tell(self._skipping)
            while said := self._hear():
                slot, pts, duration, is_keyframe, captions, self.losses, self.notes = said
                if slot is None:
                    return
                data = _slot(memory, slot, self.info).clone()
                self._tell(slot)
                self.has_captions = self.has_captions or captions is not None
                yield Frame(
                    data, pts, self.info.time_base, duration, is_keyframe=is_keyframe, captions=captions
                )
        self.losses = replace(self.losses, crashed=True)

    def _tell(self, what: object) -> None:
        # Where nobody listens any more, `_hear` finds out.
        with suppress(OSError):
            self._connection.send(what)

    def _hear(self) -> Any:
        """What the process says next; None if it is gone. Raises the error it ended with."""
        try:
            said = self._connection.recv()
        except (EOFError, OSError):
            return None
        if isinstance(said, _Raised):
            raise said.error()
        return said

    def _cause(self) -> str:
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class _Raised:
    """An error on its way to the other process."""

    def __init__(self, exc: DiffirVideoError) -> None:
        self._kind, self._message = type(exc), str(exc)

    def error(self) -> DiffirVideoError:
        return self._kind(self._message)


def _frame_bytes(info: StreamInfo) -> int:
    return 3 * 4 * info.width * info.height


def _slot(memory: mmap.mmap, slot: int, info: StreamInfo) -> Tensor:
    """The slot's (3, H, W), a view of the memory, to be gone before that is closed."""
    count, begin = 3 * info.width * info.height, slot * _frame_bytes(info)
    flat = torch.frombuffer(memory, dtype=torch.float32, count=count, offset=begin)
    return flat.view(3, info.height, info.width)


def _serve(connection: Connection, memory: int) -> None:
    """Read what the first message asks for until the end, or until nobody listens."""
    path, arguments = connection.recv()
    try:
        with VideoReader(path, **arguments) as reader:
            os.ftruncate(memory, _SLOTS * _frame_bytes(reader.info))
            about = (reader.info, reader.notes, reader.other_tracks, reader.has_alpha, reader.losses)
            connection.send(about)
            skipping: tuple[int, bool] | None = connection.recv()
            if skipping is not None:
                reader.skip_before(skipping[0], decode=skipping[1])
            with mmap.mmap(memory, 0) as slots:
                _send_frames(reader, connection, slots)
            connection.send((None, 0, None, False, None, reader.losses, reader.notes))
    except DiffirVideoError as exc:
        connection.send(_Raised(exc))


def _send_frames(reader: VideoReader, connection: Connection, slots: mmap.mmap) -> None:
    free = list(range(_SLOTS))
    for frame in reader:
        if not free:
            free.append(connection.recv())
        slot = free.pop()
        _slot(slots, slot, reader.info).copy_(frame.data)
        about = (frame.pts, frame.duration, frame.is_keyframe, frame.captions)
        connection.send((slot, *about, reader.losses, reader.notes))


def serve(connection: int, memory: int) -> None:
    """Be the other process: `connection` and `memory` are the descriptors it was given."""
    # An interrupt is for the other process; where memory runs out, this one is to go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(Connection(connection), memory)

"""What `pipeline.run` needs at its ends and in its middle: sources, restorers, sinks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

from diffir_video.frame import Frame, StreamInfo
from diffir_video.prior import ReuseReport


class FrameSource(Protocol):
    """Where frames come from: a file, a folder of pictures, a live stream.

    A frame is complete when it comes, whatever device made it.
    """

    @property
    def info(self) -> StreamInfo: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class FrameSink(Protocol):
    """Where frames go. `close` flushes and finishes; `abort` leaves nothing behind."""

    def write(self, frame: Frame) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class FrameRestorerStream(Protocol):
    """One stream's restoring: frames in order in, restored frames in order out, late by the window."""

    @property
    def reuse(self) -> ReuseReport: ...

    def push(self, frames: Sequence[Frame]) -> list[Frame]: ...

    def finish(self) -> list[Frame]: ...


class FrameTransfers(Protocol):
    """Takes frames to where they are restored, and back, beside the restoring of others."""

    def upload(self, frames: list[Frame]) -> list[Frame]:
        """Called in the decoding thread: the same frames, there when it returns."""
        ...

    def hand_over(self, frames: list[Frame]) -> Callable[[], list[Frame]]:
        """Called in the restoring thread; what it returns brings the frames back, in the encoding thread.

        They come back to the CPU, or stay where they were restored if the source makes its frames there too.
        """
        ...

    def decoding(self) -> AbstractContextManager[object]:
        """What the decoding thread does within it, on whatever device, is done beside the restoring."""
        ...

    def encoding(self) -> AbstractContextManager[object]:
        """The same of the encoding thread."""
        ...


@runtime_checkable
class TransferringStream(Protocol):
    """A restorer's stream whose frames are better moved by others than by itself."""

    def open_transfers(self) -> FrameTransfers:
        """Called once, before the first frame, in the thread that restores."""
        ...


class FrameRestorer(Protocol):
    """What `run` needs of a `Restorer`."""

    def open_stream(self) -> FrameRestorerStream: ...


@runtime_checkable
class BatchingRestorer(Protocol):
    """A restorer that says how many frames of a stream it wants at once; None leaves it to the loop."""

    def batch_frames(self, info: StreamInfo) -> int | None: ...


class NullSink:
    """The black hole: takes every frame, counts it, keeps none."""

    def __init__(self) -> None:
        self.frames = 0

    def write(self, frame: Frame) -> None:  # noqa: ARG002 - the protocol's argument
        self.frames += 1

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class NoTransfers:
    """`FrameTransfers` where frames are restored where they are."""

    def upload(self, frames: list[Frame]) -> list[Frame]:
        return frames

    def hand_over(self, frames: list[Frame]) -> Callable[[], list[Frame]]:
        return lambda: frames

    def decoding(self) -> AbstractContextManager[object]:
        return nullcontext()

    def encoding(self) -> AbstractContextManager[object]:
        return nullcontext()

"""Windows of neighbouring frames that never cross a cut."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from diffir_video.frame import Frame
from diffir_video.prior import FrameStatistics


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A frame that arrived.

    frame: where it came on the restoring device, its data are the picture's, before that was padded.
    picture: (3, H', W') float32, clamped to [0, 1] and padded, on the restoring device.
    repeats: its pixels equal those of the frame before.
    """

    frame: Frame
    picture: Tensor
    statistics: FrameStatistics
    starts_shot: bool
    repeats: bool


@dataclass(frozen=True, slots=True)
class Window:
    """A frame to restore among its neighbours, oldest first.

    is_whole: no frame stands in for one beyond the shot's ends. is_duplicate: every frame equals that of the
    window before.
    """

    middle: SeenFrame
    frames: tuple[SeenFrame, ...]
    is_whole: bool
    is_duplicate: bool


class ShotWindows:
    """The windows of one shot after the other; the shot's own ends stand in for frames beyond them.

    Never holds more than past + future frames between two calls.
    """

    def __init__(self, past: int, future: int) -> None:
        self._past, self._future = past, future
        self._shot: list[SeenFrame] = []
        self._next = 0
        self._before: tuple[SeenFrame, ...] = ()

    def __len__(self) -> int:
        return len(self._shot)

    def push(self, seen: SeenFrame) -> list[Window]:
        """Take the next frame; returns the windows that are now complete."""
        windows = self.finish() if seen.starts_shot else []
        self._shot.append(seen)
        return [*windows, *self._windows_up_to(len(self._shot) - self._future)]

    def finish(self) -> list[Window]:
        """End the shot; returns the windows that were waiting for a future."""
        windows = self._windows_up_to(len(self._shot))
        self._shot, self._next, self._before = [], 0, ()
        return windows

    def _windows_up_to(self, end: int) -> list[Window]:
        windows: list[Window] = []
        while self._next < end:
            windows.append(self._window_around(self._next))
            self._next += 1
        # One more than the next window needs would be kept for nothing.
        unneeded = max(self._next - self._past, 0)
        del self._shot[:unneeded]
        self._next -= unneeded
        return windows

    def _window_around(self, index: int) -> Window:
        last = len(self._shot) - 1
        inside = range(index - self._past, index + self._future + 1)
        frames = tuple(self._shot[min(max(i, 0), last)] for i in inside)
        pairs = zip(self._before, frames, strict=False)
        is_duplicate = bool(self._before) and all(
            earlier is later or later.repeats for earlier, later in pairs
        )
        self._before = frames
        return Window(
            middle=self._shot[index],
            frames=frames,
            is_whole=inside[0] >= 0 and inside[-1] <= last,
            is_duplicate=is_duplicate,
        )

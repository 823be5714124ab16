"""`Blended`: a restorer whose result is mixed with the original, so that one can have less of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from numbers import Real

import torch
import torch.nn.functional as F

from diffir_video.chain import Chain, ChainStream
from diffir_video.errors import UsageError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.prior import ReuseReport
from diffir_video.restorer import Restorer, RestorerStream, checked_frames
from diffir_video.stages import FrameTransfers


class Blended:
    """`strength` of what `restorer` makes, the rest of the original (enlarged by bicubic interpolation).

    1 is the restorer's own result, 0 the original. Raises UsageError outside of that.
    """

    def __init__(self, restorer: Restorer | Chain, strength: float) -> None:
        if not isinstance(strength, Real) or not 0 <= strength <= 1:
            raise UsageError(f"strength must be from 0 to 1, got {strength!r}")
        self._restorer, self._strength = restorer, float(strength)

    @property
    def device(self) -> torch.device:
        return self._restorer.device

    @property
    def scale(self) -> int:
        return self._restorer.scale

    @property
    def reach(self) -> tuple[int, int]:
        return self._restorer.reach

    def batch_frames(self, info: StreamInfo) -> int | None:
        return self._restorer.batch_frames(info)

    @property
    def settings(self) -> dict[str, str]:
        return {**self._restorer.settings, "strength": str(self._strength)}

    def open_stream(self) -> BlendedStream:
        return BlendedStream(self._restorer.open_stream(), self.scale, self._strength)


class BlendedStream:
    """One stream's restoring and mixing; holds the originals of the frames that the restorer still holds."""

    def __init__(self, stream: RestorerStream | ChainStream, scale: int, strength: float) -> None:
        self._stream, self._scale, self._strength = stream, scale, strength
        self._originals: deque[Frame] = deque()

    @property
    def reuse(self) -> ReuseReport:
        """What the restorer decided so far."""
        return self._stream.reuse

    def open_transfers(self) -> FrameTransfers:
        return self._stream.open_transfers()

    def push(self, frames: Iterable[Frame]) -> list[Frame]:
        given = checked_frames(frames)
        restored = self._stream.push(given)
        self._originals.extend(given)
        return [self._mixed(frame) for frame in restored]

    def finish(self) -> list[Frame]:
        return [self._mixed(frame) for frame in self._stream.finish()]

    def _mixed(self, restored: Frame) -> Frame:
        original = self._originals.popleft().data.to(restored.data)
        if self._scale != 1:
            size = restored.data.shape[-2:]
            original = F.interpolate(original[None], size, mode="bicubic", antialias=False)[0].clamp(0, 1)
        return restored.with_data(torch.lerp(original, restored.data, self._strength))

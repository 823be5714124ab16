"""Frames on their way to a CUDA device and back, through pinned memory and streams of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache, partial

import torch

from diffir_video.frame import Frame


class CudaTransfers:
    """`FrameTransfers` of a device: copies run beside its kernels, which never wait for the host's memory.

    To be made in the thread that restores. A frame uploaded is complete when `upload` returns, so that the
    kernels need not wait for a copy either. Restored frames come back in pinned memory. Those of a source
    that makes its frames on the device stay there, for a sink that takes them within `encoding`.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kernels = torch.cuda.current_stream(device)
        self._up, self._down = _streams_of(self._kernels.device)
        self._source_is_on_device = False

    def decoding(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._up)

    def encoding(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._down)

    def upload(self, frames: list[Frame]) -> list[Frame]:
        if frames:
            self._source_is_on_device = frames[0].data.is_cuda
        with torch.cuda.stream(self._up):
            uploaded = [frame.with_data(self._uploaded(frame.data)) for frame in frames]
        self._up.synchronize()
        return uploaded

    def hand_over(self, frames: list[Frame]) -> Callable[[], list[Frame]]:
        restored = torch.cuda.Event()
        restored.record(self._kernels)
        return partial(self._bring_back, frames, restored)

    def _uploaded(self, data: torch.Tensor) -> torch.Tensor:
        there = data if data.is_cuda else data.pin_memory()
        there = there.to(self._device, non_blocking=True)
        # Its memory belongs to the copying stream, which must not reuse it while kernels still read.
        there.record_stream(self._kernels)
        return there

    def _bring_back(self, frames: list[Frame], restored: torch.cuda.Event) -> list[Frame]:
        with torch.cuda.stream(self._down):
            self._down.wait_event(restored)
            if self._source_is_on_device:
                for frame in frames:
                    frame.data.record_stream(self._down)
                return frames
            downloaded = [frame.with_data(self._downloaded(frame.data)) for frame in frames]
        self._down.synchronize()
        return downloaded

    def _downloaded(self, data: torch.Tensor) -> torch.Tensor:
        here = torch.empty(data.shape, dtype=data.dtype, device="cpu", pin_memory=True)
        data.record_stream(self._down)
        return here.copy_(data, non_blocking=True)


@lru_cache
def _streams_of(device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
    """For copies up and down. The same for every run: freed memory serves only the stream it was made for."""
    return torch.cuda.Stream(device), torch.cuda.Stream(device)

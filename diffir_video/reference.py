"""`ReferenceRestorer`: the network as it was trained, which everything faster is measured against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
from torch import Tensor

from diffir_video.devices import Device, choose_device, keep_float32
from diffir_video.frame import Frame
from diffir_video.inference import hasten_motion
from diffir_video.network import DiffIRS2
from diffir_video.prior import CutDetector, FrameStatistics, ReuseReport
from diffir_video.shots import SeenFrame, ShotWindows, Window
from diffir_video.tiling import crop, pad_to_multiple


class ReferenceRestorer:
    """A stage-2 network run plainly: eager, float32, contiguous tensors, one frame and one prior at a time.

    The network is copied. Raises UsageError for a device that isn't here.
    """

    def __init__(self, net: DiffIRS2, *, device: Device = "auto", seed: int = 0) -> None:
        self.device = choose_device(device)
        keep_float32(self.device)
        self.net: DiffIRS2 = deepcopy(net).eval().to(self.device)
        self.net.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        # Plain torch's search would take longer than the network, and make everything else look fast.
        hasten_motion(self.net.G)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(1, net.config.prior_width, generator=generator)
        self.noise = noise.to(self.device)

    def open_stream(self) -> ReferenceStream:
        return ReferenceStream(self)


class ReferenceStream:
    """One pass over one video; cuts are found and windows made as a `RestorerStream` does."""

    def __init__(self, restorer: ReferenceRestorer) -> None:
        self._restorer = restorer
        config = restorer.net.config
        self._windows = ShotWindows(config.past, config.future)
        self._cuts = CutDetector()
        self._last: Tensor | None = None

    @property
    def reuse(self) -> ReuseReport:
        """Nothing is shared."""
        return ReuseReport()

    @torch.inference_mode()
    def push(self, frames: Sequence[Frame]) -> list[Frame]:
        windows = [window for seen in self._look_at(frames) for window in self._windows.push(seen)]
        return [self._restore(window) for window in windows]

    @torch.inference_mode()
    def finish(self) -> list[Frame]:
        return [self._restore(window) for window in self._windows.finish()]

    def _look_at(self, frames: Sequence[Frame]) -> Iterator[SeenFrame]:
        pictures = [frame.data.to(self._restorer.device, torch.float32).clamp(0, 1) for frame in frames]
        for frame, picture, statistics in zip(frames, pictures, FrameStatistics.of(pictures), strict=True):
            yield SeenFrame(
                frame=frame,
                picture=pad_to_multiple(picture[None], self._restorer.net.multiple)[0],
                statistics=statistics,
                starts_shot=self._cuts.starts_shot(statistics),
                repeats=False,
            )

    def _restore(self, window: Window) -> Frame:
        net, frame = self._restorer.net, window.middle.frame
        pictures = [seen.picture for seen in window.frames]
        if net.config.recurrent and window.is_whole and self._last is not None:
            pictures[0] = self._last.clamp(0, 1)
        lq: Tensor = torch.cat(pictures)[None]
        picture = net.restore(lq, net.estimate_prior(lq, self._restorer.noise))[0]
        self._last = picture
        height, width = frame.data.shape[-2:]
        cut = crop(picture, height * net.config.scale, width * net.config.scale)
        return frame.with_data(cut.clamp(0, 1).to(frame.data.device))

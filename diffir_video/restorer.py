"""`Restorer`: weights, a device and a precision; frames in, restored frames out."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from diffir_video.checkpoint import load_checkpoint
from diffir_video.errors import UsageError
from diffir_video.frame import Clip, Frame
from diffir_video.network import DiffIR, DiffIRS2
from diffir_video.tiling import crop, pad_to_multiple
from diffir_video.zoo import IDENTITY, find_weights

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Restorer:
    """A stage-2 network ready to restore video.

    The prior is sampled from noise that `seed` fixes once, so the same input gives the same output.
    """

    def __init__(
        self, net: DiffIR | None, *, device: Device = "auto", precision: Precision = "auto", seed: int = 0
    ) -> None:
        """`net`: stage 2, three image channels; None restores nothing and passes frames through.

        device "auto" is CUDA where there is one; precision "auto" is bf16 on CUDA and fp32 on a CPU.
        Raises UsageError on a network or a device that can't be used.
        """
        if net is not None and not isinstance(net, DiffIRS2):
            raise UsageError("a stage-1 network needs the ground truth to find its prior; give a stage-2 one")
        if net is not None and net.config.image_channels != 3:
            raise UsageError("an inpainting network needs masks, which a video does not carry")
        self.device = _choose_device(device)
        self.precision = _choose_precision(precision, self.device)
        self.seed = seed
        self._net: DiffIRS2 | None = None
        self._noise = torch.empty(0)
        if net is not None:
            net.eval().to(self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            self._net = net
            generator = torch.Generator().manual_seed(seed)
            self._noise = torch.randn(1, net.config.prior_width, generator=generator).to(self.device)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        device: Device = "auto",
        precision: Precision = "auto",
        seed: int = 0,
    ) -> Self:
        """A built-in model by name, `identity` for none, or a checkpoint by path.

        Raises UnknownModelError, CheckpointError, and UsageError as the constructor does.
        """
        net = None if str(name_or_path) == IDENTITY else load_checkpoint(find_weights(name_or_path))
        return cls(net, device=device, precision=precision, seed=seed)

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return self._net.config.scale if self._net else 1

    @property
    def multiple(self) -> int:
        """Frames are padded to multiples of this, and cut back afterwards."""
        return self._net.multiple if self._net else 1

    @property
    def window(self) -> tuple[int, int]:
        """Frames (past, future) that the network sees around the one it restores."""
        return (self._net.config.past, self._net.config.future) if self._net else (0, 0)

    @property
    def settings(self) -> dict[str, str]:
        """All that decides what a frame becomes, for people to read and for jobs to compare."""
        return {
            "weights": self._weights_digest,
            "seed": str(self.seed),
            "device": self.device.type,
            "precision": self.precision,
        }

    @cached_property
    def _weights_digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in self._net.state_dict().items() if self._net else ():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest() if self._net else IDENTITY

    def restore(self, clip: Clip) -> Clip:
        """Restore a clip by itself: its first and last frames stand in for those beyond its ends.

        (T, 3, H, W) → (T, 3, s·H, s·W), float in [0, 1], on the clip's device.
        """
        stream = self.open_stream()
        frames = [*stream.push(clip.frames()), *stream.finish()]
        return Clip.from_frames(frames)

    def open_stream(self) -> RestorerStream:
        """Begin a stream: frames pushed into it come back restored, in order."""
        return RestorerStream(self)

    @torch.inference_mode()
    def restore_windows(self, frames: Tensor) -> Tensor:
        """Restore all frames that have a full window.

        frames: (past + T + future, 3, H, W), float in [0, 1], on any device. Returns (T, 3, s·H, s·W),
        float32 in [0, 1], on the same device. One prior per frame.
        """
        past, future = self.window
        count = len(frames) - past - future
        if self._net is None:
            return frames
        height, width = frames.shape[-2:]
        padded = pad_to_multiple(frames.to(self.device, torch.float32).clamp(0, 1), self.multiple)
        lq = torch.cat([padded[i : i + count] for i in range(past + 1 + future)], dim=1)
        with self._autocast():
            prior = self._net.estimate_prior(lq, self._noise.expand(count, -1))
            restored = self._net.restore(lq, prior)
        restored = crop(restored, height * self.scale, width * self.scale)
        return restored.float().clamp(0, 1).to(frames.device)

    def _autocast(self) -> torch.autocast:
        dtype = _DTYPES[self.precision]
        # Autocast has no float32 mode on a CPU; a disabled one is the same and silent.
        enabled = dtype != torch.float32
        return torch.autocast(self.device.type, dtype if enabled else None, enabled=enabled)


class RestorerStream:
    """One pass over one video: a ring buffer that never holds more than the window and one batch."""

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self._past, self._future = restorer.window
        self._ring: deque[Frame] = deque()
        self._started = False

    def push(self, frames: Sequence[Frame]) -> list[Frame]:
        """Take the next frames, in order; return those whose window is now complete, restored.

        Frames keep their pts and duration. Raises ValueError if the size changes.
        """
        if not frames:
            return []
        if not self._started:
            self._started = True
            self._ring.extend([frames[0]] * self._past)
        self._ring.extend(frames)
        return self._restore_ready()

    def finish(self) -> list[Frame]:
        """The frames still waiting for a future; the last one stands in for it. The stream is then empty."""
        if not self._started:
            return []
        if self._future:
            self._ring.extend([self._ring[-1]] * self._future)
        restored = self._restore_ready()
        self._ring.clear()
        self._started = False
        return restored

    def _restore_ready(self) -> list[Frame]:
        held = list(self._ring)
        centres = held[self._past : len(held) - self._future]
        if not centres:
            return []
        shapes = {tuple(frame.data.shape) for frame in held}
        if len(shapes) > 1:
            raise ValueError(f"all frames of a stream have one size, got {sorted(shapes)}")
        restored = self._restorer.restore_windows(torch.stack([frame.data for frame in held]))
        for _ in centres:
            self._ring.popleft()
        return [frame.with_data(data) for frame, data in zip(centres, restored, strict=True)]


def _choose_device(device: Device) -> torch.device:
    if device not in get_args(Device):
        raise UsageError(f"device {device!r}: expected one of {get_args(Device)}")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device 'cuda' was asked for, but this torch sees no CUDA device; use cpu or auto")
    return torch.device(device)


def _choose_precision(precision: Precision, device: torch.device) -> Precision:
    if precision not in get_args(Precision):
        raise UsageError(f"precision {precision!r}: expected one of {get_args(Precision)}")
    if precision == "auto":
        return "bf16" if device.type == "cuda" else "fp32"
    return precision

"""`Restorer`: weights, a device and a precision; frames in, restored frames out."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Literal, Self

import torch
from torch import Tensor

from diffir_video.allocator import LOOP_KEEPS_BYTES, prepare_allocator
from diffir_video.checkpoint import load_checkpoint
from diffir_video.devices import Device, as_current, choose_device, keep_float32
from diffir_video.errors import UsageError
from diffir_video.frame import Clip, Frame, StreamInfo
from diffir_video.inference import (
    Backend,
    Batch,
    InferenceOptions,
    Tile,
)
from diffir_video.inference.transfers import CudaTransfers
from diffir_video.network import DiffIR, DiffIRS2
from diffir_video.precision import DTYPES, Precision, choose_precision, products_of
from diffir_video.prior import (
    CutDetector,
    Decision,
    FrameStatistics,
    PriorTracker,
    ReuseLevel,
    ReusePolicy,
    ReuseReport,
)
from diffir_video.shots import SeenFrame, ShotWindows, Window
from diffir_video.spans import PriorNetwork, SpanRestorer
from diffir_video.stages import FrameTransfers, NoTransfers
from diffir_video.tiling import crop, pad_to_multiple
from diffir_video.zoo import IDENTITY, find_weights

Refresh = Literal["auto"] | int

# Several frames at once hide what a launch costs; four of 1920 x 1080, as they come out, are 100 MB.
_MOST_FRAMES_ON_CUDA, _BYTES_ON_CUDA = 4, 128 * 2**20

# After so many frames a recurrent network's result is as good as that of the whole stream; but for rounding
# the same, where no motion is compensated: what is found in noise depends on what was restored before.
_MEMORY_FRAMES = 32


class Restorer:
    """A stage-2 network ready to restore video.

    The prior is sampled from noise that `seed` fixes once, so the same input gives the same output.
    """

    def __init__(
        self,
        net: DiffIR | None,
        *,
        device: Device = "auto",
        precision: Precision = "auto",
        seed: int = 0,
        reuse: ReuseLevel | ReusePolicy = "off",
        refresh: Refresh = "auto",
        tile: Tile = "auto",
        batch: Batch = "auto",
        backend: Backend = "auto",
        record_decisions: bool = False,
    ) -> None:
        """`net`: stage 2, three image channels; None restores nothing and passes frames through. The restorer
            takes it over: it is moved to the device, in evaluation mode and float32, and shouldn't be
            trained meanwhile.

        seed: a whole number of at most 64 bits, of which the lowest 32 make a difference.
        device: "cpu", "cuda", of several "cuda:1"; "auto" is CUDA where there is one. On CUDA torch's TF32 is
            switched off in this process: float32 is to be float32.
        precision "auto" is bf16 on CUDA, fp16 on GPUs that have no bf16, and bf16 on a CPU whose compiled
            kernels multiply in it while all else stays float32; elsewhere fp32. bf16x3 makes each product of
            float32 of three in bf16, on CPUs with AMX: next to fp32 in what comes out, and faster. int8 makes
            those of the blocks of integers of 8 bits, on CPUs with VNNI: faster than bf16 without AMX, and
            less exact (docs/performance.md).
        reuse: a level or a whole policy (see `ReusePolicy`), with which every stream begins.
        refresh: "auto" refreshes a held prior as the policy says, a number every so many frames and at cuts.
        tile, batch, backend: how much of a frame and how many frames the network works on at a time, and what
            runs it (see `InferenceOptions`). Neither tile nor batch changes what comes out, but for rounding,
            on which it may depend where a recurrent network finds motion in noise.
        record_decisions: keep what was decided for every frame in the streams' reports.
        Raises UsageError on a network, a device, a seed or a policy that can't be used.
        """
        if net is not None and not isinstance(net, DiffIR):  # pyright: ignore[reportUnnecessaryIsInstance]
            given = type(net).__name__
            raise UsageError(f"expected a DiffIRS2, got {given}; from_pretrained takes a name or a path")
        if net is not None and not isinstance(net, DiffIRS2):
            raise UsageError("a stage-1 network needs the ground truth to find its prior; give a stage-2 one")
        if net is not None and net.config.image_channels != 3:
            raise UsageError("an inpainting network needs masks, which a video does not carry")
        # Before the threads of decoders, which would have pools of their own by then.
        prepare_allocator(LOOP_KEEPS_BYTES)
        # Frames that nothing is done to need not travel.
        self.device = choose_device("cpu" if net is None and device == "auto" else device)
        keep_float32(self.device)
        self.precision = choose_precision(precision, self.device, backend)
        self.seed = _checked_seed(seed)
        self.policy = _choose_policy(reuse, refresh)
        self.record_decisions = record_decisions
        dtype = DTYPES[self.precision]
        products = products_of(self.precision)
        self.inference = InferenceOptions(tile, batch, backend, products).on(self.device, dtype)
        self.network = None if net is None else PriorNetwork(net, self.device, dtype, seed, self.inference)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        device: Device = "auto",
        precision: Precision = "auto",
        seed: int = 0,
        reuse: ReuseLevel | ReusePolicy = "off",
        refresh: Refresh = "auto",
        tile: Tile = "auto",
        batch: Batch = "auto",
        backend: Backend = "auto",
        record_decisions: bool = False,
    ) -> Self:
        """A built-in model by name, `identity` for none, or a checkpoint by path.

        Raises UnknownModelError, CheckpointError, and UsageError as the constructor does.
        """
        net = None if str(name_or_path) == IDENTITY else load_checkpoint(find_weights(name_or_path))
        return cls(
            net,
            device=device,
            precision=precision,
            seed=seed,
            reuse=reuse,
            refresh=refresh,
            tile=tile,
            batch=batch,
            backend=backend,
            record_decisions=record_decisions,
        )

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return self.network.net.config.scale if self.network else 1

    @property
    def multiple(self) -> int:
        """Frames are padded to multiples of this, and cut back afterwards."""
        return self.network.net.multiple if self.network else 1

    @property
    def window(self) -> tuple[int, int]:
        """Frames (past, future) that the network sees around the one it restores."""
        return (self.network.net.config.past, self.network.net.config.future) if self.network else (0, 0)

    def batch_frames(self, info: StreamInfo) -> int | None:
        """How many frames of a stream should be pushed at once; None where it makes no difference."""
        if self.inference.batch != "auto":
            return self.inference.batch
        if self.network is None or self.device.type != "cuda":
            return None
        restored = info.scaled(self.scale)
        return max(1, min(_MOST_FRAMES_ON_CUDA, _BYTES_ON_CUDA // (3 * 4 * restored.width * restored.height)))

    @property
    def reach(self) -> tuple[int, int]:
        """Frames (before, after) that a part of a video has to come with, to be restored as in the whole.

        A recurrent network remembers all frames before; what it knew a second ago no longer shows.
        """
        past, future = self.window
        is_recurrent = self.network is not None and self.network.net.config.recurrent
        return (_MEMORY_FRAMES if is_recurrent else past, future)

    @property
    def settings(self) -> dict[str, str]:
        """All that decides what a frame becomes, for people to read and for jobs to compare."""
        return {
            "weights": self._weights_digest,
            "seed": str(self.seed),
            "device": self.device.type,
            "precision": self.precision,
            "backend": self.inference.backend,
            "reuse": self.policy.level,
            "refresh threshold": str(self.policy.threshold),
            "max prior age": str(self.policy.max_prior_age),
            "prior smoothing": str(self.policy.prior_smoothing),
            "prior delay": str(self.policy.prior_delay),
        }

    @cached_property
    def _weights_digest(self) -> str:
        if self.network is None:
            return IDENTITY
        digest = hashlib.blake2b(repr(self.network.net.config).encode(), digest_size=16)
        for name, tensor in self.network.net.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def restore(self, clip: Clip) -> Clip:
        """Restore a clip by itself: its first and last frames stand in for those beyond its ends.

        (T, 3, H, W) → (T, 3, s·H, s·W), float32 in [0, 1], on the clip's device; pts stay. `identity` gives
        the frames as they came. Raises UsageError for what is no Clip, and for one that holds NaN.
        """
        if not isinstance(clip, Clip):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"expected a Clip, got {type(clip).__name__}; put the frames into a Clip")
        stream = self.open_stream()
        frames = [*stream.push(clip.frames()), *stream.finish()]
        return Clip.from_frames(frames)

    def open_stream(self) -> RestorerStream:
        """Begin a stream: frames pushed into it come back restored, in order."""
        return RestorerStream(self)


class RestorerStream:
    """One pass over one video: holds no more than the window and one batch.

    A cut is seen as its first frame arrives; each shot is windowed, and its prior held, by itself. What is
    decided for a frame does not depend on how frames are batched.

    policy: how far frames may share; may be replaced at any time, for the frames restored from then on.
    latest_decision: of the frame restored last, None before the first.
    """

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self._spans = None if restorer.network is None else SpanRestorer(restorer.network)
        self._reuse = ReuseReport(restorer.policy.level, decisions=[] if restorer.record_decisions else None)
        self.policy = restorer.policy
        self.latest_decision: Decision | None = None
        self._begin()

    def _begin(self) -> None:
        self._windows = ShotWindows(*self._restorer.window)
        self._cuts = CutDetector()
        self._tracker = PriorTracker()
        self._last: Frame | None = None
        self._last_statistics: FrameStatistics | None = None

    @property
    def reuse(self) -> ReuseReport:
        """What was decided so far."""
        return self._reuse

    def open_transfers(self) -> FrameTransfers:
        """What moves frames to the network's device and back, if others are to do it."""
        if self._spans is None or self._restorer.device.type != "cuda":
            return NoTransfers()
        return CudaTransfers(self._restorer.device)

    def push(self, frames: Iterable[Frame]) -> list[Frame]:
        """Take the next frames, in order; return those whose window is now complete, restored.

        Frames keep their pts and duration. Raises UsageError, and takes none of the frames, if the size
        changes, if one holds NaN, and for what is no frame.
        """
        given = checked_frames(frames)
        if self._spans is None:
            return given
        with self._as_by_itself():
            windows = [window for seen in self._look_at(given) for window in self._windows.push(seen)]
            return self._restore(self._spans, windows)

    def finish(self) -> list[Frame]:
        """The frames still waiting for a future; the last one stands in for it. The stream is then empty."""
        if self._spans is None:
            return []
        with self._as_by_itself():
            restored = self._restore(self._spans, self._windows.finish())
        self._spans.close()
        self._begin()
        return restored

    @contextmanager
    def _as_by_itself(self) -> Generator[None]:
        """Whatever modes of torch the caller is in: results are the same in all of them."""
        device = self._restorer.device
        with torch.inference_mode(), torch.autocast(device.type, enabled=False), as_current(device):
            yield

    def _look_at(self, frames: Sequence[Frame]) -> Iterator[SeenFrame]:
        self._check_size(frames)
        device, multiple = self._restorer.device, self._restorer.multiple
        pictures = [frame.data.to(device, torch.float32).clamp(0, 1) for frame in frames]
        measured = FrameStatistics.of(pictures)
        _refuse_nan(frames, measured)
        for given, picture, statistics in zip(frames, pictures, measured, strict=True):
            # As it came it would be kept beside its picture.
            frame = given.with_data(picture) if picture.device == given.data.device else given
            seen = SeenFrame(
                frame=frame,
                picture=pad_to_multiple(picture[None], multiple)[0],
                statistics=statistics,
                starts_shot=self._cuts.starts_shot(statistics),
                repeats=self._repeats_the_last(frame, statistics),
            )
            self._last, self._last_statistics = frame, statistics
            yield seen

    def _check_size(self, frames: Sequence[Frame]) -> None:
        known = [] if self._last is None else [self._last]
        sizes = sorted({tuple(frame.data.shape) for frame in (*known, *frames)})
        if len(sizes) > 1:
            raise UsageError(f"all frames of a stream have one size, got {sizes}")

    def _repeats_the_last(self, frame: Frame, statistics: FrameStatistics) -> bool:
        if self._last is None or self._last_statistics is None:
            return False
        # Pixels are compared only where what was measured of them is equal too, which is next to never.
        return statistics.equals(self._last_statistics) and torch.equal(frame.data, self._last.data)

    def _restore(self, spans: SpanRestorer, windows: Sequence[Window]) -> list[Frame]:
        policy = self.policy
        decisions = [self._decide(window, policy) for window in windows]
        pictures = spans.restore(windows, decisions, policy)
        self._reuse.redone_in_float32 = spans.redone_in_float32
        return [self._as_output(w.middle.frame, p) for w, p in zip(windows, pictures, strict=True)]

    def _decide(self, window: Window, policy: ReusePolicy) -> Decision:
        middle = window.middle
        decision = self._tracker.decide(
            middle.statistics,
            policy,
            pts_seconds=float(middle.frame.pts_seconds),
            starts_shot=middle.starts_shot,
            is_duplicate=window.is_duplicate,
        )
        self._reuse.add(decision)
        self.latest_decision = decision
        return decision

    def _as_output(self, frame: Frame, picture: Tensor) -> Frame:
        scale, (height, width) = self._restorer.scale, frame.data.shape[-2:]
        cut = crop(picture, height * scale, width * scale)
        # What is made outside of inference mode can be used everywhere.
        with torch.inference_mode(False), torch.no_grad():
            return frame.with_data(cut.float().clamp(0, 1).to(frame.data.device))


def checked_frames(frames: Iterable[Frame]) -> list[Frame]:
    """The frames in a list; raises UsageError for what is none, or holds something else."""
    if not isinstance(frames, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"expected frames in a list, got {type(frames).__name__}")
    given = list(frames)
    for frame in given:
        if not isinstance(frame, Frame):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"expected frames, got {type(frame).__name__}; put its data into a Frame")
    return given


def _refuse_nan(frames: Sequence[Frame], measured: Sequence[FrameStatistics]) -> None:
    for frame, statistics in zip(frames, measured, strict=True):
        # Every pixel is in the mean of a block.
        if statistics.blocks.sum().isnan():
            at = float(frame.pts_seconds)
            raise UsageError(f"the frame pushed at {at:.3f} s holds NaN; check what it was made of")


def _checked_seed(seed: int) -> int:
    is_whole = not isinstance(seed, bool) and isinstance(seed, int)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not is_whole or not -(2**63) <= seed < 2**64:
        raise UsageError(f"seed {seed!r}: expected a whole number from -2^63 to 2^64 - 1")
    return seed


def _choose_policy(reuse: ReuseLevel | ReusePolicy, refresh: Refresh) -> ReusePolicy:
    if not isinstance(reuse, ReusePolicy):
        reuse = ReusePolicy(level=reuse)
    if reuse.level == "off" and reuse.prior_delay:
        raise UsageError(f"prior delay {reuse.prior_delay}: expected 0, as no prior is held at reuse 'off'")
    if refresh == "auto":
        return reuse
    is_count = not isinstance(refresh, bool) and isinstance(refresh, int)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not is_count or refresh < 1:
        raise UsageError(f"refresh {refresh!r}: expected 'auto' or a number of frames, 1 or more")
    return replace(reuse, refresh_threshold=math.inf, max_prior_age=refresh)

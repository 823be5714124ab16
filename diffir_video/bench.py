"""How many frames per second: each stage alone, file to file, and the network against itself.

All figures of a report come from one process on one machine, in turns, so that ratios between them hold even
where the machine's speed doesn't.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from importlib.metadata import version
from itertools import islice, product
from pathlib import Path
from statistics import median
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from diffir_video.checkpoint import load_checkpoint
from diffir_video.errors import UsageError
from diffir_video.floors import MachineRates, floors_of, measure_rates
from diffir_video.frame import Frame, StreamInfo
from diffir_video.inference import Backend, Batch, Tile
from diffir_video.job import JobOptions, restore_file
from diffir_video.machine import Machine, peak_memory, this_machine
from diffir_video.media import VideoReader, VideoWriter
from diffir_video.network import DiffIR, DiffIRS2, ModelConfig
from diffir_video.pipeline import NullSink, run
from diffir_video.prior import ReuseLevel
from diffir_video.reference import ReferenceRestorer
from diffir_video.restorer import DTYPES, Device, Precision, Refresh, Restorer
from diffir_video.version import engine_version
from diffir_video.zoo import find_weights

Stage = Literal["reference", "model", "decode", "encode", "end_to_end"]

_TICK = Fraction(1, 25)

# Frames that the reference path restores, slow as it is, and that the others are compared with.
_COMPARED_FRAMES = 4

# What an untrained network is made to add to a frame, root mean square: the damage in a frame of 20 dB.
_ADDED = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """What is measured: every combination of size, precision, reuse and backend.

    model: a built-in one, a checkpoint, or a .yaml configuration, then of seeded random weights.
    sizes: (width, height) of a made-up clip. frames: of it, in memory; so many of `clip`, if there is one.
    repeats: rounds after one that doesn't count; figures are their medians.
    The other fields are `Restorer`'s and `JobOptions`'. Raises UsageError for counts below 1.
    """

    model: str
    sizes: tuple[tuple[int, int], ...] = ((640, 360),)
    clip: Path | None = None
    frames: int = 48
    repeats: int = 3
    device: Device = "auto"
    precisions: tuple[Precision, ...] = ("auto",)
    reuses: tuple[ReuseLevel, ...] = ("off", "prior", "statistics")
    backends: tuple[Backend, ...] = ("auto",)
    refresh: Refresh = "auto"
    tile: Tile = "auto"
    batch: Batch = "auto"
    encoder: str = "libx264"
    encoder_options: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        for name, count in (("frames", self.frames), ("repeats", self.repeats)):
            if count < 1:
                raise UsageError(f"{name} must be at least 1, got {count}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One stage of one combination; None where something has no say in it.

    stage: "reference" is the network as trained, eager, float32, contiguous tensors, one frame and one prior
        at a time. "model" is a `Restorer` on frames in memory. "decode" and "encode" are each alone,
        "end_to_end" is a file job with all of them at once.
    peak_memory_bytes: of the process or, on CUDA, of the device, weights included; None where unknown.
    psnr_vs_reference: of frames in [0, 1], in dB.
    overlap_efficiency: fps over the slowest of decode, model and encode alone; 1 when the loop costs nothing.
    """

    model: str
    width: int
    height: int
    device: str
    precision: str | None
    reuse: str | None
    backend: str | None
    stage: Stage
    fps: float
    peak_memory_bytes: int | None
    psnr_vs_reference: float | None = None
    overlap_efficiency: float | None = None

    def format(self) -> str:
        """A line of a table for people."""
        way = " ".join(part or "" for part in (self.precision, self.reuse, self.backend)).strip()
        memory = "" if self.peak_memory_bytes is None else f"{self.peak_memory_bytes / 2**20:8.0f} MiB"
        quality = "" if self.psnr_vs_reference is None else f"{self.psnr_vs_reference:7.1f} dB"
        overlap = "" if self.overlap_efficiency is None else f"{self.overlap_efficiency:6.2f} of the slowest"
        size = f"{self.width}x{self.height}"
        return f"{size:<10}{self.stage:<12}{way:<26}{self.fps:10.3f} fps{memory}{quality}{overlap}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorRow:
    """What DIRformer can't take less than, for a "model" row; see `Floors`.

    products, traffic: the machine's best, in FLOP and bytes per second. reached: the row's fps over what the
    higher floor would allow.
    """

    model: str
    width: int
    height: int
    device: str
    precision: str
    reuse: str
    backend: str
    flop: int
    bytes: int
    products: float
    traffic: float
    fps: float
    reached: float

    def format(self) -> str:
        """A line of a table for people."""
        way = f"{self.precision} {self.reuse} {self.backend}"
        done = f"{self.flop / 1e9:.1f} GFLOP at {self.products / 1e9:.0f}/s, "
        done += f"{self.bytes / 1e9:.2f} GB at {self.traffic / 1e9:.0f}/s"
        size = f"{self.width}x{self.height}"
        return f"{size:<10}{'at most':<12}{way:<26}{self.fps:10.3f} fps  {done}; {self.reached:.0%} reached"


def _versions() -> dict[str, str]:
    return {"diffir-video": engine_version()} | {name: version(name) for name in ("torch", "av")}


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured, and on what. commit: of the checkout it ran from, None outside of one."""

    rows: tuple[BenchRow, ...]
    floors: tuple[FloorRow, ...]
    repeats: int
    frames: int
    machine: Machine = field(default_factory=this_machine)
    versions: dict[str, str] = field(default_factory=_versions)
    commit: str | None = field(default_factory=_commit)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def format(self) -> str:
        """A table for people, each rate against the reference's of its size."""
        lines = [self.rows[0].model]
        reference = {(row.width, row.height): row.fps for row in self.rows if row.stage == "reference"}
        for row in self.rows:
            ratio = row.fps / reference[row.width, row.height]
            lines.append(row.format() + (f"{ratio:8.2f}x" if row.stage == "model" else ""))
        lines += [floor.format() for floor in self.floors]
        return "\n".join([*lines, str(self.machine)])


def bench(plan: BenchPlan) -> BenchReport:
    """Measure everything that `plan` asks for; nothing is written but temporary files.

    Raises UnknownModelError, CheckpointError, MediaInputError, EncoderError, and UsageError for a model, a
    backend or an option that can't be used.
    """
    net = load_network(plan.model)
    rows: list[BenchRow] = []
    floors: list[FloorRow] = []
    with tempfile.TemporaryDirectory(prefix="diffir-bench-") as folder:
        for width, height in plan.sizes:
            clip = plan.clip or Path(folder) / f"{width}x{height}.mkv"
            if plan.clip is None:
                write_sample_clip(clip, width, height, plan.frames)
            measured = [*_Clip(plan, net, clip, Path(folder) / "restored.mkv").rows()]
            rows += measured
            floors += _floors_under(net, [row for row in measured if row.stage == "model"])
    return BenchReport(tuple(rows), tuple(floors), plan.repeats, plan.frames)


@torch.inference_mode()
def _floors_under(net: DiffIRS2, rows: Sequence[BenchRow]) -> Iterator[FloorRow]:
    """For each of the rows, which are of one size."""
    device, multiple = torch.device(rows[0].device), net.multiple
    net = deepcopy(net).to(device)
    width, height = (-(-side // multiple) * multiple for side in (rows[0].width, rows[0].height))
    lq = torch.rand(1, net.config.lq_channels, height, width, device=device)
    rates: dict[str, MachineRates] = {}
    for row in rows:
        assert row.precision is not None
        assert row.reuse is not None
        assert row.backend is not None
        dtype = DTYPES[row.precision]
        if row.precision not in rates:
            rates[row.precision] = measure_rates(device, dtype)
        best = rates[row.precision]
        floors = floors_of(net, lq, cast(ReuseLevel, row.reuse), dtype, best)
        yield FloorRow(
            model=row.model,
            width=row.width,
            height=row.height,
            device=row.device,
            precision=row.precision,
            reuse=row.reuse,
            backend=row.backend,
            flop=floors.flop,
            bytes=floors.bytes,
            products=best.products,
            traffic=best.traffic,
            fps=1 / floors.seconds,
            reached=row.fps * floors.seconds,
        )


class _Clip:
    """The measurements of one size."""

    def __init__(self, plan: BenchPlan, net: DiffIRS2, clip: Path, output: Path) -> None:
        self._plan, self._clip, self._output = plan, clip, output
        with VideoReader(clip) as reader:
            self._info = reader.info
            self._frames = list(islice(reader, plan.frames))
        self._compared = self._frames[:_COMPARED_FRAMES]
        self._reference = ReferenceRestorer(net, device=plan.device)
        self._restorers = [
            Restorer(
                deepcopy(net),
                device=plan.device,
                precision=precision,
                reuse=reuse,
                refresh=plan.refresh,
                tile=plan.tile,
                batch=plan.batch,
                backend=backend,
            )
            for precision, reuse, backend in product(plan.precisions, plan.reuses, plan.backends)
        ]

    def rows(self) -> Iterator[BenchRow]:
        ways: dict[tuple[Stage, int], Callable[[], int]] = {
            ("reference", 0): lambda: self._restore(self._reference, self._compared),
            ("decode", 0): self._decode,
            ("encode", 0): self._encoding(),
        }
        for index, restorer in enumerate(self._restorers):
            ways["model", index] = lambda restorer=restorer: self._restore(restorer, self._frames)
            ways["end_to_end", index] = lambda restorer=restorer: self._end_to_end(restorer)
        measured = _measure(ways, self._plan.repeats, self._reference.device)
        expected = self._pictures(self._reference)
        yield self._row("reference", measured["reference", 0])
        for stage in ("decode", "encode"):
            yield self._row(stage, measured[stage, 0])
        for index, restorer in enumerate(self._restorers):
            model, whole = measured["model", index], measured["end_to_end", index]
            slowest = min(model.fps, measured["decode", 0].fps, measured["encode", 0].fps)
            quality = _psnr(self._pictures(restorer), expected)
            yield self._row("model", model, restorer, psnr=quality)
            yield self._row("end_to_end", whole, restorer, overlap=whole.fps / slowest)

    def _row(
        self,
        stage: Stage,
        measured: _Measured,
        restorer: Restorer | None = None,
        *,
        psnr: float | None = None,
        overlap: float | None = None,
    ) -> BenchRow:
        is_reference = stage == "reference"
        return BenchRow(
            model=Path(self._plan.model).stem,
            width=self._info.width,
            height=self._info.height,
            device=self._reference.device.type,
            precision=restorer.precision if restorer else "fp32" if is_reference else None,
            reuse=restorer.policy.level if restorer else "off" if is_reference else None,
            backend=restorer.inference.backend if restorer else "eager" if is_reference else None,
            stage=stage,
            fps=measured.fps,
            peak_memory_bytes=measured.peak_memory_bytes,
            psnr_vs_reference=psnr,
            overlap_efficiency=overlap,
        )

    def _restore(self, restorer: Restorer | ReferenceRestorer, frames: Sequence[Frame]) -> int:
        return run(_Held(self._info, frames), restorer, NullSink()).frames_out

    def _pictures(self, restorer: Restorer | ReferenceRestorer) -> Tensor:
        kept = _Kept()
        run(_Held(self._info, self._compared), restorer, kept)
        return torch.stack([frame.data for frame in kept.kept])

    def _decode(self) -> int:
        with VideoReader(self._clip) as reader:
            return sum(1 for _ in reader)

    def _encoding(self) -> Callable[[], int]:
        """Encodes enlarged frames: how well they are restored makes no difference to speak of."""
        scale = self._restorers[0].scale
        frames = [
            frame.with_data(F.interpolate(frame.data[None], scale_factor=float(scale))[0])
            for frame in self._frames
        ]

        def encode() -> int:
            with VideoWriter(
                self._output,
                self._info.scaled(scale),
                encoder=self._plan.encoder,
                encoder_options=self._plan.encoder_options,
                overwrite=True,
            ) as writer:
                for frame in frames:
                    writer.write(frame)
            return len(frames)

        return encode

    def _end_to_end(self, restorer: Restorer) -> int:
        options = JobOptions(
            encoder=self._plan.encoder, encoder_options=self._plan.encoder_options, overwrite=True
        )
        return restore_file(self._clip, self._output, restorer=restorer, options=options).run.frames_out


def load_network(name_or_path: str) -> DiffIRS2:
    """A stage-2 network: a built-in one, a checkpoint, or an untrained one of a .yaml config.

    An untrained one adds to a frame about what a trained one does, so that dB mean what they mean there.
    Raises UnknownModelError, CheckpointError, and UsageError for a config or network that can't be used.
    """
    is_config = Path(name_or_path).suffix in {".yaml", ".yml"}
    net: DiffIR = _untrained(Path(name_or_path)) if is_config else load_checkpoint(find_weights(name_or_path))
    # Refuses what can't restore video.
    Restorer(deepcopy(net), device="cpu", backend="eager")
    net = cast(DiffIRS2, net).eval()
    if is_config:
        _calm(net)
    return net


def _untrained(config: Path) -> DiffIRS2:
    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as exc:
        raise UsageError(f"can't read model config {str(config)!r}: {exc}") from exc
    if not isinstance(settings, dict):
        raise UsageError(f"model config {str(config)!r} holds no settings")
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    return DiffIRS2(ModelConfig.from_dict(cast(dict[str, Any], settings))).eval()


@torch.inference_mode()
def _calm(net: DiffIRS2) -> None:
    """Scale the last convolution so that the network adds `_ADDED` to a noisy frame, root mean square."""
    config, size = net.config, 4 * net.multiple
    frame = _noisy(_texture(size, size), torch.Generator().manual_seed(1))
    lq = frame.repeat(1, config.frames, 1, 1)
    # As the restorers draw it: an untrained network depends on it a good deal.
    noise = torch.randn(1, config.prior_width, generator=torch.Generator().manual_seed(0))
    last = net.G.output if config.tail == "conv" else net.G.tail[1]
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        outputs.append(output)

    handle = cast(nn.Module, last).register_forward_hook(keep)
    net.restore(lq, net.estimate_prior(lq, noise))
    handle.remove()
    factor = _ADDED / float(outputs[0].square().mean().sqrt())
    for parameter in cast(nn.Module, last).parameters():
        parameter.mul_(factor)


@dataclass(frozen=True, slots=True)
class _Measured:
    fps: float
    peak_memory_bytes: int | None


def _measure(
    ways: Mapping[tuple[Stage, int], Callable[[], int]], repeats: int, device: torch.device
) -> dict[tuple[Stage, int], _Measured]:
    """Median rates; the ways take turns, and their first turns don't count. Each returns its frames."""
    spent: dict[tuple[Stage, int], list[float]] = {name: [] for name in ways}
    peaks: dict[tuple[Stage, int], int | None] = {}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            with peak_memory(device) as peak:
                started = time.perf_counter()
                frames = way()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                spent[name].append((time.perf_counter() - started) / frames)
            peaks[name] = peak.bytes
    return {name: _Measured(1 / median(seconds[1:]), peaks[name]) for name, seconds in spent.items()}


def _psnr(restored: Tensor, expected: Tensor) -> float | None:
    """None where they are equal."""
    error = float((restored.double() - expected.double()).square().mean())
    return None if error == 0 else float(-10 * torch.tensor(error).log10())


class _Held:
    """A source whose frames are in memory already."""

    def __init__(self, info: StreamInfo, frames: Sequence[Frame]) -> None:
        self.info, self._frames = info, frames

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def close(self) -> None:
        pass


class _Kept(NullSink):
    """A sink that keeps the frames."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Frame] = []

    def write(self, frame: Frame) -> None:
        self.kept.append(frame)


def write_sample_clip(path: Path, width: int, height: int, frames: int) -> None:
    """A noisy pan over a smooth texture, for a benchmark without a file: x264 at its defaults."""
    generator = torch.Generator().manual_seed(1)
    texture = _texture(width + frames, height + frames)
    info = StreamInfo(width, height, _TICK, "yuv420p", average_rate=1 / _TICK)
    with VideoWriter(path, info) as writer:
        for t in range(frames):
            noisy = _noisy(texture[:, t : t + height, t : t + width], generator)
            writer.write(Frame(noisy, t, _TICK, 1))


def _texture(width: int, height: int) -> Tensor:
    coarse = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0]


def _noisy(picture: Tensor, generator: torch.Generator) -> Tensor:
    return (picture + 0.04 * torch.randn(picture.shape, generator=generator)).clamp(0, 1)

"""How many frames per second: each stage alone, file to file, and the network against itself.

All figures of a report come from one process on one machine, in turns, so that ratios between them hold even
where the machine's speed doesn't.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from statistics import median
from typing import cast

import torch
from torch import Tensor

from diffir_video.bench_material import load_network, write_sample_clip
from diffir_video.bench_report import BenchReport, BenchRow, FloorRow, Stage
from diffir_video.devices import Device
from diffir_video.errors import UsageError
from diffir_video.floors import MachineRates, floors_of, measure_rates
from diffir_video.frame import Frame, StreamInfo
from diffir_video.inference import Backend, Batch, Tile
from diffir_video.job import JobOptions, restore_file
from diffir_video.machine import peak_memory, processors
from diffir_video.media import VideoReader, VideoWriter
from diffir_video.network import DiffIRS2
from diffir_video.pipeline import run
from diffir_video.precision import DTYPES, Precision, products_of
from diffir_video.prior import ReuseLevel
from diffir_video.reference import ReferenceRestorer
from diffir_video.restorer import Refresh, Restorer
from diffir_video.stages import NullSink

# Frames that the reference path restores, slow as it is, and that the others are compared with.
_COMPARED_FRAMES = 4

# Of float32 RGB.
_BYTES_PER_PIXEL = 3 * 4
# Of a GPU's memory: more would be missing where "auto" asks what fits.
_SHARE_FOR_FRAMES = 1 / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """What is measured: every combination of size, precision, reuse and backend.

    model: a built-in one, a checkpoint, or a .yaml configuration, then of seeded random weights.
    sizes: (width, height) of a made-up clip. frames: of it, in memory; so many of `clip`, if there is one.
    repeats: rounds after one that doesn't count; figures are their medians.
    The other fields are `Restorer`'s and `JobOptions`'. Raises UsageError for counts below 1, and for several
    sizes of one `clip`.
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
        if self.clip is not None and len(self.sizes) > 1:
            raise UsageError(f"{str(self.clip)!r} has a size of its own; sizes are for made-up clips")


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
            rates[row.precision] = measure_rates(device, dtype, products_of(cast(Precision, row.precision)))
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
    """The measurements of one size; its frames are where they are restored, if there is room for them."""

    def __init__(self, plan: BenchPlan, net: DiffIRS2, clip: Path, output: Path) -> None:
        self._plan, self._clip, self._output = plan, clip, output
        self._reference = ReferenceRestorer(net, device=plan.device)
        self._frames_device = torch.device("cpu")
        with self._reader() as reader:
            self._info = reader.info
        pixels = self._info.width * self._info.height * (1 + net.config.scale**2)
        if _has_room(self._reference.device, plan.frames * pixels * _BYTES_PER_PIXEL):
            self._frames_device = self._reference.device
        with self._reader() as reader:
            self._frames = list(islice(reader, plan.frames))
        self._compared = self._frames[:_COMPARED_FRAMES]
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
        on_gpu = sum(frame.data.nbytes for frame in self._frames if frame.data.is_cuda)
        # With what `encode` is given, restored.
        material = on_gpu * (1 + self._restorers[0].scale ** 2)
        measured = _measure(ways, self._plan.repeats, self._reference.device, material)
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
            device=str(self._reference.device),
            precision=restorer.precision if restorer else "fp32" if is_reference else None,
            reuse=restorer.policy.level if restorer else "off" if is_reference else None,
            backend=restorer.inference.backend if restorer else "eager" if is_reference else None,
            stage=stage,
            fps=measured.fps,
            peak_memory_bytes=measured.peak_memory_bytes,
            psnr_vs_reference=psnr,
            overlap_efficiency=overlap,
            processors_busy=measured.processors_busy if self._reference.device.type == "cpu" else None,
        )

    def _restore(self, restorer: Restorer | ReferenceRestorer, frames: Sequence[Frame]) -> int:
        return run(_Held(self._info, frames), restorer, NullSink()).frames_out

    def _kept(self, restorer: Restorer | ReferenceRestorer, frames: Sequence[Frame]) -> list[Frame]:
        kept = _Kept()
        run(_Held(self._info, frames), restorer, kept)
        return kept.kept

    def _pictures(self, restorer: Restorer | ReferenceRestorer) -> Tensor:
        return torch.stack([frame.data for frame in self._kept(restorer, self._compared)])

    def _reader(self) -> VideoReader:
        return VideoReader(self._clip, device=self._frames_device)

    def _decode(self) -> int:
        with self._reader() as reader:
            return sum(1 for _ in reader)

    def _encoding(self) -> Callable[[], int]:
        """Encodes restored frames: noise is what takes an encoder longest."""
        frames = self._kept(self._restorers[0], self._frames)
        info = self._info.scaled(self._restorers[0].scale)

        def encode() -> int:
            with VideoWriter(
                self._output,
                info,
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


@dataclass(frozen=True, slots=True)
class _Measured:
    fps: float
    peak_memory_bytes: int | None
    processors_busy: float


def _measure(
    ways: Mapping[tuple[Stage, int], Callable[[], int]],
    repeats: int,
    device: torch.device,
    material: int,
) -> dict[tuple[Stage, int], _Measured]:
    """Median rates; the ways take turns, and their first turns don't count. Each returns its frames.

    material: bytes of the device's memory that hold frames all the while; no part of anyone's peak.
    """
    seconds: dict[tuple[Stage, int], list[float]] = {name: [] for name in ways}
    busy: dict[tuple[Stage, int], list[float]] = {name: [] for name in ways}
    peaks: dict[tuple[Stage, int], int | None] = {}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            with peak_memory(device) as peak:
                worked, started = time.process_time(), time.perf_counter()
                frames = way()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                spent = time.perf_counter() - started
            seconds[name].append(spent / frames)
            busy[name].append((time.process_time() - worked) / spent / processors())
            peaks[name] = None if peak.bytes is None else peak.bytes - material
    return {
        name: _Measured(1 / median(seconds[name][1:]), peaks[name], median(busy[name][1:])) for name in ways
    }


def _has_room(device: torch.device, size: int) -> bool:
    """Whether a GPU has far more memory than the frames of a benchmark take; False for a CPU."""
    if device.type != "cuda":
        return False
    _, total = torch.cuda.mem_get_info(device)
    return size <= total * _SHARE_FOR_FRAMES


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

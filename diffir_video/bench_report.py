"""What a benchmark found, row by row."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from diffir_video.machine import Machine, this_machine
from diffir_video.version import engine_version

Stage = Literal["reference", "model", "decode", "encode", "end_to_end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One stage of one combination; None where something has no say in it.

    stage: "reference" is the network as trained, eager, float32, contiguous tensors, one frame and one prior
        at a time. "model" is a `Restorer` on frames in memory. "decode" and "encode" are each alone,
        "end_to_end" is a file job with all of them at once.
    peak_memory_bytes: of the process or, on CUDA, of the device, weights included; None where unknown.
    psnr_vs_reference: of frames in [0, 1], in dB.
    overlap_efficiency: fps over the slowest of decode, model and encode alone; 1 when the loop costs nothing
        and each has processors of its own.
    processors_busy: the process's share of all the time that its processors have; None on a GPU.
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
    processors_busy: float | None = None

    def format(self) -> str:
        """A line of a table for people."""
        way = " ".join(part or "" for part in (self.precision, self.reuse, self.backend)).strip()
        memory = "" if self.peak_memory_bytes is None else f"{self.peak_memory_bytes / 2**20:8.0f} MiB"
        quality = "" if self.psnr_vs_reference is None else f"{self.psnr_vs_reference:7.1f} dB"
        overlap = "" if self.overlap_efficiency is None else f"{self.overlap_efficiency:6.2f} of the slowest"
        if overlap and self.processors_busy is not None:
            overlap += f", processors {self.processors_busy:.0%} busy"
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

"""The machine a measurement was made on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True, slots=True)
class Machine:
    """What a frame rate depends on besides the program. cores: those this process may use."""

    cpu: str
    cores: int
    memory_gib: float
    gpu: str | None
    system: str
    python: str
    torch: str
    torch_threads: int

    def __str__(self) -> str:
        gpu = f", {self.gpu}" if self.gpu else ""
        cores = f"{self.cores} core{'s' if self.cores != 1 else ''}"
        return f"{self.cpu}, {cores}, {self.memory_gib:.0f} GiB{gpu}; torch {self.torch}, {self.system}"


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def this_machine() -> Machine:
    """Look at the machine as it is now."""
    return Machine(
        cpu=_cpu_name(),
        cores=processors(),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        torch_threads=torch.get_num_threads(),
    )


@dataclass(slots=True)
class PeakMemory:
    """The most that was in use, in bytes; None where it can't be told."""

    bytes: int | None = None


@contextmanager
def peak_memory(device: torch.device) -> Generator[PeakMemory]:
    """Measures the block: the device's memory on CUDA, else all that the process holds (Linux)."""
    peak = PeakMemory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device)
        return
    can_tell = _forget_peak()
    yield peak
    if can_tell:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        peak.bytes = None if found is None else int(found[1]) * 1024


def _forget_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown processor")

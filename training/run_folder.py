"""`RunFolder`: what a run leaves on disk, and what it goes on from."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from PIL import Image
from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from diffir_video.checkpoint import save_checkpoint
from diffir_video.errors import CheckpointError, OutputError, UsageError
from diffir_video.network import DiffIR
from training.config import TrainConfig
from training.writing import make_folder, told, written_whole

# What a kill in the middle of a checkpoint leaves beside it.
_UNFINISHED = ("state.pt.*", ".state.pt.*", ".last.safetensors.*")

# Held by the process that writes to the folder.
_LOCK = ".lock"

_log = logging.getLogger(__name__)


class RunFolder:
    """Checkpoints, the log, TensorBoard's events and sample sheets of one run.

    Files appear under their names only when complete, so a run killed at any moment can be resumed.
    """

    def __init__(self, config: TrainConfig, *, resume: bool) -> None:
        """Raises UsageError if the folder holds a run that is not to be resumed, or none that is."""
        self._root = config.output
        self._checkpoints = config.output / "checkpoints"
        self._state_file = self._checkpoints / "state.pt"
        self._log_file = config.output / "log.jsonl"
        self._writer: Any = None
        self._lock: int | None = None
        if resume and not self._state_file.exists():
            raise UsageError(f"nothing to resume in {self._root}: {self._state_file} is missing")
        if not resume and self._state_file.exists():
            raise UsageError(f"{self._root} holds a run already; add --resume, or set another output")

    def open(self, config: TrainConfig, first_step: int) -> None:
        """Begin to write: the recipe first. What was logged after `first_step`, by a killed run, goes.

        So do the unfinished checkpoints that it left. Raises OutputError if the folder can't be written, or
        while another process is writing to it.
        """
        make_folder(self._checkpoints)
        self._lock = _locked(self._root)
        with told(self._root):
            for pattern in _UNFINISHED:
                for left in self._checkpoints.glob(pattern):
                    left.unlink(missing_ok=True)
            plain = json.loads(json.dumps(asdict(config), default=str))
            _write(self._root / "config.yaml", yaml.safe_dump(plain, sort_keys=False))
            if self._log_file.exists():
                rows = self._log_file.read_text().splitlines()
                kept = [row for row in rows if _step_of(row) <= first_step]
                _write(self._log_file, "".join(f"{row}\n" for row in kept))
            self._writer = SummaryWriter(str(self._root), purge_step=first_step or None)

    def save(self, state: Mapping[str, Any], ema: DiffIR, step: int) -> None:
        """Everything `load` gives back, and the averaged weights as ``last.safetensors``.

        Raises OutputError if they can't be written; those saved before are then kept.
        """
        with written_whole(self._state_file) as temporary:
            torch.save(dict(state), temporary)
            save_checkpoint(ema, self._checkpoints / "last.safetensors", notes={"step": str(step)})

    def load(self) -> dict[str, Any]:
        """The state last saved. Raises CheckpointError if the file is none."""
        try:
            state: Any = torch.load(self._state_file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as exc:
            raise CheckpointError(f"{self._state_file} is no state that a run has saved") from exc
        except (RuntimeError, OSError, EOFError, ValueError) as exc:
            raise CheckpointError(f"{self._state_file} can't be read: {exc}") from exc
        if not (isinstance(state, dict) and isinstance(cast(dict[str, Any], state).get("net"), dict)):
            raise CheckpointError(f"{self._state_file} is no state that a run has saved")
        return cast(dict[str, Any], state)

    def log(self, row: Mapping[str, float]) -> None:
        """A line of ``log.jsonl`` and on the screen, and its numbers as TensorBoard's scalars.

        What is not finite is null in the file, as JSON has no word for it, and no scalar. Raises OutputError.
        """
        finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
        _log.info("  ".join(f"{name} {value:.5g}" for name, value in row.items()))
        assert self._writer is not None
        with told(self._log_file):
            with self._log_file.open("a") as file:
                file.write(json.dumps(finite, allow_nan=False) + "\n")
            for name, value in finite.items():
                if name != "step" and value is not None:
                    self._writer.add_scalar(name, value, int(row["step"]))

    def show(self, rows: list[Tensor], step: int) -> None:
        """A sheet of rows of pictures, (3, h, w) in [0, 1], as ``samples/STEP.png`` and in TensorBoard."""
        sheet = sheet_of(rows)
        path = self._root / "samples" / f"{step:07d}.png"
        make_folder(path.parent)
        assert self._writer is not None
        with written_whole(path) as temporary:
            Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(temporary, "PNG")
        with told(path):
            self._writer.add_image("samples", sheet.numpy(), step)

    def close(self) -> None:
        """Flush what is not written yet, and leave the folder to others."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def how_to_go_on(output: Path) -> str:
    """What to do with a run that ended early: whether it has left a checkpoint."""
    if (output / "checkpoints" / "state.pt").exists():
        return "--resume goes on from its last checkpoint"
    return "no checkpoint is written yet, so it has to start again"


def sheet_of(rows: list[Tensor]) -> Tensor:
    """Rows of (3, h, w) pictures in [0, 1], one above the other: (3, H, W) uint8."""
    width = max(row.shape[2] for row in rows)
    padded = [torch.nn.functional.pad(row, (0, width - row.shape[2])) for row in rows]
    return (torch.cat(padded, dim=1).clamp(0, 1) * 255).round().byte()


def _locked(root: Path) -> int:
    """A descriptor that holds the folder until it is closed, or its process ends in whatever way."""
    with told(root):
        descriptor = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        # Of the process, as flock's is not: the workers that a killed run leaves for a while don't hold it.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(descriptor)
        raise OutputError(
            f"another run is writing to {root}; wait for it, stop it or set another output"
        ) from exc
    return descriptor


def _write(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text)


def _step_of(row: str) -> int:
    try:
        return int(json.loads(row)["step"])
    except (ValueError, KeyError):
        # A line broken off by a kill counts as later than any step.
        return 1 << 62

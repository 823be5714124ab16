"""What both stages need around their algorithm: schedule, EMA, the run folder, resume, validation."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.optim import Adam

from diffir_video.checkpoint import save_checkpoint
from diffir_video.errors import CheckpointError, DiffirVideoError, UsageError
from diffir_video.metrics import psnr_y
from diffir_video.network import DiffIR
from training.config import TrainConfig
from training.data.windows import batches, validation_windows

_log = logging.getLogger(__name__)

# (lq, gt) → restored, of the network being validated.
Restore = Callable[[DiffIR, Tensor, Tensor], Tensor]

# Validation settings: noise of σ in code values, then x264 at this CRF or nothing; of models that enlarge,
# what small pictures come as.
VALIDATION = {"sigma25": (25.0, None), "sigma25_crf23": (25.0, 23), "sigma10_crf30": (10.0, 30)}
VALIDATION_ENLARGING = {"clean": (0.0, None), "crf23": (0.0, 23), "crf28": (0.0, 28)}


class DivergenceError(DiffirVideoError):
    """The loss is no longer a finite number; the last good checkpoint stands."""


def cosine(step: int, *, start: int, end: int, first: float, last: float, warmup: int = 0) -> float:
    """A learning rate that rises over `warmup` steps from `start` and falls along a cosine until `end`."""
    done = step - start
    if done < warmup:
        return first * (done + 1) / warmup
    progress = (done - warmup) / max(1, end - start - warmup)
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Trainer:
    """One run: a network, its EMA, its optimiser and its folder.

    ``for step, lq, gt in trainer.steps()`` yields the batches still to do; the stage computes losses and
    calls `descend`. Checkpoints, logs and validation happen between the steps. A run of the same folder
    with `resume` continues bit for bit on the CPU, as every random draw is a function of seed and step.
    """

    def __init__(self, config: TrainConfig, net: DiffIR, restore: Restore, *, resume: bool) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config = config
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.net = net.train()
        self.ema = deepcopy(net).eval().requires_grad_(False)
        self.optimizer = Adam(net.parameters(), lr=config.learning_rate, betas=config.adam_betas)
        self.step = 0
        self._restore = restore
        self._logged: dict[str, float] = {}
        self._folder = config.output
        self._checkpoints = config.output / "checkpoints"
        self._state_file = self._checkpoints / "state.pt"
        self._prepare_folder(resume)

    def steps(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(step, lq, gt) for each step still to do; see `batches` for the tensors."""
        config = self.config
        validation = {
            name: validation_windows(config, sigma=sigma, crf=crf)
            for name, (sigma, crf) in (
                VALIDATION if config.model.scale == 1 else VALIDATION_ENLARGING
            ).items()
        }
        waited, logged_at = 0.0, time.perf_counter()
        source = batches(config, self.step)
        while self.step < config.max_steps:
            asked = time.perf_counter()
            lq, gt = next(source)
            waited += time.perf_counter() - asked
            yield self.step, lq, gt
            self.step += 1
            if self.step % config.log_every == 0 or self.step == config.max_steps:
                seconds = time.perf_counter() - logged_at
                self._log_progress(seconds, waited)
                waited, logged_at = 0.0, time.perf_counter()
            if self.step % config.checkpoint_every == 0 or self.step == config.max_steps:
                self._save()
            if config.data.validation and (
                self.step % config.validate_every == 0 or self.step == config.max_steps
            ):
                self._validate(validation)
                logged_at = time.perf_counter()

    def autocast(self) -> torch.autocast:
        """The context that the forward pass runs in."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bf16")

    def noise(self, step: int, like: Tensor) -> Tensor:
        """Standard normal noise of the shape of `like`, a function of seed and step alone."""
        generator = torch.Generator().manual_seed((self.config.seed << 32) + step)
        return torch.randn(like.shape, generator=generator)

    def descend(self, loss: Tensor, learning_rate: float, **scalars: Tensor) -> None:
        """One optimiser step and one EMA step. Raises DivergenceError if the loss is not finite."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergenceError(f"loss is {value} at step {self.step}; the checkpoint before it is kept")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        if self.config.clip_gradient_norm:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip_gradient_norm)
        self.optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        self._update_ema()
        self._logged = {"loss": value, "lr": learning_rate}
        self._logged |= {name: float(scalar.detach()) for name, scalar in scalars.items()}

    def _update_ema(self) -> None:
        # A decay that grows with the step lets a short run forget its random start.
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for average, current in zip(self.ema.parameters(), self.net.parameters(), strict=True):
                average.lerp_(current, 1 - decay)

    def _prepare_folder(self, resume: bool) -> None:
        if resume:
            self._load()
        elif self._state_file.exists():
            raise UsageError(f"{self._folder} holds a run already; add --resume, or set another output")
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        plain = json.loads(json.dumps(asdict(self.config), default=str))
        (self._folder / "config.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))

    def _save(self) -> None:
        state: dict[str, Any] = {
            "step": self.step,
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        temporary = self._state_file.with_name(f"{self._state_file.name}.{os.getpid()}")
        torch.save(state, temporary)
        temporary.replace(self._state_file)
        save_checkpoint(self.ema, self._checkpoints / "last.safetensors", notes={"step": str(self.step)})

    def _load(self) -> None:
        if not self._state_file.exists():
            raise UsageError(f"nothing to resume in {self._folder}: {self._state_file} is missing")
        try:
            state: Mapping[str, Any] = torch.load(self._state_file, weights_only=True)
            self.net.load_state_dict(state["net"])
            self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = int(state["step"])
        except (RuntimeError, KeyError, ValueError) as exc:
            raise CheckpointError(f"{self._state_file} is not of this recipe's network: {exc}") from exc

    def _log_progress(self, seconds: float, waited: float) -> None:
        steps = self.step % self.config.log_every or self.config.log_every
        row = {
            "step": self.step,
            **self._logged,
            "steps_per_second": steps / seconds,
            "data_wait_share": waited / seconds,
        }
        self._append(row)

    def _validate(self, validation: Mapping[str, list[tuple[Tensor, Tensor]]]) -> None:
        row: dict[str, float] = {"step": self.step}
        sheet: list[Tensor] = []
        for name, windows in validation.items():
            before: list[float] = []
            after: list[float] = []
            for lq, gt in windows:
                with torch.no_grad():
                    restored = self._restore(self.ema, lq, gt).clamp(0, 1)
                first = 3 * self.config.model.past
                middle = _at_output_size(lq[:, first : first + 3], self.config.model.scale)
                before.append(float(psnr_y(middle, gt).mean()))
                after.append(float(psnr_y(restored, gt).mean()))
                if len(sheet) < 4 or (len(row) > 1 and len(sheet) < 8):
                    sheet.append(torch.cat([middle, restored, gt], dim=3)[0])
            row[f"{name}_input"] = float(np.mean(before))
            row[f"{name}_psnr_y"] = float(np.mean(after))
        self._append(row)
        save_sheet(sheet, self._folder / "samples" / f"{self.step:07d}.png")

    def _append(self, row: Mapping[str, float]) -> None:
        with (self._folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        _log.info("  ".join(f"{name} {value:.5g}" for name, value in row.items()))


def _at_output_size(lq: Tensor, scale: int) -> Tensor:
    """What a network that enlarges is measured against: bicubic."""
    if scale == 1:
        return lq
    return torch.nn.functional.interpolate(lq, scale_factor=float(scale), mode="bicubic").clamp(0, 1)


def save_sheet(rows: list[Tensor], path: Path) -> None:
    """Rows of (3, h, w) pictures in [0, 1], one above the other, as a PNG."""
    width = max(row.shape[2] for row in rows)
    padded = [torch.nn.functional.pad(row, (0, width - row.shape[2])) for row in rows]
    picture = (torch.cat(padded, dim=1) * 255).round().byte().permute(1, 2, 0).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)

"""What all stages need around their algorithm: batches, the step, EMA, checkpoints, validation."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from diffir_video.errors import CheckpointError, DiffirVideoError
from diffir_video.inference import hasten_motion
from diffir_video.network import DiffIR, DiffIRS2
from training.config import TrainConfig
from training.data.loader import batches
from training.interruption import StopRequest
from training.processes import Processes
from training.run_folder import RunFolder, how_to_go_on
from training.validation import Restore, Samples, validate, validation_samples

# No picture in [0, 1] differs from another by more, on average.
_WORST_PIXEL_LOSS = 1.0

_log = logging.getLogger(__name__)


class DivergenceError(DiffirVideoError):
    """The run no longer learns but blows up; the last good checkpoint stands, if there was one."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a batch: what goes through the network at once.

    lq: (n, channels, P / s, P / s), gt: (n, 3, P, P), float in [0, 1]; noise: x_T, (n, prior_width), a
    function of seed and step alone. prior_from: which of the n samples give priors, and `served` how many
    samples in a row each of them serves; all, and 1, unless priors are shared.
    """

    lq: Tensor
    gt: Tensor
    noise: Tensor
    prior_from: Tensor
    served: int

    def for_all(self, priors: Tensor) -> Tensor:
        """One prior per giver → one per sample."""
        return priors.repeat_interleave(self.served, dim=0)


class Learner:
    """Parameters, their optimiser, and one step of it from the gradients of one or more backward passes."""

    def __init__(self, net: nn.Module, config: TrainConfig, processes: Processes) -> None:
        self._parameters = [p for p in net.parameters() if p.requires_grad]
        self._processes = processes
        self._clip_norm = config.clip_gradient_norm
        self._parts = config.accumulate
        self._output = config.output
        self._scalars: dict[str, Tensor] = {}
        # On CUDA a fused step unscales fp16 gradients by itself, and Fabric then refuses to clip them.
        fused = all(parameter.is_cpu for parameter in self._parameters) or None
        self.optimizer = Adam(self._parameters, lr=config.learning_rate, betas=config.adam_betas, fused=fused)

    def backward(self, loss: Tensor, **scalars: Tensor) -> None:
        """Add the gradient of a part's mean loss to the batch's; `scalars` go to the log."""
        (loss / self._parts).backward()  # pyright: ignore[reportUnknownMemberType]
        for name, scalar in {"loss": loss, **scalars}.items():
            share = scalar.detach() / self._parts
            self._scalars[name] = self._scalars.get(name, torch.zeros_like(share)) + share

    def descend(self, learning_rate: float, step: int) -> dict[str, float]:
        """One step of the optimiser along the mean gradient of all processes; returns the mean scalars.

        Raises DivergenceError, on all processes alike and before a weight moves, if the gradient is not
        finite or the pixel loss larger than any two pictures' can be.
        """
        scalars = self._processes.average(self._parameters, self._scalars)
        self._scalars = {}
        norm = float(nn.utils.clip_grad_norm_(self._parameters, self._clip_norm or float("inf")))
        if not norm < float("inf") or scalars.get("pixel", 0.0) > _WORST_PIXEL_LOSS:
            shown = ", ".join(f"{name} {value:.4g}" for name, value in scalars.items())
            raise DivergenceError(
                f"training blew up at step {step} ({shown}, gradient {norm:.4g}): lower learning_rate, or "
                f"set clip_gradient_norm; {how_to_go_on(self._output)}"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        self.optimizer.zero_grad(set_to_none=True)
        return scalars


class Trainer:
    """One run: a network, its EMA, its optimiser and its folder.

    ``for step, parts in trainer.steps()`` yields the batches still to do; for each part the stage computes
    losses and calls `backward`, then `descend` once. Checkpoints, logs and validation happen between the
    steps. A run of the same folder with `resume` continues bit for bit on the CPU, as every random draw is a
    function of seed and step.
    """

    def __init__(
        self,
        config: TrainConfig,
        net: DiffIR,
        restore: Restore,
        *,
        resume: bool,
        stop: StopRequest | None = None,
    ) -> None:
        """stop: what ends the run between two steps, after saving it."""
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config = config
        self._folder = RunFolder(config, resume=resume)
        self.processes = Processes(config)
        self.net = self.placed(net).train()
        self.ema = deepcopy(self.net).eval().requires_grad_(False)
        self.learner = Learner(self.net, config, self.processes)
        self.step = 0
        self._restore = restore
        self._logged: dict[str, float] = {}
        self._extra: dict[str, Any] = {}
        self._resume = resume
        self._stop = stop or StopRequest()
        if config.compile:
            self.net.G.compile()  # pyright: ignore[reportUnknownMemberType]

    def placed(self, net: DiffIR) -> DiffIR:
        """The network on this process's device, in the recipe's memory format."""
        net.to(self.processes.device)
        hasten_motion(net.G)
        if self.config.channels_last:
            net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return net

    def also_save(self, name: str, module: nn.Module, learner: Learner) -> None:
        """Another network of the run, kept in its state: to be called before `steps`."""
        self._extra |= {name: module, f"{name}_optimizer": learner.optimizer}

    def steps(self) -> Iterator[tuple[int, list[Part]]]:
        """(step, parts of its batch) for each step still to do."""
        config = self.config
        if self._resume:
            self._load()
            if self.step >= config.max_steps:
                finished = f"the run in {config.output} is finished, after {self.step} steps"
                _log.info("%s; set max_steps to more to go on", finished)
                return
        samples = self._prepared()
        with ExitStack() as stack:
            stack.callback(self._folder.close)
            source = batches(config, self.step, rank=self.processes.rank, processes=self.processes.count)
            # Of several processes one would leave the others waiting for its part of a step.
            self._stop.may_wait = self.processes.count == 1
            waited, logged_at, logged_step = 0.0, time.perf_counter(), self.step
            while self.step < config.max_steps:
                asked = time.perf_counter()
                lq, gt = next(source)
                waited += time.perf_counter() - asked
                yield self.step, self._parts(lq, gt)
                self.step += 1
                if self._due(config.log_every):
                    seconds = time.perf_counter() - logged_at
                    self._log_progress((self.step - logged_step) / seconds, waited / seconds)
                    waited, logged_at, logged_step = 0.0, time.perf_counter(), self.step
                if self._due(config.checkpoint_every):
                    self._save()
                if samples and self._due(config.validate_every):
                    asked = time.perf_counter()
                    self._validate(samples)
                    logged_at += time.perf_counter() - asked
                if self._stop.signal_number is not None and self.step < config.max_steps:
                    self._save()
                    raise self._stop.error(f"after step {self.step}; {how_to_go_on(config.output)}")
            self._stop.may_wait = False

    def _prepared(self) -> Samples:
        """What the first process validates on, its folder open; raises on all processes alike if it fails."""
        samples: Samples = {}
        error: DiffirVideoError | None = None
        if self.processes.is_first:
            try:
                samples = validation_samples(self.config)
                self._folder.open(self.config, self.step)
            except DiffirVideoError as exc:
                error = exc
        if not self.processes.all_well(error is None):
            raise error or DiffirVideoError("the first process could not begin; its own message says why")
        return samples

    def autocast(self) -> AbstractContextManager[None]:
        """The context that forward passes run in."""
        return self.processes.autocast()

    def backward(self, loss: Tensor, **scalars: Tensor) -> None:
        """See `Learner.backward`."""
        self.learner.backward(loss, **scalars)

    def descend(self, learning_rate: float) -> None:
        """One optimiser step and one EMA step; see `Learner.descend` for what it raises."""
        self._logged |= self.learner.descend(learning_rate, self.step) | {"lr": learning_rate}
        self._update_ema()

    def log(self, **scalars: float) -> None:
        """What else the log is to say of this step."""
        self._logged |= scalars

    def _parts(self, lq: Tensor, gt: Tensor) -> list[Part]:
        """The process's share of a batch in `accumulate` parts."""
        config, device = self.config, self.processes.device
        # Of a larger number torch's generator on the CPU takes the lowest 32 bits.
        (drawn,) = np.random.SeedSequence((config.seed, self.step)).generate_state(1)
        generator = torch.Generator().manual_seed(int(drawn))
        total, first = len(lq) * self.processes.count, len(lq) * self.processes.rank
        noise = torch.randn(total, config.model.prior_width, generator=generator)[first : first + len(lq)]
        served = config.data.windows_per_sequence if config.shared_prior else 1
        givers = torch.randint(served, (total // served,), generator=generator)
        givers = givers[first // served : (first + len(lq)) // served]
        size = len(lq) // config.accumulate
        parts: list[Part] = []
        for start in range(0, len(lq), size):
            mine = slice(start, start + size)
            chosen = torch.arange(0, size, served) + givers[start // served : (start + size) // served]
            moved = (t[mine].to(device, non_blocking=True) for t in (lq, gt, noise))
            parts.append(Part(*moved, prior_from=chosen.to(device), served=served))
        return parts

    def _due(self, every: int) -> bool:
        return self.step == self.config.max_steps or (every > 0 and self.step % every == 0)

    def _update_ema(self) -> None:
        # A decay that grows with the step lets a short run forget its random start.
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for average, current in zip(self.ema.parameters(), self.net.parameters(), strict=True):
                average.lerp_(current, 1 - decay)

    def _stateful(self) -> Iterable[tuple[str, Any]]:
        yield from {"net": self.net, "ema": self.ema, "optimizer": self.learner.optimizer}.items()
        yield from self._extra.items()

    def _save(self) -> None:
        if self.processes.is_first:
            state = {name: part.state_dict() for name, part in self._stateful()}
            self._folder.save(state | {"step": self.step}, self.ema, self.step)

    def _load(self) -> None:
        state = self._folder.load()
        theirs, ours = _stage_of(state), self._stage()
        if theirs != ours:
            raise CheckpointError(
                f"{self.config.output} holds a run of {theirs}, not of {ours}: resume it with `diffir-train "
                f"{theirs}`, or set another output"
            )
        try:
            for name, part in self._stateful():
                part.load_state_dict(state[name])
                if isinstance(part, Adam):
                    # Loading brings those of the run as it was begun.
                    for group in part.param_groups:
                        group["betas"] = self.config.adam_betas
            self.step = int(state["step"])
        except (RuntimeError, KeyError, ValueError) as exc:
            raise CheckpointError(
                f"the run in {self.config.output} is not of this recipe's networks; set its model, or "
                f"another output: {exc}"
            ) from exc

    def _stage(self) -> str:
        if "discriminator" in self._extra:
            return "gan"
        return "stage2" if isinstance(self.net, DiffIRS2) else "stage1"

    def _log_progress(self, steps_per_second: float, data_wait_share: float) -> None:
        speed = {"steps_per_second": steps_per_second, "data_wait_share": data_wait_share}
        if self.processes.is_first:
            self._folder.log({"step": self.step, **self._logged, **speed})

    def _validate(self, samples: Samples) -> None:
        figures, rows = validate(self.ema, self._restore, samples, self.processes.device)
        self._folder.log({"step": self.step, **figures})
        self._folder.show(rows, self.step)


def _stage_of(state: Mapping[str, Any]) -> str:
    """The command whose run a saved state is of, by the names in it."""
    if "discriminator" in state:
        return "gan"
    return "stage2" if any(name.startswith("condition.") for name in state.get("net", ())) else "stage1"

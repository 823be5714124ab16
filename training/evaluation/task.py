"""What each built-in model is for: the damage it is measured on, and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffir_video.errors import UsageError
from training.evaluation.material import (
    ALL_DAMAGE,
    COMPRESSION,
    PLAYED,
    PLAYED_REFERENCE,
    REFERENCE_DAMAGE,
    SHRUNK,
    Damage,
)


@dataclass(frozen=True, slots=True)
class MeanGain:
    """A gain in dB of PSNR-Y asked of the mean over all clips and these damages."""

    what: str
    damages: tuple[Damage, ...]
    least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A kind of damage, and what has to come of it.

    least_gain: asked of every clip and damage by itself, dB. filter_margin: by how many dB the mean at
    `reference` has to be above FFmpeg's denoisers; None leaves them out. scale: output over input size; above
    1, gains are over bicubic enlargement.
    """

    name: str
    damages: tuple[Damage, ...]
    mean_gains: tuple[MeanGain, ...]
    least_gain: float
    filter_margin: float | None = None
    reference: Damage = REFERENCE_DAMAGE
    scale: int = 1


_COMPRESSED_NOISE = tuple(d for d in ALL_DAMAGE if d.crf is not None)
_AT_REFERENCE = f"at {REFERENCE_DAMAGE} uncompressed"

DENOISING = Task(
    name="denoise-nano",
    damages=ALL_DAMAGE,
    mean_gains=(
        MeanGain(_AT_REFERENCE, (REFERENCE_DAMAGE,), 7.5),
        MeanGain("over the compressed settings", _COMPRESSED_NOISE, 1.5),
    ),
    least_gain=0.3,
    filter_margin=0.7,
)
LIVE_DENOISING = Task(
    name="denoise-live",
    damages=ALL_DAMAGE,
    mean_gains=(MeanGain(_AT_REFERENCE, (REFERENCE_DAMAGE,), 6.0),),
    least_gain=0.0,
    filter_margin=0.0,
)
DEBLOCKING = Task(
    name="deblock-nano",
    damages=COMPRESSION,
    mean_gains=(MeanGain("over all settings", COMPRESSION, 0.25),),
    least_gain=0.0,
)
UPSCALING = Task(
    name="upscale-x2-nano",
    damages=SHRUNK,
    mean_gains=(
        MeanGain("over bicubic, clean", tuple(d for d in SHRUNK if d.crf is None), 1.5),
        MeanGain("over bicubic, compressed", tuple(d for d in SHRUNK if d.crf is not None), 0.3),
    ),
    least_gain=0.0,
    scale=2,
)
TAPE = Task(
    name="tape-nano",
    damages=PLAYED,
    mean_gains=(MeanGain("over all settings", PLAYED, 3.0),),
    least_gain=0.0,
    filter_margin=0.7,
    reference=PLAYED_REFERENCE,
)
TASKS = {task.name: task for task in (DENOISING, LIVE_DENOISING, DEBLOCKING, UPSCALING, TAPE)} | {
    "upscale-x2-small": UPSCALING,
}

# Of models that were widened, and have no stage 1 of their own.
_STAGE1 = {"upscale-x2-small": "upscale-x2-nano-s1"}


def task_of(model: str | None, name: str | None) -> Task:
    """The task of this name, or else the one that the model is called after; denoising without a model.

    Raises UsageError for an unknown task, and for a checkpoint whose file name tells none.
    """
    if model is None and name is None:
        return DENOISING
    wanted = name or Path(model or "").stem
    if wanted not in TASKS:
        raise UsageError(f"no task for {wanted!r}: give --task, one of {', '.join(TASKS)}")
    return TASKS[wanted]


def stage1_of(model: str) -> str:
    """The stage-1 checkpoint a model comes from: ``denoise-nano`` → ``denoise-nano-s1``, files likewise."""
    path = Path(model)
    return str(path.with_stem(f"{path.stem}-s1")) if path.suffix else _STAGE1.get(model, f"{model}-s1")

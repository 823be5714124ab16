"""`make eval-noise`: noise that isn't white, as that of most files is: what models make of it.

``python -m training.evaluation.noises --data DIR --models denoise-nano denoise-live --markdown FILE``
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from diffir_video.errors import UsageError
from diffir_video.restorer import Restorer
from training.evaluation.material import (
    CLIPS,
    Damage,
    EvaluationClip,
    damaged,
    ground_truth,
)
from training.evaluation.report import markdown_table
from training.evaluation.tool import clip_psnr_y, compare_models, restored_bytes

logger = logging.getLogger(__name__)

_FRAMES = 24
_MODELS = ("denoise-nano", "denoise-live")
_DAMAGES = tuple(
    Damage(25, crf, noise=noise) for crf in (None, 23) for noise in ("white", "mosaic", "enlarged")
)


@dataclass(frozen=True, slots=True)
class Row:
    """One clip with one damage: PSNR-Y in dB before and after."""

    model: str
    clip: str
    damage: str
    damaged: float
    restored: float


def evaluate(
    models: Sequence[str], data: Path, *, clips: Sequence[EvaluationClip] = CLIPS, frame_limit: int = _FRAMES
) -> list[Row]:
    """Restore every clip with every kind of noise, a prior for every frame, in float32.

    frame_limit: frames taken of each clip. Raises DiffirVideoError for clips that can't be fetched, and for
    models that are unknown or enlarge.
    """
    rows: list[Row] = []
    for model in models:
        restorer = Restorer.from_pretrained(model, device="cpu", precision="fp32", seed=0)
        if restorer.scale > 1:
            raise UsageError(f"{model} enlarges {restorer.scale} times: expected a model that doesn't")
        for clip in clips:
            truth = ground_truth(data, clip, frame_limit)
            for damage in _DAMAGES:
                pictures = damaged(truth, clip.name, damage, data / "cache")
                restored = restored_bytes(restorer, pictures)
                figures = [clip_psnr_y(some, truth) for some in (pictures, restored)]
                rows.append(Row(Path(model).name, clip.name, str(damage), *figures))
                logger.info("%s, %s, %s: %.2f → %.2f dB", model, clip.name, damage, *figures)
    return rows


def to_markdown(rows: Sequence[Row]) -> str:
    """A row for each model and damage: dB of input → output on each clip, and the mean gain."""
    clips = list(dict.fromkeys(row.clip for row in rows))
    lines: list[list[str]] = []
    for model, damage in dict.fromkeys((row.model, row.damage) for row in rows):
        of_clip = {r.clip: r for r in rows if (r.model, r.damage) == (model, damage)}
        cells = [f"{of_clip[clip].damaged:.2f} → {of_clip[clip].restored:.2f}" for clip in clips]
        gain = fmean(row.restored - row.damaged for row in of_clip.values())
        lines.append([f"{model}, {damage}", *cells, f"{gain:+.2f}"])
    return markdown_table(["PSNR-Y in dB", *clips, "mean gain"], lines)


def _measured(
    models: Sequence[str], data: Path, clips: Sequence[EvaluationClip], frame_limit: int
) -> tuple[str, Any]:
    rows = evaluate(models, data, clips=clips, frame_limit=frame_limit)
    return to_markdown(rows), [asdict(row) for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the evaluation; returns the exit code."""
    return compare_models("noises", __doc__, _measured, argv, models=_MODELS, frames=_FRAMES)


if __name__ == "__main__":
    sys.exit(main())

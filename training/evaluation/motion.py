"""`make eval-motion`: what moving a model's neighbours gains on real clips, with the same weights.

``python -m training.evaluation.motion --data DIR --models denoise-nano denoise-live --markdown FILE``
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from diffir_video.checkpoint import load_checkpoint
from diffir_video.errors import UsageError
from diffir_video.network import DiffIRS2
from diffir_video.restorer import Restorer
from diffir_video.zoo import find_weights
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
_DAMAGES = (Damage(10), Damage(25), Damage(25, 23), Damage(10, 30))


@dataclass(frozen=True, slots=True)
class Row:
    """One clip with one damage. still, moved: PSNR-Y in dB with neighbours as they came, and moved."""

    model: str
    clip: str
    damage: str
    still: float
    moved: float


def evaluate(
    models: Sequence[str], data: Path, *, clips: Sequence[EvaluationClip] = CLIPS, frame_limit: int = _FRAMES
) -> list[Row]:
    """Restore every clip with and without compensation, a prior for every frame, in float32.

    frame_limit: frames taken of each clip. Raises DiffirVideoError for clips that can't be fetched, and for
    models that are unknown, of stage 1, enlarge or compensate nothing.
    """
    rows: list[Row] = []
    for model in models:
        moving = _network(model)
        still = DiffIRS2(replace(moving.config, compensated=False))
        still.load_state_dict(moving.state_dict())
        restorers = [Restorer(net, device="cpu", precision="fp32", seed=0) for net in (still.eval(), moving)]
        for clip in clips:
            truth = ground_truth(data, clip, frame_limit)
            for damage in _DAMAGES:
                pictures = damaged(truth, clip.name, damage, data / "cache")
                figures = [clip_psnr_y(restored_bytes(one, pictures), truth) for one in restorers]
                rows.append(Row(Path(model).name, clip.name, str(damage), *figures))
                logger.info("%s, %s, %s: %.2f → %.2f dB", model, clip.name, damage, *figures)
    return rows


def to_markdown(rows: Sequence[Row]) -> str:
    """A row for each model and damage: dB gained by compensation on each clip, and their mean."""
    clips = list(dict.fromkeys(row.clip for row in rows))
    lines: list[list[str]] = []
    for model, damage in dict.fromkeys((row.model, row.damage) for row in rows):
        gains = {r.clip: r.moved - r.still for r in rows if (r.model, r.damage) == (model, damage)}
        cells = [f"{gains[clip]:+.2f}" for clip in clips]
        lines.append([f"{model}, {damage}", *cells, f"{fmean(gains.values()):+.2f}"])
    return markdown_table(["dB gained by moving neighbours", *clips, "mean"], lines)


def _network(model: str) -> DiffIRS2:
    net = load_checkpoint(find_weights(model))
    if not isinstance(net, DiffIRS2) or net.config.scale > 1 or not net.config.compensated:
        raise UsageError(f"{model}: expected a stage-2 model of scale 1 that compensates motion")
    return net


def _measured(
    models: Sequence[str], data: Path, clips: Sequence[EvaluationClip], frame_limit: int
) -> tuple[str, Any]:
    rows = evaluate(models, data, clips=clips, frame_limit=frame_limit)
    return to_markdown(rows), [asdict(row) for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the evaluation; returns the exit code."""
    return compare_models("motion", __doc__, _measured, argv, models=_MODELS, frames=_FRAMES)


if __name__ == "__main__":
    sys.exit(main())

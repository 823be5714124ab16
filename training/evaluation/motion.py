"""`make eval-motion`: what moving a model's neighbours gains on real clips, with the same weights.

``python -m training.evaluation.motion --data DIR --models denoise-nano denoise-live --markdown FILE``
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import fmean

from diffir_video.checkpoint import load_checkpoint
from diffir_video.errors import UsageError
from diffir_video.frame import Clip
from diffir_video.metrics import mean_psnr, psnr_y
from diffir_video.network import DiffIRS2
from diffir_video.restorer import Restorer
from diffir_video.zoo import find_weights
from training.evaluation.material import (
    CLIPS,
    Damage,
    EvaluationClip,
    damaged,
    ground_truth,
    to_bytes,
    to_tensor,
)
from training.evaluation.report import markdown_table, write_if_asked
from training.evaluation.tool import add_clip_options, chosen_clips, exit_code_of, tool_parser

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
                source = Clip(to_tensor(pictures), tuple(range(len(pictures))), Fraction(1, 25))
                restored = (to_tensor(to_bytes(restorer.restore(source).data)) for restorer in restorers)
                figures = [mean_psnr(psnr_y(some, to_tensor(truth))) for some in restored]
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the evaluation; returns the exit code."""
    parser = tool_parser("motion", __doc__)
    parser.add_argument("--models", nargs="+", default=list(_MODELS), help="built-in names or checkpoints")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    add_clip_options(parser, frames=_FRAMES)
    options = parser.parse_args(argv)

    def measure() -> None:
        clips = chosen_clips(options.clips)
        rows = evaluate(options.models, options.data, clips=clips, frame_limit=options.frames)
        print(to_markdown(rows))
        write_if_asked(options.json, json.dumps([asdict(row) for row in rows], indent=1))
        write_if_asked(options.markdown, to_markdown(rows) + "\n")

    return exit_code_of(measure, options.json, options.markdown)


if __name__ == "__main__":
    sys.exit(main())

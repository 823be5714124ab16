"""`make eval-precision`: what faster arithmetic costs on real clips, against float32.

``python -m training.evaluation.precisions --data DIR --models denoise-nano denoise-live --markdown FILE``
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from diffir_video.errors import BackendError, UsageError
from diffir_video.metrics import mean_psnr, psnr_y
from diffir_video.precision import Precision
from diffir_video.restorer import Restorer
from training.evaluation.material import CLIPS, EvaluationClip, ground_truth, to_tensor
from training.evaluation.programmes import Programme, spliced
from training.evaluation.report import markdown_table
from training.evaluation.reuse import restored_pictures
from training.evaluation.tool import compare_models

logger = logging.getLogger(__name__)

_FRAMES = 24
_REFERENCE: Precision = "fp32"
_MODELS = ("denoise-nano", "denoise-live")


@dataclass(frozen=True, slots=True)
class Row:
    """One programme restored in one precision, a prior for every frame. psnr_y: mean over frames, dB."""

    model: str
    precision: str
    clip: str
    programme: str
    psnr_y: float


@dataclass(frozen=True, slots=True)
class PrecisionEvaluation:
    """All rows. refused: what this machine has not, and why."""

    rows: Sequence[Row]
    refused: Sequence[str]

    def losses(self, model: str, precision: str) -> dict[str, float]:
        """PSNR-Y lost against float32 by clip, dB, the mean over the clip's programmes."""
        exact = {r.programme: r.psnr_y for r in self._rows(model, _REFERENCE)}
        by_clip: dict[str, list[float]] = {}
        for row in self._rows(model, precision):
            by_clip.setdefault(row.clip, []).append(exact[row.programme] - row.psnr_y)
        return {clip: fmean(values) for clip, values in by_clip.items()}

    def to_markdown(self) -> str:
        """A row for each model and precision but float32, then what was refused."""
        ways = dict.fromkeys((r.model, r.precision) for r in self.rows if r.precision != _REFERENCE)
        clips = list(dict.fromkeys(r.clip for r in self.rows))
        rows: list[list[str]] = []
        for model, precision in ways:
            losses = self.losses(model, precision)
            cells = [f"{losses[clip]:+.4f}" for clip in clips]
            rows.append([f"{model}, {precision}", *cells, f"{fmean(losses.values()):+.4f}"])
        table = markdown_table(["dB lost against fp32", *clips, "mean"], rows)
        return "\n\n".join([table, *self.refused])

    def _rows(self, model: str, precision: str) -> list[Row]:
        return [r for r in self.rows if (r.model, r.precision) == (model, precision)]


def evaluate(
    models: Sequence[str], data: Path, *, clips: Sequence[EvaluationClip] = CLIPS, frame_limit: int = _FRAMES
) -> PrecisionEvaluation:
    """Restore every clip, damaged as for the evaluation of reuse, in every precision that this CPU has.

    frame_limit: frames taken of each clip. Raises DiffirVideoError for clips that can't be fetched, and for
    models that are unknown or enlarge.
    """
    programmes = list(_programmes(data, clips, frame_limit))
    rows: list[Row] = []
    refused: list[str] = []
    for precision in get_args(Precision):
        # fp16 is for GPUs: on a CPU plain torch runs it, slower than float32.
        if precision in ("auto", "fp16"):
            continue
        for model in models:
            try:
                restorer = Restorer.from_pretrained(
                    model, device="cpu", precision=precision, backend="compile"
                )
            except BackendError as exc:
                refused.append(f"{model}, {precision}: {exc}")
                continue
            if restorer.scale > 1:
                raise UsageError(f"{model} enlarges {restorer.scale} times: expected a model that doesn't")
            rows += [_measure(Path(model).name, restorer, programme) for programme in programmes]
    return PrecisionEvaluation(rows, refused)


def _programmes(data: Path, clips: Sequence[EvaluationClip], frame_limit: int) -> Iterator[Programme]:
    truths = {clip.name: ground_truth(data, clip, frame_limit) for clip in CLIPS}
    for clip in clips:
        yield from spliced(clip.name, truths)


def _measure(model: str, restorer: Restorer, programme: Programme) -> Row:
    pictures, _ = restored_pictures(restorer, programme)
    row = Row(
        model=model,
        precision=restorer.precision,
        clip=programme.clip,
        programme=programme.name,
        psnr_y=mean_psnr(psnr_y(pictures, to_tensor(programme.truth))),
    )
    logger.info("%s, %s, %s: %.4f dB", model, row.precision, row.programme, row.psnr_y)
    return row


def _measured(
    models: Sequence[str], data: Path, clips: Sequence[EvaluationClip], frame_limit: int
) -> tuple[str, Any]:
    result = evaluate(models, data, clips=clips, frame_limit=frame_limit)
    figures = {"rows": [asdict(row) for row in result.rows], "refused": list(result.refused)}
    return result.to_markdown(), figures


def main(argv: Sequence[str] | None = None) -> int:
    """Run the evaluation; returns the exit code."""
    return compare_models("precisions", __doc__, _measured, argv, models=_MODELS, frames=_FRAMES)


if __name__ == "__main__":
    sys.exit(main())

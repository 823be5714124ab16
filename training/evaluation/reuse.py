"""`make eval-reuse`: what sharing priors between frames costs, and whether refreshes fall where they must.

``python -m training.evaluation.reuse --data DIR --model denoise-nano --json FILE --markdown FILE``
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from diffir_video.frame import Clip
from diffir_video.metrics import mean_psnr, psnr_y, temporal_flicker
from diffir_video.prior import Reuse, ReusePolicy, ReuseReport
from diffir_video.restorer import Restorer
from training.evaluation.material import CLIPS, EvaluationClip, ground_truth, to_bytes, to_tensor
from training.evaluation.programmes import STILL_FRAMES, Programme, drifting, spliced, still
from training.evaluation.report import Bar, markdown_table, write_if_asked
from training.evaluation.tool import add_clip_options, chosen_clips, exit_code_of, tool_parser

logger = logging.getLogger(__name__)

MAX_MEAN_LOSS = {"prior": 0.01, "statistics": 0.02}
MAX_CLIP_LOSS = 0.05
STILL_FRAMES_PER_REFRESH = 24
_FRAMES = 60
_BATCH = 4

POLICIES: Mapping[str, ReusePolicy] = {
    "off": ReusePolicy(level="off"),
    "prior": ReusePolicy(level="prior"),
    "prior, smoothing 0.5": ReusePolicy(level="prior", prior_smoothing=0.5),
    "prior, held too long": ReusePolicy(level="prior", refresh_threshold=math.inf, max_prior_age=250),
    "statistics": ReusePolicy(level="statistics"),
    "statistics, held too long": ReusePolicy(
        level="statistics", refresh_threshold=math.inf, max_prior_age=250
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One programme restored under one policy.

    psnr_y: mean over frames, dB. flicker: 8-bit levels. missed_cuts: spliced cuts without a refresh on their
    first frame.
    """

    programme: str
    kind: str
    clip: str
    policy: str
    psnr_y: float
    flicker: float
    frames: int
    refreshes: int
    missed_cuts: int


@dataclass(frozen=True, slots=True)
class ReuseEvaluation:
    """All rows of one model."""

    model: str
    rows: Sequence[Row]

    def losses(self, kind: str, policy: str) -> dict[str, float]:
        """PSNR-Y lost against "off" by clip, dB, the mean over the clip's programmes of this kind."""
        reference = {r.programme: r.psnr_y for r in self._rows(kind, "off")}
        by_clip: dict[str, list[float]] = {}
        for row in self._rows(kind, policy):
            by_clip.setdefault(row.clip, []).append(reference[row.programme] - row.psnr_y)
        return {clip: fmean(values) for clip, values in by_clip.items()}

    def flicker(self, kind: str, policy: str) -> float:
        """Mean over the programmes of this kind, 8-bit levels."""
        return fmean(r.flicker for r in self._rows(kind, policy))

    def frames_per_refresh(self, kind: str, policy: str) -> float:
        rows = self._rows(kind, policy)
        return sum(r.frames for r in rows) / sum(r.refreshes for r in rows)

    def bars(self) -> list[Bar]:
        """What the issue asks of reuse, and what came of it."""
        return [bar for level in MAX_MEAN_LOSS for bar in self._bars_of(level)]

    def _bars_of(self, level: str) -> list[Bar]:
        losses = self.losses("spliced", level)
        mean_loss, worst = fmean(losses.values()), max(losses, key=lambda clip: losses[clip])
        flicker, reference = self.flicker("spliced", level), self.flicker("spliced", "off")
        missed = sum(r.missed_cuts for r in self._rows("spliced", level))
        allowed = -(-STILL_FRAMES // STILL_FRAMES_PER_REFRESH)
        most = max(r.refreshes for r in self._rows("still", level))
        return [
            Bar(
                f"{level}: mean loss ≤ {MAX_MEAN_LOSS[level]} dB",
                f"{mean_loss:+.4f} dB",
                mean_loss <= MAX_MEAN_LOSS[level],
            ),
            Bar(
                f"{level}: worst clip loses ≤ {MAX_CLIP_LOSS} dB",
                f"{losses[worst]:+.4f} dB, {worst}",
                losses[worst] <= MAX_CLIP_LOSS,
            ),
            Bar(
                f"{level}: flicker not above off",
                f"{flicker:.4f} against {reference:.4f}",
                flicker <= reference,
            ),
            Bar(f"{level}: a refresh on every spliced cut's first frame", f"{missed} missed", missed == 0),
            Bar(
                f"{level}: at most {allowed} refreshes in {STILL_FRAMES} still frames",
                f"{most} at most",
                most <= allowed,
            ),
        ]

    def _rows(self, kind: str, policy: str) -> list[Row]:
        return [r for r in self.rows if (r.kind, r.policy) == (kind, policy)]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "model": self.model,
            "rows": [asdict(r) for r in self.rows],
            "bars": [asdict(b) for b in self.bars()],
        }

    def to_markdown(self) -> str:
        """A table for cuts and one for drift, then the bars."""
        closing = [f"- {'met' if b.met else 'MISSED'}: {b.asked}: {b.found}" for b in self.bars()]
        return "\n\n".join([*map(self._table, ("spliced", "drifting")), "\n".join(closing)])

    def _table(self, kind: str) -> str:
        clips = list(self.losses(kind, "off"))
        heading = [f"{kind}: dB lost", *clips, "mean", "flicker", "frames per refresh"]
        rows: list[list[str]] = []
        for policy in dict.fromkeys(r.policy for r in self.rows):
            losses = self.losses(kind, policy)
            cells = [f"{x:+.3f}" for x in (*losses.values(), fmean(losses.values()))]
            flicker, span = self.flicker(kind, policy), self.frames_per_refresh(kind, policy)
            rows.append([policy, *cells, f"{flicker:.3f}", f"{span:.1f}"])
        return markdown_table(heading, rows)


def evaluate(
    model: str, data: Path, *, clips: Sequence[EvaluationClip] = CLIPS, frame_limit: int = _FRAMES
) -> ReuseEvaluation:
    """Restore every programme under every policy.

    frame_limit: frames taken of each clip. Raises DiffirVideoError for clips that can't be fetched and an
    unknown model.
    """
    rows: list[Row] = []
    for programme in _programmes(data, clips, frame_limit):
        for name, policy in POLICIES.items():
            # Of a still only the refreshes matter.
            if programme.kind != "still" or name in MAX_MEAN_LOSS:
                rows.append(_measure(model, programme, name, policy))
    return ReuseEvaluation(Path(model).name, rows)


def _programmes(data: Path, clips: Sequence[EvaluationClip], frame_limit: int) -> Iterator[Programme]:
    truths = {clip.name: ground_truth(data, clip, frame_limit) for clip in CLIPS}
    for clip in clips:
        yield from spliced(clip.name, truths)
        yield drifting(clip.name, truths)
        yield still(clip.name, truths)


def _measure(model: str, programme: Programme, name: str, policy: ReusePolicy) -> Row:
    restorer = Restorer.from_pretrained(
        model, device="cpu", precision="fp32", reuse=policy, record_decisions=True
    )
    pictures, reuse = restored_pictures(restorer, programme)
    truth = to_tensor(programme.truth)
    row = Row(
        programme=programme.name,
        kind=programme.kind,
        clip=programme.clip,
        policy=name,
        psnr_y=mean_psnr(psnr_y(pictures, truth)),
        flicker=temporal_flicker(pictures, truth).mean().item() * 255,
        frames=len(truth),
        refreshes=sum(reuse.refreshes.values()),
        missed_cuts=_missed_cuts(programme, reuse),
    )
    logger.info("%s, %s: %.3f dB, %s", programme.name, name, row.psnr_y, reuse)
    return row


def restored_pictures(restorer: Restorer, programme: Programme) -> tuple[Tensor, ReuseReport]:
    """(T, 3, s·H, s·W) float32 in [0, 1], rounded to 8 bits like a file of them; and what was reused."""
    damaged = to_tensor(programme.damaged)
    frames = Clip(damaged, tuple(range(len(damaged))), Fraction(1, 25)).frames()
    stream = restorer.open_stream()
    restored = [f for i in range(0, len(frames), _BATCH) for f in stream.push(frames[i : i + _BATCH])]
    restored += stream.finish()
    return to_tensor(to_bytes(Clip.from_frames(restored).data)), stream.reuse


def _missed_cuts(programme: Programme, report: ReuseReport) -> int:
    assert report.decisions is not None
    return sum(report.decisions[cut].reuse is not Reuse.NEW for cut in programme.cuts)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the evaluation; returns the exit code."""
    parser = tool_parser("reuse", __doc__)
    parser.add_argument("--model", default="denoise-nano", help="a built-in name or a checkpoint")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    add_clip_options(parser, frames=_FRAMES)
    options = parser.parse_args(argv)

    def measure() -> None:
        clips = chosen_clips(options.clips)
        result = evaluate(options.model, options.data, clips=clips, frame_limit=options.frames)
        print(result.to_markdown())
        write_if_asked(options.json, json.dumps(result.to_dict(), indent=1))
        write_if_asked(options.markdown, result.to_markdown() + "\n")

    return exit_code_of(measure, options.json, options.markdown)


if __name__ == "__main__":
    sys.exit(main())

"""The evaluation's tables and its bars, for the terminal, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table

from diffir_video.errors import OutputError
from training.evaluation.filters import FILTERS, FilterScores
from training.evaluation.material import Damage
from training.evaluation.stages import PriorComparison
from training.evaluation.task import DENOISING, Task

MAX_STAGE_GAP = 0.1


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over a clip's frames: PSNR-Y and PSNR in dB, SSIM, flicker in 8-bit levels."""

    psnr_y: float
    psnr: float
    ssim: float
    flicker: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One clip with one damage, before and (where there is a model) after restoration.

    others: PSNR-Y in dB of what else was tried on the same input, by name.
    """

    clip: str
    damage: Damage
    before: Quality
    after: Quality | None = None
    others: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def gain(self) -> float:
        """Gain in PSNR-Y, dB."""
        assert self.after is not None, "no model, no gain"
        return self.after.psnr_y - self.before.psnr_y


@dataclass(frozen=True, slots=True)
class Bar:
    """One thing asked of the model, and what came of it."""

    asked: str
    found: str
    met: bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that was measured of one model (None: inputs and filters only).

    filters: FFmpeg's scores by clip, at the task's reference; empty where the task leaves them out. priors:
    by damage; None without a stage-1 model.
    """

    model: str | None
    frames: int
    cells: Sequence[Cell]
    filters: Mapping[str, FilterScores]
    priors: Mapping[Damage, PriorComparison] | None = None
    notes: Sequence[str] = field(default_factory=tuple[str, ...])
    task: Task = DENOISING

    @property
    def model_name(self) -> str:
        """The built-in name, or the file's without its folder; empty without a model."""
        return Path(self.model).name if self.model else ""

    @property
    def clips(self) -> list[str]:
        return list(dict.fromkeys(cell.clip for cell in self.cells))

    @property
    def damages(self) -> list[Damage]:
        return list(dict.fromkeys(cell.damage for cell in self.cells))

    def cell(self, clip: str, damage: Damage) -> Cell:
        return next(c for c in self.cells if (c.clip, c.damage) == (clip, damage))

    def at(self, damage: Damage) -> list[Cell]:
        return [c for c in self.cells if c.damage == damage]

    def bars(self) -> list[Bar]:
        """The bars that what was measured can answer, in the order of the issue that set them."""
        if self.model is None:
            return []
        gains = [
            _at_least(f"mean gain {asked.what}", asked.least, self._mean_gain(asked.damages))
            for asked in self.task.mean_gains
        ]
        return [*gains, self._least_gain_bar(), *self._filter_bars(), *self._prior_bars()]

    def _mean_gain(self, damages: Sequence[Damage]) -> float:
        return fmean(cell.gain for cell in self.cells if cell.damage in damages)

    def _least_gain_bar(self) -> Bar:
        least = min(self.cells, key=lambda c: c.gain)
        asked = f"no clip and setting below {self.task.least_gain:+.1f} dB"
        found = f"least is {least.gain:+.2f} dB, {least.clip} at {least.damage}"
        return Bar(asked, found, least.gain >= self.task.least_gain)

    def _filter_bars(self) -> list[Bar]:
        margin = self.task.filter_margin
        if margin is None or not self.filters:
            return []
        ours = fmean(c.after.psnr_y for c in self.at(self.task.reference) if c.after is not None)
        bars: list[Bar] = []
        for each in FILTERS:
            best = fmean(scores.best(each)[1] for scores in self.filters.values())
            above = f"{margin} dB above" if margin else "above"
            asked = f"mean at {self.task.reference} {above} FFmpeg's {each.name}, tuned per clip"
            bars.append(Bar(asked, f"{ours:.2f} against {best:.2f} dB", ours > best + margin))
        return bars

    def _prior_bars(self) -> list[Bar]:
        if self.priors is None:
            return []
        mean = mean_of_priors(self.priors.values())
        gap = mean.stage1_gt_prior - mean.stage2
        edge = mean.stage2 - mean.stage2_mean_prior
        return [
            Bar(
                f"stage 2 within {MAX_STAGE_GAP} dB of stage 1 with its GT prior",
                f"{-gap:+.3f} dB",
                gap <= MAX_STAGE_GAP,
            ),
            Bar("stage 2 better than with one constant (mean) prior", f"{edge:+.3f} dB", edge > 0),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "model": self.model,
            "frames": self.frames,
            "cells": [asdict(c) for c in self.cells],
            "filters": {clip: dict(scores.psnr_y) for clip, scores in self.filters.items()},
            "priors": None
            if self.priors is None
            else [{"damage": asdict(d), **p.to_dict()} for d, p in self.priors.items()],
            "bars": [asdict(b) for b in self.bars()],
            "notes": list(self.notes),
        }


def mean_of_priors(comparisons: Iterable[PriorComparison]) -> PriorComparison:
    """The mean of comparisons, each counted once."""
    rows = list(comparisons)
    return PriorComparison(
        stage1_gt_prior=fmean(r.stage1_gt_prior for r in rows),
        stage2=fmean(r.stage2 for r in rows),
        stage2_mean_prior=fmean(r.stage2_mean_prior for r in rows),
    )


def to_text(evaluation: Evaluation) -> str:
    """The report as tables for a terminal of 140 columns, without colours."""
    console = Console(width=140, color_system=None)
    with console.capture() as capture:
        for title, heading, rows in _tables(evaluation):
            table = Table(title=title, title_justify="left")
            for i, name in enumerate(heading):
                table.add_column(name, justify="left" if i == 0 else "right")
            for row in rows:
                table.add_row(*row)
            console.print(table)
        for line in _closing_lines(evaluation):
            console.print(line, markup=False, highlight=False)
    return capture.get().rstrip()


def to_markdown(evaluation: Evaluation) -> str:
    """The report as Markdown, for a model card."""
    parts: list[str] = []
    for title, heading, rows in _tables(evaluation):
        parts.append(f"**{title}**\n\n{markdown_table(heading, rows)}")
    closing = _closing_lines(evaluation)
    if closing:
        parts.append("\n".join(f"- {line}" for line in closing))
    return "\n\n".join(parts) + "\n"


_TableText: TypeAlias = tuple[str, list[str], list[list[str]]]


def _tables(evaluation: Evaluation) -> list[_TableText]:
    tables = [_gain_table(evaluation)]
    if evaluation.filters:
        tables.append(_filter_table(evaluation))
    if any(cell.others for cell in evaluation.cells):
        tables.append(_others_table(evaluation))
    if evaluation.priors is not None:
        tables.append(_prior_table(evaluation.priors))
    return tables


def _gain_table(evaluation: Evaluation) -> _TableText:
    subject = evaluation.model_name or "inputs"
    before = "bicubic" if evaluation.task.scale > 1 else "input"
    title = (
        f"{subject}: PSNR-Y in dB of {before} → output (gain), first {evaluation.frames} frames of each clip"
    )
    rows = [
        [clip, *(_gain_text([evaluation.cell(clip, damage)]) for damage in evaluation.damages)]
        for clip in evaluation.clips
    ]
    rows.append(["mean", *(_gain_text(evaluation.at(damage)) for damage in evaluation.damages)])
    # Nine columns of three figures are too wide for a page: one row for each setting instead.
    heading = ["setting", *evaluation.clips, "mean"]
    settings = [[str(damage)] for damage in evaluation.damages]
    turned = [[*name, *(row[i + 1] for row in rows)] for i, name in enumerate(settings)]
    return title, heading, turned


def _others_table(evaluation: Evaluation) -> _TableText:
    """A row for each other way, a column for each damage; the mean over the clips."""
    names = list(dict.fromkeys(name for cell in evaluation.cells for name in cell.others))
    rows = [
        [name, *(f"{fmean(c.others[name] for c in evaluation.at(d)):.2f}" for d in evaluation.damages)]
        for name in names
    ]
    if evaluation.model is not None:
        ours = [fmean(c.after.psnr_y for c in evaluation.at(d) if c.after) for d in evaluation.damages]
        rows.append([evaluation.model_name, *(f"{x:.2f}" for x in ours)])
    return "Beside others: PSNR-Y in dB, mean over the clips", ["", *map(str, evaluation.damages)], rows


def _gain_text(cells: Sequence[Cell]) -> str:
    before = fmean(c.before.psnr_y for c in cells)
    after = [c.after.psnr_y for c in cells if c.after is not None]
    if not after:
        return f"{before:.2f}"
    return f"{before:.2f} → {fmean(after):.2f} ({fmean(after) - before:+.2f})"


def _filter_table(evaluation: Evaluation) -> _TableText:
    title = f"FFmpeg's filters at {evaluation.task.reference}, uncompressed: PSNR-Y in dB"
    scores = list(evaluation.filters.values())
    rows: list[list[str]] = []
    for each in FILTERS:
        setting = best_common_setting(scores, each.settings)
        common = [s.psnr_y[setting] for s in scores]
        label = f"{each.name} at its best for all: {arguments_of(setting)}"
        rows.append([label, *(f"{x:.2f}" for x in (*common, fmean(common)))])
        own = [s.best(each) for s in scores]
        texts = [f"{x:.2f} ({arguments_of(name)})" for name, x in own]
        rows.append([f"{each.name} at its best for each clip", *texts, f"{fmean(x for _, x in own):.2f}"])
    reference = evaluation.at(evaluation.task.reference)
    inputs = [c.before.psnr_y for c in reference]
    rows.insert(0, ["input", *(f"{x:.2f}" for x in (*inputs, fmean(inputs)))])
    outputs = [c.after.psnr_y for c in reference if c.after is not None]
    if outputs:
        rows.append([evaluation.model_name, *(f"{x:.2f}" for x in (*outputs, fmean(outputs)))])
    return title, ["", *evaluation.clips, "mean"], rows


def best_common_setting(scores: Sequence[FilterScores], settings: Sequence[str]) -> str:
    """The setting of the highest mean PSNR-Y over the clips."""
    return max(settings, key=lambda setting: fmean(s.psnr_y[setting] for s in scores))


def arguments_of(setting: str) -> str:
    """``"nlmeans=s=11"`` to ``"s=11"``."""
    return setting.partition("=")[2]


def _prior_table(priors: Mapping[Damage, PriorComparison]) -> _TableText:
    title = "Where the prior comes from: PSNR-Y in dB on the same frames"
    rows = [[str(damage), *_prior_columns(p)] for damage, p in priors.items()]
    rows.append(["mean", *_prior_columns(mean_of_priors(priors.values()))])
    return title, ["setting", "stage 1, GT prior", "stage 2, diffusion", "stage 2, mean prior"], rows


def _prior_columns(p: PriorComparison) -> list[str]:
    return [f"{x:.3f}" for x in (p.stage1_gt_prior, p.stage2, p.stage2_mean_prior)]


def _closing_lines(evaluation: Evaluation) -> list[str]:
    bars = [f"{'met' if b.met else 'MISSED'}: {b.asked}: {b.found}" for b in evaluation.bars()]
    return [*bars, *evaluation.notes]


def _at_least(what: str, least: float, found: float) -> Bar:
    return Bar(f"{what} ≥ {least} dB", f"{found:+.2f} dB", found >= least)


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and the others figures."""
    alignment = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(_markdown_row(row) for row in (heading, alignment, *rows))


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_if_asked(path: Path | None, text: str) -> None:
    """Write a report where a path was given; raises OutputError if it can't be written."""
    if path is None:
        return
    try:
        path.write_text(text)
    except OSError as exc:
        raise OutputError(f"{path}: {exc.strerror}") from exc

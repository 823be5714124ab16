"""What `compare_files` found: each frame's figures, their means, and a table of them."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from diffir_video.metrics import PSNR_CEILING

# By which frames are matched: those of one time, or of one time after each file's first frame.
Align = Literal["time", "start"]


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One frame against the reference's frame of the same time; PSNR in dB, `inf` when equal.

    ssim: NaN for pictures smaller than its window, 11x11.
    """

    index: int
    pts_seconds: Fraction
    psnr_y: float
    psnr: float
    ssim: float


@dataclass(slots=True)
class FileScore:
    """One file against the reference.

    frames: those scored, `FrameScore.index` counting the reference's frames from 0.
    missing: frames of the reference without one at their time here; extra: the reverse.
    starts_later_by: seconds from the reference's first frame to the first one here.
    """

    path: Path
    frames: list[FrameScore] = field(default_factory=list[FrameScore])
    missing: int = 0
    extra: int = 0
    starts_later_by: Fraction = Fraction(0)

    @property
    def psnr_y(self) -> float:
        """Mean over the frames in dB; equal frames count as `PSNR_CEILING`."""
        return statistics.fmean(min(f.psnr_y, PSNR_CEILING) for f in self.frames)

    @property
    def psnr(self) -> float:
        """Mean over the frames in dB; equal frames count as `PSNR_CEILING`."""
        return statistics.fmean(min(f.psnr, PSNR_CEILING) for f in self.frames)

    @property
    def ssim(self) -> float:
        """Mean over the frames; NaN for pictures smaller than its window, 11x11."""
        return statistics.fmean(f.ssim for f in self.frames)

    @property
    def worst(self) -> FrameScore:
        """The frame of least PSNR-Y."""
        return min(self.frames, key=lambda f: f.psnr_y)

    @property
    def identical(self) -> int:
        """How many frames equal the reference's exactly, as decoded to RGB."""
        return sum(math.isinf(f.psnr) for f in self.frames)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON values; PSNR capped at `PSNR_CEILING`, NaN as None."""
        return {
            "path": str(self.path),
            "frames": len(self.frames),
            "missing": self.missing,
            "extra": self.extra,
            "identical": self.identical,
            "psnr_y": self.psnr_y,
            "psnr": self.psnr,
            "ssim": _number_or_none(self.ssim),
            "starts_later_by": float(self.starts_later_by),
            "worst": _frame_to_dict(self.worst),
            "per_frame": [_frame_to_dict(f) for f in self.frames],
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare_files` found; `scores` holds A, and B where there was one.

    align: how frames were matched.
    """

    reference: Path
    width: int
    height: int
    reference_frames: int
    scores: tuple[FileScore, ...]
    align: Align = "time"

    @property
    def gain(self) -> float | None:
        """Mean PSNR-Y of B minus that of A, in dB, over the frames that both have; None without any."""
        a_and_b = self._on_common_frames()
        return a_and_b[1].psnr_y - a_and_b[0].psnr_y if a_and_b else None

    def _on_common_frames(self) -> tuple[FileScore, FileScore] | None:
        if len(self.scores) != 2:
            return None
        by_index = [{f.index: f for f in score.frames} for score in self.scores]
        common = sorted(by_index[0].keys() & by_index[1].keys())
        a, b = (
            replace(score, frames=[frames[index] for index in common])
            for score, frames in zip(self.scores, by_index, strict=True)
        )
        return (a, b) if common else None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "reference": str(self.reference),
            "width": self.width,
            "height": self.height,
            "reference_frames": self.reference_frames,
            "align": self.align,
            "scores": [score.to_dict() for score in self.scores],
            "gain_psnr_y": self.gain,
        }

    def format(self) -> str:
        """A table to read in a terminal, without colours, and notes below it."""
        title = f"against {self.reference.name}: {self.width}x{self.height}, {self.reference_frames} frames"
        table = Table(title=title, title_justify="left")
        table.add_column("file")
        for heading in ("PSNR-Y dB", "PSNR dB", "SSIM", "worst frame", "frames", "missing", "extra"):
            table.add_column(heading, justify="right")
        for score in self.scores:
            table.add_row(*_table_row(score))
        if a_and_b := self._on_common_frames():
            a, b = a_and_b
            table.add_section()
            table.add_row(
                "gain",
                *(f"{x:+.3f}" for x in (b.psnr_y - a.psnr_y, b.psnr - a.psnr)),
                ssim_text(b.ssim - a.ssim, "+.4f"),
            )
        console = Console(width=110, color_system=None)
        with console.capture() as capture:
            console.print(table)
        return "\n".join([capture.get().rstrip(), *self._notes()])

    def _notes(self) -> list[str]:
        return [
            f"note: {score.path.name} starts {float(score.starts_later_by):+.3f} s after the reference, and "
            "frames of one time were compared; --align start matches them from their first frames on"
            for score in self.scores
            if self.align == "time" and score.starts_later_by and score.missing and score.extra
        ]


def _table_row(score: FileScore) -> list[str]:
    worst = score.worst
    return [
        score.path.name,
        *(
            f"{figure:.3f}" if score.identical < len(score.frames) else "equal"
            for figure in (score.psnr_y, score.psnr)
        ),
        ssim_text(score.ssim),
        f"{min(worst.psnr_y, PSNR_CEILING):.2f} dB at {float(worst.pts_seconds):.2f} s",
        *(str(count) for count in (len(score.frames), score.missing, score.extra)),
    ]


def _frame_to_dict(frame: FrameScore) -> dict[str, Any]:
    return {
        "index": frame.index,
        "pts_seconds": float(frame.pts_seconds),
        "psnr_y": min(frame.psnr_y, PSNR_CEILING),
        "psnr": min(frame.psnr, PSNR_CEILING),
        "ssim": _number_or_none(frame.ssim),
    }


def ssim_text(value: float, form: str = ".4f") -> str:
    """As people read it: a dash for NaN."""
    return "–" if math.isnan(value) else format(value, form)


def _number_or_none(value: float) -> float | None:
    return None if math.isnan(value) else value

"""Two files against their reference, frame by frame: how much better is the restored one than its input?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from diffir_video.before_after import Panel, draw_before_after
from diffir_video.errors import UsageError
from diffir_video.frame import Frame
from diffir_video.media import VideoReader
from diffir_video.metrics import psnr, psnr_y, ssim

# Equal frames have no finite PSNR; in means and in JSON they count as this, as VMAF's and others' tools do.
PSNR_CEILING = 100.0


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One frame against the reference's frame of the same time; PSNR in dB, `inf` when equal."""

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
    """

    path: Path
    frames: list[FrameScore] = field(default_factory=list[FrameScore])
    missing: int = 0
    extra: int = 0

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
        """Mean over the frames."""
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
        """The figures as plain JSON values; PSNR capped at `PSNR_CEILING`."""
        return {
            "path": str(self.path),
            "frames": len(self.frames),
            "missing": self.missing,
            "extra": self.extra,
            "identical": self.identical,
            "psnr_y": self.psnr_y,
            "psnr": self.psnr,
            "ssim": self.ssim,
            "worst": _frame_to_dict(self.worst),
            "per_frame": [_frame_to_dict(f) for f in self.frames],
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare_files` found; `scores` holds A, and B where there was one."""

    reference: Path
    width: int
    height: int
    reference_frames: int
    scores: tuple[FileScore, ...]

    @property
    def gain(self) -> float | None:
        """Mean PSNR-Y of B minus that of A, in dB; None without B."""
        return self.scores[1].psnr_y - self.scores[0].psnr_y if len(self.scores) == 2 else None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "reference": str(self.reference),
            "width": self.width,
            "height": self.height,
            "reference_frames": self.reference_frames,
            "scores": [score.to_dict() for score in self.scores],
            "gain_psnr_y": self.gain,
        }

    def format(self) -> str:
        """A table to read in a terminal, without colours."""
        title = f"against {self.reference.name}: {self.width}x{self.height}, {self.reference_frames} frames"
        table = Table(title=title, title_justify="left")
        table.add_column("file")
        for heading in ("PSNR-Y dB", "PSNR dB", "SSIM", "worst frame", "frames", "missing", "extra"):
            table.add_column(heading, justify="right")
        for score in self.scores:
            table.add_row(*_table_row(score))
        if self.gain is not None:
            a, b = self.scores
            table.add_section()
            table.add_row(
                "gain", *(f"{x:+.3f}" for x in (self.gain, b.psnr - a.psnr)), f"{b.ssim - a.ssim:+.4f}"
            )
        console = Console(width=110, color_system=None)
        with console.capture() as capture:
            console.print(table)
        return capture.get().rstrip()


def compare_files(
    reference: str | PathLike[str],
    a: str | PathLike[str],
    b: str | PathLike[str] | None = None,
    *,
    picture: str | PathLike[str] | None = None,
) -> Comparison:
    """Measure one or two files against a reference of the same size, matching frames by their time.

    Frames are decoded side by side and dropped once measured, so memory does not grow with length. Two frames
    match when their times differ by no more than the rounding of the two containers' clocks.

    Args:
        reference: the ground truth.
        a, b: what to measure; typically the input of a restoration and its output.
        picture: where to write a before/after picture (PNG or what else the suffix says). It shows a typical
            frame, the one whose gain (or PSNR, without `b`) is the median, which is decoded once more for it.

    Returns:
        Per-frame and mean PSNR-Y, PSNR and SSIM (see `diffir_video.metrics`), the worst frame, and counts.

    Raises:
        UsageError: sizes differ, or no frame of a file has the time of one of the reference.
        MediaInputError: a file is missing or can't be decoded.
        OutputError: the picture can't be written.
    """
    reference_path = Path(reference)
    paths = [Path(p) for p in (a, b) if p is not None]
    scores = tuple(FileScore(path) for path in paths)
    with ExitStack() as stack:
        readers = [stack.enter_context(VideoReader(p)) for p in (reference_path, *paths)]
        width, height = _common_size(readers, [reference_path, *paths])
        reference_frames = 0
        for row in _frames_side_by_side(readers, scores):
            _score_row(row, reference_frames, scores)
            reference_frames += 1
    for score in scores:
        if not score.frames:
            raise UsageError(
                f"{score.path} has no frame at the time of any frame of {reference_path} "
                f"({reference_frames} frames there, {score.extra} here)"
            )
    comparison = Comparison(reference_path, width, height, reference_frames, scores)
    if picture is not None:
        _draw_typical_frame(comparison, Path(picture))
    return comparison


def _common_size(readers: list[VideoReader], paths: list[Path]) -> tuple[int, int]:
    sizes = [(r.info.width, r.info.height) for r in readers]
    for path, (width, height) in zip(paths, sizes, strict=True):
        if (width, height) != sizes[0]:
            raise UsageError(
                f"{path} is {width}x{height}, but {paths[0]} is {sizes[0][0]}x{sizes[0][1]}: "
                "only pictures of one size compare"
            )
    return sizes[0]


def _frames_side_by_side(
    readers: list[VideoReader], scores: tuple[FileScore, ...]
) -> Iterator[tuple[Frame, list[Frame | None]]]:
    """The reference's frames in order, each with the frame of the same time of every other file, or None."""
    reference, *others = readers
    queues = [_FrameQueue(other, score) for other, score in zip(others, scores, strict=True)]
    for frame in reference:
        yield frame, [queue.take_at(frame) for queue in queues]
    for queue in queues:
        queue.drain()


class _FrameQueue:
    """One file's frames, asked for by time in rising order; at most one frame is held back."""

    def __init__(self, reader: VideoReader, score: FileScore) -> None:
        self._frames = iter(reader)
        self._held: Frame | None = next(self._frames, None)
        self._score = score

    def take_at(self, wanted: Frame) -> Frame | None:
        while self._held is not None:
            held = self._held
            # Either clock may have rounded the true time by half a tick.
            rounding = (wanted.time_base + held.time_base) / 2
            if held.pts_seconds > wanted.pts_seconds + rounding:
                break
            self._held = next(self._frames, None)
            if held.pts_seconds >= wanted.pts_seconds - rounding:
                return held
            self._score.extra += 1
        self._score.missing += 1
        return None

    def drain(self) -> None:
        while self._held is not None:
            self._score.extra += 1
            self._held = next(self._frames, None)


def _score_row(row: tuple[Frame, list[Frame | None]], index: int, scores: tuple[FileScore, ...]) -> None:
    reference, others = row
    truth = reference.data.unsqueeze(0)
    for frame, score in zip(others, scores, strict=True):
        if frame is None:
            continue
        picture = frame.data.unsqueeze(0)
        score.frames.append(
            FrameScore(
                index=index,
                pts_seconds=reference.pts_seconds,
                psnr_y=psnr_y(picture, truth).item(),
                psnr=psnr(picture, truth).item(),
                ssim=ssim(picture, truth).item(),
            )
        )


def _draw_typical_frame(comparison: Comparison, path: Path) -> None:
    index = _typical_frame_index(comparison)
    truth, pictures = _decode_row(comparison, index)
    panels = [Panel(comparison.reference.name, None, truth)]
    for score, picture in zip(comparison.scores, pictures, strict=True):
        shown = next(f for f in score.frames if f.index == index)
        panels.append(Panel(score.path.name, shown.psnr_y, picture))
    means = ", ".join(f"{s.path.name} {s.psnr_y:.2f} dB, SSIM {s.ssim:.4f}" for s in comparison.scores)
    place = f"frame {index + 1} of {comparison.reference_frames}, a typical one"
    draw_before_after(panels, f"PSNR-Y; {place}. Means over the clip: {means}", path)


def _typical_frame_index(comparison: Comparison) -> int:
    """The frame whose gain of B over A is the median; without B, the frame of median PSNR-Y."""
    by_index = [{f.index: min(f.psnr_y, PSNR_CEILING) for f in s.frames} for s in comparison.scores]
    common = set(by_index[0]).intersection(*by_index[1:])
    if not common:
        raise UsageError("the picture needs a frame that every file has, and there is none")
    first, last = by_index[0], by_index[-1]
    ranked = sorted(common, key=lambda i: (last[i] - first[i], last[i], i))
    return ranked[len(ranked) // 2]


def _decode_row(comparison: Comparison, index: int) -> tuple[Tensor, list[Tensor]]:
    paths = [comparison.reference, *(s.path for s in comparison.scores)]
    uncounted = tuple(FileScore(s.path) for s in comparison.scores)
    with ExitStack() as stack:
        readers = [stack.enter_context(VideoReader(p)) for p in paths]
        for position, (reference, others) in enumerate(_frames_side_by_side(readers, uncounted)):
            if position == index:
                found = [frame.data for frame in others if frame is not None]
                assert len(found) == len(others), "a frame that was scored is gone on a second reading"
                return reference.data, found
    raise AssertionError(f"frame {index} was scored and is gone on a second reading")


def _table_row(score: FileScore) -> list[str]:
    worst = score.worst
    return [
        score.path.name,
        *(
            f"{figure:.3f}" if score.identical < len(score.frames) else "equal"
            for figure in (score.psnr_y, score.psnr)
        ),
        f"{score.ssim:.4f}",
        f"{min(worst.psnr_y, PSNR_CEILING):.2f} dB at {float(worst.pts_seconds):.2f} s",
        *(str(count) for count in (len(score.frames), score.missing, score.extra)),
    ]


def _frame_to_dict(frame: FrameScore) -> dict[str, Any]:
    return {
        "index": frame.index,
        "pts_seconds": float(frame.pts_seconds),
        "psnr_y": min(frame.psnr_y, PSNR_CEILING),
        "psnr": min(frame.psnr, PSNR_CEILING),
        "ssim": frame.ssim,
    }

"""Two files against their reference, frame by frame: how much better is the restored one than its input?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import get_args

from torch import Tensor

from diffir_video.before_after import Panel, draw_before_after
from diffir_video.compare_report import Align, Comparison, FileScore, FrameScore, ssim_text
from diffir_video.errors import UsageError
from diffir_video.frame import Frame
from diffir_video.media import find_pictures, open_video
from diffir_video.metrics import PSNR_CEILING, SSIM_WINDOW, psnr, psnr_y, ssim
from diffir_video.small_files import check_picture_name, refuse_same_file
from diffir_video.stages import FrameSource

# Of a first frame and of a later one: where clocks are fine, each was rounded by itself.
_MOST_ROUNDING_SECONDS = Fraction(1, 200)


def compare_files(
    reference: str | PathLike[str],
    a: str | PathLike[str],
    b: str | PathLike[str] | None = None,
    *,
    align: Align = "time",
    picture: str | PathLike[str] | None = None,
) -> Comparison:
    """Measure one or two files against a reference of the same size, matching frames by their time.

    Frames are decoded side by side and dropped once measured, so memory does not grow with length. Two frames
    match when their times differ by no more than the rounding of the two containers' clocks. Pictures have no
    time of their own: they get the frame rate of the videos they are compared with.

    Args:
        reference: the ground truth: a video, or pictures, as `open_video` takes them.
        a, b: what to measure; typically the input of a restoration and its output.
        align: "time" matches frames of one time, "start" those of one time after each file's first frame.
        picture: where to write a before/after picture (PNG or what else the suffix says). It shows a typical
            frame, the one whose gain (or PSNR, without `b`) is the median, which is decoded once more for it.

    Returns:
        Per-frame and mean PSNR-Y, PSNR and SSIM (see `diffir_video.metrics`), the worst frame, and counts.

    Raises:
        UsageError: sizes differ, or no frame of a file has the time of one of the reference; another `align`.
        MediaInputError: a file is missing or can't be decoded.
        OutputError: the picture can't be written, or is one of the files.
    """
    if align not in get_args(Align):
        raise UsageError(f"align {align!r}: expected one of {get_args(Align)}")
    reference_path = Path(reference)
    paths = [Path(p) for p in (a, b) if p is not None]
    scores = tuple(FileScore(path) for path in paths)
    if picture is not None:
        check_picture_name(picture)
        refuse_same_file(picture, [("compared", path) for path in (reference_path, *paths)])
    with ExitStack() as stack:
        readers = _open_all([reference_path, *paths], stack)
        width, height = _common_size(readers, [reference_path, *paths])
        reference_frames = 0
        for row in _frames_side_by_side(readers, scores, align):
            _score_row(row, reference_frames, scores)
            reference_frames += 1
    for score in scores:
        if not score.frames:
            raise UsageError(
                f"{score.path} has no frame at the time of any frame of {reference_path} "
                f"({reference_frames} frames there, {score.extra} here, which start "
                f'{float(score.starts_later_by):+.3f} s after them); --align start (align="start") matches '
                "them from their first frames on"
            )
    comparison = Comparison(reference_path, width, height, reference_frames, scores, align)
    if picture is not None:
        draw_comparison(comparison, picture)
    return comparison


def _open_all(paths: list[Path], stack: ExitStack) -> list[FrameSource]:
    """A reader for each path, which `stack` closes."""
    readers: dict[int, FrameSource] = {}
    videos = [index for index, path in enumerate(paths) if find_pictures(path) is None]
    for index in videos:
        readers[index] = open_video(paths[index])
        stack.callback(readers[index].close)
    rate = next((rate for index in videos if (rate := readers[index].info.average_rate)), None)
    for index in set(range(len(paths))) - readers.keys():
        readers[index] = open_video(paths[index], rate=rate)
        stack.callback(readers[index].close)
    return [readers[index] for index in range(len(paths))]


def _common_size(readers: list[FrameSource], paths: list[Path]) -> tuple[int, int]:
    sizes = [(r.info.width, r.info.height) for r in readers]
    for path, (width, height) in zip(paths, sizes, strict=True):
        if (width, height) != sizes[0]:
            raise UsageError(
                f"{path} is {width}x{height}, but {paths[0]} is {sizes[0][0]}x{sizes[0][1]}: "
                "only pictures of one size compare"
            )
    return sizes[0]


def _frames_side_by_side(
    readers: list[FrameSource], scores: tuple[FileScore, ...], align: Align
) -> Iterator[tuple[Frame, list[Frame | None]]]:
    """The reference's frames in order, each with the frame of the same time of every other file, or None."""
    reference, *others = readers
    queues = [_FrameQueue(other, score, align) for other, score in zip(others, scores, strict=True)]
    for frame in reference:
        yield frame, [queue.take_at(frame) for queue in queues]
    for queue in queues:
        queue.drain()


class _FrameQueue:
    """One file's frames, asked for by time in rising order; at most one frame is held back."""

    def __init__(self, reader: FrameSource, score: FileScore, align: Align) -> None:
        self._frames = iter(reader)
        self._held: Frame | None = next(self._frames, None)
        self._score, self._align = score, align
        self._shift: Fraction | None = None

    def take_at(self, wanted: Frame) -> Frame | None:
        if self._shift is None:
            self._shift = self._shift_from(wanted)
        while self._held is not None:
            held = self._held
            late = held.pts_seconds - self._shift - wanted.pts_seconds
            rounding = self._rounding(wanted, held)
            if late > rounding:
                break
            self._held = next(self._frames, None)
            if late >= -rounding:
                return held
            self._score.extra += 1
        self._score.missing += 1
        return None

    def _shift_from(self, first: Frame) -> Fraction:
        """What times here are later by than those of the reference, whose first frame is given."""
        if self._held is None:
            return Fraction(0)
        self._score.starts_later_by = self._held.pts_seconds - first.pts_seconds
        return self._score.starts_later_by if self._align == "start" else Fraction(0)

    def _rounding(self, wanted: Frame, held: Frame) -> Fraction:
        # Either clock may have rounded the true time by half a tick.
        rounding = (wanted.time_base + held.time_base) / 2
        if self._align == "time":
            return rounding
        return max(rounding, min(2 * rounding, _MOST_ROUNDING_SECONDS))

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
                ssim=_ssim_or_nan(picture, truth),
            )
        )


def _ssim_or_nan(picture: Tensor, truth: Tensor) -> float:
    return math.nan if min(picture.shape[-2:]) < SSIM_WINDOW else ssim(picture, truth).item()


def draw_comparison(comparison: Comparison, path: str | PathLike[str]) -> None:
    """Write the before/after picture of a typical frame, as `compare_files` does; raises OutputError."""
    index = _typical_frame_index(comparison)
    truth, pictures = _decode_row(comparison, index)
    scores = comparison.scores
    panels = [Panel(comparison.reference.name, None, truth)]
    for score, picture in zip(scores, pictures, strict=True):
        shown = next(f for f in score.frames if f.index == index)
        panels.append(Panel(score.path.name, shown.psnr_y, picture))
    means = ", ".join(f"{s.path.name} {s.psnr_y:.2f} dB, SSIM {ssim_text(s.ssim)}" for s in scores)
    place = f"frame {index + 1} of {comparison.reference_frames}, a typical one"
    draw_before_after(panels, f"PSNR-Y; {place}. Means over the clip: {means}", Path(path))


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
        readers = _open_all(paths, stack)
        rows = _frames_side_by_side(readers, uncounted, comparison.align)
        for position, (reference, others) in enumerate(rows):
            if position == index:
                found = [frame.data for frame in others if frame is not None]
                assert len(found) == len(others), "a frame that was scored is gone on a second reading"
                return reference.data, found
    raise AssertionError(f"frame {index} was scored and is gone on a second reading")

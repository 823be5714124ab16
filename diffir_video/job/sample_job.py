"""`sample_file`: a few seconds of a file, from all over it, the original beside the restored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from math import floor

import torch

from diffir_video.errors import UsageError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.job.options import JobOptions
from diffir_video.job.report import PlainReport, StrPath
from diffir_video.job.restorers import FileRestorer, check_restorer
from diffir_video.job.sizing import output_info
from diffir_video.job.source import Source, no_frames, open_source
from diffir_video.media import PictureReader, ReadLosses, TimeRange, VideoWriter, resized, video_extent
from diffir_video.media.read_options import check_path
from diffir_video.pipeline import run
from diffir_video.run_report import Progress, RunReport, combined
from diffir_video.stages import FrameSource

_DEFAULTS = JobOptions()
_MOST_PIECES = 5


def sample_file(
    input: StrPath,
    output: StrPath,
    seconds: Fraction,
    *,
    restorer: FileRestorer,
    options: JobOptions = _DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
) -> PlainReport:
    """Restore `seconds` of `input`, in up to five pieces from all over it, into a video of both sides.

    Every frame of `output` is the original on the left and the restored on the right, both at the size of
    the output of `restore_file`; the pieces follow each other. There is no sound.
    Raises UsageError for a file of unknown length, and for `seconds` that hold no frame; else as
    `restore_pipe` does.
    """
    check_restorer(restorer)
    check_path(output, "output")
    if seconds <= 0:
        raise UsageError(f"a sample takes some seconds, got {seconds}")
    with open_source(input, replace(options, start=None, end=None)) as source:
        info = output_info(source.info, restorer.scale, options)
        frame = next(iter(source), None)
        if frame is None:
            raise UsageError(f"{str(input)!r} has no frame to take a sample of")
        first = frame.pts_seconds
        end = _end_of(source, input)
        notes = source.notes
    both_info = replace(info, width=2 * info.width, frame_count=None)
    runs: list[RunReport] = []
    losses: list[tuple[ReadLosses, ReadLosses]] = []
    with VideoWriter(
        output,
        both_info,
        encoder=options.encoder,
        encoder_options=options.encoder_options,
        overwrite=options.overwrite,
    ) as writer:
        both = _SideBySide(writer, info)
        for piece in _pieces(first, end, seconds, input, options):
            with open_source(input, replace(options, start=piece.start, end=piece.end)) as source:
                both.begin_piece()
                at_first = source.losses
                runs.append(run(_Noted(source, both), restorer, both, progress=progress))
                losses.append((at_first, source.losses))
        if not both.frames:
            raise UsageError(f"no frame lies in {float(seconds)} s of {str(input)!r}; ask for more")
    wall = sum(report.wall_seconds for report in runs)
    whole = combined(runs, frames=both.frames, wall_seconds=wall)
    return PlainReport(whole, _of_pictures(_joined(losses)), notes)


def _end_of(source: Source, input: StrPath) -> Fraction | None:
    """When the input ends, in seconds of its frames' clock; None where it doesn't say."""
    if isinstance(source, PictureReader):
        return Fraction(source.info.duration_seconds or 0)
    return video_extent(input).end


def _pieces(
    first: Fraction, end: Fraction | None, seconds: Fraction, input: StrPath, options: JobOptions
) -> Iterator[TimeRange]:
    """Where the pieces lie: in the middles of equal parts of what is to be restored."""
    begin = first if options.start is None else max(first, options.start)
    if options.end is not None:
        end = options.end if end is None else min(end, options.end)
    if end is None:
        raise UsageError("the file doesn't say how long it is; use --start and --end instead of a sample")
    length = end - begin
    if length <= 0:
        raise no_frames(input, options.part)
    count = max(min(_MOST_PIECES, floor(seconds)), 1)
    piece, part = min(seconds, length) / count, length / count
    for index in range(count):
        start = begin + index * part + (part - piece) / 2
        yield TimeRange(start, start + piece)


def _joined(pieces: Sequence[tuple[ReadLosses, ReadLosses]]) -> ReadLosses:
    """The losses of all pieces; of each, its reader's when it was opened and when it ended.

    A reader has decoded the file's first frame when it is opened, and counts damaged packets from the
    file's beginning on, so that the last one has them all. What else it counts is of its piece.
    """
    opened, last = pieces[0][0], pieces[-1][1]
    counts = ("undecodable_packets", "concealed_frames", "unordered_frames")
    sums = {
        name: getattr(opened, name) + sum(getattr(end, name) - getattr(begin, name) for begin, end in pieces)
        for name in counts
    }
    crashed = any(end.crashed for _, end in pieces)
    return replace(last, **sums, alpha=any(end.alpha for _, end in pieces), crashed=crashed)


def _of_pictures(losses: ReadLosses) -> ReadLosses:
    """What is amiss with the frames of the sample; a file's end is none of its business."""
    return replace(losses, missing_bytes=0, missing_frames=0, missing_seconds=0.0, truncated_packets=0)


class _SideBySide:
    """The sink of restored frames, which finds their originals and writes both in one picture."""

    def __init__(self, writer: VideoWriter, info: StreamInfo) -> None:
        self._writer, self._info = writer, info
        self._originals: deque[Frame] = deque()
        self._offset, self._next_pts = 0, 0
        self.frames = 0

    def begin_piece(self) -> None:
        """The frames that follow are of another place, and come right after those before them."""
        self._originals.clear()
        self._offset, self._piece_began = self._next_pts, False

    def note(self, original: Frame) -> None:
        self._originals.append(original)

    def write(self, frame: Frame) -> None:
        if not self._piece_began:
            self._offset, self._piece_began = self._next_pts - frame.pts, True
        width, height = self._info.width, self._info.height
        original = self._originals.popleft().data
        sides = [resized(side.to("cpu").float(), width, height) for side in (original, frame.data)]
        pts = frame.pts + self._offset
        self._writer.write(replace(frame, data=torch.cat(sides, dim=-1), pts=pts))
        self._next_pts = pts + (frame.duration or self._usual_duration())
        self.frames += 1

    def close(self) -> None:
        """The pieces go on; the writer is its owner's to close."""

    def abort(self) -> None:
        """The writer is its owner's to abort."""

    def _usual_duration(self) -> int:
        rate = self._info.average_rate
        return 1 if rate is None else max(round(1 / (rate * self._info.time_base)), 1)


class _Noted:
    """A source whose frames are noted, as they are, before they are restored."""

    def __init__(self, source: FrameSource, both: _SideBySide) -> None:
        self._source, self._both = source, both

    @property
    def info(self) -> StreamInfo:
        return self._source.info

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            self._both.note(frame)
            yield frame

    def close(self) -> None:
        self._source.close()

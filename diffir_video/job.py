"""A file job: restore one file into another and verify what came out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Protocol

from diffir_video.errors import OutputError
from diffir_video.frame import ColorTags
from diffir_video.media import (
    ReadLosses,
    Timeline,
    TrackTimeline,
    VideoReader,
    VideoWriter,
    check_output,
    read_timeline,
)
from diffir_video.pipeline import FrameRestorer, Progress, RunReport, run

StrPath = str | os.PathLike[str]


class FileRestorer(FrameRestorer, Protocol):
    """What `restore_file` needs of a `Restorer`."""

    @property
    def scale(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Verification:
    """What the finished file holds, read back packet by packet, against what was put in.

    pts_max_error_seconds: the largest distance between a frame's pts and the one found; not above half a
    tick of the output's clock, and 0 where that clock is as fine as the source's.
    problems: one phrase for everything that isn't as it should be; empty when all is well.
    """

    frames: int
    pts_exact: bool
    pts_max_error_seconds: float
    end_seconds: float | None
    copied_tracks: int
    copied_packets: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileReport:
    """The outcome of `restore_file`.

    losses: what could not be read of the input. dropped: data tracks, attachments or chapters that the
    output's container can't hold. notes: changes of pixel format. exit_code: 0, or 5 with losses.
    """

    input: str
    output: str
    width: int
    height: int
    pixel_format: str
    encoder: str
    run: RunReport
    losses: ReadLosses
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    verification: Verification

    @property
    def is_complete(self) -> bool:
        return not self.lost()

    @property
    def exit_code(self) -> int:
        return 0 if self.is_complete else 5

    def lost(self) -> list[str]:
        """One phrase for each loss, in the input's reading and in the output's verification."""
        return [*self.losses.describe(), *self.verification.problems]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "run": self.run.to_dict(), "complete": self.is_complete, "lost": self.lost()}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        run, check = self.run, self.verification
        stages = ", ".join(f"{name} {time.busy_seconds:.1f} s" for name, time in run.stages.items())
        pts = "exact" if check.pts_exact else f"within {check.pts_max_error_seconds * 1e3:.2f} ms"
        picture = f"{self.width}x{self.height} {self.pixel_format} ({self.encoder})"
        lines = [
            f"{self.output}: {run.frames_out} frames of {picture}",
            f"{run.wall_seconds:.1f} s, {run.fps:.1f} fps; busy: {stages}; bottleneck: {run.bottleneck}",
            *([] if run.reuse.level == "off" else [str(run.reuse)]),
            f"timestamps {pts}; {check.copied_tracks} other tracks copied ({check.copied_packets} packets)",
            *(f"note: {note}" for note in self.notes),
            *(f"not held by the container: {name}" for name in self.dropped),
            *(f"LOST: {what}" for what in self.lost()),
        ]
        return "\n".join(lines)


def restore_file(
    input: StrPath,
    output: StrPath,
    *,
    restorer: FileRestorer,
    encoder: str = "libx264",
    encoder_options: Mapping[str, str] | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> FileReport:
    """Restore the video of `input` into `output`, copying every other track, and verify the result.

    The output appears under its name only when it is whole. A readable prefix of a damaged input is
    restored, and the report says what was lost.
    Raises MediaInputError for an unreadable input, OutputError or EncoderError for an output that is
    refused or can't be written (see `VideoReader`, `VideoWriter`); then nothing is left behind.
    """
    check_output(output, copy_from=input, overwrite=overwrite)
    with VideoReader(input) as source:
        info = source.info.scaled(restorer.scale)
        sink = VideoWriter(
            output,
            info,
            encoder=encoder,
            encoder_options=encoder_options,
            copy_from=input,
            overwrite=overwrite,
        )
        report = run(source, restorer, sink, progress=progress)
        return FileReport(
            input=str(input),
            output=str(output),
            width=info.width,
            height=info.height,
            pixel_format=sink.pixel_format,
            encoder=encoder,
            run=report,
            losses=source.losses,
            dropped=sink.dropped,
            notes=sink.notes,
            verification=_verify(sink, read_timeline(output)),
        )


def save_report(report: FileReport, path: StrPath) -> None:
    """Write the report as JSON; raises OutputError if that fails."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(report.to_json() + "\n")
    except OSError as exc:
        with suppress(OSError):
            os.unlink(path)
        raise OutputError(f"can't write the report {str(path)!r}: {exc.strerror}") from exc


def _verify(sink: VideoWriter, found: Timeline) -> Verification:
    video, info = found.video, sink.info
    max_error = _max_pts_error(sink, video)
    others = [track for track in found.tracks if track.index != found.video_index]
    problems = [
        *_frame_problems(sink, video),
        *_pts_problems(max_error, video.time_base),
        *_end_problems(sink, video),
        *_track_problems(sink, others),
        *_color_problems(sink.color, found.color),
    ]
    if (found.width, found.height) != (info.width, info.height):
        problems.append(f"the output says {found.width}x{found.height}, not {info.width}x{info.height}")
    return Verification(
        frames=video.packets,
        pts_exact=max_error == 0,
        pts_max_error_seconds=float(max_error),
        end_seconds=float(video.end) if video.end is not None else None,
        copied_tracks=len(others),
        copied_packets=sum(track.packets for track in others),
        problems=tuple(problems),
    )


def _max_pts_error(sink: VideoWriter, video: TrackTimeline) -> Fraction:
    tick = sink.info.time_base
    pairs = zip(sink.written_pts, video.pts, strict=False)
    return max((abs(put * tick - got * video.time_base) for put, got in pairs), default=Fraction(0))


def _frame_problems(sink: VideoWriter, video: TrackTimeline) -> list[str]:
    written = len(sink.written_pts)
    return (
        [] if video.packets == written else [f"{written} frames written, {video.packets} found in the output"]
    )


def _pts_problems(max_error: Fraction, tick: Fraction) -> list[str]:
    return [f"timestamps off by up to {float(max_error):.4f} s"] if max_error > tick / 2 else []


def _end_problems(sink: VideoWriter, video: TrackTimeline) -> list[str]:
    if sink.written_end is None or video.end is None or not video.pts:
        return []
    put = sink.written_end * sink.info.time_base
    # MPEG-TS carries no durations: there the end found is the last frame's beginning.
    is_known = video.end > video.pts[-1] * video.time_base
    if not is_known or abs(put - video.end) <= max(video.time_base, sink.info.time_base):
        return []
    return [f"the video ends at {float(video.end):.4f} s, not at {float(put):.4f} s"]


def _track_problems(sink: VideoWriter, others: list[TrackTimeline]) -> list[str]:
    problems: list[str] = []
    copied = sorted(count for count in sink.copied_packets.values())
    found = sorted(track.packets for track in others if track.packets)
    if copied != found:
        problems.append(f"packets of copied tracks: {copied} put in, {found} found in the output")
    if sink.copy_source_unreadable:
        problems.append("audio or subtitles end where the input became unreadable")
    return problems


def _color_problems(put: ColorTags, found: ColorTags) -> list[str]:
    # An unspecified tag was not put in; limited range is what no range means, and often written so.
    unspecified = {"matrix": (2,), "primaries": (2,), "transfer": (2,), "color_range": (0, 1)}
    return [
        f"colour tag {name}: {getattr(put, name)} put in, {getattr(found, name)} found in the output"
        for name, nothing in unspecified.items()
        if getattr(put, name) != getattr(found, name)
        and not (getattr(put, name) in nothing and getattr(found, name) in nothing)
    ]

"""`restore_file`: one file into another, segment by segment, so that nothing done is ever done again."""

from __future__ import annotations

import resource
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.metadata import version
from math import floor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import torch

from diffir_video.frame import StreamInfo
from diffir_video.job.cutting import SegmentCutter, SegmentSource
from diffir_video.job.options import JobOptions
from diffir_video.job.plan import FilePlan
from diffir_video.job.report import FileReport, StrPath
from diffir_video.job.restorers import FileRestorer, check_memory, restorers_of
from diffir_video.job.segments import DeviceShare, OwnFrames, restore_segments
from diffir_video.job.sizing import ResizingSink, output_info
from diffir_video.job.source import (
    Source,
    check_unchanged,
    identity_of,
    no_frames,
    notes_on_late_captions,
    open_source,
)
from diffir_video.job.verification import Expected, verify_by_decoding, verify_timeline
from diffir_video.job.work_folder import WorkFolder
from diffir_video.media import (
    Muxer,
    PictureReader,
    PixelChoice,
    Segment,
    SegmentWriter,
    Timeline,
    TimeRange,
    check_output,
    find_pictures,
    join_segments,
    publish,
    read_timeline,
    video_extent,
)
from diffir_video.media.probe import earliest_time
from diffir_video.media.read_options import check_path
from diffir_video.pipeline import run
from diffir_video.run_report import Progress, RunReport
from diffir_video.version import engine_version

_DEFAULTS = JobOptions()

# Frames of its neighbours that a segment comes with; as floats, 32 of 4K are 3 GB of a GPU's memory.
_MOST_BESIDE_ON_DEVICE = 8

# Restored to estimate how long all of them take.
_MEASURED_FRAMES = 16


def restore_file(
    input: StrPath,
    output: StrPath,
    *,
    restorer: FileRestorer | Sequence[FileRestorer],
    options: JobOptions = _DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
) -> FileReport:
    """Restore the video of `input` into `output`, copying every other track, and verify the result.

    The video is cut into segments. Each is restored, encoded, synced to the disk and noted in a journal,
    in a folder beside the output; at the end they are joined without another encode. When a job ends early
    in whatever way, the same call goes on after its last finished segment, and the result is the one it
    would have been. The finished file is read back packet by packet.

    restorer: one, or several alike, each on a device of its own: whichever is free takes the next segment.
    Up to a segment for each waits in memory then, and a job that ends early may have to redo so many more.
    The result is that of one restorer, but for rounding: their frames are made on the CPU, those of one GPU
    on it.

    The output appears under its name only when it is whole. A readable prefix of a damaged input is
    restored, and the report says what was lost.
    Raises MediaInputError for an unreadable input, OutputError or EncoderError for an output that is
    refused or can't be written, and OutputError when another job writes this output, or an unfinished
    one was begun with another input, model or option. Finished segments are kept then. Raises UsageError
    for what is no restorer, for a part of the input that holds no frame, and for an input with transparency
    unless `options` drop it.
    """
    job = _Job.of(input, output, restorer, options)
    settings = job.settings()
    if (finished := WorkFolder.finished(job.output, settings)) is not None:
        return FileReport.from_dict(finished)
    check_output(output, copy_from=input, overwrite=options.overwrite)
    with (
        open_source(input, options, device=job.frames_device) as source,
        WorkFolder.open(job.output, settings, restart=options.restart) as work,
    ):
        return job.run(source, work, settings, progress)


def plan_file(
    input: StrPath,
    output: StrPath,
    *,
    restorer: FileRestorer | Sequence[FileRestorer],
    options: JobOptions = _DEFAULTS,
) -> FilePlan:
    """What `restore_file` would do with the same arguments; writes nothing beside `output`.

    The first frames are restored and encoded, to measure. Raises what `restore_file` raises before its
    first frame.
    """
    job = _Job.of(input, output, restorer, options)
    check_output(output, copy_from=input, overwrite=options.overwrite)
    with open_source(input, options, device=job.frames_device) as source, TemporaryDirectory() as scratch:
        return job.plan(source, Path(scratch))


@dataclass(frozen=True, slots=True)
class _Job:
    input: Path
    output: Path
    restorers: tuple[FileRestorer, ...]
    options: JobOptions

    @classmethod
    def of(
        cls,
        input: StrPath,
        output: StrPath,
        restorer: FileRestorer | Sequence[FileRestorer],
        options: JobOptions,
    ) -> Self:
        check_path(input, "input")
        check_path(output, "output")
        return cls(Path(input), Path(output), restorers_of(restorer), options)

    @property
    def _restorer(self) -> FileRestorer:
        """Any of them: what they make of a frame is the same."""
        return self.restorers[0]

    @property
    def frames_device(self) -> torch.device | str:
        """Where frames are best made: where they are restored.

        Not so for several devices, which take them from one thread, and where many lie beside a segment.
        """
        is_near = len(self.restorers) == 1 and sum(self._restorer.reach) <= _MOST_BESIDE_ON_DEVICE
        return self._restorer.device if is_near else "cpu"

    def plan(self, source: Source, scratch: Path) -> FilePlan:
        info = output_info(source.info, self._restorer.scale, self.options)
        with self._open_muxer(scratch / "output", info, self.options.part) as muxer:
            writer = SegmentWriter(
                scratch / "0",
                info,
                self.options.encoding,
                global_header=muxer.global_header,
                choice=muxer.choice,
            )
            segment = SegmentCutter(source, self._restorer.reach, _MEASURED_FRAMES).take()
            if segment is None:
                raise no_frames(self.input, self.options.part)
            sink = OwnFrames(segment, ResizingSink(writer, info), closes=True)
            report = run(segment, self._restorer, sink)
            frames = self._count_frames(source)
            return FilePlan(
                input=str(self.input),
                output=str(self.output),
                width=info.width,
                height=info.height,
                pixel_format=muxer.choice.layout.name,
                encoder=self.options.encoder,
                frames=frames,
                measured_frames=writer.frames,
                seconds=None
                if frames is None
                else report.wall_seconds / len(self.restorers) * frames / writer.frames,
                size_bytes=None if frames is None else writer.segment.size * frames // writer.frames,
                memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                dropped=muxer.dropped,
                notes=(*source.notes, *muxer.notes),
            )

    def _count_frames(self, source: Source) -> int | None:
        if isinstance(source, PictureReader):
            return len(source.indices)
        pictures = video_extent(self.input, self.options.part).frames
        return None if pictures is None else pictures * source.info.frames_of_each

    @property
    def _copied_from(self) -> Path | None:
        """The file whose other tracks are copied; pictures have none."""
        return None if find_pictures(self.input) else self.input

    def settings(self) -> dict[str, str]:
        """All that decides what the finished file holds: a job goes on only where none of it changed."""
        return {
            **identity_of(self.input),
            **self.options.settings,
            **{f"model {key}": value for key, value in self._restorer.settings.items()},
            "version of diffir-video": engine_version(),
            **{f"version of {name}": version(name) for name in ("av", "torch")},
        }

    def run(
        self,
        source: Source,
        work: WorkFolder,
        settings: Mapping[str, str],
        progress: Callable[[Progress], None] | None,
    ) -> FileReport:
        """settings: as they were before `source` was opened."""
        info = output_info(source.info, self._restorer.scale, self.options)
        part = work.path / f"output{self.output.suffix.lower()}"
        # All that the container or the encoder refuses is refused here, before the first frame.
        with self._open_muxer(part, info, self.options.part) as muxer:
            global_header, choice = muxer.global_header, muxer.choice
            keeps_origin = muxer.holds_negative_times
        resumed = len(work.segments)
        check_memory(self.restorers, source.info, self.options.longest_segment)
        run_report, devices = self._restore_segments(
            source, work, info, progress, global_header=global_header, choice=choice
        )
        if not work.segments:
            raise no_frames(self.input, self.options.part)
        self._check_unchanged(settings)
        origin, copied = self._origin(work.segments[0].pts[0], info.time_base, keep=keeps_origin)
        with self._open_muxer(part, info, copied) as muxer:
            join_segments(work.path, work.segments, muxer, info.time_base, origin=origin)
        self._check_unchanged(settings)
        expected = _expected(work.segments, muxer, info, origin)
        found = read_timeline(part)
        verification = verify_timeline(expected, found)
        if self.options.verify:
            verification = verify_by_decoding(verification, part, len(expected.pts))
        report = FileReport(
            input=str(self.input),
            output=str(self.output),
            width=info.width,
            height=info.height,
            pixel_format=muxer.choice.layout.name,
            encoder=self.options.encoder,
            segments=len(work.segments),
            resumed_segments=resumed,
            model=dict(self._restorer.settings),
            devices=devices,
            run=run_report,
            losses=replace(
                source.losses,
                refused_packets=muxer.refused_packets,
                corrupt_copies=muxer.corrupt_copies,
                unreadable_tracks=muxer.unreadable_tracks,
            ),
            dropped=(*muxer.dropped, *_tags_left_out(muxer.tags, found)),
            notes=(
                *source.notes,
                *muxer.notes,
                *_notes_on_shift(copied),
                *notes_on_late_captions(source, self.options.encoder),
            ),
            verification=verification,
        )
        work.finish(report.to_dict(), part)
        publish(part, self.output, overwrite=self.options.overwrite)
        work.remove()
        return report

    def _check_unchanged(self, settings: Mapping[str, str]) -> None:
        """The sound of another file would be beside these pictures."""
        if self._copied_from is not None:
            check_unchanged(self.input, settings)

    def _origin(self, first_pts: int, tick: Fraction, *, keep: bool) -> tuple[int, TimeRange]:
        """What pts becomes 0, and what of the other tracks is copied.

        keep: the output has times below 0; without it, what the source has there makes all of it later.
        """
        part = self.options.part
        if part.start is not None:
            return first_pts, part if first_pts == 0 else replace(part, start=first_pts * tick)
        if keep or first_pts >= 0:
            return 0, part
        others = None if self._copied_from is None else earliest_time(self._copied_from)
        origin = min(first_pts, floor((others or 0) / tick))
        return origin, replace(part, zero=origin * tick)

    def _open_muxer(self, file: Path, info: StreamInfo, copied: TimeRange) -> Muxer:
        return Muxer(
            file, self.output, info, self.options.encoding, copy_from=self._copied_from, part_of_copy=copied
        )

    def _restore_segments(
        self,
        source: Source,
        work: WorkFolder,
        info: StreamInfo,
        progress: Callable[[Progress], None] | None,
        *,
        global_header: bool,
        choice: PixelChoice,
    ) -> tuple[RunReport, tuple[DeviceShare, ...]]:
        def open_writer(segment: SegmentSource, path: Path) -> SegmentWriter:
            return SegmentWriter(
                path,
                info,
                self.options.encoding,
                global_header=global_header,
                choice=choice,
                follows_another=segment.follows_another,
                is_followed=lambda: segment.is_followed,
            )

        several = len(self.restorers) > 1
        cutter = SegmentCutter(
            source, self._restorer.reach, self.options.longest_segment, reads_ahead=several
        )
        if work.last_pts is not None:
            source.skip_before(work.pts_before_end(self._restorer.reach[0]), decode=not work.source_intact)
            cutter.pass_over(work.last_pts)
        return restore_segments(
            cutter,
            self.restorers,
            work,
            info,
            open_writer,
            source=source,
            frames_total=info.frame_count if self.options.part == TimeRange() else None,
            progress=progress,
        )


def _expected(segments: Sequence[Segment], muxer: Muxer, info: StreamInfo, origin: int) -> Expected:
    pts = array("q", [pts - origin for segment in segments for pts in segment.pts])
    last = max(segments[-1].packets, key=lambda packet: packet.pts)
    return Expected(
        info=info,
        color=muxer.choice.color,
        color_meant=muxer.encoder.color_meant,
        pts=pts,
        end=None if last.duration is None else last.pts + last.duration - origin,
        chapters=muxer.chapters,
        copied_packets=muxer.copied_packets,
        copied_pcm_bytes=muxer.copied_pcm_bytes,
        copy_source_unreadable=muxer.copy_source_unreadable,
        timecodes=muxer.timecodes,
    )


def _tags_left_out(given: Mapping[str, str], found: Timeline) -> tuple[str, ...]:
    """The tags that a container left out; it may have its own names for them, and a track for a timecode."""
    names, values = {name.lower() for name in found.tags}, {*found.tags.values()}
    if any(track.is_timecode for track in found.tracks):
        names.add("timecode")
    lost = sorted(name for name, value in given.items() if name.lower() not in names and value not in values)
    return (f"tags of the file: {', '.join(lost)}",) if lost else ()


def _notes_on_shift(part: TimeRange) -> tuple[str, ...]:
    if part.zero is None:
        return ()
    return (f"all times are {float(-part.zero):.3f} s later: the input begins before 0, the output can't",)

"""`restore_pipe`: from standard input or the network, to standard output, or both; no journal."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from diffir_video.job.options import JobOptions
from diffir_video.job.report import PlainReport, StrPath
from diffir_video.job.restorers import FileRestorer, check_restorer
from diffir_video.job.sizing import ResizingSink, output_info
from diffir_video.job.source import notes_on_late_captions, open_source
from diffir_video.media import StandardInput, VideoWriter, Y4mWriter
from diffir_video.media.read_options import check_path
from diffir_video.pipeline import run
from diffir_video.run_report import Progress

_DEFAULTS = JobOptions()


def restore_pipe(
    input: StrPath,
    output: StrPath | BinaryIO,
    *,
    restorer: FileRestorer,
    options: JobOptions = _DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
) -> PlainReport:
    """Restore the video of `input` (`StandardInput()`, a `NetworkAddress`, or a file) into `output`.

    output: an open binary stream gets uncompressed Y4M, a name a file as `VideoWriter` makes it. What
    came through a pipe can be read only once: its audio and other tracks are not copied.
    Raises as `VideoReader`, `VideoWriter` and `Y4mWriter` do.
    """
    check_restorer(restorer)
    if not hasattr(output, "write"):
        check_path(output, "output")
    with open_source(input, options) as source:
        info = output_info(source.info, restorer.scale, options)
        to_file = isinstance(output, (str, os.PathLike))
        if to_file:
            copy_from = None if isinstance(input, StandardInput) else input
            sink = VideoWriter(
                output,
                info,
                encoder=options.encoder,
                encoder_options=options.encoder_options,
                copy_from=copy_from,
                overwrite=options.overwrite,
            )
        else:
            sink = Y4mWriter(output, info)
        report = run(source, restorer, ResizingSink(sink, info), progress=progress)
        losses = source.losses
        if isinstance(sink, VideoWriter):
            losses = replace(
                losses,
                refused_packets=sink.refused_packets,
                corrupt_copies=sink.corrupt_copies,
                unreadable_tracks=sink.unreadable_tracks,
            )
        notes = list(source.notes)
        if source.other_tracks and (isinstance(input, StandardInput) or not to_file):
            notes.append(f"{source.other_tracks} other tracks are not copied: a pipe carries the video alone")
        notes += [*sink.notes, *notes_on_late_captions(source, options.encoder if to_file else None)]
        return PlainReport(report, losses, tuple(notes))

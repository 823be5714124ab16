"""`restore_pictures`: each frame into a picture file, from a video, a still or a sequence."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from diffir_video.errors import OutputError
from diffir_video.job.options import JobOptions
from diffir_video.job.report import PlainReport, StrPath
from diffir_video.job.restorers import FileRestorer, check_restorer
from diffir_video.job.sizing import ResizingSink, output_info
from diffir_video.job.source import no_frames, open_source
from diffir_video.media import PictureReader, PictureWriter, StandardInput, find_pictures, picture_names
from diffir_video.pipeline import run
from diffir_video.run_report import Progress

_DEFAULTS = JobOptions()


def restore_pictures(
    input: StrPath,
    output: StrPath,
    *,
    restorer: FileRestorer,
    options: JobOptions = _DEFAULTS,
    progress: Callable[[Progress], None] | None = None,
) -> PlainReport:
    """Restore every frame of `input` into a PNG or JPEG file; a model sees its neighbours all the same.

    output: a pattern such as `out/%05d.png`, numbered from 1; one file for one picture; or, where `input`
    is pictures too, a folder for pictures of the same names. A part of a sequence has the numbers and names
    that it has in the whole. They get their names when all are there.
    Other tracks are not copied, and there is no journal. Raises as `open_video` and `PictureWriter` do,
    UsageError for a part without frames, and OutputError for pictures that would get the names of those they
    are made from.
    """
    check_restorer(restorer)
    pictures = None if isinstance(input, StandardInput) else find_pictures(input)
    name_of = picture_names(output, None if pictures is None else [path.name for path in pictures])
    _refuse_originals([Path(input)] if pictures is None else pictures, name_of)
    with open_source(input, options) as source:
        info = output_info(source.info, restorer.scale, options)
        indices = source.indices if isinstance(source, PictureReader) else None
        if indices is not None and not indices:
            raise no_frames(input, options.part)
        sink = PictureWriter(output, info, name_of, indices=indices, overwrite=options.overwrite)
        report = run(source, restorer, ResizingSink(sink, info), progress=progress)
        if not report.frames_out:
            raise no_frames(input, options.part)
        notes = list(source.notes)
        if source.other_tracks:
            notes.append(f"{source.other_tracks} other tracks are not copied: pictures have none")
        return PlainReport(report, source.losses, tuple(notes))


def _refuse_originals(originals: Sequence[Path], name_of: Callable[[int], Path]) -> None:
    taken = {os.path.realpath(path) for path in originals}
    for name in {name_of(index): None for index in range(len(originals))}:
        if os.path.realpath(name) in taken:
            raise OutputError(f"output {str(name)!r} is one of the input's pictures; choose other names")

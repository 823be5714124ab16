"""`diffir-video restore`: a file, a folder of them or a pipe."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffir_video.cli.encoding import add_encoder_options, add_preset_option, encoder_of
from diffir_video.cli.printing import check_folder, progress_bar, write_json
from diffir_video.cli.restoring import add_restorer_options, restorer_of
from diffir_video.cli.values import seconds
from diffir_video.errors import UsageError

if TYPE_CHECKING:
    from diffir_video.job import FileReport, FileRestorer, JobOptions
    from diffir_video.prior import ReusePolicy

_PIPE = "-"


def add_restore(commands: Any, shared: argparse.ArgumentParser) -> None:
    restore = commands.add_parser("restore", parents=[shared], help="restore a video file")
    restore.add_argument(
        "input", metavar="IN", help="the video to restore, a folder of them, or - for a pipe"
    )
    restore.add_argument(
        "output", metavar="OUT", help="where: .mkv .mp4 .mov .webm .ts …, a folder, or - for Y4M"
    )
    add_restorer_options(restore)
    restore.add_argument(
        "--strength",
        type=float,
        default=1,
        metavar="0…1",
        help="how much of the restored; default: 1, all",
    )
    _add_picture_options(restore)
    add_preset_option(restore)
    add_encoder_options(restore)
    _add_job_options(restore)
    _add_report_options(restore)
    restore.set_defaults(command=_restore)


def _add_picture_options(restore: argparse.ArgumentParser) -> None:
    restore.add_argument("--start", type=seconds, metavar="[H:][M:]S", help="restore from here on")
    restore.add_argument("--end", type=seconds, metavar="[H:][M:]S", help="and up to here")
    restore.add_argument("--deinterlace", default="auto", choices=("auto", "off", "bwdif"))


def _add_job_options(restore: argparse.ArgumentParser) -> None:
    restore.add_argument(
        "--dry-run", action="store_true", help="say what would be done and how long it takes; write nothing"
    )
    restore.add_argument("--overwrite", action="store_true", help="replace an existing output")
    restore.add_argument(
        "--restart", action="store_true", help="throw away what an unfinished job left, instead of going on"
    )
    restore.add_argument(
        "--segment-frames",
        type=int,
        default=250,
        metavar="N",
        help="at most so many frames are done again after a crash; default: %(default)s",
    )


def _add_report_options(restore: argparse.ArgumentParser) -> None:
    restore.add_argument(
        "--verify", action="store_true", help="decode the output to its end and show all that was checked"
    )
    restore.add_argument("--report", metavar="FILE.json", help="write what was done and verified")
    restore.add_argument(
        "--report-decisions", action="store_true", help="put what was decided for every frame into the report"
    )
    restore.add_argument("--plot-reuse", metavar="FILE.png", help="draw drift, refreshes and cuts over time")


def _restore(arguments: argparse.Namespace) -> int:
    from diffir_video.strength import Blended

    options = _job_options(arguments)
    _check(arguments)
    restorer = restorer_of(
        arguments, record_decisions=arguments.report_decisions or arguments.plot_reuse is not None
    )
    blended = restorer if arguments.strength == 1 else Blended(restorer, arguments.strength)
    if _PIPE in (arguments.input, arguments.output):
        return _restore_pipe(arguments, blended, options)
    if arguments.dry_run:
        from diffir_video.job import plan_file

        print(plan_file(arguments.input, arguments.output, restorer=blended, options=options))
        return 0
    if Path(arguments.input).is_dir():
        return _restore_folder(arguments, blended, options)
    return _restore_file(arguments, blended, options, restorer.policy)


def _job_options(arguments: argparse.Namespace) -> JobOptions:
    from diffir_video.job import JobOptions

    encoder, encoder_options = encoder_of(arguments)
    return JobOptions(
        encoder=encoder,
        encoder_options=encoder_options,
        deinterlace=arguments.deinterlace,
        start=arguments.start,
        end=arguments.end,
        overwrite=arguments.overwrite,
        segment_frames=arguments.segment_frames,
        restart=arguments.restart,
        verify=arguments.verify,
    )


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what makes no sense before a model is loaded."""
    from diffir_video.media import check_output
    from diffir_video.zoo import IDENTITY

    is_pipe, is_folder = _PIPE in (arguments.input, arguments.output), Path(arguments.input).is_dir()
    no_pipe, one_file = ("verify", "report", "start", "end"), ("dry_run", "plot_reuse")
    refused = (*one_file, *no_pipe) if is_pipe else one_file if is_folder else ()
    for name in refused:
        if getattr(arguments, name) not in (None, False):
            raise UsageError(f"--{name.replace('_', '-')} needs a file as input and output")
    for path in (arguments.report, arguments.plot_reuse):
        check_folder(path)
    if arguments.model == IDENTITY and arguments.plot_reuse is not None:
        raise UsageError(f"{IDENTITY} has no priors to plot; choose another model or drop --plot-reuse")
    if arguments.output != _PIPE and not is_folder:
        copy_from = None if is_pipe else arguments.input
        check_output(arguments.output, copy_from=copy_from, overwrite=arguments.overwrite)


def _restore_file(
    arguments: argparse.Namespace, restorer: FileRestorer, options: JobOptions, policy: ReusePolicy
) -> int:
    from diffir_video.job import restore_file, save_report
    from diffir_video.reuse_plot import plot_reuse

    with progress_bar(arguments.input) as progress:
        report = restore_file(
            arguments.input, arguments.output, restorer=restorer, options=options, progress=progress
        )
    print(report)
    if options.verify:
        print(report.table())
    if arguments.report is not None:
        save_report(report, arguments.report)
    if arguments.plot_reuse is not None:
        plot_reuse(report.run.reuse, arguments.plot_reuse, threshold=policy.threshold)
    if not report.is_complete:
        print(f"diffir-video: restored with losses: {'; '.join(report.lost())}", file=sys.stderr)
    return report.exit_code


def _restore_folder(arguments: argparse.Namespace, restorer: FileRestorer, options: JobOptions) -> int:
    from diffir_video.job import FolderEntry, restore_file, restore_folder

    def restore(video: Path, place: Path) -> FileReport:
        with progress_bar(str(video)) as progress:
            return restore_file(video, place, restorer=restorer, options=options, progress=progress)

    entries: list[FolderEntry] = []
    for entry in restore_folder(arguments.input, arguments.output, restore, overwrite=options.overwrite):
        print(entry, flush=True)
        entries.append(entry)
    if arguments.report is not None:
        reports = [entry.report.to_dict() for entry in entries if entry.report is not None]
        write_json({"files": reports}, arguments.report)
    if failed := [entry for entry in entries if entry.error is not None]:
        print(f"diffir-video: {len(failed)} of {len(entries)} files failed", file=sys.stderr)
    return max(entry.exit_code for entry in entries)


def _restore_pipe(arguments: argparse.Namespace, restorer: FileRestorer, options: JobOptions) -> int:
    from diffir_video.job import restore_pipe
    from diffir_video.media import StandardInput

    report = restore_pipe(
        StandardInput() if arguments.input == _PIPE else arguments.input,
        sys.stdout.buffer if arguments.output == _PIPE else arguments.output,
        restorer=restorer,
        options=options,
    )
    print(report, file=sys.stderr)
    return report.exit_code

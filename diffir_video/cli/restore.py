"""`diffir-video restore`: a file, pictures, a folder of files or a pipe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diffir_video.cli.encoding import encoder_of
from diffir_video.cli.printing import progress_bar, write_json
from diffir_video.cli.restore_options import add_restore_options
from diffir_video.cli.restoring import models_of, restorers_of
from diffir_video.cli.side_outputs import check_side_outputs, files_of, model_files
from diffir_video.cli.worker import Supervisor, why_crashed
from diffir_video.errors import MediaInputError, UsageError

if TYPE_CHECKING:
    from diffir_video.job import FileReport, FileRestorer, JobOptions
    from diffir_video.media.inputs import StrPath
    from diffir_video.prior import ReusePolicy

_PIPE = "-"

_Kind = Literal["pipe", "pictures", "folder", "sample", "plan", "file"]
_JOURNALED = ("verify", "report", "report_decisions", "plot_reuse", "restart", "segment_frames")
_OF_ONE_DEVICE: tuple[_Kind, ...] = ("pipe", "pictures", "sample")
_DECISIONS = ("report_decisions", "plot_reuse")
_ENCODING = ("encoder", "encoder_option", "preset")

# The options that need a job of another kind.
_REFUSED: Mapping[_Kind, tuple[str, ...]] = {
    "pipe": (*_JOURNALED, "dry_run", "sample", "start", "end"),
    "pictures": (*_JOURNALED, "dry_run", "sample"),
    "folder": ("dry_run", "plot_reuse", "sample"),
    "sample": (*_JOURNALED, "dry_run"),
    "plan": (),
    "file": (),
}


def add_restore(commands: Any, shared: argparse.ArgumentParser) -> None:
    restore = commands.add_parser("restore", parents=[shared], help="restore video or pictures")
    add_restore_options(restore)
    restore.set_defaults(command=_restore, supervised=True)


def _restore(arguments: argparse.Namespace) -> int:
    from diffir_video.strength import Blended

    options = _job_options(arguments)
    kind = _kind_of(arguments)
    arguments.goes_on = kind in ("file", "folder")
    arguments.supervisor.is_at(arguments.input)
    _check(arguments, kind)
    restorers = restorers_of(
        arguments, record_decisions=arguments.report_decisions or arguments.plot_reuse is not None
    )
    strength = arguments.strength
    blended = restorers if strength == 1 else [Blended(restorer, strength) for restorer in restorers]
    match kind:
        case "pipe":
            return _restore_pipe(arguments, blended[0], options)
        case "pictures":
            return _restore_pictures(arguments, blended[0], options)
        case "folder":
            return _restore_folder(arguments, blended, options)
        case "sample":
            return _restore_sample(arguments, blended[0], options)
        case "plan":
            return _plan(arguments, blended, options)
        case "file":
            return _restore_file(arguments, blended, options, restorers[0].policy)


def _kind_of(arguments: argparse.Namespace) -> _Kind:
    from diffir_video.media import find_pictures, names_pictures

    if arguments.input == _PIPE and names_pictures(arguments.output, from_pictures=False):
        return "pictures"
    if _PIPE in (arguments.input, arguments.output) or _is_network(arguments):
        return "pipe"
    pictures = find_pictures(arguments.input)
    if names_pictures(arguments.output, from_pictures=pictures is not None):
        return "pictures"
    if Path(arguments.input).is_dir() and pictures is None:
        return "folder"
    if arguments.sample is not None:
        return "sample"
    return "plan" if arguments.dry_run else "file"


def _job_options(arguments: argparse.Namespace) -> JobOptions:
    from diffir_video.job import JobOptions

    encoder, encoder_options = encoder_of(arguments)
    segment_frames = {} if arguments.segment_frames is None else {"segment_frames": arguments.segment_frames}
    return JobOptions(
        **segment_frames,
        encoder=encoder,
        encoder_options=encoder_options,
        deinterlace=arguments.deinterlace,
        field_order=arguments.field_order,
        start=arguments.start,
        end=arguments.end,
        rate=arguments.rate,
        alpha=arguments.alpha,
        crop=arguments.crop,
        size=arguments.size,
        max_size=arguments.max_size,
        overwrite=arguments.overwrite,
        restart=arguments.restart,
        verify=arguments.verify,
        isolate=arguments.isolate,
        hwaccel=arguments.hwaccel,
    )


def _check(arguments: argparse.Namespace, kind: _Kind) -> None:
    """Refuse what makes no sense before a model is loaded."""
    from diffir_video.job import WorkFolder
    from diffir_video.media import check_output
    from diffir_video.zoo import IDENTITY

    _refuse_unused(arguments, kind)
    models = models_of(arguments)
    if arguments.report is not None or arguments.plot_reuse is not None:
        check_side_outputs(
            texts={"--report": arguments.report},
            pictures={"--plot-reuse": arguments.plot_reuse},
            others=[*_files_of(arguments, kind), *model_files(models)],
        )
    if models == [IDENTITY] and arguments.plot_reuse is not None:
        raise UsageError(f"{IDENTITY} has no priors to plot; choose another model or drop --plot-reuse")
    if kind not in ("folder", "pictures") and arguments.output != _PIPE:
        copy_from = None if arguments.input == _PIPE else arguments.input
        # A job that was killed as it cleaned up has its output, and the same command ends it.
        may_exist = kind == "file" and WorkFolder.awaits_cleaning(Path(arguments.output))
        check_output(arguments.output, copy_from=copy_from, overwrite=arguments.overwrite or may_exist)


def _refuse_unused(arguments: argparse.Namespace, kind: _Kind) -> None:
    """Refuse what was asked for and would not be done."""
    from diffir_video.media import find_pictures

    given = [name for name in _REFUSED[kind] if _is_given(arguments, name)]
    if given:
        raise UsageError(_why_refused(arguments, kind, given[0]))
    if kind in _OF_ONE_DEVICE and (arguments.device == "all" or "," in arguments.device):
        raise UsageError(f"--device {arguments.device} shares the segments of files; name one device here")
    decisions = [name for name in _DECISIONS if _is_given(arguments, name)]
    if decisions and len(models_of(arguments)) > 1:
        raise UsageError(
            f"{_option(decisions[0])} is about one model's priors; drop it, or all models but one"
        )
    encoding = [name for name in _ENCODING if _is_given(arguments, name)]
    if encoding and (kind == "pictures" or arguments.output == _PIPE):
        raise UsageError(f"{_option(encoding[0])} is for a video; nothing is encoded in {arguments.output!r}")
    if arguments.isolate and arguments.input != _PIPE and find_pictures(arguments.input) is not None:
        raise UsageError(f"--isolate is for a video; {arguments.input!r} is pictures, which are not isolated")
    if kind == "folder" and arguments.rate is not None:
        raise UsageError(f"--rate {arguments.rate} is for pictures; videos have timestamps of their own")
    if arguments.report_decisions and arguments.report is None and kind != "plan":
        raise UsageError("--report-decisions puts them into the report; give --report FILE.json too")


def _why_refused(arguments: argparse.Namespace, kind: _Kind, name: str) -> str:
    """Why an option makes no sense in a job of a kind, and what to do."""
    if kind == "sample":
        return f"{_option(name)} is about a whole file; drop it or --sample"
    if name != "sample" or kind == "pipe":
        return f"{_option(name)} needs a file as input and output"
    if kind == "folder":
        return f"--sample is taken of one file; {arguments.input!r} is a folder, give a video in it"
    return f"--sample makes a video; {arguments.output!r} is pictures, give a name such as sample.mp4"


def _is_given(arguments: argparse.Namespace, name: str) -> bool:
    return getattr(arguments, name) not in (None, False, [])


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _files_of(arguments: argparse.Namespace, kind: _Kind) -> list[tuple[str, StrPath]]:
    """What a job reads and writes, each after what it is."""
    from diffir_video.job import folder_places

    read, written = files_of(arguments.input), [Path(arguments.output)]
    if kind == "folder":
        places = folder_places(arguments.input, arguments.output)
        read, written = [*places], [*places.values()]
    return [*(("the input", path) for path in read), *(("the output", path) for path in written)]


def _plan(arguments: argparse.Namespace, restorers: Sequence[FileRestorer], options: JobOptions) -> int:
    from diffir_video.job import plan_file

    plan = plan_file(arguments.input, arguments.output, restorer=restorers, options=options)
    print(plan)
    later = [
        name for name in ("verify", "restart", "plot_reuse", "report_decisions") if getattr(arguments, name)
    ]
    if later:
        print(f"for the job itself: {', '.join(map(_option, later))}")
    if arguments.report is not None:
        write_json(plan.to_dict(), arguments.report)
    return 0


def _restore_file(
    arguments: argparse.Namespace,
    restorers: Sequence[FileRestorer],
    options: JobOptions,
    policy: ReusePolicy,
) -> int:
    from diffir_video.job import restore_file, save_report
    from diffir_video.reuse_plot import plot_reuse

    with progress_bar(arguments.input) as progress:
        report = restore_file(
            arguments.input, arguments.output, restorer=restorers, options=options, progress=progress
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


def _restore_folder(
    arguments: argparse.Namespace, restorers: Sequence[FileRestorer], options: JobOptions
) -> int:
    from diffir_video.job import FolderEntry, restore_file, restore_folder

    supervisor: Supervisor = arguments.supervisor

    def restore(video: Path, place: Path) -> FileReport:
        if signal_name := supervisor.crashed.get(str(video)):
            raise MediaInputError(why_crashed(str(video), signal_name))
        supervisor.is_at(str(video), of_many=True)
        with progress_bar(str(video)) as progress:
            return restore_file(video, place, restorer=restorers, options=options, progress=progress)

    entries: list[FolderEntry] = []
    for entry in restore_folder(arguments.input, arguments.output, restore, overwrite=options.overwrite):
        print(entry, flush=True)
        entries.append(entry)
    if arguments.report is not None:
        write_json({"files": [entry.to_dict() for entry in entries]}, arguments.report)
    if failed := [entry for entry in entries if entry.error is not None]:
        print(f"diffir-video: {len(failed)} of {len(entries)} files failed", file=sys.stderr)
    return max(entry.exit_code for entry in entries)


def _restore_pipe(arguments: argparse.Namespace, restorer: FileRestorer, options: JobOptions) -> int:
    from diffir_video.job import restore_pipe

    report = restore_pipe(
        _piped_input(arguments),
        sys.stdout.buffer if arguments.output == _PIPE else arguments.output,
        restorer=restorer,
        options=options,
    )
    print(report, file=sys.stderr)
    return report.exit_code


def _piped_input(arguments: argparse.Namespace) -> StrPath:
    from diffir_video.media import NetworkAddress, StandardInput

    if _is_network(arguments):
        return NetworkAddress(arguments.input)
    return StandardInput() if arguments.input == _PIPE else arguments.input


def _is_network(arguments: argparse.Namespace) -> bool:
    return arguments.allow_network and "://" in arguments.input and not Path(arguments.input).exists()


def _restore_pictures(arguments: argparse.Namespace, restorer: FileRestorer, options: JobOptions) -> int:
    from diffir_video.job import restore_pictures

    with progress_bar(arguments.input) as progress:
        report = restore_pictures(
            _piped_input(arguments), arguments.output, restorer=restorer, options=options, progress=progress
        )
    print(f"{arguments.output}: {report}")
    return report.exit_code


def _restore_sample(arguments: argparse.Namespace, restorer: FileRestorer, options: JobOptions) -> int:
    from diffir_video.job import sample_file

    with progress_bar(arguments.input) as progress:
        report = sample_file(
            arguments.input,
            arguments.output,
            arguments.sample,
            restorer=restorer,
            options=options,
            progress=progress,
        )
    print(f"{arguments.output}: {report}")
    return report.exit_code

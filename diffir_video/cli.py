"""The `diffir-video` command: parse, call the API, print. Exit codes are those of `errors`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffir_video.errors import DiffirVideoError, OutputError, UsageError
from diffir_video.version import engine_version

if TYPE_CHECKING:
    from diffir_video.bench import FileBench, NetworkBench
    from diffir_video.prior import ReusePolicy

# Heavy modules (torch, PyAV) are imported inside the commands, so that --help and usage errors are instant.
# Progress and errors go to stderr; what a command was asked for goes to stdout.

_EXIT_CODES = """exit codes:
  0  done
  1  any other failure
  2  usage: an option or argument that makes no sense, an unknown model
  3  the input is missing or can't be read
  4  the output is refused (exists, is the input, no folder) or can't be written
  5  restored with losses: the input was damaged, the report says what is missing
"""

_PIPE = "-"
_CHECKPOINT_SUFFIXES = frozenset({".ckpt", ".pt", ".pth", ".safetensors"})
_INTERRUPTED, _TERMINATED = 130, 143
_GOES_ON = "what is finished is kept, and the same command goes on from there"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code and never raises."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 1
    try:
        with _raising_at_sigterm():
            return arguments.command(arguments)
    except DiffirVideoError as exc:
        return _fail(str(exc), exc.exit_code, debug=arguments.debug)
    except _TerminatedError:
        return _fail(f"terminated; {_GOES_ON}", _TERMINATED, debug=arguments.debug)
    except KeyboardInterrupt:
        return _fail(f"interrupted; {_GOES_ON}", _INTERRUPTED, debug=arguments.debug)
    except Exception as exc:  # noqa: BLE001 - a command ends with a line and a code, never a trace
        hint = "" if arguments.debug else " (run again with --debug for the trace)"
        return _fail(f"{type(exc).__name__}: {exc}{hint}", 1, debug=arguments.debug)


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM: as an interrupt, with an exit code of its own."""


@contextmanager
def _raising_at_sigterm() -> Generator[None]:
    """SIGTERM raises _TerminatedError inside the block; only the main thread can have it so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(*_: object) -> None:
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"diffir-video: {' '.join(message.split())}", file=sys.stderr)
    return code


def _restore(arguments: argparse.Namespace) -> int:
    from diffir_video.restorer import Restorer
    from diffir_video.strength import Blended

    encoder, encoder_options = _encoder_of(arguments)
    _check_restore(arguments)
    restorer = Restorer.from_pretrained(
        arguments.model,
        device=arguments.device,
        precision=arguments.precision,
        seed=arguments.seed,
        reuse=_reuse_policy(arguments),
        refresh=arguments.refresh,
        record_decisions=arguments.report_decisions or arguments.plot_reuse is not None,
    )
    options: dict[str, Any] = {
        "restorer": restorer if arguments.strength == 1 else Blended(restorer, arguments.strength),
        "encoder": encoder,
        "encoder_options": encoder_options,
        "deinterlace": arguments.deinterlace,
        "overwrite": arguments.overwrite,
    }
    if _PIPE in (arguments.input, arguments.output):
        return _restore_pipe(arguments, options)
    options |= {"start": arguments.start, "end": arguments.end}
    if arguments.dry_run:
        from diffir_video.job import plan_file

        print(plan_file(arguments.input, arguments.output, **options))
        return 0
    options |= {
        "restart": arguments.restart,
        "segment_frames": arguments.segment_frames,
        "verify": arguments.verify,
    }
    if Path(arguments.input).is_dir():
        return _restore_folder(arguments, options)
    return _restore_file(arguments, options, restorer.policy)


def _check_restore(arguments: argparse.Namespace) -> None:
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
        if path is not None:
            _check_folder(path)
    if arguments.model == IDENTITY and arguments.plot_reuse is not None:
        raise UsageError(f"{IDENTITY} has no priors to plot; choose another model or drop --plot-reuse")
    if arguments.output != _PIPE and not is_folder:
        copy_from = None if is_pipe else arguments.input
        check_output(arguments.output, copy_from=copy_from, overwrite=arguments.overwrite)


def _restore_file(arguments: argparse.Namespace, options: dict[str, Any], policy: ReusePolicy) -> int:
    from diffir_video.job import restore_file, save_report
    from diffir_video.reuse_plot import plot_reuse

    with _progress_bar(arguments.input) as progress:
        report = restore_file(arguments.input, arguments.output, **options, progress=progress)
    print(report)
    if arguments.verify:
        print(report.table())
    if arguments.report is not None:
        save_report(report, arguments.report)
    if arguments.plot_reuse is not None:
        plot_reuse(report.run.reuse, arguments.plot_reuse, threshold=policy.threshold)
    if not report.is_complete:
        print(f"diffir-video: restored with losses: {'; '.join(report.lost())}", file=sys.stderr)
    return report.exit_code


def _reuse_policy(arguments: argparse.Namespace) -> ReusePolicy:
    from diffir_video.prior import ReusePolicy

    given = {
        "level": arguments.reuse,
        "refresh_threshold": arguments.refresh_threshold,
        "max_prior_age": arguments.max_prior_age,
        "prior_smoothing": arguments.prior_smoothing,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.refresh != "auto" and given.keys() & {"refresh_threshold", "max_prior_age"}:
        raise UsageError("--refresh N leaves no room for --refresh-threshold or --max-prior-age; drop either")
    return ReusePolicy(**given)


def _restore_folder(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    from diffir_video.job import FileReport, FolderEntry, restore_file, restore_folder

    def restore(video: Path, place: Path) -> FileReport:
        with _progress_bar(str(video)) as progress:
            return restore_file(video, place, **options, progress=progress)

    entries: list[FolderEntry] = []
    for entry in restore_folder(arguments.input, arguments.output, restore, overwrite=arguments.overwrite):
        print(entry, flush=True)
        entries.append(entry)
    if arguments.report is not None:
        reports = [entry.report.to_dict() for entry in entries if entry.report is not None]
        _write_json({"files": reports}, arguments.report)
    if failed := [entry for entry in entries if entry.error is not None]:
        print(f"diffir-video: {len(failed)} of {len(entries)} files failed", file=sys.stderr)
    return max(entry.exit_code for entry in entries)


def _restore_pipe(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    from diffir_video.job import restore_pipe
    from diffir_video.media import StandardInput

    report = restore_pipe(
        StandardInput() if arguments.input == _PIPE else arguments.input,
        sys.stdout.buffer if arguments.output == _PIPE else arguments.output,
        **options,
    )
    print(report, file=sys.stderr)
    return report.exit_code


def _encoder_of(arguments: argparse.Namespace) -> tuple[str, dict[str, str]]:
    """The preset's encoder and options, under those given one by one."""
    from diffir_video.media import PRESETS

    given = dict(arguments.encoder_option)
    if arguments.preset is None:
        return arguments.encoder or "libx264", given
    encoder, options = PRESETS[arguments.preset]
    if arguments.encoder not in (None, encoder):
        raise UsageError(
            f"--preset {arguments.preset} uses {encoder}, not --encoder {arguments.encoder}; give one of them"
        )
    return encoder, {**options, **given}


def _models(_: argparse.Namespace) -> int:
    from diffir_video.zoo import list_models

    cards = list_models()
    width = max((len(card.name) for card in cards), default=0)
    for card in cards:
        print(f"{card.name:<{width}}  {card.size_bytes / 1e6:5.1f} MB  {card.summary}")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    if Path(arguments.file).suffix.lower() in _CHECKPOINT_SUFFIXES:
        _print_fields(_checkpoint_fields(arguments.file))
    else:
        _print_fields(_media_fields(arguments.file))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from diffir_video.compare import compare_files

    for path in (arguments.picture, arguments.json):
        if path is not None:
            _check_folder(path)
    comparison = compare_files(arguments.reference, arguments.a, arguments.b, picture=arguments.picture)
    print(comparison.format())
    if arguments.json is not None:
        _write_json(comparison.to_dict(), arguments.json)
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from diffir_video.checkpoint import load_checkpoint, save_checkpoint

    if Path(arguments.output).exists() and not arguments.overwrite:
        raise OutputError(f"output {arguments.output!r} exists; choose another name or use --overwrite")
    _check_folder(arguments.output)
    save_checkpoint(load_checkpoint(arguments.input), arguments.output)
    print(f"{arguments.output}: {Path(arguments.output).stat().st_size / 1e6:.1f} MB")
    return 0


def _bench_file(arguments: argparse.Namespace) -> int:
    import tempfile

    from diffir_video.bench import bench_file, write_sample_clip
    from diffir_video.restorer import Restorer

    _check_json(arguments.json)
    restorer = Restorer.from_pretrained(
        arguments.model,
        device=arguments.device,
        precision=arguments.precision,
        reuse=_reuse_policy(arguments),
        refresh=arguments.refresh,
    )
    encoding: dict[str, Any] = {
        "encoder": arguments.encoder or "libx264",
        "encoder_options": dict(arguments.encoder_option),
    }
    with tempfile.TemporaryDirectory(prefix="diffir-bench-") as folder:
        clip = Path(arguments.file or Path(folder) / "sample.mkv")
        if arguments.file is None:
            write_sample_clip(clip, *arguments.size, frames=arguments.frames)
        report = bench_file(restorer, clip, repeats=arguments.repeats, **encoding)
    return _print_bench(report, arguments.json)


def _bench_network(arguments: argparse.Namespace) -> int:
    from diffir_video.bench import bench_network, load_network

    _check_json(arguments.json)
    net = load_network(arguments.model, arguments.device)
    width, height = arguments.size
    report = bench_network(
        net,
        model=Path(arguments.model).stem,
        width=width,
        height=height,
        batch=arguments.batch,
        repeats=arguments.repeats,
    )
    return _print_bench(report, arguments.json)


def _print_bench(report: FileBench | NetworkBench, json_path: str | None) -> int:
    print(report.format())
    if json_path is not None:
        _write_json(report.to_dict(), json_path)
    return 0


def _check_json(path: str | None) -> None:
    if path is not None:
        _check_folder(path)


def _media_fields(path: str) -> dict[str, object]:
    from diffir_video.media import probe_media

    info = probe_media(path)
    duration = "unknown" if info.duration_seconds is None else f"{info.duration_seconds:.3f} s"
    fields: dict[str, object] = {
        "file": info.path,
        "container": info.container,
        "video": f"{info.codec} {info.width}x{info.height} {info.pixel_format}",
        "frame rate": info.average_rate or "unknown",
        "duration": duration,
        "frames": info.frame_count or "unknown until decoded",
        "chapters": info.chapters,
    }
    for track in info.tracks:
        described = [
            track.kind,
            track.codec,
            track.language,
            track.title,
            "default" if track.default else None,
        ]
        fields[f"track {track.index}"] = " ".join(filter(None, described))
    if info.missing_bytes:
        fields["damaged"] = f"{info.missing_bytes} bytes missing at the end"
    return fields


def _checkpoint_fields(path: str) -> dict[str, object]:
    from diffir_video.checkpoint import load_checkpoint

    net = load_checkpoint(path)
    return {
        "file": path,
        "stage": net.stage,
        "parameters": f"{sum(p.numel() for p in net.parameters()):,}",
        "config": net.config,
    }


def _print_fields(fields: dict[str, object]) -> None:
    width = max(map(len, fields))
    for name, value in fields.items():
        print(f"{name:<{width}}  {value}")


def _check_folder(path: str) -> None:
    folder = Path(path).parent
    if not folder.is_dir():
        raise OutputError(f"can't write {path!r}: there is no folder {str(folder)!r}")


def _write_json(content: dict[str, Any], path: str) -> None:
    try:
        Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as exc:
        raise OutputError(f"can't write {path!r}: {exc.strerror}") from exc


@contextmanager
def _progress_bar(name: str) -> Generator[Callable[[Any], None] | None]:
    """A bar with fps and ETA on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from diffir_video.pipeline import Progress as RunProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} fps"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(Path(name).name), total=None, fps=0.0)

        def update(progress: RunProgress) -> None:
            bar.update(task, completed=progress.frames_done, total=progress.frames_total, fps=progress.fps)

        yield update


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="diffir-video",
        description="Restore video with DiffIR.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {engine_version()}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show the trace of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    restore = commands.add_parser("restore", parents=[shared], help="restore a video file")
    restore.add_argument(
        "input", metavar="IN", help="the video to restore, a folder of them, or - for a pipe"
    )
    restore.add_argument(
        "output", metavar="OUT", help="where: .mkv .mp4 .mov .webm .ts …, a folder, or - for Y4M"
    )
    restore.add_argument("--model", default="denoise-nano", metavar="NAME|PATH", help="default: %(default)s")
    restore.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    restore.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"))
    restore.add_argument(
        "--strength",
        type=float,
        default=1,
        metavar="0…1",
        help="how much of the restored; default: 1, all",
    )
    restore.add_argument("--start", type=_seconds, metavar="[H:][M:]S", help="restore from here on")
    restore.add_argument("--end", type=_seconds, metavar="[H:][M:]S", help="and up to here")
    restore.add_argument("--deinterlace", default="auto", choices=("auto", "off", "bwdif"))
    restore.add_argument("--preset", choices=("archive", "web", "fast"), help="an encoder and its options")
    _add_encoder(restore)
    _add_reuse_options(restore)
    restore.add_argument("--plot-reuse", metavar="FILE.png", help="draw drift, refreshes and cuts over time")
    restore.add_argument(
        "--dry-run", action="store_true", help="say what would be done and how long it takes; write nothing"
    )
    restore.add_argument("--report", metavar="FILE.json", help="write what was done and verified")
    restore.add_argument(
        "--report-decisions", action="store_true", help="put what was decided for every frame into the report"
    )
    restore.add_argument(
        "--verify", action="store_true", help="decode the output to its end and show all that was checked"
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
    restore.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    restore.set_defaults(command=_restore)

    models = commands.add_parser("models", parents=[shared], help="list the built-in models")
    models.set_defaults(command=_models)

    info = commands.add_parser("info", parents=[shared], help="say what a media file or checkpoint holds")
    info.add_argument("file", metavar="FILE")
    info.set_defaults(command=_info)

    compare = commands.add_parser("compare", parents=[shared], help="measure files against a reference")
    compare.add_argument("reference", metavar="REFERENCE")
    compare.add_argument("a", metavar="A")
    compare.add_argument("b", metavar="B", nargs="?")
    compare.add_argument("--picture", metavar="FILE.png", help="write a before/after picture")
    compare.add_argument("--json", metavar="FILE", help="write the figures of every frame")
    compare.set_defaults(command=_compare)

    convert = commands.add_parser(
        "convert", parents=[shared], help="rewrite a checkpoint (.pth, .safetensors)"
    )
    convert.add_argument("input", metavar="IN")
    convert.add_argument("output", metavar="OUT")
    convert.add_argument("--overwrite", action="store_true", help="replace an existing output")
    convert.set_defaults(command=_convert)
    _add_bench(commands, shared)
    return parser


def _add_reuse_options(command: argparse.ArgumentParser) -> None:
    reuse = command.add_argument_group("sharing priors between frames (see docs/reuse.md)")
    reuse.add_argument(
        "--reuse",
        choices=("off", "prior", "statistics"),
        help="one prior per frame; one until the next refresh; attention maps held with it. Default: off",
    )
    reuse.add_argument(
        "--refresh",
        default="auto",
        type=_auto_or_count,
        metavar="auto|N",
        help="when the picture drifts, or every N frames; at cuts in any case. Default: %(default)s",
    )
    reuse.add_argument("--refresh-threshold", type=float, metavar="X", help="drift from which to refresh")
    reuse.add_argument("--max-prior-age", type=int, metavar="N", help="frames after which to refresh")
    reuse.add_argument(
        "--prior-smoothing", type=float, metavar="S", help="share of the prior before in each new one, 0 to 1"
    )


def _auto_or_count(text: str) -> str | int:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected auto or a number of frames, got {text!r}") from None


def _add_encoder(command: argparse.ArgumentParser) -> None:
    command.add_argument("--encoder", help="FFmpeg's name; default: libx264")
    command.add_argument(
        "--encoder-option",
        action="append",
        default=[],
        type=_key_and_value,
        metavar="k=v",
        help="an option of the encoder, such as crf=20; may be repeated",
    )


def _add_bench(commands: Any, shared: argparse.ArgumentParser) -> None:
    bench = commands.add_parser("bench", help="measure frames per second on this machine")
    kinds = bench.add_subparsers(required=True, metavar="KIND")

    file = kinds.add_parser("file", parents=[shared], help="file to file, and each stage alone")
    file.add_argument("file", metavar="FILE", nargs="?", help="default: a made-up noisy clip")
    file.add_argument(
        "--frames", type=int, default=120, metavar="N", help="of the made-up clip; default: 120"
    )
    file.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"))
    _add_encoder(file)
    _add_reuse_options(file)
    file.set_defaults(command=_bench_file)

    network = kinds.add_parser("network", parents=[shared], help="the network alone, in all its ways")
    network.add_argument("--batch", type=int, default=4, metavar="N", help="frames at once; default: 4")
    network.set_defaults(command=_bench_network)

    for kind in (file, network):
        kind.add_argument("--model", default="denoise-nano", metavar="NAME|PATH", help="default: %(default)s")
        kind.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
        kind.add_argument("--size", type=_size, default=(640, 360), metavar="WxH", help="default: 640x360")
        kind.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds; default: %(default)s")
        kind.add_argument("--json", metavar="FILE", help="write the figures and the machine")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"expected WxH, got {text!r}")
    return int(width), int(height)


def _seconds(text: str) -> Fraction:
    try:
        parts = [Fraction(part) for part in text.split(":")]
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"expected [hours:][minutes:]seconds, got {text!r}") from exc
    return sum((part * 60**place for place, part in enumerate(reversed(parts))), Fraction(0))


def _key_and_value(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"expected k=v, got {text!r}")
    return key, value


if __name__ == "__main__":
    sys.exit(main())

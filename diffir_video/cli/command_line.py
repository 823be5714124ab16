"""`main`: the commands put together, and the code and the line that each of them ends with."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from diffir_video.cli.bench import add_bench
from diffir_video.cli.compare import add_compare
from diffir_video.cli.convert import add_convert
from diffir_video.cli.info import add_info
from diffir_video.cli.models import add_models
from diffir_video.cli.printing import fail, notices
from diffir_video.cli.restore import add_restore
from diffir_video.cli.worker import Supervisor, why_crashed
from diffir_video.errors import DiffirVideoError, MediaInputError
from diffir_video.version import engine_version

# Heavy modules (torch, PyAV) are imported inside the commands, so that --help and usage errors are instant.
# Progress and errors go to stderr; what a command was asked for goes to stdout.

_PROGRAM = "diffir-video"

_EXIT_CODES = """exit codes:
  0  done
  1  any other failure
  2  usage: an option or argument that makes no sense, an unknown model
  3  the input is missing or can't be read
  4  the output is refused (exists, is the input, no folder) or can't be written
  5  restored with losses: the input was damaged, the report says what is missing
"""

_INTERRUPTED, _TERMINATED = 130, 143
_CODES = {int(signal.SIGINT): _INTERRUPTED, int(signal.SIGTERM): _TERMINATED}
_GOES_ON = "what is finished is kept, and the same command goes on from there"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, one of `errors` or of a signal, and never raises.

    argv: None for the process's own. `restore` then does its work in a process of its own.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 1
    arguments.supervisor, arguments.goes_on = Supervisor(), False
    with _ending_once(ends_process=argv is None), notices():
        return _run(arguments, in_worker=argv is None and arguments.supervised)


def _run(arguments: argparse.Namespace, *, in_worker: bool) -> int:
    try:
        if in_worker and (code := _supervise(arguments.supervisor)) is not None:
            return code
        return arguments.command(arguments)
    except DiffirVideoError as exc:
        return fail(_PROGRAM, str(exc), exc.exit_code, debug=arguments.debug)
    except _TerminatedError:
        return fail(_PROGRAM, _ended("terminated", arguments), _TERMINATED, debug=arguments.debug)
    except KeyboardInterrupt:
        return fail(_PROGRAM, _ended("interrupted", arguments), _INTERRUPTED, debug=arguments.debug)
    except Exception as exc:  # noqa: BLE001 - a command ends with a line and a code, never a trace
        hint = "" if arguments.debug else " (run again with --debug for the trace)"
        return fail(_PROGRAM, f"{type(exc).__name__}: {exc}{hint}", 1, debug=arguments.debug)


def _ended(how: str, arguments: argparse.Namespace) -> str:
    return f"{how}; {_GOES_ON}" if arguments.goes_on else how


def _supervise(supervisor: Supervisor) -> int | None:
    """None in a worker. In the supervisor, the exit code, once no worker is needed any more."""
    while True:
        crashes = len(supervisor.crashed)
        code = supervisor.start_worker()
        if code is None or code >= 0:
            return code
        name, at = signal.Signals(-code).name, supervisor.current
        if -code in _CODES:
            return fail(_PROGRAM, f"the worker was ended by {name}", _CODES[-code], debug=False)
        if len(supervisor.crashed) == crashes:
            return fail(
                _PROGRAM, f"the worker was ended by {name}, out of memory perhaps; {_GOES_ON}", 1, debug=False
            )
        if not supervisor.goes_on:
            return fail(
                _PROGRAM, f"{why_crashed(at, name)}; {_GOES_ON}", MediaInputError.exit_code, debug=False
            )


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM: as an interrupt, with an exit code of its own."""


@contextmanager
def _ending_once(*, ends_process: bool) -> Generator[None]:
    """SIGINT and SIGTERM raise inside the block, but for those that come after the first.

    Who presses Ctrl-C twice would interrupt what ends the threads, and a process can't end well with them.
    Only the main thread can have it so; a signal that is ignored already stays so.
    ends_process: nothing comes after the block but the exit code, which no signal changes any more.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def end(number: int, _: object) -> None:
        for each in heeded:
            signal.signal(each, signal.SIG_IGN)
        raise _TerminatedError if number == signal.SIGTERM else KeyboardInterrupt

    for number in heeded:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, signal.SIG_IGN if ends_process else before[number])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Restore video with DiffIR.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {engine_version()}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show the trace of an error")
    shared.set_defaults(supervised=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add_command in (add_restore, add_models, add_info, add_compare, add_convert, add_bench):
        add_command(commands, shared)
    return parser

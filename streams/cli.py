"""The `diffir-stream` command: parse, run a `LiveFilter` until a signal, exit as `errors` says."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from diffir_video.cli.printing import fail
from diffir_video.cli.restoring import DEVICE, PRECISIONS, REUSE_LEVELS
from diffir_video.errors import DiffirVideoError, UsageError
from streams.addresses import Address, told_apart
from streams.default_model import DEFAULT_MODEL

if TYPE_CHECKING:
    from streams.config import Service
    from streams.governor import GovernorConfig
    from streams.live import LiveFilter

# Heavy modules (torch, PyAV) are imported inside the functions, so that --help and usage errors are instant.

_log = logging.getLogger(__name__)

_PROGRAM = "diffir-stream"

_EXIT_CODES = """exit codes:
  0  the source ended, or a signal ended the stream
  1  any other failure, or something did not end in time
  2  usage: an option, address or setting that makes no sense, an unknown model
  3  the source, the model or the settings can't be read
  4  an output can't be written or encoded, or holds nothing (or not its end) when the source has ended

recordings: an existing file is never overwritten; FILE-2, FILE-3 ... are next, and the log says which.

secrets: write ${NAME} in --config, or give an address as env:NAME, and set the variable.
SIGTERM and SIGINT end the stream within five seconds; SIGHUP reads latency and governor from --config again.
"""
_TOKEN_VARIABLE = "DIFFIR_HTTP_TOKEN"  # noqa: S105 - the name of a variable, not what it holds
_STOP_SECONDS = 4.5
_POLL_SECONDS = 0.2


def main(argv: Sequence[str] | None = None, *, warning: str | None = None) -> int:
    """Run the command line; returns the exit code. Raises only what an early signal does.

    warning: of what came before, for the log as soon as there is one.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 1
    given = sys.argv[1:] if argv is None else argv
    try:
        return _serve(arguments, warning)
    except DiffirVideoError as exc:
        return _failed(_hidden(str(exc), given), exc.exit_code, arguments)
    except Exception as exc:  # noqa: BLE001 - a command ends with a line and a code, never a trace
        return _failed(_hidden(f"{type(exc).__name__}: {exc}", given), 1, arguments)


def _failed(message: str, code: int, arguments: argparse.Namespace) -> int:
    """Say why the command ends, as whoever reads its messages expects them."""
    if arguments.log_format != "json":
        return fail(_PROGRAM, message, code, debug=arguments.debug)
    _log_as_json(message, trace=arguments.debug)
    return code


def _log_as_json(message: str, *, trace: bool) -> None:
    from streams.logs import set_up_logs

    set_up_logs([], format="json", level="error")
    _log.error("%s", message, exc_info=trace)


def _serve(arguments: argparse.Namespace, warning: str | None) -> int:
    hung_up = threading.Event()

    def remember(number: int, frame: object) -> None:  # noqa: ARG001 - what signals bring
        hung_up.set()

    # From before the settings are read, so that none is missed.
    signal.signal(signal.SIGHUP, remember)
    service = _service(arguments)
    from diffir_video.chain import in_turn
    from diffir_video.restorer import Restorer
    from streams.connecting import check_source
    from streams.live import LiveFilter
    from streams.logs import set_up_logs
    from streams.web import StatusServer

    addresses = [Address(service.source), *map(Address, service.sinks)]
    set_up_logs(
        addresses, format=arguments.log_format, level="debug" if arguments.debug else arguments.log_level
    )
    if warning is not None:
        _log.warning("%s", warning)
    check_source(addresses[0], service.live.source)
    restorer = in_turn(
        [
            Restorer.from_pretrained(
                model, device=service.device, precision=service.precision, reuse=service.reuse
            )
            for model in service.model
        ]
    )
    live = LiveFilter(service.source, restorer, service.sinks, service.live)
    with ExitStack() as stack:
        if service.http is not None:
            server = stack.enter_context(StatusServer(live, service.http, token=service.http_token))
            _log.info("page and metrics at %s", server.url)
        model = ", then ".join(service.model)
        _log.info("%s → %s, model %s", addresses[0], ", ".join(told_apart(addresses[1:])), model)
        _warn_of_lookahead(restorer.window[1], model)
        return _run(live, service, arguments, hung_up)


def _run(live: LiveFilter, service: Service, arguments: argparse.Namespace, hung_up: threading.Event) -> int:
    """Until the stream has ended.

    Handlers of signals only remember them: they come amid anything, such as the line of the log that is being
    written, or the settings of the signal before.
    """
    asked: list[int] = []

    def end(number: int, frame: object) -> None:  # noqa: ARG001 - what signals bring
        asked.append(number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    live.start()
    while not asked:
        if hung_up.is_set():
            # Before the file is read: one that comes meanwhile may be about what it holds by then.
            hung_up.clear()
            _reload(live, service, arguments)
        if live.wait(_POLL_SECONDS):
            break
    if asked:
        _log.info("%s: ending", signal.Signals(asked[0]).name)
    ended = live.stop(_STOP_SECONDS)
    if isinstance(live.failure, DiffirVideoError):
        raise live.failure
    if live.failure is not None or not ended:
        _log.error("%s", live.failure or "the stream did not end in time")
        return 1
    return 0


def _warn_of_lookahead(frames: int, model: str) -> None:
    if frames:
        _log.warning("%s waits for %d frames to come: their time is part of the latency", model, frames)


def _reload(live: LiveFilter, service: Service, arguments: argparse.Namespace) -> None:
    """Take latency and governor from the file again; what can't be read changes nothing."""
    if arguments.config is None:
        _log.warning("SIGHUP: there is no --config to read again")
        return
    path = Path(arguments.config)
    if path.exists() and not path.is_file():
        # It might never say anything again, and nobody would listen to signals meanwhile.
        _log.warning("SIGHUP: %r is no file, so it can't be read again", str(path))
        return
    before = live.governor.config
    try:
        read = _service(arguments)
        live.configure(read.live.governor)
    except Exception as exc:  # noqa: BLE001 - whatever a file holds, it is no reason to end a stream that runs
        why = exc if isinstance(exc, DiffirVideoError) else type(exc).__name__
        _log.error("SIGHUP: %s; everything stays as it was", why)
        return
    changes = [f"{name} is {'off' if value is None else value}" for name, value in _changed(before, live)]
    _log.info("SIGHUP: settings read again, %s", ", ".join(changes) or "which change nothing")
    if ignored := _needing_a_restart(service, read):
        _log.warning("SIGHUP: %s can't change in a stream that runs; begin it anew", ", ".join(ignored))


def _changed(before: GovernorConfig, live: LiveFilter) -> list[tuple[str, float | None]]:
    now = live.governor.config
    names = [entry.name for entry in fields(now)]
    return [(name, getattr(now, name)) for name in names if getattr(now, name) != getattr(before, name)]


def _needing_a_restart(service: Service, read: Service) -> list[str]:
    """The settings, as the file calls them, that were others when the stream began."""
    pairs = {
        entry.name: (getattr(service, entry.name), getattr(read, entry.name))
        for entry in fields(service)
        if entry.name != "live"
    }
    pairs["input"] = service.live.source, read.live.source
    pairs["output"] = service.live.sink, read.live.sink
    pairs["throttle"] = service.live.throttle, read.live.throttle
    return [name for name, (begun, now) in pairs.items() if begun != now]


def _service(arguments: argparse.Namespace) -> Service:
    """The file's settings, and over them the command line's."""
    from streams.config import LiveConfig, Service, read_service
    from streams.settings import seconds

    settings: dict[str, Any] = read_service(arguments.config) if arguments.config else {}
    given = {key: getattr(arguments, key) for key in ("device", "precision", "reuse", "http")}
    given["model"] = tuple(arguments.model) if arguments.model else None
    settings |= {key: value for key, value in given.items() if value is not None}
    if arguments.source is not None:
        settings["source"] = _from_environment(arguments.source)
    sinks = [arguments.sink, *arguments.tee] if arguments.sink is not None else arguments.tee
    if sinks:
        settings["sinks"] = tuple(map(_from_environment, sinks))
    settings.setdefault("http_token", os.environ.get(_TOKEN_VARIABLE))
    for end in ("source", "sinks"):
        if not settings.get(end):
            raise UsageError(f"no {end.rstrip('s')}: give SOURCE and SINK, or --config FILE with both")
    live: LiveConfig = settings.get("live", LiveConfig())
    if arguments.latency is not None:
        live = replace(live, governor=replace(live.governor, latency_seconds=seconds(arguments.latency)))
    if arguments.realtime:
        live = replace(live, source=replace(live.source, realtime=True))
    if arguments.throttle is not None:
        live = replace(live, throttle=arguments.throttle)
    settings["live"] = live
    return Service(**settings)


def _from_environment(address: str) -> str:
    """env:NAME stands for an address that the process list shouldn't show."""
    name = address.removeprefix("env:")
    if name == address:
        return address
    if name not in os.environ:
        raise UsageError(f"the environment variable {name} is not set")
    return os.environ[name]


class _Parser(argparse.ArgumentParser):
    """Shows no secret of an address that is where none belongs, and refuses in the format of the log."""

    _given: Sequence[str] = ()

    def parse_args(self, args: Sequence[str] | None = None) -> argparse.Namespace:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._given = sys.argv[1:] if args is None else args
        return super().parse_args(args)

    def error(self, message: str) -> NoReturn:
        message = _hidden(message, self._given)
        if _asks_for_json(self._given):
            _log_as_json(message, trace=False)
            self.exit(UsageError.exit_code)
        super().error(message)


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether the log is to be JSON, by arguments of which others may make no sense."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--log-format")
    try:
        return parser.parse_known_args(arguments)[0].log_format == "json"
    except argparse.ArgumentError:
        return False


def _hidden(message: str, arguments: Sequence[str]) -> str:
    """`message` without the secrets of these arguments."""
    for argument in arguments:
        value = argument.partition("=")[2] if argument.startswith("--") else argument
        message = Address(value).hide_in(message) if value else message
    return message


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        description="Restore a live stream with DiffIR.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", metavar="SOURCE", nargs="?", help="rtsp:// rtmp:// srt:// udp:// http://, FILE, -"
    )
    parser.add_argument(
        "sink", nargs="?", metavar="SINK", help="rtmp:// srt:// udp:// rtsp:// whip://, FILE, -"
    )
    parser.add_argument("--tee", action="append", default=[], metavar="SINK", help="one more sink; repeat it")
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME|PATH",
        help=f"default: {DEFAULT_MODEL}; repeat it, and each restores what the one before it made",
    )
    parser.add_argument("--device", metavar=DEVICE, help="default: auto")
    parser.add_argument("--precision", choices=PRECISIONS, help="default: auto")
    parser.add_argument("--reuse", choices=REUSE_LEVELS, help="default: prior")
    parser.add_argument(
        "--latency", metavar="TIME", help="the budget, such as 300ms; off for none; default: 300ms"
    )
    parser.add_argument("--http", metavar="HOST:PORT", help="serve the page and /metrics here")
    parser.add_argument("--realtime", action="store_true", help="read a file at the pace of its timestamps")
    parser.add_argument("--throttle", type=float, metavar="FACTOR", help="slow the model down")
    parser.add_argument("--config", metavar="FILE.yaml", help="settings; the command line wins")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument("--debug", action="store_true", help="log all, and show the trace of an error")
    return parser

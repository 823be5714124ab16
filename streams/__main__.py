"""`diffir-stream` begins here: its arguments lose their secrets before seconds go into importing torch."""

from __future__ import annotations

import signal
import sys

from streams.addresses import Address
from streams.unseen import hide_own_arguments


def main() -> int:
    """Run the command with this process's arguments; returns the exit code."""
    # Until the command takes the signals over: a service may be stopped, or told to read its settings again,
    # before it has read them once.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, _leave_be)
    try:
        try:
            hide_own_arguments(_without_secrets)
        except OSError as exc:
            print(f"diffir-stream: the process list goes on showing its addresses: {exc}", file=sys.stderr)
        from streams.cli import main as run

        return run()
    except KeyboardInterrupt:
        return 0


def _leave_be(number: int, frame: object) -> None:
    pass


def _without_secrets(argument: str) -> str:
    """An address as it may be shown, by itself or after an option's =; all else as it is."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return f"{option}{equals}{Address(value)}" if value else argument


if __name__ == "__main__":
    sys.exit(main())

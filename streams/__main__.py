"""`diffir-stream` begins here: its arguments lose their secrets before seconds go into importing torch."""

from __future__ import annotations

import signal
import sys

# All else is imported after the signals have their handlers.


def main() -> int:
    """Run the command with this process's arguments; returns the exit code."""
    # Until the command takes the signals over: a service may be stopped, or told to read its settings again,
    # before it has read them once.
    # No KeyboardInterrupt: Python ends by SIGINT after one that came amid an exec, even if it was caught.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGHUP, _leave_be)
    from streams.unseen import hide_own_arguments

    warning = None
    try:
        hide_own_arguments(_without_secrets)
    except OSError as exc:
        warning = f"the process list goes on showing the addresses: {exc}"
    from streams.cli import main as run

    return run(warning=warning)


def _end(number: int, frame: object) -> None:  # noqa: ARG001 - what signals bring
    sys.exit(0)


def _leave_be(number: int, frame: object) -> None:
    pass


def _without_secrets(argument: str) -> str:
    """An address as it may be shown, by itself or after an option's =; all else as it is."""
    from streams.addresses import Address

    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return f"{option}{equals}{Address(value)}" if value else argument


if __name__ == "__main__":
    sys.exit(main())

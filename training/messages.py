"""What commands tell while they run, line by line."""

from __future__ import annotations

import logging
import sys
from typing import Literal


def print_messages(to: Literal["stdout", "stderr"]) -> None:
    """Have the messages of all modules printed, unless the caller of this process has them go elsewhere."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_Lines(to)])


class _Lines(logging.Handler):
    """To what is the stream of that name when a line comes: a caller may have put another in its place."""

    def __init__(self, to: Literal["stdout", "stderr"]) -> None:
        super().__init__()
        self._to = to

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stdout if self._to == "stdout" else sys.stderr
        try:
            stream.write(f"{self.format(record)}\n")
            stream.flush()
        except OSError:
            self.handleError(record)

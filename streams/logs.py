"""Log lines for people or for machines, with every secret of the stream's addresses taken out."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from streams.addresses import Address

LogFormat = Literal["text", "json"]


def set_up_logs(addresses: Sequence[Address], *, format: LogFormat, level: str) -> None:
    """Send the log to standard error, one line a record; a traceback is part of its line in JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(addresses, as_json=format == "json"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class _Formatter(logging.Formatter):
    def __init__(self, addresses: Sequence[Address], *, as_json: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")
        self._addresses, self._as_json = tuple(addresses), as_json

    def format(self, record: logging.LogRecord) -> str:
        text = self._as_line(record) if self._as_json else super().format(record)
        for address in self._addresses:
            text = address.hide_in(text)
        return text

    def _as_line(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)

"""Live ends for the loop of `diffir_video.pipeline`: streams in, restored streams out, for weeks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streams.config import LiveConfig, Service
    from streams.connecting import SourceConfig
    from streams.governor import LADDER, Governor, Level
    from streams.live import LiveFilter
    from streams.mailbox import Mailbox
    from streams.publisher import SinkConfig
    from streams.restoring import LiveRestorer
    from streams.sinks import LiveSink
    from streams.sources import LiveSource
    from streams.stats import LiveStats

__all__ = [
    "LADDER",
    "Governor",
    "Level",
    "LiveConfig",
    "LiveFilter",
    "LiveRestorer",
    "LiveSink",
    "LiveSource",
    "LiveStats",
    "Mailbox",
    "Service",
    "SinkConfig",
    "SourceConfig",
]

# Imported when first asked for: the command must hide its arguments before it spends seconds on torch.
_HOMES = {
    "LADDER": "governor",
    "Governor": "governor",
    "Level": "governor",
    "LiveConfig": "config",
    "LiveFilter": "live",
    "LiveRestorer": "restoring",
    "LiveSink": "sinks",
    "LiveSource": "sources",
    "LiveStats": "stats",
    "Mailbox": "mailbox",
    "Service": "config",
    "SinkConfig": "publisher",
    "SourceConfig": "connecting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Live ends for the loop of `diffir_video.pipeline`: streams in, restored streams out, for weeks."""

from streams.config import LiveConfig, Service
from streams.governor import LADDER, Governor, Level
from streams.live import LiveFilter
from streams.mailbox import Mailbox
from streams.restoring import LiveRestorer
from streams.sinks import LiveSink, SinkConfig
from streams.sources import LiveSource, SourceConfig
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

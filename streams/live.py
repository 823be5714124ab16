"""`LiveFilter`: a live stream restored from one address to others until it is stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from types import TracebackType
from typing import Self

import torch

from diffir_video.chain import Chain
from diffir_video.frame import Clip
from diffir_video.pipeline import run
from diffir_video.restorer import Restorer
from diffir_video.run_report import RunReport
from diffir_video.stages import FrameRestorer
from diffir_video.steady_thread import SteadyThread
from streams.addresses import Address
from streams.config import LiveConfig
from streams.governor import Governor, GovernorConfig, Level, ladder_from
from streams.preview import Preview
from streams.publishing import check_places
from streams.restoring import LiveRestorer, Sharing
from streams.sinks import LiveSink
from streams.sources import LiveSource
from streams.stats import LiveStats

_log = logging.getLogger(__name__)

# Out for longer than this, the filter isn't ready, although it lives.
_READY_SECONDS = 5.0
_WARM_UP_SIZE = (180, 320)


class LiveFilter:
    """`pipeline.run` with live ends, in a thread of its own.

    source: an address, or - for standard input. restorer: a `Restorer`, a `Chain`, or anything `run` takes.
    sinks: one address or several, the same frames for all of them.

        with LiveFilter("rtsp://camera/1", restorer, "rtmp://server/live/key") as live:
            live.wait()

    It ends when `stop` is called, or with a source that is not to be tried again (a file, a pipe).
    Raises UsageError and OutputError for addresses that make no sense, before anything is opened.
    """

    def __init__(
        self,
        source: str,
        restorer: FrameRestorer,
        sinks: str | Sequence[str],
        config: LiveConfig | None = None,
    ) -> None:
        self.config = config or LiveConfig()
        self.stats = LiveStats()
        self.preview = Preview()
        outputs = [sinks] if isinstance(sinks, str) else sinks
        check_places(Address(source), [Address(sink) for sink in outputs])
        own = restorer.policy if isinstance(restorer, Sharing) else None
        self.governor = Governor(self.config.governor, levels=ladder_from(own), on_change=self._changed_level)
        self._restorer = LiveRestorer(
            restorer, self.governor, self.stats, throttle=self.config.throttle, on_pair=self.preview.show
        )
        self._sink = LiveSink(outputs, self.config.sink, self.stats)
        self._source = LiveSource(
            source,
            self.config.source,
            self.stats,
            audio=self._sink,
            on_arrival=self.governor.arrived,
        )
        self.configure(self.config.governor)
        self._thread = SteadyThread(self._run, name="diffir-live")
        self._report: RunReport | None = None
        self._failure: BaseException | None = None

    def start(self) -> Self:
        """Begin; returns at once."""
        self._sink.open(waits=self._source.policy == "wait")
        self._thread.start()
        return self

    def stop(self, seconds: float = 5.0) -> bool:
        """End the stream; what was read is still sent, as far as peers take it. True if all ended in time."""
        self._source.stop()
        self._sink.stop()
        return self.wait(seconds)

    def wait(self, seconds: float | None = None) -> bool:
        """Until the stream has ended, for `seconds` at most; True if it has."""
        if self._thread.ident is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def report(self) -> RunReport | None:
        """What the run did; None until it has ended well."""
        return self._report

    @property
    def failure(self) -> BaseException | None:
        """What ended the stream, None if nothing but its own end did."""
        return self._failure

    @property
    def is_live(self) -> bool:
        return self._thread.is_alive()

    @property
    def is_ready(self) -> bool:
        """Whether a frame has left in the last seconds."""
        left = self.stats.last_seen("out")
        return self.is_live and left is not None and time.monotonic() - left < _READY_SECONDS

    @property
    def throttle(self) -> float:
        """How many times slower than it is the model is made; may be set at any time, 1 or more."""
        return self._restorer.throttle

    @throttle.setter
    def throttle(self, factor: float) -> None:
        self._restorer.throttle = replace(self.config, throttle=factor).throttle

    def configure(self, config: GovernorConfig) -> None:
        """Take another latency budget and other thresholds, without a break.

        A source that can wait has no budget: it comes as fast as it is restored, and there is nothing to
        keep up with.
        """
        can_wait = self._source.policy == "wait"
        self.governor.configure(replace(config, latency_seconds=None) if can_wait else config)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            if isinstance(self._restorer.restorer, Restorer | Chain):
                _warm_up(self._restorer.restorer)
            self._report = run(self._source, self._restorer, self._sink, batch=1, queue=1)
        except BaseException as exc:  # noqa: BLE001 - kept for whoever waits
            self._failure = exc
            _log.error("the stream ended: %s", exc)
            self.stats.tell(f"the stream ended: {exc}")

    def _changed_level(self, index: int, level: Level, why: str) -> None:
        self.stats.set_level(index, level.name)
        text = f"level {index} ({level.name}): {why}"
        _log.warning("%s", text)
        self.stats.tell(text)


def _warm_up(restorer: Restorer | Chain) -> None:
    """Pay for what only a first frame costs, before there is one: the source isn't connected yet."""
    frames = sum(restorer.window) + 1
    grey = torch.full((frames, 3, *_WARM_UP_SIZE), 0.5)
    started = time.monotonic()
    try:
        restorer.restore(Clip(grey, tuple(range(frames)), Fraction(1, 25)))
    except Exception as exc:  # noqa: BLE001 - the stream itself goes on without its model, and says so
        _log.error("the model can't be warmed up: %s: %s", type(exc).__name__, exc)
    else:
        _log.info("the model is warm after %.2f s", time.monotonic() - started)

"""`LiveSource`: frames of a live stream for `pipeline.run`, across every failure of who sends it."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from diffir_video.errors import LiveInputError, UsageError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.media import LiveInput, LivePicture, MediaPacket, Readable, TrackFormat
from streams.addresses import Address
from streams.backoff import Backoff
from streams.children import FFmpegChild
from streams.clock import OutputClock
from streams.frames import TICK, LiveFrame
from streams.mailbox import Mailbox, Policy
from streams.stats import LiveStats
from streams.whep import watched

_log = logging.getLogger(__name__)

Outage = Literal["hold", "slate", "pause"]

# A decoder of streams needs one group of pictures to be sure what is in it; most need far less.
_PROBES = ({"analyzeduration": "500000", "probesize": "500000"}, {"analyzeduration": "3000000"})
_POLL_SECONDS = 0.02
_CLOSE_SECONDS = 2.0
_SLATE_LEVEL = 0.08
_USUAL_RATE = 25.0


# Bytes as they come.
_SRT_INPUT = ("-hide_banner", "-nostdin", "-loglevel", "warning", "-f", "data", "-i")
_SRT_OUTPUT = ("-map", "0", "-c", "copy", "-f", "data", "-flush_packets", "1", "pipe:1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """How a source is opened, watched and replaced while it is silent.

    format: FFmpeg's input format; None to go by the address. options: FFmpeg's, for the input.
    realtime: pace by the timestamps, for files; None decides by the address. reconnect: try again for
    ever; None does so for networks and devices. open_seconds: for connecting, and again for probing.
    stall_seconds: without a frame for this long the connection counts as dead. mailbox, policy: see
    `Mailbox`; the policy None is "wait" for pipes and unpaced files, which can wait, and "newest" for
    all else.
    outage: what the output shows while the source is silent: the last frame ("hold"), a dark picture
    ("slate"), or nothing ("pause"). outage_seconds: the silence after which that begins.
    """

    format: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    realtime: bool | None = None
    reconnect: bool | None = None
    open_seconds: float = 5.0
    stall_seconds: float = 3.0
    mailbox: int = 2
    policy: Policy | None = None
    outage: Outage = "hold"
    outage_seconds: float = 0.6


class AudioReceiver(Protocol):
    """Where a source's sound goes."""

    def expect_audio(self, format: TrackFormat) -> None: ...

    def write_audio(self, packet: MediaPacket) -> None: ...


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A picture in the mailbox, placed on the output's clock."""

    picture: LivePicture
    ticks: int
    arrived: float
    epoch: int


class LiveSource:
    """A source of `LiveFrame`s, once. Reading and decoding happen in a thread of its own.

    audio: hears how the sound is coded before the first picture arrives, and gets every packet of it, on
    the output's clock. on_arrival: gets the time of every decoded picture. Both are called in the thread
    that reads. Iterating raises LiveInputError where the source can't be had and is not to be tried
    again; a source that is tried again never ends before `stop`.
    """

    def __init__(
        self,
        address: str,
        config: SourceConfig | None = None,
        stats: LiveStats | None = None,
        *,
        audio: AudioReceiver | None = None,
        on_arrival: Callable[[float], None] | None = None,
    ) -> None:
        self.address = Address(address)
        self.config = config or SourceConfig()
        self.stats = stats or LiveStats()
        self._audio, self.on_arrival = audio, on_arrival
        self._audio_format: TrackFormat | None = None
        is_live = self.address.is_network or _is_device(self.address)
        self._paced = _comes_in_bursts(self.address) if self.config.realtime is None else self.config.realtime
        self._reconnects = is_live if self.config.reconnect is None else self.config.reconnect
        self.policy: Policy = self.config.policy or ("newest" if is_live or self._paced else "wait")
        self._bridges = self.config.outage != "pause" and self._reconnects
        self._mailbox = Mailbox[_Arrival](self.config.mailbox, self.policy, on_drop=self._dropped)
        self._clock = OutputClock()
        self._stopping = threading.Event()
        self._failure: LiveInputError | None = None
        self._backoff = Backoff()
        self._epoch = 0
        self._info: StreamInfo | None = None
        self._last: LiveFrame | None = None
        self._last_shown = 0.0
        self._reader = threading.Thread(target=self._read, name="diffir-source", daemon=True)

    @property
    def info(self) -> StreamInfo:
        """The stream as of its latest frame; raises LiveInputError before the first."""
        if self._info is None:
            raise LiveInputError(f"{self.address}: nothing has arrived yet", reason="silent")
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        self._reader.start()
        return self._deliver()

    def stop(self) -> None:
        """End the stream: what has arrived is still delivered. Returns at once."""
        self._stopping.set()
        self._mailbox.close()

    def close(self) -> None:
        """Stop, and give the reading thread a moment to end.

        One that waits for a silent peer ends by itself, when `open_seconds` or `stall_seconds` have passed.
        """
        self.stop()
        if self._reader.ident is not None:
            self._reader.join(_CLOSE_SECONDS)

    # In the thread that asks for frames.

    def _deliver(self) -> Generator[LiveFrame]:
        while True:
            arrival = self._mailbox.get(_POLL_SECONDS)
            if arrival is not None:
                yield self._converted(arrival)
            elif self._mailbox.is_closed:
                if self._failure is not None:
                    raise self._failure
                return
            elif (frame := self._bridging_frame()) is not None:
                yield frame

    def _converted(self, arrival: _Arrival) -> LiveFrame:
        self.stats.set_queue("mailbox", len(self._mailbox))
        self.stats.observe("queue", time.monotonic() - arrival.arrived)
        picture = arrival.picture
        duration = None if picture.duration is None else round(picture.duration * picture.time_base / TICK)
        self._last = LiveFrame(
            picture.to_rgb(),
            arrival.ticks,
            TICK,
            duration,
            stream=picture.stream,
            arrived=arrival.arrived,
            epoch=arrival.epoch,
        )
        self._last_shown = time.monotonic()
        return self._last

    def _bridging_frame(self) -> LiveFrame | None:
        last, now = self._last, time.monotonic()
        if last is None or not self._bridges:
            return None
        is_bridging = last.bridge is not None
        wait = (
            1 / float(last.stream.average_rate or _USUAL_RATE) if is_bridging else self.config.outage_seconds
        )
        if now - self._last_shown < wait:
            return None
        if not is_bridging:
            self._note(f"{self.address}: silent, its place is held")
        is_slate = self.config.outage == "slate"
        data = torch.full_like(last.data, _SLATE_LEVEL) if is_slate else last.data
        self._last = LiveFrame(
            data,
            self._clock.bridge(now),
            TICK,
            stream=last.stream,
            arrived=now,
            epoch=last.epoch,
            bridge="slate" if is_slate else "hold",
        )
        self._last_shown = now
        self.stats.count_frame("bridge")
        return self._last

    # In the reading thread.

    def _read(self) -> None:
        while not self._stopping.is_set():
            failure = self._read_once()
            self.stats.set_up("source", False)
            if self._stopping.is_set():
                return
            if not self._reconnects:
                self._failure = failure
                self._mailbox.close()
                return
            wait = self._backoff.next_seconds()
            self._note(f"{failure or f'{self.address}: ended'}; next attempt in {wait:.1f} s")
            self.stats.count_reconnect("source")
            self._stopping.wait(wait)
            self._clock.reconnected()

    def _read_once(self) -> LiveInputError | None:
        """One connection from beginning to end; the failure that ended it, None for the stream's own end."""
        try:
            with ExitStack() as stack:
                connection = self._connect(stack)
                self._epoch += 1
                self._follow(connection)
        except LiveInputError as failure:
            return failure
        except Exception as exc:  # noqa: BLE001 - see below
            # Whatever a source sends, it must not be the end of a filter that can connect again.
            _log.exception("%s: failed", self.address)
            self.stats.count_error("source")
            return LiveInputError(f"{self.address}: {type(exc).__name__}", reason="broken")
        return None

    def _connect(self, stack: ExitStack) -> LiveInput:
        """Open the source; where its first moments hold no video, once more and with more patience."""
        if self._can_reopen:
            with ExitStack() as attempt:
                try:
                    connection = self._open(attempt, _PROBES[0])
                except LiveInputError as failure:
                    if failure.reason != "no_video":
                        raise
                else:
                    stack.push(attempt.pop_all())
                    return connection
        return self._open(stack, _PROBES[-1])

    @property
    def _can_reopen(self) -> bool:
        return self.address.scheme != "pipe"

    def _open(self, stack: ExitStack, probe: dict[str, str]) -> LiveInput:
        address, config = self.address, self.config
        source: str | Readable = address.text.removeprefix("screen://")
        format, options = _input_format(address), _input_options(address)
        if address.scheme == "srt":
            source, format = stack.enter_context(self._relayed()), "mpegts"
        elif address.scheme in ("whep", "wheps"):
            source, format = self._pipe(stack.enter_context(watched(address))), "nut"
        elif address.scheme == "pipe":
            source = _PipeReader(
                0, self._stopping, address, config.stall_seconds if self._reconnects else None
            )
        return stack.enter_context(
            LiveInput(
                source,
                name=str(address),
                format=config.format or format,
                options=options | probe | dict(config.options),
                open_seconds=config.open_seconds,
                stall_seconds=config.stall_seconds,
            )
        )

    @contextmanager
    def _relayed(self) -> Generator[Readable]:
        """The bytes of an SRT connection, which a child makes because PyAV's FFmpeg knows no SRT."""
        arguments = [*_SRT_INPUT, self.address.text, *_SRT_OUTPUT]
        child = FFmpegChild(arguments, name="srt", hide=self.address.hide_in, reads=False, stdout=None)
        try:
            yield self._pipe(child.output.fileno())
        finally:
            child.kill()

    def _pipe(self, descriptor: int) -> Readable:
        return _PipeReader(descriptor, self._stopping, self.address, self.config.open_seconds)

    def _follow(self, connection: LiveInput) -> None:
        pace = _Pace() if self._paced else None
        last_picture = time.monotonic()
        size: tuple[int, int] | None = None
        self._expect_audio(connection.audio)
        for item in connection:
            if self._stopping.is_set():
                return
            now = time.monotonic()
            if isinstance(item, MediaPacket):
                if self.policy != "wait" and now - last_picture > self.config.stall_seconds:
                    raise LiveInputError(f"{self.address}: sound without pictures", reason="silent")
                self._take_audio(item, connection.audio, now)
                continue
            if pace is not None and not pace.wait(item, self._stopping):
                return
            last_picture = time.monotonic()
            if size not in (None, (item.stream.width, item.stream.height)):
                self._epoch += 1
                self._note(f"{self.address}: now {item.stream.width}x{item.stream.height}")
            size = (item.stream.width, item.stream.height)
            self._take_picture(item, last_picture)

    def _take_picture(self, picture: LivePicture, now: float) -> None:
        if self._info is None or self._backoff.attempts:
            self._note(f"{self.address}: {picture.stream.width}x{picture.stream.height} arrives")
        self._info = picture.stream
        self._backoff.reset()
        self.stats.set_up("source", True)
        self.stats.count_frame("in")
        if self.on_arrival is not None:
            self.on_arrival(now)
        stamp = self._clock.stamp("video", picture.pts, picture.time_base, now)
        if stamp is None:
            self.stats.count_dropped("mailbox", "same_time")
            return
        if stamp.is_jump:
            self._epoch += 1
        self._mailbox.put(_Arrival(picture, stamp.ticks, now, self._epoch))

    def _expect_audio(self, format: TrackFormat | None) -> None:
        """A connection without sound leaves the output's track as it is: the next one may have some again."""
        if format is not None and format != self._audio_format and self._audio is not None:
            self._audio_format = format
            self._audio.expect_audio(format)

    def _take_audio(self, packet: MediaPacket, format: TrackFormat | None, now: float) -> None:
        if self._audio is None:
            return
        self._expect_audio(format)
        stamp = self._clock.stamp("audio", packet.pts, packet.time_base, now)
        if stamp is None:
            return
        duration = None if packet.duration is None else round(packet.duration * packet.time_base / TICK)
        self._audio.write_audio(
            MediaPacket(packet.data, stamp.ticks, stamp.ticks, duration, TICK, is_keyframe=True)
        )

    def _dropped(self, _: _Arrival) -> None:
        self.stats.count_dropped("mailbox", "overload")

    def _note(self, text: str) -> None:
        _log.warning("%s", text)
        self.stats.tell(text)


class _Pace:
    """Lets pictures through when their time has come, for a source that gives them faster."""

    def __init__(self) -> None:
        self._begun: tuple[float, float] | None = None

    def wait(self, picture: LivePicture, stopping: threading.Event) -> bool:
        """False when stopped instead."""
        if picture.pts is None:
            return True
        seconds, now = float(picture.pts * picture.time_base), time.monotonic()
        if self._begun is None:
            self._begun = (seconds, now)
        due = self._begun[1] + seconds - self._begun[0]
        if abs(due - now) > 30 or due < now - 1:
            # The timestamps jumped, or the source fell behind: what comes now is on time.
            self._begun = (seconds, now)
            return True
        return not stopping.wait(max(due - now, 0))


class _PipeReader:
    """Reads a pipe without ever waiting for longer than it should."""

    def __init__(
        self, descriptor: int, stopping: threading.Event, address: Address, stall_seconds: float | None
    ) -> None:
        self._descriptor, self._stopping = descriptor, stopping
        self._address, self._stall_seconds = address, stall_seconds

    def read(self, size: int) -> bytes:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        limit = None if self._stall_seconds is None else time.monotonic() + self._stall_seconds
        while not self._stopping.is_set():
            if poller.poll(_POLL_SECONDS * 1000):
                return os.read(self._descriptor, size)
            if limit is not None and time.monotonic() > limit:
                raise LiveInputError(f"{self._address}: silent; nothing arrived in time", reason="silent")
        return b""


def check_source(address: Address) -> None:
    """Raise UsageError for an address that no source can be made of."""
    if address.scheme not in _SCHEMES and not _is_device(address):
        known = ", ".join(sorted(_SCHEMES - {"pipe", "file"}))
        raise UsageError(f"no source for {address}: expected a file, -, a device, or one of {known}")


_SCHEMES = frozenset(
    ("pipe", "file", "rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "rtp", "tcp", "http", "https", "screen")
) | {"whep", "wheps"}


def _input_format(address: Address) -> str | None:
    match address.scheme:
        case "rtsp" | "rtsps":
            return "rtsp"
        case "rtmp" | "rtmps":
            return "flv"
        case "udp":
            return "mpegts"
        case "screen":
            return "x11grab"
        case "file" if _is_device(address):
            return "v4l2"
        case _:
            return None


def _input_options(address: Address) -> dict[str, str]:
    options: dict[str, str] = {}
    match address.scheme:
        case "rtsp" | "rtsps":
            options |= {"rtsp_transport": "tcp"}
        case "udp":
            options |= {"fifo_size": "50000", "overrun_nonfatal": "1"}
        case "rtmp" | "rtmps":
            options |= {"rtmp_live": "live"}
        case "http" | "https" if address.suffix == ".m3u8":
            options |= {"live_start_index": "-2"}
        case _:
            pass
    return options


def _is_device(address: Address) -> bool:
    return address.scheme == "file" and address.text.startswith("/dev/video")


def _comes_in_bursts(address: Address) -> bool:
    """Segments arrive whole, seconds of video at once."""
    return address.suffix == ".m3u8"

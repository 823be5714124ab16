"""`Connector`: opens a source by whatever carries it, and gives it up when no picture comes any more."""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from diffir_video.errors import LiveInputError, UsageError
from diffir_video.media import (
    Deinterlace,
    FieldOrder,
    Hwaccel,
    LiveInput,
    Readable,
    hardware_of,
    is_input_option,
    similar_input_option,
)
from diffir_video.media.read_options import check_read_options
from streams.addresses import Address
from streams.children import FFmpegChild
from streams.mailbox import Policy
from streams.settings import check_positive
from streams.whep import check_whep, watched

Outage = Literal["hold", "slate", "pause"]

# A decoder of streams needs one group of pictures to be sure what is in it; most need far less.
_PROBES = ({"analyzeduration": "500000", "probesize": "500000"}, {"analyzeduration": "3000000"})
# Nothing is lost while a file is looked at, and it is opened once: sound may begin later than its pictures.
_PROBE_OF_FILES = {"analyzeduration": "10000000", "probesize": "20000000"}
_POLL_SECONDS = 0.02

# Bytes as they come.
_RELAY_INPUT = ("-hide_banner", "-nostdin", "-loglevel", "warning", "-f", "data")
_RELAY_OUTPUT = ("-map", "0", "-c", "copy", "-f", "data", "-flush_packets", "1", "pipe:1")
# FFmpeg's own buffer for what comes while nobody reads.
_UDP_OPTIONS = {"fifo_size": "50000", "overrun_nonfatal": "1"}
# FFmpeg's program refuses what the part that it opens doesn't know.
_OPTIONS_OF_UDP = frozenset(
    ("buffer_size", "localaddr", "localport", "local_port", "pkt_size", "reuse", "reuse_socket", "broadcast")
) | {"ttl", "connect", "fifo_size", "overrun_nonfatal", "timeout", "sources", "block", "udplite_coverage"}
_LAST_WORDS_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """How a source is opened, watched and replaced while it is silent.

    format: FFmpeg's input format; None to go by the address. options: FFmpeg's, for the input.
    realtime: pace by the timestamps, for files; None decides by the address. reconnect: try again for
    ever; None does so for networks and devices. open_seconds: for connecting, and again for probing.
    stall_seconds: without a frame for this long the connection counts as dead; None waits for ever.
    mailbox, policy: see `Mailbox`; the policy None is "wait" for pipes and unpaced files, which can wait,
    and "newest" for all else.
    deinterlace: "auto" makes pictures progressive from the first that says it is interlaced, "bwdif" all,
    "off" none, "auto-fields" and "bwdif-fields" each field; each then waits for the next. field_order: which
    field is the earlier, if not as the stream says. hwaccel: "cuda" has the first GPU decode, as far as it
    can.
    outage: what the output shows while the source is silent: the last frame ("hold"), a dark picture
    ("slate"), or nothing ("pause"). outage_seconds: the silence after which that begins; 2.5 frames of a
    source of few frames, if that is longer.
    Raises UsageError for a mailbox without room and for times that nothing can arrive in.
    """

    format: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    realtime: bool | None = None
    reconnect: bool | None = None
    open_seconds: float = 5.0
    stall_seconds: float | None = 3.0
    mailbox: int = 2
    policy: Policy | None = None
    deinterlace: Deinterlace = "auto"
    field_order: FieldOrder = "auto"
    hwaccel: Hwaccel = "off"
    outage: Outage = "hold"
    outage_seconds: float = 0.6

    def __post_init__(self) -> None:
        check_positive(self, "open_seconds", "stall_seconds")
        check_read_options(deinterlace=self.deinterlace, field_order=self.field_order, hwaccel=self.hwaccel)
        if self.mailbox < 1:
            raise UsageError(f"mailbox must hold at least 1 frame, got {self.mailbox}")


class Watch:
    """How long a source may still go without a picture. None, for `seconds`: for ever."""

    def __init__(self, address: Address, seconds: float | None) -> None:
        self._address = address
        self.seconds = math.inf if seconds is None else seconds
        self._since: float | None = None

    def begin(self) -> None:
        """From now on: a picture came, or may come."""
        self._since = time.monotonic()

    def pause(self) -> None:
        self._since = None

    def check(self) -> None:
        """Raises LiveInputError when it has been too long."""
        if self._since is not None and time.monotonic() - self._since > self.seconds:
            raise LiveInputError(
                f"{self._address}: no picture for {self.seconds:g} s in what arrives", reason="silent"
            )


class Connector:
    """Opens one source as often as needed. stopping: ends what waits for it."""

    def __init__(
        self, address: Address, config: SourceConfig, watch: Watch, stopping: threading.Event
    ) -> None:
        self._address, self._config = address, config
        self._watch, self._stopping = watch, stopping

    @contextmanager
    def connection(self) -> Generator[LiveInput]:
        """The source, opened; where its first moments hold no video, once more and with more patience.

        Raises LiveInputError for what can't be had, and when the block ends where it was silent too long.
        """
        self._watch.pause()
        with ExitStack() as stack:
            yield self._connect(stack)

    def _connect(self, stack: ExitStack) -> LiveInput:
        if self._is_file:
            return self._open(stack, _PROBE_OF_FILES)
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
    def _is_file(self) -> bool:
        address = self._address
        return address.scheme == "file" and address.path.exists() and not is_device(address)

    @property
    def _can_reopen(self) -> bool:
        return self._address.scheme != "pipe"

    def _open(self, stack: ExitStack, probe: dict[str, str]) -> LiveInput:
        address, config = self._address, self._config
        source: str | Readable = address.text.removeprefix("screen://")
        format = _input_format(address)
        match address.scheme:
            case "srt" | "udp":
                source = stack.enter_context(self._relayed())
            case "whep" | "wheps":
                descriptor = stack.enter_context(watched(address))
                source = stack.enter_context(self._read(descriptor, config.open_seconds, self._watch.seconds))
            case "file" if self._is_file:
                # Absolute, because FFmpeg takes what precedes a colon for a protocol.
                source = str(address.path.absolute())
            case "pipe":
                source = stack.enter_context(self._read(0, self._watch.seconds, self._watch.seconds))
            case _:
                pass
        return stack.enter_context(
            LiveInput(
                source,
                name=str(address),
                format=config.format or format,
                options=_input_options(address) | probe | dict(config.options),
                open_seconds=config.open_seconds,
                stall_seconds=math.inf if config.stall_seconds is None else config.stall_seconds,
                deinterlace=config.deinterlace,
                field_order=config.field_order,
                hwaccel=config.hwaccel,
            )
        )

    @contextmanager
    def _relayed(self) -> Generator[Readable]:
        """What arrives, by way of a child.

        For SRT because PyAV's FFmpeg has none; for UDP because only so a sender's restart can be noticed:
        datagrams go on, but of programs that FFmpeg's reader keeps for itself.
        """
        options: dict[str, str] = {}
        if self._address.scheme == "udp":
            told = {key: value for key, value in self._config.options if key in _OPTIONS_OF_UDP}
            options = _UDP_OPTIONS | told
        given = [word for key, value in options.items() for word in (f"-{key}", value)]
        arguments = [*_RELAY_INPUT, *given, "-i", self._address.text, *_RELAY_OUTPUT]
        child = FFmpegChild(
            arguments, name=self._address.scheme, hide=self._address.hide_in, reads=False, stdout=None
        )
        limits = self._config.open_seconds, self._watch.seconds
        try:
            with self._read(child.output.fileno(), *limits) as reader:
                yield reader
        except LiveInputError:
            if not self._stopping.wait(_LAST_WORDS_SECONDS) and not child.is_running:
                raise LiveInputError(f"{self._address}: {child.last_words}", reason="absent") from None
            raise
        finally:
            child.kill()

    @contextmanager
    def _read(self, descriptor: int, first_seconds: float, seconds: float) -> Generator[Readable]:
        """A pipe to read from. What went wrong while reading is raised when the block ends."""
        reader = _PipeReader(descriptor, self._address, self._watch, self._stopping, first_seconds, seconds)
        try:
            yield reader
        except LiveInputError:
            if reader.failure is not None:
                raise reader.failure.untraced() from None
            raise
        if reader.failure is not None:
            raise reader.failure.untraced()


class _PipeReader:
    """Reads a pipe without ever waiting for longer than it should.

    first_seconds, seconds: for the first bytes, and for those after them. failure: why it ended early; to
    raise is no use here, where PyAV prints and drops what a reader raises after the first time.
    """

    def __init__(
        self,
        descriptor: int,
        address: Address,
        watch: Watch,
        stopping: threading.Event,
        first_seconds: float,
        seconds: float,
    ) -> None:
        self.failure: LiveInputError | None = None
        self._address, self._watch, self._stopping = address, watch, stopping
        self._descriptor = descriptor
        self._limit, self._seconds = first_seconds, seconds

    def read(self, size: int) -> bytes:
        began = time.monotonic()
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        while not self._stopping.is_set() and self.failure is None:
            try:
                self._watch.check()
            except LiveInputError as failure:
                self.failure = failure.untraced()
            else:
                if poller.poll(_POLL_SECONDS * 1000):
                    self._limit = self._seconds
                    return os.read(self._descriptor, size)
                if time.monotonic() - began > self._limit:
                    self.failure = LiveInputError(
                        f"{self._address}: silent; nothing arrived in time", reason="silent"
                    )
        return b""


def check_source(address: Address, config: SourceConfig | None = None) -> None:
    """Raise UsageError for an address that no source can be made of, or options that FFmpeg doesn't know."""
    if address.is_mistyped:
        raise UsageError(f"no source for {address}: what precedes a host ends in ://, as in rtsp://host")
    if address.scheme not in _SCHEMES and not is_device(address):
        known = ", ".join(sorted(_SCHEMES - {"pipe", "file"}))
        raise UsageError(f"no source for {address}: expected a file, -, a device, or one of {known}")
    if address.scheme in ("whep", "wheps"):
        check_whep()
    if config is not None:
        hardware_of(config.hwaccel)
    for name, _ in () if config is None else config.options:
        if is_input_option(name) or (address.scheme == "udp" and name in _OPTIONS_OF_UDP):
            continue
        # Left to itself, FFmpeg would ignore it, and nobody would hear of that.
        meant = similar_input_option(name)
        hint = f"; did you mean {meant}?" if meant else ""
        if address.scheme == "srt":
            hint += "; SRT's own are written in its address, as in srt://host:port?latency=200000"
        raise UsageError(f"input: options: FFmpeg has no input option {name!r}{hint}")


_SCHEMES = frozenset(
    ("pipe", "file", "rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "rtp", "tcp", "http", "https", "screen")
) | {"whep", "wheps"}


def _input_format(address: Address) -> str | None:
    match address.scheme:
        case "rtsp" | "rtsps":
            return "rtsp"
        case "rtmp" | "rtmps":
            return "flv"
        case "udp" | "srt":
            return "mpegts"
        case "whep" | "wheps":
            return "nut"
        case "screen":
            return "x11grab"
        case "file" if is_device(address):
            return "v4l2"
        case _:
            return None


def _input_options(address: Address) -> dict[str, str]:
    match address.scheme:
        case "rtsp" | "rtsps":
            return {"rtsp_transport": "tcp"}
        case "rtmp" | "rtmps":
            return {"rtmp_live": "live"}
        case "http" | "https" if address.suffix == ".m3u8":
            return {"live_start_index": "-2"}
        case _:
            return {}


def is_device(address: Address) -> bool:
    return address.scheme == "file" and address.text.startswith("/dev/video")


def comes_in_bursts(address: Address) -> bool:
    """Segments arrive whole, seconds of video at once."""
    return address.suffix == ".m3u8"

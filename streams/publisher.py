"""`Publisher`: sends packets to one address, through a child that is replaced when it fails."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from diffir_video.errors import OutputError, UsageError
from diffir_video.media import MediaPacket, PacketMuxer, TrackFormat
from streams.addresses import Address
from streams.backoff import Backoff
from streams.children import ChildError, FFmpegChild, nobody_reads
from streams.publishing import (
    Recording,
    arguments_for,
    end_playlist,
    is_playlist,
    is_recording,
    new_recording,
    playlist_version,
)
from streams.settings import check_positive
from streams.stats import LiveStats

_log = logging.getLogger(__name__)

SizeChange = Literal["follow", "fit"]

# A child that took more than a pipe holds, and than FFmpeg reads ahead, has reached its peer. It reads the
# whole first picture to learn what it is, and keeps some packets in queues while a muxer greets its peer.
_AHEAD_BYTES = 3 * 65536
_AHEAD_PACKETS = 24
_POLL_SECONDS = 0.2
_UNFINISHED = "ended with the stream, before it had taken all of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkConfig:
    """How frames are coded and sinks are kept alive.

    encoder: FFmpeg's name; encoder_options: over LIVE_ENCODER_OPTIONS. gop_seconds: between keyframes.
    open_seconds: for reaching a peer; stall_seconds: without progress after that, the child is killed and
    a new one begins; neither is for files and pipes, which a new child would only damage.
    queue_packets: waiting for one sink at most; beyond, it goes on at the next keyframe.
    pixel_format: FFmpeg's name of the one to encode, None for the nearest to the source's that can be decoded
    at all sinks.
    size_change: "follow" begins the outputs anew at the new size or shape of the pixels, "fit" scales into
    the first one.
    close_seconds: for what is still on its way when the stream ends.
    Raises UsageError for a queue without room and for times that nothing can be done in.
    """

    encoder: str = "libx264"
    encoder_options: Mapping[str, str] = field(default_factory=dict[str, str])
    pixel_format: str | None = None
    gop_seconds: float = 2.0
    open_seconds: float = 4.0
    stall_seconds: float = 1.0
    queue_packets: int = 256
    size_change: SizeChange = "follow"
    close_seconds: float = 1.5

    def __post_init__(self) -> None:
        check_positive(self, "open_seconds", "stall_seconds")
        if self.queue_packets < 1:
            raise UsageError(f"queue_packets must be at least 1, got {self.queue_packets}")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A packet for a child that was begun with these formats. A track is its index in them."""

    track: int
    packet: MediaPacket
    formats: tuple[TrackFormat, ...]


class Publisher:
    """One address: a queue, a thread, and a child that is replaced when it ends or stops reading.

    name: what the log, the page and the metrics call it, without secrets.
    """

    def __init__(self, address: Address, config: SinkConfig, stats: LiveStats, *, name: str) -> None:
        self._address, self._config, self._stats = address, config, stats
        self._name = name
        self._queue: deque[Outgoing] = deque()
        self._changed = threading.Condition()
        self._ending = self._must_stop = self._has_gap = False
        self._waits = self._hurries = False
        self._wants_keyframe = False
        self._child: FFmpegChild | None = None
        self._muxer: PacketMuxer | None = None
        self._formats: tuple[TrackFormat, ...] = ()
        self._sent_bytes = self._sent_packets = 0
        self._ahead_bytes = _AHEAD_BYTES
        self._has_reached = False
        self._begins_at = 0
        self._recording: Recording | None = None
        self._next_number = 1
        self._old_playlist = playlist_version(address.path) if is_playlist(address) else None
        self._has_taken = self._has_delivered = self._is_gone = False
        self._latest_failure: str | None = None
        self._skips = True
        self._has_asked = False
        self._retry_at = 0.0
        self._backoff = Backoff()
        self._thread = threading.Thread(target=self._run, name=f"diffir-sink-{address.scheme}", daemon=True)

    def start(self, *, waits: bool) -> None:
        self._waits = waits
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        return self._thread.is_alive()

    @property
    def is_gone(self) -> bool:
        """Whether there is nobody to send to any more, nor will be."""
        return self._is_gone

    @property
    def failure(self) -> str | None:
        """Why what was to be sent isn't where it should be, without secrets; None if it is.

        A network's peers come and go: what they got before they left counts.
        """
        must_be_whole = not self._address.is_network
        if not self._has_taken or (self._has_delivered and not must_be_whole):
            return None
        if self._latest_failure is None and self._has_delivered:
            return None
        return f"{self._name}: {self._latest_failure or 'nothing was sent'}"

    def put(self, outgoing: Outgoing) -> None:
        with self._changed:
            if self._waits:
                self._changed.wait_for(lambda: self._ending or self._hurries or self._has_room)
            if self._ending:
                return
            self._has_taken = True
            if self._waits and not self._has_room:
                # What waits already is sent without a gap, if there is time.
                self._drop("overflow", int(outgoing.track == 0))
                self._ending = True
            elif not self._has_room:
                self._drop("overflow", len(self._queue))
                self._queue.clear()
                self._has_gap = self._wants_keyframe = True
            if not self._ending:
                self._queue.append(outgoing)
            self._changed.notify_all()

    @property
    def _has_room(self) -> bool:
        return len(self._queue) < self._config.queue_packets

    def take_keyframe_request(self) -> bool:
        """Whether this sink can only go on with a keyframe; asks once."""
        wants, self._wants_keyframe = self._wants_keyframe, False
        return wants

    def hurry(self) -> None:
        """Keep nobody waiting who has something to send."""
        with self._changed:
            self._hurries = True
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    def join(self, limit: float) -> None:
        """Wait for the thread until `limit` (monotonic); then take its child away from it."""
        self._thread.join(max(limit - time.monotonic(), 0))
        self._must_stop = True
        while self._thread.is_alive():
            # Again and again: the thread may be about to begin another.
            child = self._child
            if child is not None:
                child.interrupt()
            self._thread.join(_POLL_SECONDS)

    def _run(self) -> None:
        while (outgoing := self._next()) is not None:
            self._handle(outgoing)
        self._end_child()
        if self._has_written_playlist:
            self._end_playlist()

    def _next(self) -> Outgoing | None:
        with self._changed:
            while not self._queue:
                if self._ending:
                    return None
                self._changed.wait(_POLL_SECONDS)
            self._skips, self._has_gap = self._skips or self._has_gap, False
            self._changed.notify_all()
            return None if self._must_stop else self._queue.popleft()

    def _handle(self, outgoing: Outgoing) -> None:
        if self._child is not None and outgoing.formats != self._formats:
            self._end_child()
            self._skips = True
        begins = outgoing.track == 0 and outgoing.packet.is_keyframe
        if self._child is None and not self._may_begin(begins):
            self._drop("outage", int(outgoing.track == 0))
            return
        if self._skips and not begins:
            self._drop("resync", int(outgoing.track == 0))
            return
        self._skips = False
        try:
            if self._child is None:
                self._begin(outgoing)
            if (outgoing.packet.pts or 0) >= self._begins_at:
                self._feed(outgoing)
        except (ChildError, OutputError) as failure:
            self._lose_child(str(failure))
        except Exception as exc:  # noqa: BLE001 - one sink's trouble must not end the others
            _log.exception("%s: failed", self._name)
            self._stats.count_error("sink")
            self._lose_child(f"{type(exc).__name__}")

    def _may_begin(self, is_keyframe: bool) -> bool:
        if self._is_gone or time.monotonic() < self._retry_at:
            return False
        if not is_keyframe and not self._has_asked:
            self._wants_keyframe = self._has_asked = True
        return is_keyframe

    def _begin(self, first: Outgoing) -> None:
        formats = first.formats
        packet = first.packet
        self._begins_at = packet.pts or 0
        # NUT has no negative times: what begins there is moved to 0 on its way already.
        decoded_at = max(self._begins_at if packet.dts is None else packet.dts, 0)
        audio = formats[1].codec if len(formats) > 1 else None
        arguments = arguments_for(
            self._address,
            audio_codec=audio,
            begins_seconds=float(self._begins_at * packet.time_base),
            decoding_begins_seconds=float(decoded_at * packet.time_base),
            continues=self._has_written_playlist,
        )
        with self._opened_output() as output:
            self._muxer = PacketMuxer(formats)
            self._child = FFmpegChild(
                arguments, name=self._address.scheme, hide=self._address.hide_in, reads=True, stdout=output
            )
        self._formats, self._ahead_bytes = formats, _AHEAD_BYTES + len(packet.data)
        self._sent_bytes = self._sent_packets = 0
        self._has_reached = self._has_asked = False

    @contextmanager
    def _opened_output(self) -> Generator[int]:
        """What a new child's standard output is; a recording is begun for it."""
        if self._address.scheme == "pipe":
            yield sys.stdout.fileno()
            return
        if not is_recording(self._address):
            yield subprocess.DEVNULL
            return
        recording = self._recording = new_recording(self._address.path, self._next_number)
        try:
            if recording.number > 1:
                self._tell(f"{str(self._address.path)!r} exists: recording to {str(recording.path)!r}")
            yield recording.descriptor
        finally:
            os.close(recording.descriptor)

    def _feed(self, outgoing: Outgoing) -> None:
        assert self._child is not None
        assert self._muxer is not None
        data = self._muxer.mux(outgoing.track, outgoing.packet)
        self._child.write(data, self._patience if self._has_reached else self._opening_patience)
        self._sent_bytes += len(data)
        self._sent_packets += 1
        is_ahead = self._sent_bytes > self._ahead_bytes and self._sent_packets > _AHEAD_PACKETS
        if is_ahead and not self._has_reached:
            self._has_reached = self._has_delivered = True
            if self._backoff.attempts:
                self._tell(f"{self._name}: reached again")
            self._backoff.reset()
            self._stats.set_up(f"sink:{self._name}", True)

    def _lose_child(self, why: str) -> None:
        if self._child is not None and self._child.was_interrupted:
            self._leave_unfinished()
            self._forget_child()
            return
        self._is_gone = self._address.scheme == "pipe" and nobody_reads(sys.stdout.fileno())
        self._latest_failure = "nobody reads it any more" if self._is_gone else why
        wait = self._backoff.next_seconds()
        follows = "" if self._is_gone else f"; next attempt in {wait:.1f} s"
        self._tell(f"{self._name}: {self._latest_failure}{follows}")
        self._stats.count_reconnect("sink")
        self._stats.set_up(f"sink:{self._name}", False)
        self._forget_child()
        self._skips = True
        self._has_asked = False
        self._retry_at = time.monotonic() + wait

    def _forget_child(self) -> None:
        child, muxer = self._child, self._muxer
        self._child = self._muxer = None
        if child is not None:
            child.kill()
        if muxer is not None:
            muxer.finish()
        self._leave_recording()

    def _leave_unfinished(self) -> None:
        """Say that a child was ended from here: that is nobody's failure, and no attempt follows."""
        if self._has_delivered or self._latest_failure is None:
            self._latest_failure = _UNFINISHED
        self._tell(f"{self._name}: {_UNFINISHED}")

    def _end_child(self) -> None:
        """Let the child write the end; it stays within reach of `join` until it has."""
        child, muxer = self._child, self._muxer
        if child is None or muxer is None:
            return
        why: str | None = None
        try:
            child.write(muxer.finish(), self._patience)
        except ChildError as failure:
            why = str(failure)
        if not child.finish(self._closing_patience):
            why = why or f"did not end well: {child.last_words}"
        self._child = self._muxer = None
        if why is None:
            self._has_delivered, self._latest_failure = True, None
        elif self._ending and child.was_interrupted:
            self._leave_unfinished()
        else:
            self._latest_failure = why
            self._stats.count_error("sink")
            self._tell(f"{self._name}: {why}")
        self._leave_recording()

    def _leave_recording(self) -> None:
        """What was recorded stays; a file without anything in it would only be in the way of the next."""
        recording, self._recording = self._recording, None
        if recording is None:
            return
        try:
            is_discarded = recording.discard_if_empty()
        except OSError as exc:
            _log.warning("can't delete the empty %r: %s", str(recording.path), exc.strerror)
            is_discarded = False
        self._next_number = recording.number + (0 if is_discarded else 1)

    @property
    def _has_written_playlist(self) -> bool:
        return is_playlist(self._address) and playlist_version(self._address.path) not in (
            None,
            self._old_playlist,
        )

    def _end_playlist(self) -> None:
        try:
            end_playlist(self._address.path)
        except OSError as exc:
            self._stats.count_error("sink")
            self._tell(f"{self._name}: can't end the playlist: {exc.strerror}")

    @property
    def _patience(self) -> float | None:
        """Seconds without progress after which a child is replaced; a file or pipe is as slow as it is."""
        return self._config.stall_seconds if self._address.is_network else None

    @property
    def _opening_patience(self) -> float | None:
        return self._config.open_seconds if self._address.is_network else None

    @property
    def _closing_patience(self) -> float | None:
        return self._config.close_seconds if self._address.is_network else None

    def _tell(self, text: str) -> None:
        _log.warning("%s", text)
        self._stats.tell(text)

    def _drop(self, reason: str, frames: int) -> None:
        if frames:
            self._stats.count_dropped("sink", reason, frames)

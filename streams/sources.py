"""`LiveSource`: frames of a live stream for `pipeline.run`, across every failure of who sends it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from traceback import clear_frames
from typing import Protocol

import torch

from diffir_video.errors import LiveInputError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.media import LiveInput, LivePicture, MediaPacket, TrackFormat
from streams.addresses import Address
from streams.backoff import Backoff
from streams.clock import OutputClock, Stamp
from streams.connecting import Connector, SourceConfig, Watch, check_source, comes_in_bursts, is_device
from streams.frames import TICK, LiveFrame
from streams.mailbox import Mailbox, Policy
from streams.picture_times import PictureTimes
from streams.stats import LiveStats

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_CLOSE_SECONDS = 2.0
_SLATE_LEVEL = 0.08
_USUAL_RATE = 25.0
# How many frames' time a source may be silent before its place is held, and of how many frames it is known.
_FRAMES_MISSED = 2.5
_GAPS_KNOWN = 2
# A connection that found sound may be followed by another soon; two senders at once would ask for one always.
_SOUND_FOUND_SECONDS = 5.0
# A sender that loops without sound seems to be another one each time. Doubles with each attempt in vain.
_SOUND_MISSED_SECONDS = 60.0


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
    Raises UsageError for an address that no source can be made of, and for options that FFmpeg doesn't know.
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
        check_source(self.address, self.config)
        self.stats = stats or LiveStats()
        self._audio, self.on_arrival = audio, on_arrival
        self._audio_format: TrackFormat | None = None
        is_live = self.address.is_network or is_device(self.address)
        self._paced = comes_in_bursts(self.address) if self.config.realtime is None else self.config.realtime
        self._reconnects = is_live if self.config.reconnect is None else self.config.reconnect
        self.policy: Policy = self.config.policy or ("newest" if is_live or self._paced else "wait")
        self._bridges = self.config.outage != "pause" and self._reconnects
        self._mailbox = Mailbox[_Arrival](self.config.mailbox, self.policy, on_drop=self._dropped)
        self._clock = OutputClock()
        self._times = PictureTimes(self.address, is_live=is_live and not self._paced)
        self._stopping = threading.Event()
        # What can wait may have to, for a model that takes its time.
        is_watched = self._reconnects or self.policy != "wait"
        self._watch = Watch(self.address, self.config.stall_seconds if is_watched else None)
        self._connector = Connector(self.address, self.config, self._watch, self._stopping)
        self._failure: LiveInputError | None = None
        self._backoff = Backoff()
        self._epoch = 0
        self._info: StreamInfo | None = None
        self._last: LiveFrame | None = None
        self._last_shown = 0.0
        self._last_arrival: float | None = None
        self._sought_sound_at: float | None = None
        self._sound_patience = _SOUND_FOUND_SECONDS
        self._gaps: deque[float] = deque(maxlen=_GAPS_KNOWN)
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
            captions=picture.captions,
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
        wait = 1 / float(last.stream.average_rate or _USUAL_RATE) if is_bridging else self._patience(last)
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

    def _patience(self, last: LiveFrame) -> float:
        """Seconds without a frame that are no silence, even of a source of few frames."""
        gaps = tuple(self._gaps)
        # The shorter one, because a single long gap is a hiccup.
        gap = min(gaps) if len(gaps) == _GAPS_KNOWN else 0.0
        rate = last.stream.average_rate
        usual = max(gap, float(1 / rate) if rate else 0.0)
        return max(self.config.outage_seconds, _FRAMES_MISSED * usual)

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
            if failure is not None:
                _let_go(failure)
            del failure
            self.stats.count_reconnect("source")
            self._stopping.wait(wait)
            self._clock.reconnected()

    def _read_once(self) -> LiveInputError | None:
        """One connection from beginning to end; the failure that ended it, None for the stream's own end."""
        try:
            with self._connector.connection() as connection:
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

    def _follow(self, connection: LiveInput) -> None:
        pace = _Pace() if self._paced else None
        size: tuple[int, int] | None = None
        self._times.begin(time.monotonic())
        self._last_arrival = None
        self._expect_audio(connection.audio)
        if connection.audio is not None:
            self._sound_patience = _SOUND_FOUND_SECONDS
        self._watch.begin()
        for item in connection:
            if self._stopping.is_set():
                return
            if not isinstance(item, LivePicture):
                self._watch.check()
                if isinstance(item, MediaPacket):
                    self._take_audio(item, connection.audio, time.monotonic())
                continue
            picture = self._times.completed(item)
            if pace is not None and not pace.wait(picture, self._stopping):
                return
            if size not in (None, (picture.stream.width, picture.stream.height)):
                self._epoch += 1
                self._note(f"{self.address}: now {picture.stream.width}x{picture.stream.height}")
            size = (picture.stream.width, picture.stream.height)
            self._take_picture(picture, time.monotonic())
            if picture.is_corrupt:
                # So is every picture that a decoder makes of what another codec made.
                self._watch.check()
            else:
                # From now, not from when it came: a mailbox may let its sender wait for long.
                self._watch.begin()
            if self._reconnects and (why := connection.missed_sound) is not None:
                self._seek_sound(why, time.monotonic())

    def _seek_sound(self, why: str, now: float) -> None:
        """Give the connection up for one that may find sound, unless that was of no use lately."""
        if self._sought_sound_at is None or now - self._sought_sound_at > self._sound_patience:
            self._sought_sound_at = now
            self._sound_patience = max(2 * self._sound_patience, _SOUND_MISSED_SECONDS)
            raise LiveInputError(f"{self.address}: {why}", reason="broken")

    def _take_picture(self, picture: LivePicture, now: float) -> None:
        if self._info is None or self._backoff.attempts:
            self._note(f"{self.address}: {picture.stream.width}x{picture.stream.height} arrives")
        self._info = picture.stream
        self._backoff.reset()
        self.stats.set_up("source", True)
        self.stats.count_frame("in")
        if self.on_arrival is not None:
            self.on_arrival(now)
        self._measure_gap(now)
        stamp = self._placed(picture, now)
        if stamp is None:
            self.stats.count_dropped("mailbox", "same_time")
            return
        if stamp.is_jump:
            self._epoch += 1
        self._mailbox.put(_Arrival(picture, stamp.ticks, now, self._epoch))

    def _placed(self, picture: LivePicture, now: float) -> Stamp | None:
        if picture.pts is None and self._times.never_comes(now):
            if picture.is_second_field:
                return self._clock.stamp_untimed_second_field(now)
            return self._clock.stamp_untimed("video", now)
        return self._clock.stamp("video", picture.pts, picture.time_base, now)

    def _measure_gap(self, now: float) -> None:
        if self._last_arrival is not None:
            self._gaps.append(now - self._last_arrival)
        self._last_arrival = now

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


def _let_go(failure: BaseException) -> None:
    """Free what its trace holds: the connection with its decoder, in circles that `ExitStack` makes.

    Until Python looks for circles there could be many more of them.
    """
    error: BaseException | None = failure
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__context__


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

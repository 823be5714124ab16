"""`ContinuousClock`: the packets of a file whose clock is reset on the way, on one clock that goes on."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from av.container import InputContainer
from av.format import Flags as FormatFlags
from av.packet import Packet

from diffir_video.media.time_range import shift

# FFmpeg's command line takes these for a reset too: -dts_delta_threshold, and a tenth of a second back.
_AHEAD = Fraction(10)
_BACK = Fraction(1, 10)

# One damaged timestamp looks like two resets; the second one goes back to where the clock was.
_SAME_CLOCK = Fraction(1)

# What is looked at after a reset, to see where each track goes on: of a track, and of all of them.
_PACKETS_OF_TRACK = 8
_MOST_PACKETS = 400

# Resets that a note names one by one.
_MOST_NAMED = 6


@dataclass(slots=True)
class _Track:
    """A track within one epoch, in seconds of its clock; last: of decoding, start and end: of showing.

    corrupt: of its last two packets so far, when those that are marked as damaged were due.
    """

    last: Fraction
    start: Fraction
    end: Fraction
    step: Fraction = Fraction(0)
    packets: int = 0
    corrupt: tuple[Fraction | None, Fraction | None] = (None, None)

    def add(self, packet: Packet[Any], at: Fraction) -> None:
        self.packets += 1
        self.corrupt = (self.corrupt[1], at if packet.is_corrupt else None)
        shown = _shown(packet, at)
        if at > self.last:
            self.step = at - self.last
        self.last = max(self.last, at)
        self.start = min(self.start, shown)
        # MPEG-TS has no durations of its own; where FFmpeg infers none, the last distance is one.
        lasts = (packet.duration or 0) * packet.time_base or self.step
        self.end = max(self.end, shown + lasts)


@dataclass(slots=True)
class _Epoch:
    """A stretch on one clock. offset: what is added to its times, None as long as that isn't known."""

    offset: Fraction | None
    latest: Fraction
    tracks: dict[int, _Track] = field(default_factory=dict[int, _Track])


class ContinuousClock:
    """Lets the packets of `container` go on where its clock is reset, by one offset for all tracks.

    MPEG-PS and MPEG-TS (and what else FFmpeg says may be discontinuous) are reset where the time goes back
    by more than 0.1 s, or ahead by more than 10 s of all tracks. The offset is the least with which no
    track's sound or pictures overlap those before the reset; so gaps are left, if any, only where one track
    ended before another. Packets of other containers stay as they are.

    The same packets always get the same times, so that readers of a file agree, if each reads all tracks.
    """

    def __init__(self, container: InputContainer) -> None:
        self.may_be_reset = bool(container.format.flags & FormatFlags.ts_discont.value)
        self._leading = {stream.index for stream in container.streams if stream.type in ("audio", "video")}
        self._epochs: list[_Epoch] = []
        self._epoch_of: dict[int, _Epoch] = {}
        self._resets: list[Fraction] = []
        self._corrupt_before_reset: dict[int, list[Fraction]] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Where the clock was reset so far, in seconds of the clock that goes on; nothing if nowhere."""
        if not self._resets:
            return ()
        places = ", ".join(f"{float(at):.3f} s" for at in self._resets[:_MOST_NAMED])
        if (more := len(self._resets) - _MOST_NAMED) > 0:
            places += f" and {more} times more"
        return (f"the input's clock is reset at {places}; from there on all tracks go on by one offset",)

    def corrupt_before_reset(self, index: int) -> tuple[Fraction, ...]:
        """The packets of a track that are marked as damaged and are of its last two before a reset.

        MPEG-TS counts its packets, and a joint breaks the count: that alone makes FFmpeg mark them. Returns
        when each is due, in seconds of the clock that goes on.
        """
        return tuple(self._corrupt_before_reset.get(index, ()))

    def continued(self, packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
        """The packets of all tracks, in their order, with the times of the clock that goes on.

        After a reset some are held back, until it is known where the tracks begin anew.
        """
        if not self.may_be_reset:
            yield from packets
            return
        held: deque[tuple[Packet[Any], _Epoch]] = deque()
        for packet in packets:
            held.append((packet, self._place(packet)))
            newest = self._epochs[-1]
            if newest.offset is None and (len(held) >= _MOST_PACKETS or self._all_tracks_in(newest)):
                self._settle(newest)
            yield from _shifted(held)
        if self._epochs and self._epochs[-1].offset is None:
            self._settle(self._epochs[-1])
        yield from _shifted(held)

    def _place(self, packet: Packet[Any]) -> _Epoch:
        """The epoch of a packet, which is a new one where it shows that the clock was reset."""
        index, at = packet.stream_index, _due(packet)
        if not self._epochs:
            self._epochs.append(_Epoch(Fraction(0), at or Fraction(0)))
        if at is None:
            return self._epoch_of.get(index, self._epochs[-1])
        if index not in self._leading:
            return self._nearest(at)
        epoch = self._epochs[-1] if not self._is_behind(index, at) else self._epoch_of[index]
        if epoch is self._epochs[-1] and _is_reset(epoch, index, at):
            epoch = self._begin(index, at)
        before = self._epoch_of.get(index, epoch)
        if before is not epoch:
            assert before.offset is not None
            due = [at + before.offset for at in before.tracks[index].corrupt if at is not None]
            self._corrupt_before_reset.setdefault(index, []).extend(due)
        self._epoch_of[index] = epoch
        shown = _shown(packet, at)
        track = epoch.tracks.setdefault(index, _Track(at, shown, shown))
        track.add(packet, at)
        epoch.latest = max(epoch.latest, at, track.end)
        return epoch

    def _nearest(self, at: Fraction) -> _Epoch:
        """The epoch of a packet of a track that has long gaps, such as subtitles."""
        return min(reversed(self._epochs[-2:]), key=lambda epoch: abs(at - epoch.latest))

    def _is_behind(self, index: int, at: Fraction) -> bool:
        """Whether a track, as demuxers give the last of its packets late, is still before the last reset."""
        epoch, newest = self._epoch_of.get(index), self._epochs[-1]
        if epoch is None or epoch is newest:
            return False
        track = epoch.tracks[index]
        return at >= track.last - _BACK and abs(at - track.end) <= abs(at - newest.latest)

    def _begin(self, index: int, at: Fraction) -> _Epoch:
        newest = self._epochs[-1]
        if newest.offset is None:
            self._settle(newest)
        assert newest.offset is not None
        epoch = _Epoch(None, at)
        before = self._epochs[-2] if len(self._epochs) > 1 else None
        track = newest.tracks.get(index)
        if before is not None and before.offset is not None and track is not None:
            apart = at + before.offset - (track.end + newest.offset)
            if -_BACK <= apart <= _SAME_CLOCK:
                epoch.offset = before.offset
                self._resets.append(at + before.offset)
        self._epochs.append(epoch)
        return epoch

    def _all_tracks_in(self, epoch: _Epoch) -> bool:
        """Whether every track that was there shortly before the reset has begun anew."""
        before = self._epochs[-2]
        recent = (index for index, track in before.tracks.items() if track.end > before.latest - _AHEAD)
        return all(
            index in epoch.tracks and epoch.tracks[index].packets >= _PACKETS_OF_TRACK
            for index in {*recent, *epoch.tracks}
        )

    def _settle(self, epoch: _Epoch) -> None:
        """Choose the offset, from where the tracks ended before and begin anew."""
        before = self._epochs[self._epochs.index(epoch) - 1]
        assert before.offset is not None
        gaps = [
            before.tracks[index].end - track.start
            for index, track in epoch.tracks.items()
            if index in before.tracks
        ]
        first = min(track.start for track in epoch.tracks.values())
        epoch.offset = before.offset + max(gaps, default=before.latest - first)
        self._resets.append(first + epoch.offset)


def _is_reset(epoch: _Epoch, index: int, at: Fraction) -> bool:
    track = epoch.tracks.get(index)
    is_back = at < (epoch.latest - _AHEAD if track is None else track.last - _BACK)
    return is_back or at > epoch.latest + _AHEAD


def _shifted(held: deque[tuple[Packet[Any], _Epoch]]) -> Iterator[Packet[Any]]:
    while held and held[0][1].offset is not None:
        packet, epoch = held.popleft()
        if epoch.offset:
            shift(packet, -epoch.offset)
        yield packet


def _shown(packet: Packet[Any], due: Fraction) -> Fraction:
    return due if packet.pts is None else packet.pts * packet.time_base


def _due(packet: Packet[Any]) -> Fraction | None:
    stamp = packet.dts if packet.dts is not None else packet.pts
    return None if stamp is None else stamp * packet.time_base

"""Packets that need not be decoded: those of frames that nobody wants, up to a keyframe before the others."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from av.packet import Packet
from av.video.stream import VideoStream

# Decoding begins a keyframe earlier than it must: pictures just after a keyframe may refer to some before it.
_KEYFRAMES_AHEAD = 2

# With more than this between two keyframes, everything is decoded; coded video, held in memory.
_MOST_BYTES = 256 * 2**20


def needed_packets(
    packets: Iterable[Packet[VideoStream]],
    wanted: Callable[[], int | None],
    forget: Callable[[], None],
) -> Iterator[Packet[VideoStream]]:
    """The packets that have to be decoded for the frames from pts `wanted()` on; None wants all of them.

    Packets are read all the same, so that what is known of the file stays known. `forget` is called
    before the first packet that doesn't follow the ones given before, so that a decoder begins anew.
    A packet without a timestamp makes all that follow it needed.
    """
    held = _Held()
    for packet in packets:
        pts = wanted()
        if pts is None:
            yield packet
        elif held.takes(packet, pts):
            continue
        else:
            yield from held.given_back(forget)
            yield packet
            wanted = _everything
    yield from held.given_back(forget)


def _everything() -> None:
    return None


class _Held:
    """The packets since the last keyframes before the wanted pts."""

    def __init__(self) -> None:
        self._packets: list[Packet[VideoStream]] = []
        self._keyframes: list[int] = []
        self._bytes = 0
        self._has_dropped = False

    def takes(self, packet: Packet[VideoStream], wanted: int) -> bool:
        """Hold a packet that may not be needed; False for one that is, and all that are held with it."""
        if packet.pts is None or self._bytes > _MOST_BYTES:
            return False
        if packet.is_keyframe:
            if packet.pts > wanted:
                return False
            self._keyframes.append(len(self._packets))
            self._drop_all_but_the_last()
        self._packets.append(packet)
        self._bytes += packet.size
        return True

    def given_back(self, forget: Callable[[], None]) -> Iterator[Packet[VideoStream]]:
        if self._has_dropped:
            forget()
        self._has_dropped = False
        packets, self._packets = self._packets, []
        yield from packets

    def _drop_all_but_the_last(self) -> None:
        if len(self._keyframes) < _KEYFRAMES_AHEAD or not self._keyframes[-_KEYFRAMES_AHEAD]:
            return
        first = self._keyframes[-_KEYFRAMES_AHEAD]
        self._has_dropped = True
        self._bytes -= sum(packet.size for packet in self._packets[:first])
        del self._packets[:first]
        self._keyframes = [index - first for index in self._keyframes[-_KEYFRAMES_AHEAD:]]

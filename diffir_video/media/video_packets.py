"""The packets of a file's video, read past those of its other tracks; what is wrong with them is counted."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from diffir_video.media.cut_short import missing_bytes, missing_seconds
from diffir_video.media.inputs import StrPath, input_size
from diffir_video.media.losses import ReadLosses
from diffir_video.media.resets import ContinuousClock


class VideoPackets:
    """The packets of one track, once, without the half one that a cut file ends in: it holds no frame.

    counts: told of packets that are damaged, and at the end of what the file promised and does not hold.
    clock: the one their times are put on.
    """

    def __init__(
        self,
        path: StrPath,
        container: InputContainer,
        stream: VideoStream,
        counts: ReadLosses,
        clock: ContinuousClock,
    ) -> None:
        self._path, self._container, self._stream = path, container, stream
        self._counts, self._clock = counts, clock

    def __iter__(self) -> Iterator[Packet[VideoStream]]:
        held: Packet[VideoStream] | None = None
        for packet in self._demux():
            if held is not None:
                yield held
            held = packet
        if held is not None and held.is_corrupt:
            self._counts.corrupt_packets -= 1
            self._counts.truncated_packets += 1
        elif held is not None:
            yield held

    def _demux(self) -> Iterator[Packet[VideoStream]]:
        """The video's packets, on one clock."""
        for packet in self._clock.continued(self._demux_all()):
            if packet.stream_index == self._stream.index:
                yield packet  # pyright: ignore[reportReturnType]

    def _demux_all(self) -> Iterator[Packet[Any]]:
        """The packets of all tracks."""
        video_packets = 0
        # AVI's count, and the dts that it makes, have the empty chunks too that show a frame for longer.
        has_empty_chunks = self._container.format.name == "avi"
        end_seconds = float("-inf")
        end_position = 0
        try:
            for packet in self._container.demux():
                if packet.dts is None and packet.pts is None and packet.size == 0:
                    continue
                end_seconds = max(end_seconds, _end_of(packet))
                end_position = max(end_position, (packet.pos or 0) + packet.size)
                if packet.stream_index == self._stream.index:
                    video_packets += 1
                    if has_empty_chunks and packet.dts is not None:
                        video_packets = max(video_packets, packet.dts + 1)
                    self._counts.corrupt_packets += packet.is_corrupt
                yield packet
        except av.error.FFmpegError:
            # A demuxer that trips over the cut end; everything before it was delivered.
            self._counts.truncated_packets += 1
        # FFmpeg's Y4M demuxer takes half a frame for the end; all other formats report it.
        if self._container.format.name == "yuv4mpegpipe" and input_size(self._path) > end_position:
            self._counts.truncated_packets += 1
        self._counts.missing_bytes = missing_bytes(self._path)
        if self._stream.frames:
            self._counts.missing_frames = max(self._stream.frames - video_packets, 0)
        self._counts.missing_seconds = missing_seconds(self._container, end_seconds)


def _end_of(packet: Packet[Any]) -> float:
    stamp = packet.pts if packet.pts is not None else packet.dts
    return float("-inf") if stamp is None else float((stamp + (packet.duration or 0)) * packet.time_base)

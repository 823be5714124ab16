"""Stretches of encoded video on disk: written and synced one by one, joined without a second encode."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.packet import Packet

from diffir_video.errors import EncoderError, OutputError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.media.encoder import (
    EncoderSettings,
    VideoEncoder,
    separate_context,
    translating_write_errors,
)
from diffir_video.media.mirrored import MirroredEncoder
from diffir_video.media.muxer import Muxer
from diffir_video.media.pixel_choice import PixelChoice


@dataclass(frozen=True, slots=True)
class StoredPacket:
    """One packet of a segment file; pts and duration in units of the video's time_base."""

    size: int
    pts: int
    duration: int | None
    is_keyframe: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """An encoded stretch of video: a file of packets back to back, and where and when each of them is.

    headers: the digest of the codec's headers; segments with equal ones can be joined.
    source_intact: nothing was amiss with the input up to the segment's end.
    """

    file: str
    digest: str
    headers: str
    packets: tuple[StoredPacket, ...]
    source_intact: bool = False

    @property
    def size(self) -> int:
        return sum(packet.size for packet in self.packets)

    @property
    def pts(self) -> list[int]:
        """When its frames are shown, in order."""
        return sorted(packet.pts for packet in self.packets)


class SegmentWriter:
    """The sink of one segment: encodes frames into `path`, which is on the disk when `close` returns.

    choice: of the `Muxer` that will hold the packets; as of `VideoEncoder`.
    follows_another, is_followed: whether there are segments before it and, asked at its end, after it, so
    that pictures where they meet are as good as elsewhere.
    Raises OutputError when the disk takes no more, EncoderError as `VideoEncoder` does; then, and after
    `abort`, no file is left.
    """

    def __init__(
        self,
        path: Path,
        info: StreamInfo,
        settings: EncoderSettings,
        *,
        global_header: bool,
        choice: PixelChoice | None = None,
        follows_another: bool = False,
        is_followed: Callable[[], bool] = lambda: False,
    ) -> None:
        self._path, self._settings, self._is_followed = path, settings, is_followed
        self._packets: list[StoredPacket] = []
        self._digest = hashlib.blake2b(digest_size=16)
        with translating_write_errors(path, settings.name):
            context = separate_context(settings.name, global_header=global_header)
            self._pictures = MirroredEncoder(info, settings, context, choice, is_led_in=follows_another)
            self._encoder = self._pictures.encoder
            self._file = path.open("wb")

    @property
    def segment(self) -> Segment:
        """What was written; complete after `close`."""
        return Segment(
            file=self._path.name,
            digest=self._digest.hexdigest(),
            headers=_headers_digest(self._encoder),
            packets=tuple(self._packets),
        )

    @property
    def frames(self) -> int:
        """How many were written so far."""
        return len(self._encoder.pts)

    def write(self, frame: Frame) -> None:
        with translating_write_errors(self._path, self._settings.name):
            self._store(self._pictures.encode(frame))

    def close(self) -> None:
        try:
            with translating_write_errors(self._path, self._settings.name):
                self._store(self._pictures.finish(is_followed=self._is_followed()))
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
            if len(self._packets) != len(self._encoder.pts):
                raise EncoderError(
                    f"encoder {self._settings.name} made {len(self._packets)} packets "
                    f"of {len(self._encoder.pts)} frames; choose another --encoder"
                )
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _store(self, packets: Sequence[Packet[Any]]) -> None:
        for packet in packets:
            if packet.pts is None:
                raise EncoderError(f"encoder {self._settings.name} gave a packet without a timestamp")
            data = bytes(packet)
            self._file.write(data)
            self._digest.update(data)
            self._packets.append(
                StoredPacket(len(data), packet.pts, packet.duration or None, packet.is_keyframe)
            )


def join_segments(
    folder: Path, segments: Sequence[Segment], muxer: Muxer, time_base: Fraction, *, origin: int = 0
) -> None:
    """Write the packets of all segments, in order, into `muxer` and finish it; nothing is encoded again.

    origin: the pts that becomes 0.

    Raises OutputError for a segment file that isn't as it was written, EncoderError for one whose codec
    headers aren't those of the file.
    """
    stamps = _decoding_times(segments)
    headers = _headers_digest(muxer.encoder)
    for segment in segments:
        if segment.headers != headers:
            raise EncoderError(
                f"segment {segment.file} has codec headers of its own and can't be joined; "
                "run with --restart, and with another --encoder if that says the same"
            )
        for stored, data in _read_packets(folder, segment):
            packet = Packet(data)
            packet.pts, packet.dts = stored.pts - origin, next(stamps) - origin
            packet.duration = stored.duration or 0
            packet.time_base = time_base
            packet.is_keyframe = stored.is_keyframe
            muxer.write([packet])
    muxer.finish()


def _decoding_times(segments: Sequence[Segment]) -> Iterator[int]:
    """A dts for every packet: increasing, never after its pts, as late as the deepest reordering allows."""
    coded = [packet.pts for segment in segments for packet in segment.packets]
    shown = sorted(coded)
    place = {pts: index for index, pts in enumerate(shown)}
    depth = max((index - place[pts] for index, pts in enumerate(coded)), default=0)
    if depth:
        lead = shown[min(depth, len(shown) - 1)] - shown[0]
        yield from (pts - lead for pts in shown[:depth])
    yield from shown[: len(shown) - depth]


def _read_packets(folder: Path, segment: Segment) -> Iterator[tuple[StoredPacket, bytes]]:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with (folder / segment.file).open("rb") as file:
            for stored in segment.packets:
                data = file.read(stored.size)
                digest.update(data)
                yield stored, data
    except OSError as exc:
        raise OutputError(f"can't read {str(folder / segment.file)!r}: {exc.strerror}") from exc
    if digest.hexdigest() != segment.digest:
        raise OutputError(f"{str(folder / segment.file)!r} isn't as it was written; run with --restart")


def _headers_digest(encoder: VideoEncoder) -> str:
    return hashlib.blake2b(encoder.context.extradata or b"", digest_size=16).hexdigest()

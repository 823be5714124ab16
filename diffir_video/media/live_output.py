"""The live way out: `LiveEncoder` makes packets at once, `PacketMuxer` makes bytes of them.

The bytes are NUT, which keeps any codec and exact timestamps and adds about a millisecond; a program that
owns the network reads them from a pipe. Nothing in here touches a network: FFmpeg's network output can
hold the interpreter lock for as long as the peer likes.
"""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import av
import av.error
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from diffir_video.errors import EncoderError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.media.adts import rate_and_channels
from diffir_video.media.captions import carries_captions, with_captions
from diffir_video.media.color import PictureEncoder
from diffir_video.media.encoder import open_context
from diffir_video.media.pixel_choice import choose_pixel_format
from diffir_video.media.probe import codec_name

# No B-frames, no lookahead: a frame leaves the encoder before the next one enters.
LIVE_ENCODER_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"preset": "veryfast", "tune": "zerolatency", "crf": "20", "bf": "0", "forced-idr": "1"},
    "libx265": {"preset": "ultrafast", "tune": "zerolatency", "crf": "22", "forced-idr": "1"},
    "h264_nvenc": {"preset": "p4", "tune": "ull", "rc": "vbr", "cq": "20", "bf": "0", "forced-idr": "1"},
    "hevc_nvenc": {"preset": "p4", "tune": "ull", "rc": "vbr", "cq": "22", "bf": "0", "forced-idr": "1"},
}

# Holds a packet back for its track's neighbours at most this long; a track that fell silent costs no more.
_INTERLEAVE_MICROSECONDS = "100000"
# A reader keeps every syncpoint it has seen, 40 MiB of them in an hour of 8 Mbit/s; a pipe needs none, since
# nobody seeks in it and nothing in it is lost.
NUT_OPTIONS = {
    "write_index": "0",
    "syncpoints": "none",
    "strict": "experimental",
    "fflags": "flush_packets",
    "max_interleave_delta": _INTERLEAVE_MICROSECONDS,
}


# The channels that AAC's configurations stand for.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1(wide)"}


@dataclass(frozen=True, slots=True)
class MediaPacket:
    """A coded packet. pts, dts, duration: in `time_base` units, None where the stream has none."""

    data: bytes
    pts: int | None
    dts: int | None
    duration: int | None
    time_base: Fraction
    is_keyframe: bool

    @classmethod
    def of(cls, packet: Packet[Any]) -> Self:
        return cls(
            data=bytes(packet),
            pts=packet.pts,
            dts=packet.dts,
            duration=packet.duration or None,
            time_base=packet.time_base,
            is_keyframe=bool(packet.is_keyframe),
        )


@dataclass(frozen=True, slots=True)
class TrackFormat:
    """How a track is coded, apart from any stream that carries it; equal formats can replace each other.

    kind: "video" or "audio". header: a NUT stream that describes the track and holds nothing of it.
    """

    kind: str
    codec: str
    header: bytes

    @classmethod
    def of(cls, stream: Stream, *, extradata: bytes | None = None) -> Self:
        """The format of an open stream; `extradata` replaces what its codec was set up with.

        What AAC's says of rate and channels replaces the stream's as well.
        """
        target = Memory()
        with av.open(target, "w", format="nut", options={"fflags": "bitexact"}) as container:
            # NUT's reader looks for a first packet before it believes the header.
            packet: Packet[Any] = Packet(b"\0")
            copy = container.add_stream_from_template(stream, opaque=True)
            if extradata is not None:
                copy.codec_context.extradata = extradata
                if isinstance(copy, AudioStream) and stream.codec_context.name.startswith("aac"):
                    _follow_config(copy, extradata)
            packet.stream = copy
            packet.pts = packet.dts = 0
            packet.is_keyframe = True
            container.mux_one(packet)
        header = target.taken()
        return cls(stream.type, codec_name(stream) or "unknown", header)


def _follow_config(stream: AudioStream, config: bytes) -> None:
    said = rate_and_channels(config)
    if said is not None:
        stream.codec_context.sample_rate = said[0]
        if stream.codec_context.layout.nb_channels != said[1]:
            stream.codec_context.layout = _LAYOUTS[said[1]]


class LiveEncoder:
    """Encodes frames one by one; with LIVE_ENCODER_OPTIONS `encode` returns the packets of that very frame.

    An encoder that looks ahead, or is told to, returns them later, and the last ones from `finish`.

    info: size, pixel format and colour of the frames. encoder: FFmpeg's name. options: FFmpeg's, over
    LIVE_ENCODER_OPTIONS. gop_seconds: from keyframe to keyframe at `info.average_rate`. pixel_formats: those
    that it may encode, None for all that the encoder knows; the nearest to the frames' is `pixel_format`.
    Raises EncoderError for an unknown encoder, or one that refuses its options, the size or `pixel_formats`.
    """

    def __init__(
        self,
        info: StreamInfo,
        *,
        encoder: str = "libx264",
        options: Mapping[str, str] | None = None,
        gop_seconds: float = 2.0,
        pixel_formats: Collection[str] | None = None,
    ) -> None:
        choice = choose_pixel_format(encoder, info, allowed=pixel_formats)
        self.pixel_format = choice.layout.name
        self._pictures = PictureEncoder(choice.layout.name, info.width, info.height, choice.color)
        self._encoder = encoder
        # Of frames that the encoder holds, by their time in seconds.
        self._captions: dict[Fraction, bytes] = {}
        rate = info.average_rate or Fraction(25)
        gop = max(round(gop_seconds * rate), 1)
        # The container lends the encoder its header flags; nothing is written to it but the header.
        self._container = av.open(Memory(), "w", format="nut")
        try:
            stream = self._container.add_stream(encoder, rate=rate)
            assert isinstance(stream, VideoStream)
            context = stream.codec_context
            stream.time_base = info.time_base
            context.gop_size = gop
            settings = {**LIVE_ENCODER_OPTIONS.get(encoder, {}), **(options or {})}
            open_context(context, info, choice, settings, asked=options or {})
            self._container.start_encoding()
            self._stream = stream
            self.format = TrackFormat.of(stream)
        except EncoderError:
            self._container.close()
            raise
        except (av.error.FFmpegError, ValueError, OSError) as exc:
            self._container.close()
            raise EncoderError(f"encoder {encoder} refused its settings ({exc})") from exc

    def encode(self, frame: Frame, *, keyframe: bool = False) -> list[MediaPacket]:
        """The packets that are done now; pts must increase. `keyframe`: decoding can begin with `frame`."""
        picture = self._pictures.encode(frame.data)
        picture.pts, picture.time_base = frame.pts, frame.time_base
        if frame.duration is not None:
            picture.duration = frame.duration
        if keyframe:
            picture.pict_type = PictureType.I
        if frame.captions and carries_captions(self._encoder):
            self._captions[frame.pts * frame.time_base] = frame.captions
        return self._encoded(picture)

    def finish(self) -> list[MediaPacket]:
        """The packets of the frames that the encoder still holds; nothing can be encoded afterwards."""
        return self._encoded(None)

    def _encoded(self, picture: VideoFrame | None) -> list[MediaPacket]:
        try:
            packets: list[Packet[Any]] = self._stream.encode(picture)  # pyright: ignore[reportUnknownVariableType]
            return [MediaPacket.of(self._captioned(packet)) for packet in packets]
        except (av.error.FFmpegError, ValueError) as exc:
            raise EncoderError(f"encoder {self._stream.codec_context.name} refused a frame ({exc})") from exc

    def _captioned(self, packet: Packet[Any]) -> Packet[Any]:
        if not self._captions or packet.pts is None:
            return packet
        captions = self._captions.pop(packet.pts * packet.time_base, None)
        return packet if captions is None else with_captions(packet, captions, self._encoder)

    def close(self) -> None:
        self._container.close()


class PacketMuxer:
    """Packets of several tracks in, the bytes of one NUT stream out, as soon as they can be written."""

    def __init__(self, tracks: Sequence[TrackFormat]) -> None:
        self._memory = Memory()
        self._container = av.open(self._memory, "w", format="nut", options=NUT_OPTIONS)
        self._streams: list[Stream] = []
        for track in tracks:
            with av.open(io.BytesIO(track.header), "r", format="nut") as template:
                self._streams.append(
                    self._container.add_stream_from_template(template.streams[0], opaque=True)
                )
        self._container.start_encoding()

    def mux(self, track: int, packet: MediaPacket) -> bytes:
        """The bytes that can be written now that `packet` of `tracks[track]` has come."""
        stream = self._streams[track]
        coded: Packet[Any] = Packet(packet.data)
        coded.stream = stream
        coded.pts, coded.dts, coded.time_base = packet.pts, packet.dts, packet.time_base
        coded.is_keyframe = packet.is_keyframe
        if packet.duration is not None:
            coded.duration = packet.duration
        self._container.mux_one(coded)
        return self._memory.taken()

    def finish(self) -> bytes:
        """The last bytes; nothing can be muxed afterwards."""
        self._container.close()
        return self._memory.taken()


class Memory:
    """Takes what a muxer writes; not seekable, as a pipe isn't."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: bytes) -> int:
        self._bytes += data
        return len(data)

    def taken(self) -> bytes:
        taken, self._bytes = bytes(self._bytes), bytearray()
        return taken

"""`LiveInput`: the pictures and audio packets of a live stream, as they arrive, without waiting for more."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any, Literal, Protocol, Self

import av
import av.error
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from diffir_video.errors import LiveInputError, UsageError
from diffir_video.frame import ColorTags, StreamInfo
from diffir_video.media.adts import adts_config, is_adts, without_adts
from diffir_video.media.color import PictureDecoder
from diffir_video.media.deinterlace import (
    Deinterlace,
    Deinterlacer,
    FieldOrder,
    is_second_field,
    makes_fields,
)
from diffir_video.media.hardware import Hwaccel, hardware_of, notes_on_decoder
from diffir_video.media.live_output import MediaPacket, TrackFormat
from diffir_video.media.live_picture import LivePicture
from diffir_video.media.probe import largest_pixel_count
from diffir_video.media.self_framed import SELF_FRAMED, framed_codec

_log = logging.getLogger(__name__)


class Readable(Protocol):
    """What a live stream may be read from instead of an address."""

    def read(self, size: int, /) -> bytes: ...


# A sender's sound comes with its pictures, or it has none.
_SOUND_FOLLOWS_SECONDS = 1
# In a row; a single one is damage.
_FOREIGN_PACKETS = 3


class NoPicture:
    """Something arrived that no picture came of: damage, or what belongs to none of the tracks in use."""


_NO_PICTURE = NoPicture()


class LiveInput:
    """Opens a live stream and yields `LivePicture`s and audio `MediaPacket`s in the order they arrive.

    Between them it yields `NoPicture`, so that whoever waits for a picture can tell that none comes.

    source: an FFmpeg address, or an object to read from. name: what errors call it; an address may hold
    a password, so it never appears in a message. open_seconds, stall_seconds: how long connecting and
    each read may take. deinterlace, field_order: as of `Deinterlacer`. hwaccel: "cuda" has the first GPU
    decode; what it can't is left to the processor, and the log says so.

    audio: the format of the audio track that is delivered, None without one, and where the codec is none that
    can be passed on, which the log says; it follows what arrives. missed_sound: why a new connection would
    probably find sound that this one doesn't deliver, None if nothing says so: a track began after this one
    was opened, or another sender took over and none of its sound arrives, or it comes in another codec:
    packets of that are left out, since FFmpeg goes on calling them what they were.

    Everything of FFmpeg's that waits for the network happens with the interpreter lock released and
    ends after these times at the latest (connecting and probing take their own time each).
    Raises LiveInputError, also while iterating; the end of the stream ends the iteration.
    """

    def __init__(
        self,
        source: str | Readable,
        *,
        name: str,
        format: str | None = None,
        options: Mapping[str, str] | None = None,
        open_seconds: float = 5.0,
        stall_seconds: float = 5.0,
        deinterlace: Deinterlace = "auto",
        field_order: FieldOrder = "auto",
        hwaccel: Hwaccel = "off",
    ) -> None:
        self.name = name
        self._hwaccel: Hwaccel = hwaccel
        try:
            hardware = hardware_of(hwaccel)
            self._container = av.open(
                source,
                "r",
                format=format,
                options={"max_pixels": str(largest_pixel_count()), **(options or {})},
                metadata_errors="replace",
                timeout=(open_seconds, stall_seconds),
                hwaccel=hardware,
            )
        except UsageError as exc:
            raise LiveInputError(f"{name}: {exc}", reason="broken") from None
        except (av.error.FFmpegError, OSError, ValueError) as exc:
            # FFmpeg's text holds the address with its password: it must not travel on as a cause.
            if isinstance(exc, av.error.ArgumentError):
                text = f"{name}: FFmpeg refuses the address, or the value of an option"
                raise LiveInputError(text, reason="broken") from None
            raise _translated(exc, name) from None
        try:
            self._video = self._choose_video()
            # Nothing of this object in it: a circle would keep the decoder, its threads and its pictures
            # until Python looks for circles, which may be many connections later.
            found = partial(_tell_of_interlacing, name, makes_fields(deinterlace))
            self._deinterlacer = Deinterlacer(
                deinterlace, self._video.time_base, found, field_order=field_order
            )
            self._audio = self._choose_audio()
            self._adts_config: bytes | None = None
            self._framed_as: str | None = None
            self._foreign_packets = 0
            self._may_find_sound = self._audio is None
            self.audio = self._describe_audio()
        except BaseException:
            self._container.close()
            raise
        # Frame threads would hold back as many frames as there are threads.
        self._video.codec_context.thread_type = "SLICE"
        self._decoders: dict[tuple[str, int, int, ColorTags], PictureDecoder] = {}
        self._items = self._demux()
        self._latest: Fraction | None = None
        self._has_told_of_decoder = False
        self._taken_over_at: Fraction | None = None
        self._has_new_sound = False

    def __iter__(self) -> Iterator[LivePicture | MediaPacket | NoPicture]:
        return self._items

    @property
    def missed_sound(self) -> str | None:
        if self._has_new_sound:
            return "its sound has begun"
        if self._foreign_packets >= _FOREIGN_PACKETS:
            return "its sound is in another codec now"
        taken_over, latest = self._taken_over_at, self._latest
        if taken_over is not None and latest is not None and latest - taken_over > _SOUND_FOLLOWS_SECONDS:
            return "another sender, and no sound of it"
        return None

    def close(self) -> None:
        self._items.close()
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _choose_video(self) -> VideoStream:
        videos = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        # A stream whose size is unknown was seen, but not long enough to decode it.
        usable = [s for s in videos if getattr(s, "codec_context", None) and s.codec_context.width]
        if not usable:
            raise LiveInputError(
                f"{self.name}: no video was found in its first moments; is its publisher sending any?",
                reason="no_video",
            )
        return usable[0]

    def _choose_audio(self) -> AudioStream | None:
        usable = (
            s
            for s in self._container.streams.audio
            if getattr(s, "codec_context", None) and s.codec_context.sample_rate
        )
        return next(usable, None)

    def _describe_audio(self) -> TrackFormat | None:
        if self._audio is None:
            return None
        context = self._audio.codec_context
        if context.name.startswith("aac") and context.name != "aac_latm" and not context.extradata:
            self._adts_config = adts_config(context.sample_rate, context.layout.nb_channels)
        try:
            return TrackFormat.of(self._audio, extradata=self._adts_config)
        except (av.error.FFmpegError, ValueError):
            _log.warning("%s: its sound, %s, can't be passed on and is left out", self.name, context.name)
            self._audio = None
            return None

    def _audio_packet(self, packet: Packet[Any]) -> MediaPacket | NoPicture:
        """The packet as containers want it: the headers that AAC carries in MPEG-TS are only there."""
        delivered = MediaPacket.of(packet)
        if self._is_foreign(delivered.data):
            return _NO_PICTURE
        if (config := _new_header(packet)) is not None:
            assert self._audio is not None
            self.audio = TrackFormat.of(self._audio, extradata=config)
        if self._adts_config is None or not is_adts(delivered.data):
            return delivered
        self._framed_as = "aac"
        config, data = without_adts(delivered.data)
        if config != self._adts_config:
            assert self._audio is not None
            self._adts_config = config
            self.audio = TrackFormat.of(self._audio, extradata=config)
        return replace(delivered, data=data)

    def _is_foreign(self, data: bytes) -> bool:
        """Whether a packet is of another codec than the track was opened with, which the log says once."""
        if self._framed_as is None and self.audio is not None and self.audio.codec in SELF_FRAMED:
            # Not as the container calls it: NUT has one name for AC-3 and E-AC-3.
            self._framed_as = framed_codec(data)
        if self._framed_as is None or framed_codec(data) == self._framed_as:
            self._foreign_packets = 0
            return False
        self._foreign_packets += 1
        if self._foreign_packets == _FOREIGN_PACKETS:
            now = framed_codec(data) or "something else"
            text = "%s: its sound was %s and is %s now, which is left out of this connection"
            _log.warning(text, self.name, self._framed_as, now)
        return True

    def _demux(self) -> Generator[LivePicture | MediaPacket | NoPicture]:
        try:
            for packet in self._container.demux():
                is_flush = _is_flush(packet)
                self._watch_sender(packet)
                if self._may_find_sound and not is_flush:
                    self._has_new_sound = self._has_new_sound or self._brings_sound(packet)
                if packet.stream_index == self._video.index:
                    yield from self._decode(packet)  # pyright: ignore[reportArgumentType]
                elif self._audio is not None and packet.stream_index == self._audio.index:
                    if not is_flush:
                        yield self._audio_packet(packet)
                else:
                    yield _NO_PICTURE
        except IndexError:
            # At the end of a stream that grew tracks on its way PyAV 18 looks for them where they aren't.
            yield from self._decode(None)
        except (av.error.FFmpegError, OSError, ValueError) as exc:
            raise _translated(exc, self.name) from None

    def _watch_sender(self, packet: Packet[Any]) -> None:
        """Notice a sender that begins with times that were there already, and whether sound comes with it."""
        index = packet.stream_index
        if self._audio is not None and index == self._audio.index:
            self._taken_over_at = None
        if index != self._video.index or packet.dts is None:
            return
        at, before = packet.dts * packet.time_base, self._latest
        if before is not None and at < before:
            self._taken_over_at = at
        self._latest = at

    def _brings_sound(self, packet: Packet[Any]) -> bool:
        """Whether a stream without sound has some by now, in a track that was empty or not there before."""
        if packet.stream.type == "audio" and getattr(packet.stream, "codec_context", None):
            return True
        try:
            self._container.streams.best("audio")
        except IndexError:
            # FFmpeg has added the track, and PyAV knows none but those of the beginning.
            return True
        return False

    def _decode(self, packet: Packet[VideoStream] | None) -> Iterator[LivePicture | NoPicture]:
        try:
            pictures = self._video.codec_context.decode(packet)
        except av.error.FFmpegError:
            # Damage on the way, or a stream joined between keyframes: the next keyframe heals it.
            pictures = []
        if pictures and not self._has_told_of_decoder:
            self._has_told_of_decoder = True
            for note in notes_on_decoder(self._hwaccel, self._video.codec_context):
                _log.warning("%s: %s", self.name, note)
        ready = [each for picture in pictures for each in self._deinterlacer.push(picture)]
        if packet is None or _is_flush(packet):
            ready += self._deinterlacer.flush()
        if not ready:
            yield _NO_PICTURE
        for picture in ready:
            yield self._delivered(picture)

    def _delivered(self, picture: av.VideoFrame) -> LivePicture:
        context = self._video.codec_context
        tags = ColorTags(
            matrix=int(picture.colorspace),
            primaries=int(picture.color_primaries),
            transfer=int(picture.color_trc),
            color_range=int(picture.color_range),
        )
        key = (picture.format.name, picture.width, picture.height, tags)
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder = PictureDecoder(*key)
            self._decoders = {key: decoder}
        time_base = picture.time_base or self._video.time_base or Fraction(1, 1000)
        info = StreamInfo(
            width=picture.width,
            height=picture.height,
            time_base=time_base,
            pixel_format=picture.format.name,
            bit_depth=decoder.layout.bit_depth,
            color=tags,
            sample_aspect_ratio=context.sample_aspect_ratio or None,
            average_rate=self._rate(),
        )
        pts = picture.pts if picture.pts is not None else picture.dts
        return LivePicture(
            stream=info,
            pts=pts,
            duration=picture.duration or None,
            time_base=time_base,
            is_corrupt=bool(picture.is_corrupt),
            _picture=picture,
            _decoder=decoder,
            is_second_field=is_second_field(picture),
        )

    def _rate(self) -> Fraction | None:
        rate = self._video.average_rate or self._video.guessed_rate or None
        if rate is None or not 1 <= rate <= 300:
            return None
        return self._deinterlacer.pictures_of_each * rate


def _tell_of_interlacing(name: str, fields: bool) -> None:
    made = "field is made a picture" if fields else "picture is made progressive"
    _log.info("%s: interlaced; each %s, and waits for the next", name, made)


def _is_flush(packet: Packet[Any]) -> bool:
    """Whether it is the empty one that ends a track."""
    return packet.size == 0 and packet.pts is None and packet.dts is None


def _new_header(packet: Packet[Any]) -> bytes | None:
    """The codec's header that came with a packet, None where none did, as with nearly all."""
    if not packet.has_sidedata("new_extradata"):
        return None
    return bytes(packet.get_sidedata("new_extradata"))


FailureReason = Literal["refused", "absent", "silent", "no_video", "broken"]

# Told apart because waiting helps against an absent source and not against a wrong password.
_REFUSALS = (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)
_ABSENCES = (
    av.error.HTTPNotFoundError,
    av.error.ConnectionRefusedError,
    av.error.FileNotFoundError,
    av.error.OSError,
)
_SILENCES = (av.error.ExitError, av.error.TimeoutError)


def _translated(exc: Exception, name: str) -> LiveInputError:
    match exc:
        case _ if isinstance(exc, _REFUSALS):
            return LiveInputError(f"{name}: access refused; check user, password and key", reason="refused")
        case _ if isinstance(exc, _SILENCES):
            return LiveInputError(f"{name}: silent; nothing arrived in time", reason="silent")
        case av.error.InvalidDataError():
            return LiveInputError(f"{name}: what arrives is no media FFmpeg knows", reason="broken")
        case _ if isinstance(exc, _ABSENCES):
            # RTMP servers say "not permitted" for a stream that nobody publishes, too.
            text = exc.strerror or "no answer"
            return LiveInputError(f"{name}: not to be had ({text})", reason="absent")
        case _:
            return LiveInputError(f"{name}: the connection broke ({type(exc).__name__})", reason="broken")

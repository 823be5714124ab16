"""`MirroredEncoder`: encodes a stretch of a longer stream as if what is around it were there."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from diffir_video.frame import Frame, StreamInfo
from diffir_video.media.encoder import EncoderSettings, VideoEncoder
from diffir_video.media.pixel_choice import PixelChoice


@dataclass(frozen=True, slots=True)
class Lead:
    """How many frames an encoder gets before and after a stretch, and the options that it needs for it."""

    before: int = 0
    after: int = 0
    options: Mapping[str, str] = field(default_factory=dict[str, str])


# What rate controls remember, and how far they look ahead. At a constant rate factor x264 begins a stream
# several dB poorer than it goes on, and all three give the last frames before an end less, as nothing is
# made of them; x264, which treats frames before a keyframe that was due as if the stream went on, half a dB
# less in its last ten unless it sees more than 20 behind them. x265 begins well, and what it makes after a
# forced keyframe can't be decoded without what was before. SVT-AV1 begins well too; what it shows of
# dropped frames isn't needed for those before, which have the hidden ones in their own packets (AV1
# specification, 7.5: one shown frame in each temporal unit).
_LEADS: Mapping[str, Lead] = {
    "libx264": Lead(8, 24, {"forced-idr": "1"}),
    "libx265": Lead(0, 8),
    "libsvtav1": Lead(0, 8),
}


class MirroredEncoder:
    """A `VideoEncoder` led in and out by the stretch's own frames, mirrored in time.

    What comes of those is dropped. is_led_in: something precedes the stretch; its first frame becomes a
    keyframe then (IDR).
    Frames of the stretch itself serve because its neighbours may not be at hand, and because what is encoded
    then depends on nothing but the stretch. Encoders that take no notice of neighbours get none.
    Raises what `VideoEncoder` does.
    """

    def __init__(
        self,
        info: StreamInfo,
        settings: EncoderSettings,
        context: VideoCodecContext,
        choice: PixelChoice | None = None,
        *,
        is_led_in: bool,
    ) -> None:
        lead = _LEADS.get(settings.name, Lead())
        led = EncoderSettings(settings.name, {**settings.options, **lead.options})
        self.encoder = VideoEncoder(info, led, context, choice)
        self._before = lead.before if is_led_in else 0
        self._head: list[VideoFrame] | None = [] if self._before else None
        # The last of them is not encoded yet: only at the end it is known to be the last.
        self._tail: deque[VideoFrame] = deque(maxlen=lead.after + 1)

    def encode(self, frame: Frame) -> list[Packet[Any]]:
        """Take one frame; returns what is ready. Blocks while the encoder is busy."""
        picture = self.encoder.picture(frame)
        if self._head is None:
            return self._own(self._follow(picture))
        self._head.append(picture)
        return self._own(self._lead_in()) if len(self._head) > self._before else []

    def finish(self, *, is_followed: bool) -> list[Packet[Any]]:
        """The packets still inside; no frame may follow. is_followed: the stream goes on behind them."""
        packets = self._lead_in() if self._head else []
        if self._tail:
            packets += self._lead_out() if is_followed else self.encoder.encode_picture(self._tail[-1])
        return self._own(packets + self.encoder.finish())

    def _lead_in(self) -> list[Packet[Any]]:
        assert self._head
        head, self._head = self._head, None
        first = head[0]
        packets: list[Packet[Any]] = []
        for picture in reversed(head[1:]):
            packets += self._encode_mirrored(picture, first)
        if len(head) > 1:
            first.pict_type = PictureType.I
        for picture in head:
            packets += self._follow(picture)
        return packets

    def _lead_out(self) -> list[Packet[Any]]:
        *before, last = self._tail
        if before:
            # Not a B-frame: that would be made of what is dropped.
            last.pict_type = PictureType.P if last.pict_type == PictureType.NONE else last.pict_type
        packets = self.encoder.encode_picture(last)
        for picture in reversed(before):
            picture.pict_type = PictureType.NONE
            packets += self._encode_mirrored(picture, last)
        return packets

    def _follow(self, picture: VideoFrame) -> list[Packet[Any]]:
        """Encode the picture before this one."""
        packets = self.encoder.encode_picture(self._tail[-1]) if self._tail else []
        self._tail.append(picture)
        return packets

    def _encode_mirrored(self, picture: VideoFrame, about: VideoFrame) -> list[Packet[Any]]:
        own, at = picture.pts, about.pts
        assert own is not None
        assert at is not None
        picture.pts = 2 * at - own
        packets = self.encoder.encode_picture(picture)
        picture.pts = own
        return packets

    def _own(self, packets: list[Packet[Any]]) -> list[Packet[Any]]:
        if not self.encoder.pts:
            return packets
        first, last = self.encoder.pts[0], self.encoder.pts[-1]
        return [packet for packet in packets if packet.pts is None or first <= packet.pts <= last]

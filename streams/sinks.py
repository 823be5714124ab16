"""`LiveSink`: encodes once, and sends to any number of peers none of which can hold up the others."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import torch.nn.functional as F
from torch import Tensor

from diffir_video.errors import OutputError
from diffir_video.frame import Frame, StreamInfo
from diffir_video.media import LiveEncoder, MediaPacket, TrackFormat, choose_pixel_format
from streams.addresses import Address, told_apart
from streams.frames import TICK, TICKS_PER_SECOND, LiveFrame
from streams.publisher import Outgoing, Publisher, SinkConfig
from streams.publishing import check_sink, container_for, pixel_formats_for
from streams.stats import LiveStats

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_USUAL_RATE = 25
# Audio that waits for its video: a minute of it.
_AUDIO_KEPT = 3000
# A muxer keeps a video packet until it has seen the audio after it; so that is sent along.
_AUDIO_LEAD_TICKS = TICKS_PER_SECOND * 60 // 1000

# What every encoder takes.
_TRIED = StreamInfo(
    width=640, height=360, time_base=TICK, pixel_format="yuv420p", average_rate=Fraction(_USUAL_RATE)
)


class LiveSink:
    """A `FrameSink` of `LiveFrame`s, with one child process for each address.

    Frames are encoded in the thread that writes them; packets are muxed and sent in a thread for each
    address, so that `write` waits for no peer, unless `open` is told that it may. Audio comes in by
    `write_audio`, in any thread.
    Raises UsageError and OutputError for addresses that can't be written, EncoderError for an encoder that
    isn't to be had or refuses its options, and while writing, and OutputError where nothing is left to
    write to.
    """

    def __init__(
        self, addresses: Sequence[str], config: SinkConfig | None = None, stats: LiveStats | None = None
    ) -> None:
        self.config = config or SinkConfig()
        self.stats = stats or LiveStats()
        parsed = [Address(text) for text in addresses]
        for address in parsed:
            check_sink(address)
        self._encoder_options: dict[str, str] = {}
        for address in parsed:
            self._encoder_options |= container_for(address).encoder_options.get(self.config.encoder, {})
        self._encoder_options |= self.config.encoder_options
        chosen = self.config.pixel_format
        self._pixel_formats = (
            pixel_formats_for(parsed, self.config.encoder) if chosen is None else frozenset({chosen})
        )
        # Now, because the first picture may be hours away.
        self._begun_encoder(_TRIED).close()
        self._publishers = [
            Publisher(address, self.config, self.stats, name=name)
            for address, name in zip(parsed, told_apart(parsed), strict=True)
        ]
        self._encoder: LiveEncoder | None = None
        self._encoded: StreamInfo | None = None
        self._audio: TrackFormat | None = None
        self._formats: tuple[TrackFormat, ...] = ()
        self._lock = threading.Lock()
        self._early_audio: deque[MediaPacket] = deque(maxlen=_AUDIO_KEPT)
        self._video_ticks: int | None = None
        self._keyframe_ticks: int | None = None
        self._waits = False
        self._stopped = threading.Event()

    def open(self, *, waits: bool = False) -> None:
        """Begin to listen for frames; children begin with the first of them.

        waits: the frames come from a source that can wait, so that a sink that is slower makes it wait;
        otherwise a slow sink loses packets.
        """
        self._waits = waits
        for publisher in self._publishers:
            publisher.start(waits=waits)

    def stop(self) -> None:
        """Wait for no sink any more: whoever feeds this wants to end. Returns at once; `close` follows."""
        self._stopped.set()
        for publisher in self._publishers:
            publisher.hurry()

    def write(self, frame: Frame) -> None:
        """Encode a frame and pass it on; raises OutputError when every sink has ended for good."""
        assert isinstance(frame, LiveFrame)
        if self._is_in_vain and not self._stopped.is_set():
            raise OutputError(_failures(self._publishers))
        started = time.monotonic()
        encoder, data = self._encoder_for(frame)
        requests = [publisher.take_keyframe_request() for publisher in self._publishers]
        is_keyframe = any(requests) or self._is_keyframe_due(frame.pts)
        if is_keyframe:
            self._keyframe_ticks = frame.pts
        for packet in encoder.encode(frame.with_data(data), keyframe=is_keyframe):
            self._send_with_audio(packet)
        now = time.monotonic()
        self.stats.observe("encode", now - started)
        if frame.bridge is None:
            self.stats.count_frame("out")
            self.stats.observe("glass_to_glass", now - frame.arrived)

    def expect_audio(self, format: TrackFormat) -> None:
        """From here on the sound is coded like this; outputs that were begun otherwise begin anew."""
        with self._lock:
            self._audio = format
            self._early_audio.clear()
            self._set_formats()

    def write_audio(self, packet: MediaPacket) -> None:
        """Pass an audio packet on, unchanged, when the video of its time has been restored."""
        with self._lock:
            self._early_audio.append(packet)
            if self._video_ticks is not None:
                self._release_audio(self._video_ticks + _AUDIO_LEAD_TICKS)

    def close(self) -> None:
        """Send what is left, as far as peers take it in `close_seconds`; end every child.

        If the frames' source can wait, so does this, until `stop`. Raises OutputError, unless stopped, where
        a sink got nothing to its peer, or where the end of a file or pipe is missing.
        """
        try:
            self._finish_encoder()
        finally:
            self._end()
        if not self._stopped.is_set() and (text := _failures(self._publishers)):
            raise OutputError(text)

    def abort(self) -> None:
        """As `close`, without waiting or complaining: what is live has been seen already."""
        self.stop()
        self._end()

    def _end(self) -> None:
        for publisher in self._publishers:
            publisher.end()
        while self._waits and any(publisher.is_busy for publisher in self._publishers):
            if self._stopped.wait(_POLL_SECONDS):
                break
        limit = time.monotonic() + self.config.close_seconds
        for publisher in self._publishers:
            publisher.join(limit)
        self._close_encoder()

    @property
    def _is_in_vain(self) -> bool:
        return bool(self._publishers) and all(publisher.is_gone for publisher in self._publishers)

    def _is_keyframe_due(self, ticks: int) -> bool:
        """Whether `gop_seconds` have passed: an encoder counts frames, and fewer may come than were told."""
        since = self._keyframe_ticks
        return since is not None and ticks - since >= self.config.gop_seconds * TICKS_PER_SECOND

    def _send_with_audio(self, packet: MediaPacket) -> None:
        assert packet.pts is not None
        if packet.is_keyframe:
            self._keyframe_ticks = max(packet.pts, self._keyframe_ticks or packet.pts)
        with self._lock:
            self._release_audio(packet.pts - 1)
            self._send(Outgoing(0, packet, self._formats))
            self._video_ticks = packet.pts
            self._release_audio(packet.pts + _AUDIO_LEAD_TICKS)

    def _release_audio(self, until_ticks: int) -> None:
        while self._early_audio and (self._early_audio[0].pts or 0) <= until_ticks:
            packet = self._early_audio.popleft()
            if len(self._formats) == 2:
                self._send(Outgoing(1, packet, self._formats))

    def _send(self, outgoing: Outgoing) -> None:
        for publisher in self._publishers:
            publisher.put(outgoing)

    def _encoder_for(self, frame: LiveFrame) -> tuple[LiveEncoder, Tensor]:
        """The encoder, begun anew if the size has changed and is to be followed; the picture it takes."""
        data = frame.data if self._pixel_formats is None else _made_even(frame.data)
        height, width = data.shape[-2:]
        info = replace(frame.stream, width=width, height=height, time_base=TICK)
        begun = self._encoded
        if self._encoder is not None and begun is not None:
            stretch = _pixel_shape(info) / _pixel_shape(begun)
            is_same = (begun.width, begun.height) == (width, height) and stretch == 1
            if is_same and (begun.color == info.color or self.config.size_change == "fit"):
                return self._encoder, data
            if self.config.size_change == "fit" or frame.bridge is not None:
                return self._encoder, fitted(data, begun.height, begun.width, stretch=stretch)
            self._finish_encoder()
        self._encoder, self._encoded = self._begun_encoder(info), info
        self._tell_of_changes(frame, self._encoder, info)
        with self._lock:
            self._set_formats()
        return self._encoder, data

    def _tell_of_changes(self, frame: LiveFrame, encoder: LiveEncoder, info: StreamInfo) -> None:
        """Say what the pixel formats that may be encoded have cost: all sinks get the same."""
        if self._pixel_formats is None:
            return
        changes = list[str]()
        nearest = choose_pixel_format(self.config.encoder, info).layout.name
        if nearest != encoder.pixel_format and self.config.pixel_format is None:
            changes.append(f"{nearest} becomes {encoder.pixel_format}, which is what players know")
        height, width = frame.data.shape[-2:]
        if (width, height) != (info.width, info.height):
            changes.append(f"{width}x{height} becomes {info.width}x{info.height}, an even size")
        for change in changes:
            text = f"at all outputs, {change}"
            _log.warning("%s", text)
            self.stats.tell(text)

    def _begun_encoder(self, info: StreamInfo) -> LiveEncoder:
        config = self.config
        return LiveEncoder(
            info,
            encoder=config.encoder,
            options=self._encoder_options,
            gop_seconds=config.gop_seconds,
            pixel_formats=self._pixel_formats,
        )

    def _set_formats(self) -> None:
        if self._encoder is not None:
            video = self._encoder.format
            self._formats = (video,) if self._audio is None else (video, self._audio)

    def _finish_encoder(self) -> None:
        """Send what an encoder that looks ahead still holds."""
        if self._encoder is not None:
            for packet in self._encoder.finish():
                self._send_with_audio(packet)
            self._close_encoder()

    def _close_encoder(self) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.close()


def _failures(publishers: Sequence[Publisher]) -> str:
    """What went wrong with which sink, "" if nothing did."""
    return "; ".join(failure for each in publishers if (failure := each.failure))


def _pixel_shape(info: StreamInfo) -> Fraction:
    return info.sample_aspect_ratio or Fraction(1)


def _made_even(data: Tensor) -> Tensor:
    """(3, H, W) with its last row and column repeated where H and W are odd: colour of 4:2:0 is for 2×2."""
    height, width = data.shape[-2:]
    if height % 2 == 0 and width % 2 == 0:
        return data
    return F.pad(data[None], (0, width % 2, 0, height % 2), mode="replicate")[0]


def fitted(data: Tensor, height: int, width: int, *, stretch: Fraction = Fraction(1)) -> Tensor:
    """(3, h, w) → (3, height, width): scaled as a whole, with black bars where the shapes differ.

    stretch: how much wider than the result's the picture's pixels are shown.
    """
    own_height, own_width = data.shape[-2] * 1.0, data.shape[-1] * float(stretch)
    scale = min(height / own_height, width / own_width)
    size = (max(round(own_height * scale), 1), max(round(own_width * scale), 1))
    scaled = F.interpolate(data[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return F.pad(scaled, (left, width - size[1] - left, top, height - size[0] - top))

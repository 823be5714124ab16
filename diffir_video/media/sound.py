"""Sound made anew in a codec that another container has for it."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
import av.error
from av.audio.format import AudioFormat
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from diffir_video.media.probe import has_decoder

# The encoders for a container, of what is lossless in the source and of what isn't.
_ENCODERS = {
    "matroska": ("flac", "flac"),
    "mp4": ("alac", "aac"),
    "mov": ("alac", "aac"),
    "mpegts": ("aac", "aac"),
    "webm": ("libopus", "libopus"),
}

# Bits per second and channel, of which nobody hears what they leave out.
_BITS = {"aac": 96_000, "libopus": 64_000}

# What old containers say of channels is how many there are.
_UNNAMED_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo", "6 channels": "5.1", "8 channels": "7.1"}

# How far sound may be from where its timestamps want it before silence is put in or some of it left out.
_MOST_OFF = Fraction(1, 10)


class SoundConverter:
    """Gives `output` a track of the sound of `source`, in a codec of the container's own.

    It is a lossless one for Matroska, and for MP4 and MOV where the source's is. Channels and, where the
    codec has it, the sample rate are kept; sound stays where the source's timestamps have it: a hole in them
    becomes silence, and what overlaps by more than a tenth of a second is left out.
    target: the new track. refused: 0, as what the decoder refuses is told by an exception.
    Raises ValueError where source is no sound that can be decoded, or the container has no codec for it.
    """

    def __init__(self, output: OutputContainer, source: Stream) -> None:
        encoders = _ENCODERS.get(output.format.name)
        if encoders is None or not isinstance(source, AudioStream) or not has_decoder(source):
            raise ValueError(f"no codec of {output.format.name} for {source.type} track {source.index}")
        self._decoder = source.codec_context
        name = encoders[0 if self._decoder.codec.lossless else 1]
        channels = self._decoder.layout.nb_channels
        layout = layout_name(self._decoder.layout)
        self._rate = _nearest_rate(name, self._decoder.sample_rate)
        target = output.add_stream(name, rate=self._rate, layout=layout)
        assert isinstance(target, AudioStream)
        self._encoder = target.codec_context
        self._encoder.format = _sample_format(
            self._encoder.codec.audio_formats or (), self._decoder.format.name
        )
        if name in _BITS:
            self._encoder.bit_rate = _BITS[name] * channels
        self._tick = Fraction(1, self._rate)
        target.time_base = self._encoder.time_base = self._tick
        try:
            self._encoder.open()
        except av.error.FFmpegError as exc:
            raise ValueError(f"{name} can't encode {layout}") from exc
        self.codec = self._encoder.codec.canonical_name
        self.target = target
        self.refused = 0
        self._has_lead = output.format.name != "mpegts"
        self._resampler: AudioResampler | None = None
        self._resampled: tuple[str, str, int] | None = None
        # Where the next decoded sample belongs, in seconds, and the next one to encode, in samples.
        self._expected: Fraction | None = None
        self._written = 0

    def convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """What can be written for `target` now; encoders keep some samples for later.

        Raises av.error.FFmpegError for a packet that can't be read.
        """
        return [made for frame in self._decoder.decode(packet) for made in self._take(frame)]

    def ended_by(self, seconds: Fraction) -> list[Packet[Any]]:
        """Nothing: no sound waits for what comes at a time."""
        del seconds
        return []

    def finish(self) -> list[Packet[Any]]:
        """What is still waiting."""
        made: list[Packet[Any]] = []
        # A damaged end has been told of by its packet.
        with suppress(av.error.FFmpegError):
            made += [packet for frame in self._decoder.decode(None) for packet in self._take(frame)]
        made += self._resampled_rest()
        if self._expected is not None:
            made += self._ready(self._encoder.encode(None))
        return made

    def _take(self, frame: AudioFrame) -> Iterator[Packet[Any]]:
        at = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
        if self._expected is None:
            self._expected = at or Fraction(0)
            self._written = round(self._expected * self._rate)
        elif at is not None and at < self._expected - _MOST_OFF:
            return
        elif at is not None and at > self._expected + _MOST_OFF:
            yield from self._put_silence(frame, at - self._expected)
            self._expected = at
        self._expected += Fraction(frame.samples, frame.sample_rate)
        yield from self._put(frame)

    def _put_silence(self, like: AudioFrame, seconds: Fraction) -> Iterator[Packet[Any]]:
        left = round(seconds * like.sample_rate)
        while left:
            samples = min(left, like.sample_rate)
            silence = AudioFrame(like.format.name, layout_name(like.layout), samples)
            silence.sample_rate = like.sample_rate
            nothing = b"\x80" if like.format.name in ("u8", "u8p") else b"\0"
            for plane in silence.planes:
                plane.update(nothing * plane.buffer_size)
            yield from self._put(silence)
            left -= samples

    def _put(self, frame: AudioFrame) -> Iterator[Packet[Any]]:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._resampled:
            yield from self._resampled_rest()
            self._resampler = AudioResampler(
                self._encoder.format, self._encoder.layout, self._rate, self._encoder.frame_size or None
            )
            self._resampled = shape
        assert self._resampler is not None
        frame.pts = None
        for resampled in self._resampler.resample(frame):
            yield from self._encode(resampled)

    def _resampled_rest(self) -> Iterator[Packet[Any]]:
        resampler, self._resampler = self._resampler, None
        for frame in resampler.resample(None) if resampler is not None else ():
            yield from self._encode(frame)

    def _encode(self, frame: AudioFrame) -> Iterator[Packet[Any]]:
        frame.pts, frame.time_base = self._written, self._tick
        self._written += frame.samples
        yield from self._ready(self._encoder.encode(frame))

    def _ready(self, packets: list[Packet[Any]]) -> Iterator[Packet[Any]]:
        for packet in packets:
            # What an encoder puts before the first sample; MPEG-TS has no way to say so, nor times below 0.
            if not self._has_lead and packet.pts is not None and packet.pts < 0:
                continue
            packet.stream = self.target
            yield packet


def is_pcm(codec: str | None) -> bool:
    """Whether a codec, by its name, is samples as they are; containers cut them into packets as they like."""
    return codec is not None and codec.startswith("pcm_")


def layout_name(layout: AudioLayout) -> str:
    """FFmpeg's name of a layout, or of the usual one of as many channels, or, without any, "4 channels"."""
    return _UNNAMED_LAYOUTS.get(layout.name, layout.name)


def _nearest_rate(encoder: str, wanted: int) -> int:
    """The lowest that loses nothing, else the highest."""
    rates = av.Codec(encoder, "w").audio_rates
    if not rates or wanted in rates:
        return wanted
    return min((rate for rate in rates if rate >= wanted), default=max(rates))


def _sample_format(offered: Sequence[AudioFormat], decoded: str) -> str:
    """Floats if the encoder takes them; else integers, of 32 bits where the decoder's have them."""
    names = [each.name for each in offered]
    for wanted in ("flt", "s32" if decoded.startswith("s32") else "s16"):
        for name in names:
            if name.startswith(wanted):
                return name
    return names[0]

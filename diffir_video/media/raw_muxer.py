"""`RawMuxer`: pictures and sound that something else has decoded, as bytes that `LiveInput` reads."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.stream import Stream

from diffir_video.errors import EncoderError
from diffir_video.media.live_output import NUT_OPTIONS, Memory

_TICK = Fraction(1, 90_000)
_SAMPLE_RATE = 48_000


class RawMuxer:
    """`av.VideoFrame`s and `av.AudioFrame`s in; the bytes of a NUT stream out.

    Nothing is encoded: pictures are yuv420p of one size, sound is 16 bit, stereo, 48 kHz. Timestamps pass.
    Raises EncoderError for a picture of another size than the first.
    """

    def __init__(self, picture: Any, *, has_audio: bool) -> None:
        """`picture`: the first one, which says how large they are; it still has to be given to `add`."""
        self._memory = Memory()
        self._container = av.open(self._memory, "w", format="nut", options=NUT_OPTIONS)
        self._size = (picture.width, picture.height)
        self._video = self._container.add_stream("rawvideo")
        self._video.width, self._video.height = self._size
        self._video.pix_fmt = "yuv420p"
        self._video.codec_context.time_base = _TICK
        self._audio: AudioStream | None = None
        if has_audio:
            self._audio = self._container.add_stream("pcm_s16le", rate=_SAMPLE_RATE)
            self._audio.codec_context.layout = "stereo"
            self._resampler = AudioResampler("s16", "stereo", _SAMPLE_RATE)

    def add(self, frame: Any) -> bytes:
        """The bytes that can be written now that this picture or sound has come."""
        if isinstance(frame, av.VideoFrame):
            if (frame.width, frame.height) != self._size:
                raise EncoderError(f"the pictures are {frame.width}x{frame.height} now, {self._size} before")
            self._mux(self._video, frame.reformat(format="yuv420p"))
        elif self._audio is not None:
            for sound in self._resampler.resample(frame):
                self._mux(self._audio, sound)
        return self._memory.taken()

    def _mux(self, stream: Stream, frame: Any) -> None:
        encoder = cast(Any, stream)
        for packet in encoder.encode(frame):
            self._container.mux_one(packet)

"""Text subtitles made anew in the codec that another container has for them."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from fractions import Fraction
from typing import Any

from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from diffir_video.media.probe import has_decoder

# By FFmpeg's name of the container.
_TEXT_CODECS = {"matroska": "subrip", "mp4": "mov_text", "mov": "mov_text", "webm": "webvtt"}

# FFmpeg's display time of what stays until something else is shown.
_UNKNOWN = 2**32 - 1

# ASS separates what precedes the text of a dialogue by as many commas.
_FIELDS_BEFORE_TEXT = 8


def text_codec_of(container: str) -> str | None:
    """The codec for text that a container, by FFmpeg's name, has; None where it has none."""
    return _TEXT_CODECS.get(container)


def is_gap(codec: str | None, packet: Packet[Any]) -> bool:
    """Whether a packet says that nothing is shown: MP4 fills the time between subtitles with them."""
    return codec == "mov_text" and packet.size >= 2 and not any(bytes(packet)[:2])


class SubtitleConverter:
    """Gives `output` a track of the text of `source`, in the container's own codec.

    Text, emphasis and colours are kept as far as both codecs have them. target: the new track.
    Raises ValueError where source isn't text, or the container has no codec for it.
    """

    def __init__(self, output: OutputContainer, source: Stream) -> None:
        codec = text_codec_of(output.format.name)
        if codec is None or not isinstance(source, SubtitleStream) or not _is_text(source):
            raise ValueError(f"no text codec of {output.format.name} for {source.type} track {source.index}")
        self.codec = codec
        self._decoder = source.codec_context
        self._decoder.open(strict=False)
        target = output.add_stream(codec)
        assert isinstance(target, SubtitleStream)
        assert source.time_base is not None
        target.time_base = source.time_base
        self._encoder = target.codec_context
        self._encoder.time_base = Fraction(1, 1000)
        self._encoder.subtitle_header = self._decoder.subtitle_header
        self.target = target

    def convert(self, packet: Packet[Any]) -> Packet[Any] | None:
        """The same text at the same time, for `target`; None where the packet shows nothing.

        Raises av.error.FFmpegError for a packet that can't be read.
        """
        shown = self._decoder.decode2(packet)
        text = b"" if shown is None else _dialogue(shown)
        if shown is None or not text:
            return None
        lasts = 0 if shown.end_display_time == _UNKNOWN else shown.end_display_time
        made = self._encoder.encode_subtitle(SubtitleSet.create(text, 0, lasts))
        made.time_base = packet.time_base
        made.pts = made.dts = packet.pts
        made.duration = packet.duration or round(Fraction(lasts, 1000) / packet.time_base)
        made.stream = self.target
        return made


def _is_text(source: SubtitleStream) -> bool:
    return has_decoder(source) and source.codec_context.codec.text_sub


def _dialogue(shown: SubtitleSet) -> bytes:
    """All text of a set as one ASS dialogue: a packet of most codecs holds one."""
    lines = [rect.ass for rect in shown if isinstance(rect, AssSubtitle) and rect.ass]
    texts = [line.split(b",", _FIELDS_BEFORE_TEXT)[-1] for line in lines]
    if not any(texts):
        return b""
    fields = lines[0].split(b",", _FIELDS_BEFORE_TEXT)[:-1]
    return b",".join([*fields, rb"\N".join(texts)])

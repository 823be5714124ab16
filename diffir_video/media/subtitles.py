"""Text subtitles made anew in the codec that another container has for them."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av.error
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from diffir_video.media.probe import has_decoder

# The codec for text that a container has, by FFmpeg's name of the container.
_TEXT_CODECS = {"matroska": "subrip", "mp4": "mov_text", "mov": "mov_text", "webm": "webvtt"}

# FFmpeg's display time of what stays until something else is shown.
_UNKNOWN = 2**32 - 1
# How long a cue is shown of which nobody says when it ends, if no other comes before.
_LONGEST_SECONDS = 5

# ASS separates what precedes the text of a dialogue by as many commas.
_FIELDS_BEFORE_TEXT = 8
_OVERRIDES = re.compile(rb"(\{[^}]*\})")
_DRAWING = re.compile(rb"\\p(\d+)")
_BREAKS = re.compile(rb"\\[Nnh]|\s")

# Its decoder tells of a caption when that ends, under other packets than its own.
_NOT_CONVERTED = frozenset({"eia_608"})


def is_gap(codec: str | None, packet: Packet[Any]) -> bool:
    """Whether a packet says that nothing is shown: MP4 fills the time between subtitles with them."""
    return codec == "mov_text" and packet.size >= 2 and not any(bytes(packet)[:2])


class SubtitleConverter:
    """Gives `output` a track of the text of `source`, in the container's own codec.

    Text, emphasis and colours are kept as far as both codecs have them; drawings and what shows nothing are
    left out. MP4 shows one cue at a time: where some overlap there, each stretch of time has the text of all.
    target: the new track. refused: how many cues the codec can't hold.
    Raises ValueError where source isn't text, or the container has no codec for it.
    """

    def __init__(self, output: OutputContainer, source: Stream) -> None:
        codec = _TEXT_CODECS.get(output.format.name)
        if codec is None or not isinstance(source, SubtitleStream) or not _is_text(source):
            raise ValueError(f"no text codec of {output.format.name} for {source.type} track {source.index}")
        self.codec = codec
        self._decoder = source.codec_context
        self._decoder.open(strict=False)
        target = output.add_stream(codec)
        assert isinstance(target, SubtitleStream)
        assert source.time_base is not None
        self._tick = source.time_base
        target.time_base = source.time_base
        self._encoder = target.codec_context
        self._encoder.time_base = Fraction(1, 1000)
        self._encoder.subtitle_header = self._decoder.subtitle_header
        self.target = target
        self.refused = 0
        self._shown = _Shown()

    def convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """What can be written for `target` now that `packet` is known; its cue may have to wait for the next.

        Raises av.error.FFmpegError for a packet that can't be read.
        """
        decoded = self._decoder.decode2(packet)
        line = b"" if decoded is None else _dialogue(decoded)
        if decoded is None or not line or packet.pts is None:
            return []
        cue = self._cue(packet.pts, packet.duration or 0, decoded.end_display_time, line)
        if self.codec != "mov_text":
            return self._encoded(cue)
        return [made for shown in self._shown.add(cue) for made in self._encoded(shown)]

    def ended_by(self, seconds: Fraction) -> list[Packet[Any]]:
        """What ends by then and nothing can overlap any more: all that begins by then has been converted."""
        return [made for shown in self._shown.ended_by(seconds / self._tick) for made in self._encoded(shown)]

    def finish(self) -> list[Packet[Any]]:
        """What is still waiting."""
        return [made for shown in self._shown.rest() for made in self._encoded(shown)]

    def _cue(self, begin: int, lasts: int, milliseconds: int, line: bytes) -> _Cue:
        if lasts:
            return _Cue(begin, begin + lasts, line)
        if milliseconds not in (0, _UNKNOWN):
            return _Cue(begin, begin + round(Fraction(milliseconds, 1000) / self._tick), line)
        return _Cue(begin, begin + round(_LONGEST_SECONDS / self._tick), line, is_open=True)

    def _encoded(self, cue: _Cue) -> list[Packet[Any]]:
        milliseconds = round((cue.end - cue.begin) * self._tick * 1000)
        try:
            made: Packet[Any] = self._encoder.encode_subtitle(SubtitleSet.create(cue.line, 0, milliseconds))
        except av.error.FFmpegError:
            self.refused += 1
            return []
        if not made.size or is_gap(self.codec, made):
            return []
        made.time_base = self._tick
        made.pts = made.dts = cue.begin
        made.duration = cue.end - cue.begin
        made.stream = self.target
        return [made]


@dataclass(frozen=True, slots=True)
class _Cue:
    """An ASS dialogue, shown from `begin` to `end`, in ticks; is_open: or until the next one begins."""

    begin: int
    end: int
    line: bytes
    is_open: bool = False


class _Shown:
    """Cues that may overlap become cues that follow on each other, each with all that is shown then."""

    def __init__(self) -> None:
        self._cues: list[_Cue] = []
        self._now = 0

    def add(self, cue: _Cue) -> Iterator[_Cue]:
        """Give what is shown before `cue` begins; cues come in the order of their beginnings."""
        yield from self.ended_by(cue.begin)
        yield from self._up_to(cue.begin)
        self._now = cue.begin
        self._cues = [shown for shown in self._cues if not shown.is_open or shown.begin == cue.begin]
        self._cues.append(cue)

    def ended_by(self, time: int | Fraction) -> Iterator[_Cue]:
        """Give what is shown up to each end that is not after `time`."""
        while self._cues and (end := min(cue.end for cue in self._cues)) <= time:
            yield from self._up_to(end)

    def rest(self) -> Iterator[_Cue]:
        """Give what is shown up to the end of all."""
        while self._cues:
            yield from self._up_to(min(cue.end for cue in self._cues))

    def _up_to(self, end: int) -> Iterator[_Cue]:
        if self._cues and end > self._now:
            yield _Cue(self._now, end, _joined([cue.line for cue in self._cues]))
            self._now = end
        self._cues = [cue for cue in self._cues if cue.end > self._now]


def _is_text(source: SubtitleStream) -> bool:
    if not has_decoder(source) or not source.codec_context.codec.text_sub:
        return False
    return source.codec_context.codec.canonical_name not in _NOT_CONVERTED


def _dialogue(decoded: SubtitleSet) -> bytes:
    """All text of a set as one ASS dialogue, empty where nothing is shown."""
    lines = [rect.ass for rect in decoded if isinstance(rect, AssSubtitle) and rect.ass]
    shown = [line for line in map(_without_drawings, lines) if _shows(line)]
    return _joined(shown) if shown else b""


def _without_drawings(line: bytes) -> bytes:
    r"""A dialogue without what `\pN` makes a drawing of: coordinates, up to `\p0`."""
    *fields, text = line.split(b",", _FIELDS_BEFORE_TEXT)
    kept: list[bytes] = []
    is_drawing = False
    for index, part in enumerate(_OVERRIDES.split(text)):
        is_override = index % 2 == 1
        if is_override and (scales := _DRAWING.findall(part)):
            is_drawing = int(scales[-1]) > 0
        if is_override or not is_drawing:
            kept.append(part)
    return b",".join([*fields, b"".join(kept)])


def _shows(line: bytes) -> bool:
    text = line.split(b",", _FIELDS_BEFORE_TEXT)[-1]
    return bool(_BREAKS.sub(b"", _OVERRIDES.sub(b"", text)))


def _joined(lines: list[bytes]) -> bytes:
    """Dialogues as one, of the first one's style: a line of text for each."""
    *fields, _ = lines[0].split(b",", _FIELDS_BEFORE_TEXT)
    texts = [line.split(b",", _FIELDS_BEFORE_TEXT)[-1] for line in lines]
    return b",".join([*fields, rb"{\r}\N".join(texts)])

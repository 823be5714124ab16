"""Two fields of two moments in one picture become one picture of one moment, by FFmpeg's bwdif."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from fractions import Fraction
from typing import Literal

import numpy as np
from av.error import BlockingIOError as NothingYetError
from av.error import EOFError as EndedError
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

Deinterlace = Literal["auto", "auto-fields", "off", "bwdif", "bwdif-fields"]
FieldOrder = Literal["auto", "top", "bottom"]

_PARITIES = {"auto": "auto", "top": "tff", "bottom": "bff"}

# AVFieldOrder: 0 is unknown, 1 progressive, the others are orders of fields. Of those that begin with the
# bottom field FFmpeg's decoders of raw video take it to be the earlier.
_INTERLACED_ORDERS = frozenset({2, 3, 4, 5})
_BOTTOM_FIRST = frozenset({3, 5})

# Those that FFmpeg decodes without a word on any picture's fields: containers say it for all.
_TELL_NOTHING = frozenset({"huffyuv", "ffvhuff", "utvideo", "lagarith", "magicyuv"})

_SECOND_FIELD = "second field"

# For pictures without times, of which a filter wants to know in what they count.
_ANY_TIME_BASE = Fraction(1, 1000)


def is_interlaced(stream: VideoStream, first: VideoFrame) -> bool:
    """What the stream's headers or its first picture say."""
    return first.interlaced_frame or is_stream_interlaced(stream)


def untold_order(stream: VideoStream) -> FieldOrder | None:
    """The order of fields by the headers, where no picture will tell that it has any."""
    context = stream.codec_context
    if context.codec.canonical_name not in _TELL_NOTHING or not is_stream_interlaced(stream):
        return None
    return "bottom" if context.field_order in _BOTTOM_FIRST else "top"


def is_second_field(picture: VideoFrame) -> bool:
    """Whether a `Deinterlacer` made it of another's second field; it has that one's side data."""
    return picture.opaque == _SECOND_FIELD


def is_stream_interlaced(stream: VideoStream) -> bool:
    """What the stream's headers say."""
    return stream.codec_context.field_order in _INTERLACED_ORDERS


def makes_fields(how: Deinterlace) -> bool:
    """Whether every field becomes a picture, and times are in half ticks."""
    return how.endswith("-fields")


class Deinterlacer:
    """Pictures of a stream, which may change its size, made progressive at their times.

    how: "off" lets all pass, "auto" those up to the first that says it is interlaced. From there on, and with
    "bwdif" from the first, each comes when the next one does, as it is made of both; "auto" leaves those as
    they are that say they are progressive. One picture is made of each, with "auto-fields" and "bwdif-fields"
    two, each at its field's time; those times, and those of all that pass, are then in half ticks.
    field_order: which field of a picture is the earlier; "auto" is what the picture says, "top" if nothing.
    time_base: of pictures that have none of their own, as the last ones of a decoder. begins: with "auto", as
    if an interlaced one had come already. all_are: with "auto", whatever pictures say.
    found: called when one comes.
    """

    def __init__(
        self,
        how: Deinterlace,
        time_base: Fraction | None,
        found: Callable[[], None] = lambda: None,
        *,
        field_order: FieldOrder = "auto",
        begins: bool = False,
        all_are: bool = False,
    ) -> None:
        self._how: Deinterlace = how
        self._all = how.startswith("bwdif") or all_are
        self._parity = _PARITIES[field_order]
        self._ticks = 2 if makes_fields(how) else 1
        self._time_base = time_base or _ANY_TIME_BASE
        self._found = found
        self._has_begun = begins
        self._field_ticks = 0
        self._graph: Graph | None = None
        self._layout: tuple[int, int, str, Fraction] | None = None

    @property
    def pictures_of_each(self) -> int:
        """How many it makes of each picture from here on."""
        return self._ticks if self._has_begun else 1

    def push(self, picture: VideoFrame) -> Iterator[VideoFrame]:
        """What is ready once this picture has come."""
        time_base = picture.time_base or self._time_base
        if self._ticks > 1 and picture.pts is None:
            picture.pts = picture.dts
        if self._how == "off" or not (self._has_begun or self._all or picture.interlaced_frame):
            yield self._in_ticks(picture, time_base)
            return
        if not self._has_begun:
            self._has_begun = True
            self._found()
        layout = (picture.width, picture.height, picture.format.name, time_base)
        if self._layout != layout:
            yield from self.flush()
            self._graph, self._layout = self._graph_for(picture, time_base), layout
        assert self._graph is not None
        self._graph.vpush(picture)
        yield from self._timed(_pulled(self._graph, time_base / self._ticks))

    def _timed(self, pictures: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """What the filter made of one picture, its second field at a time of its own."""
        first = None
        for picture in pictures:
            if self._ticks > 1 and first is not None:
                picture.opaque = _SECOND_FIELD
                picture.dts = None
                picture.pts = self._second_time(first, picture.pts)
            first = picture
            yield picture

    def _second_time(self, first: VideoFrame, halfway: int | None) -> int | None:
        """halfway: to the next picture. That may be far, behind a gap or a jump of the clock, or unknown."""
        begin = first.pts
        if begin is None:
            return None
        length = first.duration or self._field_ticks
        if halfway is None or not (begin < halfway and (not length or halfway <= begin + length)):
            return begin + length if length else None
        self._field_ticks = halfway - begin
        return halfway

    def _in_ticks(self, picture: VideoFrame, time_base: Fraction) -> VideoFrame:
        if self._ticks > 1:
            picture.pts = None if picture.pts is None else picture.pts * self._ticks
            picture.duration *= self._ticks
            picture.time_base = time_base / self._ticks
        return picture

    def flush(self) -> Iterator[VideoFrame]:
        """The last picture, which none follows."""
        if self._graph is not None and self._layout is not None:
            self._graph.vpush(None)
            yield from self._timed(_pulled(self._graph, self._layout[-1] / self._ticks))
            self._graph = self._layout = None

    def all_of(self, pictures: Iterable[VideoFrame]) -> Generator[VideoFrame]:
        """Each of `pictures`, the last one too."""
        for picture in pictures:
            yield from self.push(picture)
        yield from self.flush()

    def _graph_for(self, picture: VideoFrame, time_base: Fraction) -> Graph:
        graph = Graph()
        source = graph.add_buffer(
            width=picture.width, height=picture.height, format=picture.format, time_base=time_base
        )
        which = "all" if self._all else "interlaced"
        mode = "send_field" if self._ticks > 1 else "send_frame"
        bwdif = graph.add("bwdif", f"mode={mode}:parity={self._parity}:deint={which}")
        graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
        return graph


def deinterlaced(frames: NDArray[np.uint8], *, each_field: bool) -> NDArray[np.uint8]:
    """Frames of two fields each, the upper one first, made progressive in memory, as training does.

    frames: (T, H, W, 3) uint8 RGB. each_field: a frame of every field, (2 T, H, W, 3), else of every frame,
    at its first field's moment.
    """
    deinterlacer = Deinterlacer("bwdif-fields" if each_field else "bwdif", _ANY_TIME_BASE, field_order="top")
    made = [picture.to_ndarray().astype(np.uint8) for picture in deinterlacer.all_of(_pictures(frames))]
    return np.stack(made) if made else frames


def _pictures(frames: NDArray[np.uint8]) -> Iterator[VideoFrame]:
    for pts, frame in enumerate(frames):
        picture = VideoFrame.from_ndarray(frame, "gbrp")
        picture.pts, picture.time_base = pts, _ANY_TIME_BASE
        yield picture


def _pulled(graph: Graph, time_base: Fraction) -> Generator[VideoFrame]:
    while True:
        try:
            picture = graph.vpull()
        except (NothingYetError, EndedError):
            return
        assert picture.time_base is not None
        # The filter counts in half ticks, for the frames it could make of every field.
        ticks = picture.time_base / time_base
        if picture.pts is not None:
            picture.pts = round(picture.pts * ticks)
        picture.duration = round(picture.duration * ticks)
        picture.time_base = time_base
        yield picture

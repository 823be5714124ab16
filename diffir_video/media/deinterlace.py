"""Two fields of two moments in one picture become one picture of one moment, by FFmpeg's bwdif."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from itertools import chain
from typing import Literal

from av.error import BlockingIOError as NothingYetError
from av.error import EOFError as EndedError
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

Deinterlace = Literal["auto", "off", "bwdif"]

# AVFieldOrder: 0 is unknown, 1 progressive, the others are orders of fields.
_INTERLACED_ORDERS = frozenset({2, 3, 4, 5})

# For pictures without times, of which a filter wants to know in what they count.
_ANY_TIME_BASE = Fraction(1, 1000)


def is_interlaced(stream: VideoStream, first: VideoFrame) -> bool:
    """What the stream's headers or its first picture say."""
    return first.interlaced_frame or is_stream_interlaced(stream)


def is_stream_interlaced(stream: VideoStream) -> bool:
    """What the stream's headers say."""
    return stream.codec_context.field_order in _INTERLACED_ORDERS


def deinterlaced(
    pictures: Iterator[VideoFrame], stream: VideoStream, *, every_picture: bool
) -> Generator[VideoFrame]:
    """One progressive picture for each of `pictures`, at its time.

    every_picture: also those that say they are progressive; else these pass as they are.
    """
    graph = Graph()
    source = graph.add_buffer(template=stream, time_base=stream.time_base)
    _link(graph, source, every_picture=every_picture)
    for picture in pictures:
        graph.vpush(picture)
        yield from _pulled(graph, stream.time_base)
    graph.vpush(None)
    yield from _pulled(graph, stream.time_base)


class LiveDeinterlacer:
    """Pictures of a live stream, which may change its size, made progressive one for one.

    how: as of `VideoReader`; "auto" lets pictures pass until one says that it is interlaced. From there on
    each comes when the next one does, as it is made of both. found: called when that begins.
    """

    def __init__(self, how: Deinterlace, found: Callable[[], None]) -> None:
        self._how: Deinterlace = how
        self._found = found
        self._graph: Graph | None = None
        self._layout: tuple[int, int, str, Fraction | None] | None = None
        self._was_found = False

    def push(self, picture: VideoFrame) -> Iterator[VideoFrame]:
        """What is ready once this picture has come."""
        if self._how == "off" or not (self._was_found or self._how == "bwdif" or picture.interlaced_frame):
            yield picture
            return
        if not self._was_found:
            self._was_found = True
            self._found()
        layout = (picture.width, picture.height, picture.format.name, picture.time_base)
        if self._layout != layout:
            yield from self.flush()
            self._graph, self._layout = self._graph_for(picture), layout
        assert self._graph is not None
        self._graph.vpush(picture)
        yield from _pulled(self._graph, picture.time_base)

    def flush(self) -> Iterator[VideoFrame]:
        """The last picture, which none follows."""
        if self._graph is not None and self._layout is not None:
            self._graph.vpush(None)
            yield from _pulled(self._graph, self._layout[-1])
            self._graph = self._layout = None

    def _graph_for(self, picture: VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add_buffer(
            width=picture.width,
            height=picture.height,
            format=picture.format,
            time_base=picture.time_base or _ANY_TIME_BASE,
        )
        _link(graph, source, every_picture=self._how == "bwdif")
        return graph


def deinterlaced_from_first(
    pictures: Iterator[VideoFrame], stream: VideoStream, found: Callable[[], None]
) -> Generator[VideoFrame]:
    """`pictures` as they are up to the first that says it is interlaced; from there on as `deinterlaced`.

    found: called when there is one.
    """
    for picture in pictures:
        if picture.interlaced_frame:
            found()
            yield from deinterlaced(chain([picture], pictures), stream, every_picture=False)
            return
        yield picture


def _link(graph: Graph, source: FilterContext, *, every_picture: bool) -> None:
    which = "all" if every_picture else "interlaced"
    graph.link_nodes(
        source, graph.add("bwdif", f"mode=send_frame:deint={which}"), graph.add("buffersink")
    ).configure()


def _pulled(graph: Graph, time_base: Fraction | None) -> Generator[VideoFrame]:
    while True:
        try:
            picture = graph.vpull()
        except (NothingYetError, EndedError):
            return
        assert picture.time_base is not None
        # The filter counts in half ticks, for the frames it could make of every field.
        ticks = picture.time_base / (time_base or _ANY_TIME_BASE)
        if picture.pts is not None:
            picture.pts = round(picture.pts * ticks)
        picture.duration = round(picture.duration * ticks)
        picture.time_base = time_base or _ANY_TIME_BASE
        yield picture

"""Two fields of two moments in one picture become one picture of one moment, by FFmpeg's bwdif."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import chain
from typing import Literal

from av.error import BlockingIOError as NothingYetError
from av.error import EOFError as EndedError
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

Deinterlace = Literal["auto", "off", "bwdif"]

# AVFieldOrder: 0 is unknown, 1 progressive, the others are orders of fields.
_INTERLACED_ORDERS = frozenset({2, 3, 4, 5})


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
    which = "all" if every_picture else "interlaced"
    graph.link_nodes(
        source, graph.add("bwdif", f"mode=send_frame:deint={which}"), graph.add("buffersink")
    ).configure()
    for picture in pictures:
        graph.vpush(picture)
        yield from _pulled(graph, stream)
    graph.vpush(None)
    yield from _pulled(graph, stream)


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


def _pulled(graph: Graph, stream: VideoStream) -> Generator[VideoFrame]:
    while True:
        try:
            picture = graph.vpull()
        except (NothingYetError, EndedError):
            return
        assert picture.time_base is not None
        assert stream.time_base is not None
        # The filter counts in half ticks, for the frames it could make of every field.
        ticks = picture.time_base / stream.time_base
        if picture.pts is not None:
            picture.pts = round(picture.pts * ticks)
        picture.duration = round(picture.duration * ticks)
        picture.time_base = stream.time_base
        yield picture

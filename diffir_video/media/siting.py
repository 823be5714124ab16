"""Where the chroma samples lie between the luma samples: read from pictures, and what outputs can say of it.

The codes are AVChromaLocation's, one more than ChromaLocType of ITU-T H.273 (8.7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from av.codec import Codec
from av.filter import Graph
from av.video.frame import VideoFrame

from diffir_video.media.ffmpeg_log import INFO, logged_messages

UNSPECIFIED, LEFT, CENTRE, TOP_LEFT, TOP, BOTTOM_LEFT, BOTTOM = range(7)

# As FFmpeg calls them.
_NAMES = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")
_SHOWN = re.compile(r"\bcl:(\w+)")

_ALL = frozenset({LEFT, CENTRE, TOP_LEFT, TOP, BOTTOM_LEFT, BOTTOM})
_IN_MATROSKA = frozenset({LEFT, CENTRE, TOP_LEFT, TOP})

# What encoders write into the stream itself, of 4:2:0.
_IN_STREAM: Mapping[str, frozenset[int]] = {
    "libx264": _ALL,
    "libx265": _ALL,
    "libsvtav1": frozenset({LEFT, TOP_LEFT}),
}
# What decoders of these take a silent stream for, whatever its container says.
_IMPLIED: Mapping[str, int] = {
    "dvvideo": TOP_LEFT,
    "flv1": CENTRE,
    "h263": CENTRE,
    "h264": LEFT,
    "hevc": LEFT,
    "mjpeg": CENTRE,
    "mpeg1video": CENTRE,
    "mpeg2video": LEFT,
    "mpeg4": LEFT,
    "vvc": LEFT,
}


def chroma_location_of(picture: VideoFrame, codec: str) -> int:
    """The siting of a decoded picture's chroma, `UNSPECIFIED` where its stream and container don't say.

    codec: its canonical name; of those whose chroma is left unless they say otherwise, left is unspecified.
    PyAV has no such property, FFmpeg's filter showinfo prints it.
    """
    log2_chroma = _log2_chroma(picture)
    if log2_chroma == (0, 0):
        return UNSPECIFIED
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=picture.width,
        height=picture.height,
        format=picture.format,
        time_base=picture.time_base or Fraction(1),
    )
    bare = graph.add("sidedata", "mode=delete")
    graph.link_nodes(source, bare, graph.add("showinfo", "checksum=0"), graph.add("buffersink")).configure()
    with logged_messages(INFO) as messages:
        graph.vpush(picture)
        graph.vpull()
    found = _SHOWN.search("".join(text for name, text in messages if name == "showinfo"))
    location = _NAMES.index(found[1]) if found and found[1] in _NAMES else UNSPECIFIED
    if location == UNSPECIFIED and codec == "webp":
        # FFmpeg doesn't say it; libwebp, which nearly all programs read WebP with, interpolates so.
        location = CENTRE
    if location == LEFT == _IMPLIED.get(codec):
        return UNSPECIFIED
    return within_format(location, log2_chroma)


def within_format(location: int, log2_chroma: tuple[int, int]) -> int:
    """`location` as far as it means something: only 4:2:0 has a vertical siting, 4:4:4 has none."""
    if log2_chroma == (0, 0) or location == UNSPECIFIED:
        return UNSPECIFIED
    if min(log2_chroma) > 0:
        return location
    if log2_chroma[0] > 0 and location in (CENTRE, TOP, BOTTOM):
        return CENTRE
    return LEFT if location == LEFT else UNSPECIFIED


def written_location(location: int, log2_chroma: tuple[int, int], encoder: str, container: str | None) -> int:
    """The siting with which chroma is best written: `location` where readers will learn of it.

    Else what they take it for. container: FFmpeg's name, None for packets without one.
    """
    location = within_format(location, log2_chroma)
    codec = Codec(encoder, "w")
    if min(log2_chroma) > 0 and location in _IN_STREAM.get(codec.name, ()):
        return location
    implied = _IMPLIED.get(codec.canonical_name)
    if implied is not None:
        return UNSPECIFIED if implied == LEFT else within_format(implied, log2_chroma)
    is_said = container in ("matroska", "webm") and location in _IN_MATROSKA
    return location if is_said else UNSPECIFIED


def siting_name(location: int) -> str:
    """As FFmpeg calls it; what isn't specified is left."""
    return _NAMES[location or LEFT]


def location_option(location: int) -> dict[str, str]:
    """The encoder's option that says `location`, none for an unspecified one."""
    return {} if location == UNSPECIFIED else {"chroma_sample_location": _NAMES[location]}


def _log2_chroma(picture: VideoFrame) -> tuple[int, int]:
    format = picture.format
    if format.is_rgb or format.is_bayer or len(format.components) < 3:
        return 0, 0
    return (16 // format.chroma_width(16)).bit_length() - 1, (16 // format.chroma_height(16)).bit_length() - 1

"""The shape of the pixels, written into a finished Matroska file (RFC 9559): PyAV can't tell the muxer of it.

A file begins with an index of its parts (SeekHead), a gap (Void) that FFmpeg leaves for that index to grow,
Info, and Tracks. The track's entry grows into the gap; everything after it stays where it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from diffir_video.errors import OutputError

_SEGMENT, _SEEK_HEAD, _VOID, _INFO, _TRACKS = 0x18538067, 0x114D9B74, 0xEC, 0x1549A966, 0x1654AE6B
_SEEK, _SEEK_ID, _SEEK_POSITION = 0x4DBB, 0x53AB, 0x53AC
_TRACK_ENTRY, _VIDEO, _DISPLAY_WIDTH, _DISPLAY_HEIGHT = 0xAE, 0xE0, 0x54B0, 0x54BA
# Pixels unless it says otherwise; FFmpeg says "unknown" where it knows no shape.
_DISPLAY_UNIT = 0x54B2
_CRC = 0xBF

# More than FFmpeg writes before the first picture, attachments aside, which come after the tracks.
_HEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Element:
    """An EBML element: where it begins and ends, its id, and the bytes in it."""

    begin: int
    end: int
    id: int
    data: bytes

    @property
    def encoded(self) -> bytes:
        return _encoded(self.id, self.data)


def write_display_size(path: Path, track: int, width: int, height: int) -> None:
    """Have the pictures of the `track`-th track entry shown as `width` × `height` pixels.

    Raises OutputError for a file that is laid out in another way than FFmpeg's muxer does.
    """
    with path.open("rb+") as file:
        head = file.read(_HEAD_BYTES)
        try:
            begin, changed = _with_display_size(head, track, width, height)
        except (ValueError, KeyError, IndexError, StopIteration, OverflowError) as exc:
            raise OutputError(f"can't tell {str(path)!r} the shape of its pixels; write to .mp4") from exc
        file.seek(begin)
        file.write(changed)


def _with_display_size(head: bytes, track: int, width: int, height: int) -> tuple[int, bytes]:
    """Where the head changes, and the bytes that are there then."""
    segment = _segment_data_begin(head)
    seek_head, _, info, tracks = _parts(head, segment)
    longer = _encoded(_TRACKS, _with_track_entry(tracks.data, track, width, height))
    tracks_begin = tracks.end - len(longer)
    info_begin = tracks_begin - len(info.encoded)
    moved = {_INFO: info.begin - info_begin, _TRACKS: tracks.begin - tracks_begin}
    index = _encoded(_SEEK_HEAD, _with_moved_parts(seek_head.data, moved))
    gap = _void(info_begin - seek_head.begin - len(index))
    return seek_head.begin, index + gap + info.encoded + longer


def _segment_data_begin(head: bytes) -> int:
    header = next(_elements(head, 0, limit=1))
    position = header.end
    if int.from_bytes(head[position : position + 4], "big") != _SEGMENT:
        raise ValueError("no segment")
    _, length = _number(head, position + 4)
    return position + 4 + length


def _parts(head: bytes, segment: int) -> list[_Element]:
    parts = list(_elements(head, segment, limit=4))
    if [part.id for part in parts] != [_SEEK_HEAD, _VOID, _INFO, _TRACKS]:
        raise ValueError("another order of parts")
    return parts


def _with_track_entry(tracks: bytes, track: int, width: int, height: int) -> bytes:
    display = _encoded(_DISPLAY_WIDTH, width.to_bytes(4, "big"))
    display += _encoded(_DISPLAY_HEIGHT, height.to_bytes(4, "big"))
    children = list(_elements(tracks, 0))
    entry = [child for child in children if child.id == _TRACK_ENTRY][track]
    longer = b"".join(
        _encoded(_VIDEO, _without_display(part.data) + display) if part.id == _VIDEO else part.encoded
        for part in _elements(entry.data, 0)
    )
    encoded = [
        _encoded(_TRACK_ENTRY, longer) if child is entry else child.encoded
        for child in children
        if child.id != _CRC
    ]
    return _checked(b"".join(encoded), had_crc=any(child.id == _CRC for child in children))


def _without_display(video: bytes) -> bytes:
    """A track's video settings without what they say of its size on the screen, its unit included."""
    display = (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)
    return b"".join(part.encoded for part in _elements(video, 0) if part.id not in display)


def _with_moved_parts(seek_head: bytes, moved: Mapping[int, int]) -> bytes:
    """The index with the positions of some parts lowered, each by its number in `moved`."""
    encoded = bytearray()
    children = list(_elements(seek_head, 0))
    for child in children:
        if child.id == _SEEK:
            fields = {field.id: field.data for field in _elements(child.data, 0)}
            by = moved.get(int.from_bytes(fields[_SEEK_ID], "big"), 0)
            position = fields[_SEEK_POSITION]
            fields[_SEEK_POSITION] = (int.from_bytes(position, "big") - by).to_bytes(len(position), "big")
            data = b"".join(_encoded(key, value) for key, value in fields.items())
            encoded += _encoded(_SEEK, data)
        elif child.id != _CRC:
            encoded += child.encoded
    return _checked(bytes(encoded), had_crc=any(child.id == _CRC for child in children))


def _checked(data: bytes, *, had_crc: bool) -> bytes:
    """`data` behind its CRC-32, if there was one."""
    return _encoded(_CRC, zlib.crc32(data).to_bytes(4, "little")) + data if had_crc else data


def _void(size: int) -> bytes:
    """An element of `size` bytes that means nothing."""
    if size == 0:
        return b""
    if size < 2:
        raise ValueError("no room")
    if size < 0x80:
        return bytes([_VOID, 0x80 | (size - 2)]) + bytes(size - 2)
    return bytes([_VOID, 0x01]) + (size - 9).to_bytes(7, "big") + bytes(size - 9)


def _elements(data: bytes, position: int, limit: int | None = None) -> Iterator[_Element]:
    while position < len(data) and limit != 0:
        begin = position
        id_length = 9 - data[position].bit_length()
        id = int.from_bytes(data[position : position + id_length], "big")
        size, length = _number(data, position + id_length)
        position += id_length + length
        if position + size > len(data):
            raise ValueError("an element goes past the end")
        yield _Element(begin, position + size, id, data[position : position + size])
        position += size
        limit = None if limit is None else limit - 1


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A size, and how many bytes it takes."""
    length = 9 - data[position].bit_length()
    marked = int.from_bytes(data[position : position + length], "big")
    return marked & ((1 << (7 * length)) - 1), length


def _encoded(id: int, data: bytes) -> bytes:
    length = next(n for n in range(1, 9) if len(data) < (1 << (7 * n)) - 1)
    size = (len(data) | 1 << (7 * length)).to_bytes(length, "big")
    return id.to_bytes((id.bit_length() + 7) // 8, "big") + size + data

"""Whether a file is shorter than its own container says."""

from __future__ import annotations

import os
from typing import BinaryIO

import av
from av.container import InputContainer

from diffir_video.errors import MediaInputError
from diffir_video.media.inputs import NetworkAddress, StandardInput, StrPath

# A track that ends earlier than its header says by less than this is rounding, not a cut.
_TOLERANCE_SECONDS = 0.5


def missing_seconds(container: InputContainer, end_seconds: float) -> float:
    """How much earlier a file's last packet ends than its header says; 0 for rounding, and if unknown."""
    duration: int | None = container.duration
    start: int | None = container.start_time
    if duration is None:
        return 0.0
    # Matroska's duration counts from zero, everyone else's from the first timestamp.
    begin = 0 if "matroska" in container.format.name else start or 0
    missing = (begin + duration) / av.time_base - end_seconds
    return missing if _TOLERANCE_SECONDS < missing < float("inf") else 0.0


def missing_bytes(path: StrPath) -> int:
    """How many bytes an MP4/MOV, Matroska or MPEG-TS file lacks by its own account; 0 if none or unknown.

    A cut file ends inside a box, segment or transport packet whose size goes past the end of the file.
    Raises MediaInputError for a file that is gone.
    """
    if isinstance(path, StandardInput | NetworkAddress):
        return 0
    try:
        return _missing_of(path)
    except OSError as exc:
        raise MediaInputError(f"can't read {str(path)!r} any more: {exc.strerror}") from exc


def _missing_of(path: StrPath) -> int:
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return max(_matroska_end(file, size) - size, 0)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"):
            return max(_last_box_end(file, size) - size, 0)
        if packet_size := _transport_packet_size(file):
            return -size % packet_size
    return 0


def _transport_packet_size(file: BinaryIO) -> int:
    """188 for MPEG-TS, 192 with M2TS's time codes, 0 for anything else."""
    for length, sync_at in ((188, 0), (192, 4)):
        file.seek(0)
        head = file.read(8 * length)
        syncs = head[sync_at::length]
        if len(syncs) > 2 and set(syncs) == {0x47}:
            return length
    return 0


def _last_box_end(file: BinaryIO, size: int) -> int:
    """Where the last top-level ISO-BMFF box should end."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            return size
        if length < 8:
            return size
        position += length
    return size + 1 if 0 < size - position < 8 else position


def _matroska_end(file: BinaryIO, size: int) -> int:
    """Where the Segment of a Matroska file should end; the file's own end if the size is unknown."""
    file.seek(4)
    header_length = _ebml_number(file)
    if header_length is None:
        return size
    file.seek(header_length, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return size
    length = _ebml_number(file)
    return size if length is None else file.tell() + length


def _ebml_number(file: BinaryIO) -> int | None:
    """A variable-length EBML size; None for "unknown", which live recordings carry."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    width = 9 - first[0].bit_length()
    rest = file.read(width - 1)
    value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + rest, "big")
    return None if value == (1 << (7 * width)) - 1 else value

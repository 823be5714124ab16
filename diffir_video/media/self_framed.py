"""Sound whose packets say themselves what they are coded in, as those of MPEG-TS do."""

from __future__ import annotations

from diffir_video.media.adts import is_adts

SELF_FRAMED = frozenset({"mp1", "mp2", "mp3", "ac3", "eac3"})
_LAYERS = {3: "mp1", 2: "mp2", 1: "mp3"}
# Bit streams above this version are E-AC-3 (ETSI TS 102 366, E.1.3.1.6).
_LAST_AC3_VERSION = 10


def framed_codec(data: bytes) -> str | None:
    """FFmpeg's name of the codec by a packet's sync word: "aac" with ADTS, or one of SELF_FRAMED, or None.

    Packets of other codecs may look like one of these by chance.
    """
    if is_adts(data):
        return "aac"
    if len(data) >= 4 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
        return _LAYERS.get(data[1] >> 1 & 3)
    if len(data) >= 6 and data[:2] == b"\x0b\x77":
        return "eac3" if data[5] >> 3 > _LAST_AC3_VERSION else "ac3"
    return None

"""AAC as MPEG-TS carries it: each packet has an ADTS header (ISO/IEC 13818-7), as in no other container."""

from __future__ import annotations

_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_LOW_COMPLEXITY = 2
# The last of the object types without extensions, which would bring another rate.
_LONG_TERM_PREDICTION = 4


def is_adts(data: bytes) -> bool:
    """Whether a packet begins with an ADTS header."""
    return len(data) >= 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0


def without_adts(data: bytes) -> tuple[bytes, bytes]:
    """The AudioSpecificConfig that a packet's ADTS header stands for, and the packet without it."""
    object_type = (data[2] >> 6) + 1
    rate_index = data[2] >> 2 & 0xF
    channels = (data[2] & 1) << 2 | data[3] >> 6
    has_checksum = not data[1] & 1
    return _config(object_type, rate_index, channels), data[9 if has_checksum else 7 :]


def rate_and_channels(config: bytes) -> tuple[int, int] | None:
    """What an AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) says in two bytes; None if it needs more."""
    if len(config) < 2 or config[0] >> 3 > _LONG_TERM_PREDICTION:
        return None
    rate_index = (config[0] & 7) << 1 | config[1] >> 7
    channels = config[1] >> 3 & 0xF
    if rate_index >= len(_RATES) or not 1 <= channels <= 7:
        return None
    return _RATES[rate_index], 8 if channels == 7 else channels


def adts_config(sample_rate: int, channels: int) -> bytes:
    """The AudioSpecificConfig of AAC-LC, the profile of nearly every stream."""
    rate_index = _RATES.index(sample_rate) if sample_rate in _RATES else 4
    return _config(_LOW_COMPLEXITY, rate_index, 7 if channels == 8 else channels)


def _config(object_type: int, rate_index: int, channels: int) -> bytes:
    return (object_type << 11 | rate_index << 7 | channels << 3).to_bytes(2, "big")

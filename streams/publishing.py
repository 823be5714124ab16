"""The FFmpeg commands at the end of a live stream: packets from a pipe, copied to where they should go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import ffmpeg  # pyright: ignore[reportMissingTypeStubs]

from diffir_video.errors import OutputError, UsageError
from streams.addresses import Address

# A child whose parent was killed must not wait for a frozen peer for ever.
_PEER_MICROSECONDS = 10_000_000
_INTERLEAVE_MICROSECONDS = 100_000


@dataclass(frozen=True, slots=True)
class Container:
    """What a sink writes: FFmpeg's muxer, its options, and the audio codecs it carries.

    An audio codec that is not among `audio` is transcoded to `transcode_to`, with `transcode_options`.
    in_band_headers: decoders join in the middle, so every keyframe repeats the stream's headers.
    encoder_options: what frames for it must be coded with, by encoder.
    """

    muxer: str
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    audio: frozenset[str] = frozenset({"aac", "mp3", "ac3", "eac3", "opus"})
    transcode_to: str = "aac"
    transcode_options: Mapping[str, str] = field(default_factory=dict[str, str])
    in_band_headers: bool = False
    encoder_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])


_TS_AUDIO = frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "opus"})
_TS_OPTIONS = {"muxdelay": "0", "muxpreload": "0", "mpegts_copyts": "1", "pes_payload_size": "0"}
_FRAGMENTS = {"movflags": "+frag_keyframe+empty_moov+default_base_moof"}
_HLS_FLAGS = "delete_segments+independent_segments+temp_file"
_TS = Container("mpegts", _TS_OPTIONS, _TS_AUDIO, in_band_headers=True)
_MP4 = Container("mp4", _FRAGMENTS)
_WHIP = Container(
    "whip",
    audio=frozenset({"opus"}),
    transcode_to="libopus",
    # WebRTC's Opus is that and nothing else (RFC 7587).
    transcode_options={"ar": "48000", "ac": "2"},
    in_band_headers=True,
    # All that every WebRTC peer must be able to decode (RFC 7742).
    encoder_options={"libx264": {"profile": "baseline"}, "h264_nvenc": {"profile": "baseline"}},
)

_BY_SCHEME: Mapping[str, Container] = {
    "rtmp": Container("flv", {"flvflags": "no_duration_filesize"}, frozenset({"aac", "mp3"})),
    "rtmps": Container("flv", {"flvflags": "no_duration_filesize"}, frozenset({"aac", "mp3"})),
    "srt": _TS,
    "udp": _TS,
    "tcp": _TS,
    # Its packets share one clock that mustn't run backwards: sound and pictures wait for each other.
    "rtp": Container("rtp_mpegts", {"max_interleave_delta": "1000000"}, _TS_AUDIO, in_band_headers=True),
    "rtsp": Container("rtsp", {"rtsp_transport": "tcp"}, in_band_headers=True),
    "whip": _WHIP,
    "whips": _WHIP,
    # An index is written at the end, and kept in memory until then.
    "pipe": Container(
        "nut",
        {"write_index": "0"},
        frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "opus", "vorbis", "flac"}),
    ),
}
_BY_SUFFIX: Mapping[str, Container] = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": Container("mov", _FRAGMENTS),
    ".mkv": Container("matroska", {"cluster_time_limit": "2000"}),
    ".ts": _TS,
    ".flv": _BY_SCHEME["rtmp"],
    ".nut": _BY_SCHEME["pipe"],
    ".m3u8": Container(
        "hls",
        {
            "hls_time": "2",
            "hls_list_size": "6",
            "hls_flags": _HLS_FLAGS,
        },
        frozenset({"aac", "mp3", "ac3", "eac3"}),
        in_band_headers=True,
    ),
}


def container_for(address: Address) -> Container:
    """What goes to an address; raises UsageError where nothing can."""
    if address.scheme in _BY_SCHEME:
        return _BY_SCHEME[address.scheme]
    if address.scheme == "file" and address.suffix in _BY_SUFFIX:
        return _BY_SUFFIX[address.suffix]
    schemes = ", ".join(sorted(set(_BY_SCHEME) - {"pipe"}))
    endings = " ".join(sorted(_BY_SUFFIX))
    raise UsageError(f"no sink for {address}: expected {schemes}, - for NUT, or a file ending in {endings}")


def check_sink(address: Address) -> None:
    """Raise UsageError where nothing can be sent to, OutputError for a file that mustn't be written."""
    container_for(address)
    if address.scheme != "file":
        return
    if not address.path.parent.is_dir():
        raise OutputError(
            f"can't write {str(address.path)!r}: there is no folder {str(address.path.parent)!r}"
        )
    if address.path.exists() and address.suffix != ".m3u8":
        raise OutputError(f"output {str(address.path)!r} exists; choose another name")


def arguments_for(address: Address, *, audio_codec: str | None, session: int) -> list[str]:
    """FFmpeg's arguments for copying NUT from its standard input to `address`.

    session: 0 for the first child of a sink; a later one must not overwrite what that has recorded.
    """
    container = container_for(address)
    settings: dict[str, Any] = {"format": container.muxer, "vcodec": "copy", "flush_packets": "1"}
    settings |= {"max_interleave_delta": _INTERLEAVE_MICROSECONDS, "avoid_negative_ts": "disabled"}
    if container.in_band_headers:
        settings["bsf:v"] = "dump_extra"
    if audio_codec in container.audio:
        settings["acodec"] = "copy"
    elif audio_codec is not None:
        settings |= {"acodec": container.transcode_to, "audio_bitrate": "128k"}
        settings |= container.transcode_options
    if address.scheme in ("rtmp", "rtmps", "tcp"):
        settings["rw_timeout"] = _PEER_MICROSECONDS
    source = _library.input("pipe:0", format="nut", probesize=32, analyzeduration=0, copyts=None)
    output = source.output(_target(address, session), **(settings | dict(container.options)))
    quiet = output.global_args("-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning", "-y")
    return cast(list[str], quiet.get_args())


def _target(address: Address, session: int) -> str:
    match address.scheme:
        case "pipe":
            return "pipe:1"
        case "whip" | "whips":
            return address.text.replace("whip", "http", 1)
        case "udp" if "pkt_size" not in address.text:
            return address.text + ("&" if "?" in address.text else "?") + "pkt_size=1316"
        case "file" if address.suffix != ".m3u8":
            return f"file:{numbered(address.path, session)}"
        case _:
            return address.text


def numbered(path: Path, session: int) -> Path:
    """rec.mp4, then rec-2.mp4 …: a recording that had to begin again goes on in another file."""
    return path if session == 0 else path.with_stem(f"{path.stem}-{session + 1}")


# ffmpeg-python carries no types.
_library = cast(Any, ffmpeg)

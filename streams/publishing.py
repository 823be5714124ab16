"""The FFmpeg commands at the end of a live stream: packets from a pipe, copied to where they should go."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import ffmpeg  # pyright: ignore[reportMissingTypeStubs]

from diffir_video.errors import OutputError, UsageError
from streams.addresses import Address

# A child whose parent was killed must not wait for a frozen peer for ever.
_PEER_MICROSECONDS = 10_000_000
_INTERLEAVE_MICROSECONDS = 100_000

# Programs that decode what FFmpeg does; browsers, telephones and television sets; browsers in a call.
Reader = Literal["any", "player", "webrtc"]
_PLAYED, _PLAYED_DEEP = "yuv420p", "yuv420p10le"


@dataclass(frozen=True, slots=True)
class Container:
    """What a sink writes: FFmpeg's muxer, its options, and the audio codecs it carries.

    An audio codec that is not among `audio` is transcoded to `transcode_to`, with `transcode_options`.
    in_band_headers: decoders join in the middle, so every keyframe repeats the stream's headers.
    starts_at_zero: its times count from the first picture's.
    encoder_options: what frames for it must be coded with, by encoder. plays: what decodes it in the end;
    see `pixel_formats_for`.
    """

    muxer: str
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    audio: frozenset[str] = frozenset({"aac", "mp3", "ac3", "eac3", "opus"})
    transcode_to: str = "aac"
    transcode_options: Mapping[str, str] = field(default_factory=dict[str, str])
    in_band_headers: bool = False
    starts_at_zero: bool = False
    encoder_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    plays: Reader = "any"


_TS_AUDIO = frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "opus"})
_TS_OPTIONS = {"muxdelay": "0", "muxpreload": "0", "mpegts_copyts": "1", "pes_payload_size": "0"}
# Without the last one each track's first packet is at 0, however long after the pictures the sound began.
_FRAGMENTS = {"movflags": "+frag_keyframe+empty_moov+default_base_moof+frag_discont"}
# FFmpeg would end the playlist with every one of its processes; `end_playlist` does it with the last.
_HLS_FLAGS = "delete_segments+independent_segments+temp_file+omit_endlist"
_HLS_CONTINUED = _HLS_FLAGS + "+append_list"
_HLS_END = "#EXT-X-ENDLIST"
_TS = Container("mpegts", _TS_OPTIONS, _TS_AUDIO, in_band_headers=True)
# Of AC-3 and E-AC-3 its header says what only the packets tell, and in fragments the header comes first.
_MP4 = Container("mp4", _FRAGMENTS, frozenset({"aac", "mp3", "opus"}), starts_at_zero=True)
_WHIP = Container(
    "whip",
    audio=frozenset({"opus"}),
    transcode_to="libopus",
    # WebRTC's Opus is that and nothing else (RFC 7587).
    transcode_options={"ar": "48000", "ac": "2"},
    in_band_headers=True,
    # All that every WebRTC peer must be able to decode (RFC 7742).
    encoder_options={"libx264": {"profile": "baseline"}, "h264_nvenc": {"profile": "baseline"}},
    plays="webrtc",
)
_FLV = Container("flv", {"flvflags": "no_duration_filesize"}, frozenset({"aac", "mp3"}))

_BY_SCHEME: Mapping[str, Container] = {
    "rtmp": replace(_FLV, plays="player"),
    "rtmps": replace(_FLV, plays="player"),
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
    ".mov": Container("mov", _FRAGMENTS, frozenset({"aac", "mp3", "ac3", "eac3"}), starts_at_zero=True),
    ".mkv": Container("matroska", {"cluster_time_limit": "2000"}),
    ".ts": _TS,
    ".flv": _FLV,
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
        plays="player",
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


def pixel_formats_for(addresses: Sequence[Address], encoder: str) -> frozenset[str] | None:
    """FFmpeg's names of the pixel formats that can be decoded at all of these addresses; None for any.

    Players decode 4:2:0 alone, and 10 bits of it where the codec is newer than H.264; WebRTC's 8 bits alone.
    """
    readers = {container_for(address).plays for address in addresses}
    if "webrtc" in readers or ("player" in readers and "264" in encoder):
        return frozenset({_PLAYED})
    return frozenset({_PLAYED, _PLAYED_DEEP}) if "player" in readers else None


def check_sink(address: Address) -> None:
    """Raise UsageError where nothing can be sent to, OutputError where nothing can be written."""
    container_for(address)
    if address.scheme == "pipe" and cast(object, sys.stdout) is None:
        raise OutputError("can't write to -: standard output is closed")
    if address.scheme != "file":
        return
    if is_playlist(address) and ":" in address.path.name:
        raise UsageError(
            f"no playlist {address.path.name!r}: players would take what precedes a colon in the names of "
            "its segments for a protocol; choose a name without"
        )
    if not address.path.parent.is_dir():
        raise OutputError(
            f"can't write {str(address.path)!r}: there is no folder {str(address.path.parent)!r}"
        )


def check_places(source: Address, sinks: Sequence[Address]) -> None:
    """Raise OutputError for a sink that would write where the source or another sink is.

    Not for recordings: each takes a name that is free.
    """
    for index, sink in enumerate(sinks):
        if is_recording(sink):
            continue
        if any(sink.is_same_place(other) for other in sinks[:index]):
            raise OutputError(f"{sink} is given twice; each sink needs an address of its own")
        if sink.scheme != "pipe" and sink.is_same_place(source):
            raise OutputError(f"{sink} is the source; the restored stream needs an address of its own")


def is_playlist(address: Address) -> bool:
    """Whether `address` is a playlist with segments beside it, which is written anew all the time."""
    return address.scheme == "file" and address.suffix == ".m3u8"


def is_recording(address: Address) -> bool:
    """Whether `address` is a single file, which nothing may overwrite."""
    return address.scheme == "file" and not is_playlist(address)


def arguments_for(
    address: Address,
    *,
    audio_codec: str | None,
    begins_seconds: float = 0.0,
    decoding_begins_seconds: float = 0.0,
    continues: bool = False,
) -> list[str]:
    """FFmpeg's arguments for copying NUT from its standard input to `address`.

    A recording goes to FFmpeg's standard output: FFmpeg can overwrite no file whose name it isn't told.
    begins_seconds: the time of the first picture, before which nothing may be; decoding_begins_seconds: its
    decoding time, which an encoder that reorders pictures puts before it.
    continues: go on in the playlist that an earlier child of the same sink has written.
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
        # An encoder's first packet lies before the sound that it was made of. FLV takes nothing earlier than
        # its first packet, which may be a picture.
        settings["bsf:a"] = f"noise=amount=0:drop=lt(pts*tb\\,{begins_seconds:.6f})"
    if container.starts_at_zero:
        settings["output_ts_offset"] = f"{-decoding_begins_seconds:.6f}"
    if address.scheme in ("rtmp", "rtmps", "tcp"):
        settings["rw_timeout"] = _PEER_MICROSECONDS
    settings |= container.options
    if is_playlist(address):
        settings["hls_segment_filename"] = _segment_names(address.path)
        if continues:
            settings["hls_flags"] = _HLS_CONTINUED
    source = _library.input("pipe:0", format="nut", probesize=32, analyzeduration=0, copyts=None)
    output = source.output(_target(address), **settings)
    overwrites = "-y" if is_playlist(address) else "-n"
    quiet = output.global_args("-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning", overwrites)
    return cast(list[str], quiet.get_args())


def _segment_names(playlist: Path) -> str:
    """The pattern of a playlist's segments, which no other playlist in its folder has, and no recording.

    FFmpeg's own puts nothing before the number: segment 11 of cam.m3u8 would be segment 1 of cam1.m3u8.
    A dash would make it the name that a second recording to cam.ts takes.
    """
    return str(playlist.with_suffix("")).replace("%", "%%") + "_%d.ts"


def _target(address: Address) -> str:
    match address.scheme:
        case "pipe":
            return "pipe:1"
        case "whip" | "whips":
            return address.text.replace("whip", "http", 1)
        case "udp" if "pkt_size" not in address.text:
            return address.text + ("&" if "?" in address.text else "?") + "pkt_size=1316"
        case "file" if is_recording(address):
            return "fd:"
        case _:
            return address.text


@dataclass(frozen=True, slots=True)
class Recording:
    """A file that was made for one child and was nobody's before.

    number: 1 for the name that was asked for. descriptor: for the child to write to; whoever made the
    recording closes it.
    """

    path: Path
    number: int
    descriptor: int

    def discard_if_empty(self) -> bool:
        """Delete the file if nothing was written to it; whether that was so. Raises OSError."""
        if not self.path.exists() or self.path.stat().st_size:
            return False
        self.path.unlink()
        return True


def new_recording(path: Path, number: int = 1) -> Recording:
    """rec.mp4, rec-2.mp4, rec-3.mp4 …: the first of them from `number` on that doesn't exist, made now.

    Raises OutputError where no file can be made.
    """
    while True:
        candidate = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            descriptor = os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            number += 1
        except OSError as exc:
            raise OutputError(f"can't write {str(candidate)!r}: {exc.strerror}") from exc
        else:
            return Recording(candidate, number, descriptor)


def playlist_version(path: Path) -> tuple[int, int] | None:
    """Equal as long as nobody writes the playlist; None while there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def end_playlist(path: Path) -> None:
    """Tell players that no segment will follow. Raises OSError."""
    text = path.read_text(encoding="utf-8")
    if _HLS_END in text:
        return
    # Players that load it meanwhile get it whole.
    complete = path.with_name(f"{path.name}.tmp")
    complete.write_text(f"{text}{_HLS_END}\n", encoding="utf-8")
    complete.replace(path)


# ffmpeg-python carries no types.
_library = cast(Any, ffmpeg)

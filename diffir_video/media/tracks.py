"""A track of a file: what kind it is, and its copy in another container."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import closing

import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from diffir_video.media.inputs import StrPath
from diffir_video.media.probe import codec_name, has_decoder, open_input
from diffir_video.media.sound import is_pcm, layout_name

# MPEG-TS takes any codec as "private data" that nobody can read; these it really carries.
_MPEGTS_CODECS = frozenset(
    (
        *("h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "cavs", "dirac"),
        *("aac", "aac_latm", "mp1", "mp2", "mp3", "ac3", "eac3", "dts", "truehd", "opus", "s302m"),
        *("dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle", "hdmv_text_subtitle"),
        *("klv", "timed_id3", "scte_35"),
    )
)

# FFmpeg's muxer takes them for MP4 and its kin, and refuses the header of a MOV file.
_NOT_IN_MOV = frozenset({"vp8", "vp9", "av1", "flac", "opus", "truehd"})

# Written anew by the muxer, or true of the source's packets only.
_OF_CONTAINER = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})
_OF_PACKETS = frozenset({"encoder", "vendor_id"})
_STATISTICS_PREFIXES = ("DURATION", "NUMBER_OF_", "_STATISTICS_", "BPS")


def is_readable_in(container: str, codec: str | None) -> bool:
    """Whether a container, by FFmpeg's name, holds a codec so that it can be read back; True if unknown."""
    if container == "mpegts":
        return codec in _MPEGTS_CODECS
    return container != "mov" or codec not in _NOT_IN_MOV


def is_cover(source: Stream) -> bool:
    """Whether a track is a cover picture."""
    return source.type == "video" and bool(source.disposition & Disposition.attached_pic)


def is_timecode(source: Stream) -> bool:
    """Whether a track is of timecodes alone."""
    return source.type == "data" and "timecode" in source.metadata


def timecode_at(timecode: str, times_the_rate: int) -> str:
    """The same moment, such as "01:00:00:20", where frames are so many times as many."""
    head, frames = re.fullmatch(r"(.*?)(\d*)", timecode, re.DOTALL).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return f"{head}{int(frames) * times_the_rate:02d}" if frames else timecode


def first_packet(path: StrPath, index: int) -> bytes:
    """A cover picture, b"" if unreadable: FFmpeg gives it before all else, and the header wants it."""
    with closing(open_input(path)) as container:
        try:
            packet = next(container.demux(container.streams[index]), None)
        except av.error.FFmpegError:
            return b""
        return b"" if packet is None else bytes(packet)


def is_without_format(source: Stream) -> bool:
    """Whether a track is so damaged that no container would take even its header."""
    if not has_decoder(source):
        return False
    if isinstance(source, AudioStream):
        return source.codec_context.sample_rate == 0
    return isinstance(source, VideoStream) and source.codec_context.width == 0


def add_copy(output: OutputContainer, source: Stream) -> Stream | None:
    """The copy of a track in `output`, None if it can't be held there."""
    name = output.format.name
    codec = codec_name(source)
    if source.type == "attachment" and name != "matroska":
        return None
    if source.type == "data" and name != "mpegts":
        return None
    if source.type == "unknown" or not is_readable_in(name, codec):
        return None
    sound = source.codec_context if isinstance(source, AudioStream) and has_decoder(source) else None
    layout = "" if sound is None else layout_name(sound.layout)
    has_name = not layout.endswith(" channels")
    # Only once the file is whole MP4's muxer finds that it can't say what it has no name of.
    if name == "mp4" and is_pcm(codec) and not has_name:
        return None
    try:
        target = output.add_stream_from_template(source, opaque=True)
    except ValueError:
        return None
    if isinstance(target, AudioStream) and has_name:
        target.codec_context.layout = layout
    copy_tags(source, target)
    return target


def file_tags(container: InputContainer) -> dict[str, str]:
    """What a file is tagged with as a whole, but for what its muxer wrote of itself."""
    return _kept(container.metadata, _OF_CONTAINER)


def track_tags(source: Stream, *, but: Collection[str] = ()) -> dict[str, str]:
    """What a track is tagged with, but for what was true of its packets only, and the keys `but`."""
    return _kept(source.metadata, _OF_PACKETS.union(but))


def copy_tags(source: Stream, target: Stream, *, but: Collection[str] = ()) -> None:
    """Carry a track's language, title and dispositions over to its copy, or its re-encoded successor."""
    target.disposition = Disposition(source.disposition)
    target.metadata.update(track_tags(source, but=but))


def _kept(metadata: dict[str, str], leave: Collection[str]) -> dict[str, str]:
    kept = {
        key: value
        for key, value in metadata.items()
        if key.lower() not in leave and not key.upper().startswith(_STATISTICS_PREFIXES)
    }
    # MP4 calls a track's title so, where all others call it "title", which MP4's writer takes too.
    if "title" not in kept and "name" in kept:
        kept["title"] = kept.pop("name")
    return kept


def named(stream: Stream) -> str:
    """What messages call a track."""
    language = stream.metadata.get("language")
    if is_cover(stream):
        return f"cover picture {stream.index} ({codec_name(stream) or 'unknown codec'})"
    return f"{stream.type} track {stream.index} ({codec_name(stream) or 'unknown codec'}" + (
        f", {language})" if language else ")"
    )

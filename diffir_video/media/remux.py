"""Everything of a file that is not its main video, copied packet by packet into another file."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any

import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from diffir_video.errors import OutputError
from diffir_video.media.inputs import StrPath
from diffir_video.media.probe import codec_name, has_decoder, main_video_stream, open_input
from diffir_video.media.resets import ContinuousClock
from diffir_video.media.sound import SoundConverter, is_pcm, layout_name
from diffir_video.media.subtitles import SubtitleConverter, is_gap
from diffir_video.media.time_range import TimeRange, cut_chapter, cut_subtitle, shift

if TYPE_CHECKING:
    from av.container.core import Chapter

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

# A cover picture's ending and MIME type, by its codec; MP4 takes no other codecs.
_COVERS = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png"), "bmp": ("bmp", "image/bmp")}
# FFmpeg reads Matroska's attachments of these types as pictures, all others as files.
_MATROSKA_PICTURES = frozenset({"image/gif", "image/jpeg", "image/png", "image/tiff"})

# Written anew by the muxer, or true of the source's packets only.
_CONTAINER_KEYS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})
_STREAM_KEYS = frozenset({"encoder", "vendor_id"})
_STATISTICS_PREFIXES = ("DURATION", "NUMBER_OF_", "_STATISTICS_", "BPS")


@dataclass(frozen=True, slots=True)
class _CopiedTrack:
    """converter: of a track that the target holds in another codec only."""

    source: Stream
    target: Stream
    converter: SubtitleConverter | SoundConverter | None = None


@dataclass(frozen=True, slots=True)
class _Cover:
    """A cover picture for a container that has it among its packets; index: of its track in the source."""

    index: int
    target: Stream
    data: bytes


class TrackCopier:
    """Copies the tracks of `path` other than its main video, with metadata, chapters and dispositions.

    Use: `attach` before the header is written, `copy_until(seconds)` while the video is encoded,
    `copy_rest` after it. Packets are read when they are due, so memory stays bounded.

    part: copy nothing but this part of the file, its origin becoming 0; a subtitle on screen begins there.
    Sound and text subtitles of a codec that the target doesn't hold are written in one it has; notes: which.
    dropped, chapters: what the target can't hold, and how many it got, known after `attach`. tags: those of
    the file, known then too; the target leaves out, without a word, what it has no place for.
    unreadable: True once the source ended in an error or in half a packet, which is left out. copied: packets
    written per source track index, without those that say that no subtitle is shown; copied_pcm: bytes of
    those tracks that are PCM, which the target cuts into packets of its own. refused: how many packets the
    target took for no valid ones, or had no time, as in a damaged file; they are left out.
    unreadable_tracks: how many audio or video tracks of `dropped` hold so little that FFmpeg can't tell
    their format. timecodes: how many tracks of timecodes the target's muxer writes by itself, from metadata.
    """

    def __init__(self, path: StrPath, part: TimeRange | None = None) -> None:
        self._path, self._part = path, part or TimeRange()
        self._container: InputContainer = open_input(path)
        self._clock = ContinuousClock(self._container)
        self.dropped: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.chapters = 0
        self.tags: dict[str, str] = {}
        self.unreadable = False
        self.copied: dict[int, int] = {}
        self.copied_pcm: dict[int, int] = {}
        self._refused = 0
        self.unreadable_tracks = 0
        self.timecodes = 0
        self._covers: list[_Cover] = []
        self._tracks: dict[int, _CopiedTrack] = {}
        self._packets: Iterator[Packet[Any]] = iter(())
        self._next: Packet[Any] | None = None

    def attach(self, output: OutputContainer, add_video: Callable[[Stream], None]) -> None:
        """Create the tracks in the source's order; `add_video(source stream)` at the main video's place.

        Raises OutputError, naming them, when the target can't hold an audio or subtitle track in any codec.
        Data tracks, attachments and chapters that it can't hold are listed in `dropped`.
        """
        video = main_video_stream(self._container, self._path)
        refused: list[str] = []
        dropped: list[str] = []
        for source in self._container.streams:
            if source.index == video.index:
                add_video(source)
            elif _is_without_format(source):
                self.unreadable_tracks += 1
                dropped.append(_named(source))
            elif not self._add_track(output, source, video):
                (refused if source.type in ("audio", "subtitle") else dropped).append(_named(source))
        if refused:
            tracks = ", ".join(refused)
            instead = "write to .mkv instead"
            if output.format.name == "matroska":
                instead = "convert them first: ffmpeg -i IN -map 0 -c copy -c:a flac -c:s srt IN.mkv"
            raise OutputError(f"{output.format.name} can't hold {tracks} of {str(self._path)!r}; {instead}")
        self.tags = _kept_metadata(self._container.metadata, _CONTAINER_KEYS)
        output.metadata.update(self.tags)
        chapters = self._chapters()
        if chapters and output.format.name == "mpegts":
            dropped.append(f"{len(chapters)} chapters")
        elif chapters:
            output.set_chapters(chapters)
            self.chapters = len(chapters)
        self.dropped = tuple(dropped)
        # Where the clock may be reset, the pictures tell how; all that reads the file has to see all of it.
        if not self._clock.may_be_reset:
            video.discard = Discard.all
        self._packets = self._demux()
        self._next = next(self._packets, None)

    @property
    def refused(self) -> int:
        """How many packets the target took for no valid ones, or had no time."""
        return self._refused + sum(
            t.converter.refused for t in self._tracks.values() if t.converter is not None
        )

    def movie_timescale(self, video_time_base: Fraction) -> int:
        """A clock in which start times of all tracks are whole; MP4 rounds them to 1 ms by default."""
        tracks = self._tracks.values()
        bases = [track.source.time_base for track in tracks]
        bases += [track.target.time_base for track in tracks if track.converter is not None]
        scale = lcm(video_time_base.denominator, *(base.denominator for base in bases if base))
        return scale if scale < 2**31 else video_time_base.denominator

    def copy_until(self, output: OutputContainer, seconds: Fraction) -> None:
        """Write every packet due before `seconds`."""
        self._write_covers(output)
        while self._next is not None and _due(self._next) - self._part.origin <= seconds:
            self._write_next(output)
        self._write_waiting(output, lambda converter: converter.ended_by(seconds))

    def copy_rest(self, output: OutputContainer) -> None:
        self._write_covers(output)
        while self._next is not None:
            self._write_next(output)
        self._write_waiting(output, lambda converter: converter.finish())

    def close(self) -> None:
        self._container.close()

    def _add_track(self, output: OutputContainer, source: Stream, video: Stream) -> bool:
        """Give the target what it needs of a track; False where it can't hold it."""
        if _is_cover(source):
            return self._add_cover(output, source)
        if _is_timecode(source) and self._is_timecode_made(output, video):
            self.timecodes += 1
            return True
        target = _add_copy(output, source)
        if target is None:
            return self._add_converted(output, source)
        self._tracks[source.index] = _CopiedTrack(source, target)
        return True

    def _add_converted(self, output: OutputContainer, source: Stream) -> bool:
        convert = SoundConverter if source.type == "audio" else SubtitleConverter
        try:
            converter = convert(output, source)
        except ValueError:
            return False
        _copy_tags(source, converter.target, _STREAM_KEYS)
        self._tracks[source.index] = _CopiedTrack(source, converter.target, converter)
        self.notes += (f"{_named(source)} becomes {converter.codec}",)
        return True

    def _add_cover(self, output: OutputContainer, source: Stream) -> bool:
        """Give the target a cover picture, as an attachment in Matroska; False where it can't hold it."""
        codec, container = codec_name(source), output.format.name
        suffix, kind = _COVERS.get(codec or "", (codec, "application/octet-stream"))
        data = _first_packet(self._path, source.index)
        if not data:
            return False
        if container == "matroska":
            name = source.metadata.get("filename", f"cover.{suffix}")
            kind = source.metadata.get("mimetype", kind)
            target = output.add_attachment(name, kind, data)
            target.metadata.update(_kept_metadata(source.metadata, _STREAM_KEYS | {"filename", "mimetype"}))
            if kind in _MATROSKA_PICTURES:
                self.copied[source.index] = 1
            return True
        if container != "mp4" or codec not in _COVERS:
            return False
        target = output.add_stream_from_template(source, opaque=True)
        target.disposition = Disposition.attached_pic
        self._covers.append(_Cover(source.index, target, data))
        return True

    def _write_covers(self, output: OutputContainer) -> None:
        for cover in self._covers:
            packet = Packet(cover.data)
            packet.stream, packet.time_base = cover.target, Fraction(1, 1000)
            packet.pts = packet.dts = 0
            packet.is_keyframe = True
            output.mux_one(packet)
            self.copied[cover.index] = 1
        self._covers.clear()

    def _is_timecode_made(self, output: OutputContainer, video: Stream) -> bool:
        """Whether the muxer makes a track of the timecode that the video or the file is tagged with."""
        tagged = "timecode" in video.metadata or "timecode" in self._container.metadata
        return tagged and output.format.name in ("mp4", "mov")

    def _chapters(self) -> list[Chapter]:
        chapters = self._container.chapters()
        return [cut for chapter in chapters if (cut := cut_chapter(chapter, self._part)) is not None]

    def _write_next(self, output: OutputContainer) -> None:
        packet, self._next = self._next, next(self._packets, None)
        assert packet is not None
        if packet.is_corrupt and self._next is None:
            self.unreadable = True
            return
        index = packet.stream_index
        if packet.pts is None and self._tracks[index].source.type != "data":
            self._refused += 1
            return
        track = self._tracks[index]
        shift(packet, self._part.origin)
        is_shown = not is_gap(codec_name(track.source), packet)
        if track.converter is None:
            packet.stream = track.target
            self._mux(output, index, packet, is_counted=is_shown)
        elif is_shown:
            try:
                converted = track.converter.convert(packet)
            except av.error.FFmpegError:
                self._refused += 1
                return
            for made in converted:
                self._mux(output, index, made, is_counted=made.size > 0)

    def _write_waiting(
        self, output: OutputContainer, what: Callable[[SubtitleConverter | SoundConverter], list[Packet[Any]]]
    ) -> None:
        for index, track in self._tracks.items():
            for made in what(track.converter) if track.converter is not None else ():
                self._mux(output, index, made, is_counted=made.size > 0)

    def _mux(
        self, output: OutputContainer, index: int, packet: Packet[Any], *, is_counted: bool = True
    ) -> None:
        size = packet.size
        try:
            output.mux_one(packet)
        except (av.error.ArgumentError, av.error.InvalidDataError):
            # FFmpeg refuses a packet that lies before its predecessor, or that its container can't frame,
            # and takes the next one.
            self._refused += 1
            return
        if is_counted:
            self.copied[index] = self.copied.get(index, 0) + 1
            if is_pcm(codec_name(self._tracks[index].target)):
                self.copied_pcm[index] = self.copied_pcm.get(index, 0) + size

    def _demux(self) -> Iterator[Packet[Any]]:
        if not self._tracks:
            return
        try:
            for packet in self._clock.continued(self._demux_all()):
                if packet.stream_index not in self._tracks:
                    continue
                if packet.stream.type == "subtitle":
                    cut_subtitle(packet, self._part)
                if self._part.holds(_due(packet)):
                    yield packet
        except av.error.FFmpegError:
            self.unreadable = True

    def _demux_all(self) -> Iterator[Packet[Any]]:
        sources = [track.source for track in self._tracks.values()]
        for packet in self._container.demux([] if self._clock.may_be_reset else sources):
            is_flush = packet.size == 0 and packet.pts is None and packet.dts is None
            if not is_flush:
                yield packet


def is_readable_in(container: str, codec: str | None) -> bool:
    """Whether a container, by FFmpeg's name, holds a codec so that it can be read back; True if unknown."""
    if container == "mpegts":
        return codec in _MPEGTS_CODECS
    return container != "mov" or codec not in _NOT_IN_MOV


def _is_cover(source: Stream) -> bool:
    return source.type == "video" and bool(source.disposition & Disposition.attached_pic)


def _is_timecode(source: Stream) -> bool:
    return source.type == "data" and "timecode" in source.metadata


def _first_packet(path: StrPath, index: int) -> bytes:
    """A cover picture: FFmpeg gives it before all other packets, and it has to be known before the header."""
    with closing(open_input(path)) as container:
        try:
            packet = next(container.demux(container.streams[index]), None)
        except av.error.FFmpegError:
            return b""
        return b"" if packet is None else bytes(packet)


def _is_without_format(source: Stream) -> bool:
    """Whether a track is so damaged that no container would take even its header."""
    if not has_decoder(source):
        return False
    if isinstance(source, AudioStream):
        return source.codec_context.sample_rate == 0
    return isinstance(source, VideoStream) and source.codec_context.width == 0


def _add_copy(output: OutputContainer, source: Stream) -> Stream | None:
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
    _copy_tags(source, target, _STREAM_KEYS)
    return target


def copy_stream_tags(source: Stream, target: Stream) -> None:
    """Carry a track's language, title and dispositions over to its re-encoded successor."""
    _copy_tags(source, target, _STREAM_KEYS | {"rotate"})


def _copy_tags(source: Stream, target: Stream, leave: frozenset[str]) -> None:
    target.disposition = Disposition(source.disposition)
    target.metadata.update(_kept_metadata(source.metadata, leave))


def _kept_metadata(metadata: dict[str, str], leave: frozenset[str]) -> dict[str, str]:
    kept = {
        key: value
        for key, value in metadata.items()
        if key.lower() not in leave and not key.upper().startswith(_STATISTICS_PREFIXES)
    }
    # MP4 calls a track's title so, where all others call it "title", which MP4's writer takes too.
    if "title" not in kept and "name" in kept:
        kept["title"] = kept.pop("name")
    return kept


def _named(stream: Stream) -> str:
    language = stream.metadata.get("language")
    if _is_cover(stream):
        return f"cover picture {stream.index} ({codec_name(stream) or 'unknown codec'})"
    return f"{stream.type} track {stream.index} ({codec_name(stream) or 'unknown codec'}" + (
        f", {language})" if language else ")"
    )


def _due(packet: Packet[Any]) -> Fraction:
    stamp = packet.dts if packet.dts is not None else packet.pts
    return Fraction(-(10**9)) if stamp is None else stamp * packet.time_base

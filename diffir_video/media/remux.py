"""Everything of a file that is not its main video, copied packet by packet into another file."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any

import av.error
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream

from diffir_video.errors import OutputError
from diffir_video.media.inputs import StrPath
from diffir_video.media.probe import codec_name, main_video_stream, open_input
from diffir_video.media.resets import ContinuousClock
from diffir_video.media.sound import SoundConverter, is_pcm
from diffir_video.media.subtitles import SubtitleConverter, is_gap
from diffir_video.media.time_range import TimeRange, cut_chapter, cut_subtitle, shift
from diffir_video.media.tracks import (
    add_copy,
    copy_tags,
    file_tags,
    first_packet,
    is_cover,
    is_timecode,
    is_without_format,
    named,
    track_tags,
)

if TYPE_CHECKING:
    from av.container.core import Chapter

# A cover picture's ending and MIME type, by its codec; MP4 takes no other codecs.
_COVERS = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png"), "bmp": ("bmp", "image/bmp")}
# FFmpeg reads Matroska's attachments of these types as pictures, all others as files.
_MATROSKA_PICTURES = frozenset({"image/gif", "image/jpeg", "image/png", "image/tiff"})


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
    target took for no valid ones, or had no time, as in a damaged file; they are left out. corrupt: how many
    were copied, or converted, although the source marks them as damaged.
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
        self._corrupt: Counter[int] = Counter()
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
            elif is_without_format(source):
                self.unreadable_tracks += 1
                dropped.append(named(source))
            elif not self._add_track(output, source, video):
                (refused if source.type in ("audio", "subtitle") else dropped).append(named(source))
        if refused:
            tracks = ", ".join(refused)
            instead = "write to .mkv instead"
            if output.format.name == "matroska":
                instead = "convert them first: ffmpeg -i IN -map 0 -c copy -c:a flac -c:s srt IN.mkv"
            raise OutputError(f"{output.format.name} can't hold {tracks} of {str(self._path)!r}; {instead}")
        self.tags = file_tags(self._container)
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

    @property
    def corrupt(self) -> int:
        """How many damaged packets were copied or converted; what only lies before a joint is none."""
        return sum(
            max(count - sum(map(self._part.holds, self._clock.corrupt_before_reset(index))), 0)
            for index, count in self._corrupt.items()
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
        if is_cover(source):
            return self._add_cover(output, source)
        if is_timecode(source) and self._is_timecode_made(output, video):
            self.timecodes += 1
            return True
        target = add_copy(output, source)
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
        copy_tags(source, converter.target)
        self._tracks[source.index] = _CopiedTrack(source, converter.target, converter)
        self.notes += (f"{named(source)} becomes {converter.codec}",)
        return True

    def _add_cover(self, output: OutputContainer, source: Stream) -> bool:
        """Give the target a cover picture, as an attachment in Matroska; False where it can't hold it."""
        codec, container = codec_name(source), output.format.name
        suffix, kind = _COVERS.get(codec or "", (codec, "application/octet-stream"))
        data = first_packet(self._path, source.index)
        if not data:
            return False
        if container == "matroska":
            name = source.metadata.get("filename", f"cover.{suffix}")
            kind = source.metadata.get("mimetype", kind)
            target = output.add_attachment(name, kind, data)
            target.metadata.update(track_tags(source, but={"filename", "mimetype"}))
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
            is_corrupt = packet.is_corrupt
            if self._mux(output, index, packet, is_counted=is_shown):
                self._corrupt[index] += is_corrupt
        elif is_shown:
            try:
                converted = track.converter.convert(packet)
            except av.error.FFmpegError:
                self._refused += 1
                return
            self._corrupt[index] += packet.is_corrupt
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
    ) -> bool:
        """Write a packet; False where the target refuses it."""
        size = packet.size
        try:
            output.mux_one(packet)
        except (av.error.ArgumentError, av.error.InvalidDataError):
            # FFmpeg refuses a packet that lies before its predecessor, or that its container can't frame,
            # and takes the next one.
            self._refused += 1
            return False
        if is_counted:
            self.copied[index] = self.copied.get(index, 0) + 1
            if is_pcm(codec_name(self._tracks[index].target)):
                self.copied_pcm[index] = self.copied_pcm.get(index, 0) + size
        return True

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


def _due(packet: Packet[Any]) -> Fraction:
    stamp = packet.dts if packet.dts is not None else packet.pts
    return Fraction(-(10**9)) if stamp is None else stamp * packet.time_base

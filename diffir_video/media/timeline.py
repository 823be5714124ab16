"""When every packet of a file is due, and its first picture: what a finished file is verified by."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from array import array
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from diffir_video.errors import MediaInputError
from diffir_video.frame import ColorTags
from diffir_video.media.inputs import StrPath
from diffir_video.media.probe import codec_name, main_video_stream, open_input
from diffir_video.media.siting import chroma_location_of
from diffir_video.media.subtitles import is_gap


@dataclass(frozen=True, slots=True)
class TrackTimeline:
    """The packets of one track, without those that say that no subtitle is shown.

    size: bytes of all its packets. pts: in `time_base` units, increasing; end: of the last one, seconds.
    is_timecode: a track of timecodes, which MP4 and MOV muxers make of metadata.
    """

    index: int
    kind: str
    codec: str | None
    time_base: Fraction
    packets: int
    size: int
    pts: array[int]
    end: Fraction | None
    is_timecode: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """All tracks of a file, its chapters, which track is the main video, and what that one's frames are.

    tags: those of the file as a whole.
    """

    tracks: tuple[TrackTimeline, ...]
    video_index: int
    width: int
    height: int
    color: ColorTags
    sample_aspect_ratio: Fraction | None
    chapters: int
    tags: Mapping[str, str]

    @property
    def video(self) -> TrackTimeline:
        return next(track for track in self.tracks if track.index == self.video_index)


def read_timeline(path: StrPath) -> Timeline:
    """Demux a whole file; raises MediaInputError if it can't be read to its end."""
    with closing(open_input(path)) as container:
        video = main_video_stream(container, path)
        streams = list(container.streams)
        codecs = [codec_name(stream) for stream in streams]
        counts, sizes = [0] * len(streams), [0] * len(streams)
        stamps = [array("q") for _ in streams]
        ends: list[int | None] = [None] * len(streams)
        picture: VideoFrame | None = None
        try:
            for packet in container.demux():
                index = packet.stream_index
                if picture is None and index == video.index:
                    picture = _first_picture(video, packet)
                if packet.size == 0 and packet.pts is None and packet.dts is None:
                    continue
                if is_gap(codecs[index], packet):
                    continue
                counts[index] += 1
                sizes[index] += packet.size
                if packet.pts is not None:
                    stamps[index].append(packet.pts)
                    end, previous = packet.pts + (packet.duration or 0), ends[index]
                    ends[index] = end if previous is None else max(end, previous)
        except av.error.FFmpegError as exc:
            raise MediaInputError(f"can't read {str(path)!r} to its end: {exc.strerror}") from exc
        context = video.codec_context
        tracks: list[TrackTimeline] = []
        for stream, count, size, pts, end in zip(streams, counts, sizes, stamps, ends, strict=True):
            tick = stream.time_base or Fraction(1, av.time_base)
            tracks.append(
                TrackTimeline(
                    index=stream.index,
                    kind=stream.type,
                    codec=codec_name(stream),
                    time_base=tick,
                    packets=count,
                    size=size,
                    pts=array("q", sorted(pts)),
                    end=None if end is None else end * tick,
                    is_timecode=stream.type == "data" and "timecode" in stream.metadata,
                )
            )
        return Timeline(
            tracks=tuple(tracks),
            video_index=video.index,
            width=context.width,
            height=context.height,
            color=ColorTags(
                matrix=int(context.colorspace),
                primaries=int(context.color_primaries),
                transfer=int(context.color_trc),
                color_range=int(context.color_range),
                chroma_location=0
                if picture is None
                else chroma_location_of(picture, context.codec.canonical_name),
            ),
            sample_aspect_ratio=video.sample_aspect_ratio or None,
            chapters=len(container.chapters()),
            tags=dict(container.metadata),
        )


def _first_picture(video: VideoStream, packet: Packet[Any]) -> VideoFrame | None:
    """A picture as soon as `packet` completes one; None also for one that can't be decoded."""
    try:
        return next(iter(video.codec_context.decode(packet)), None)
    except av.error.FFmpegError:
        return None

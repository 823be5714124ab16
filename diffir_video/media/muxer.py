"""`Muxer`: an output file in the making, its video given as packets, every other track copied into it."""

# PyAV's stubs leave the parameter of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import av
import av.error
from av.container import OutputContainer
from av.format import Flags as FormatFlags
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from diffir_video.errors import OutputError
from diffir_video.frame import StreamInfo
from diffir_video.media.encoder import EncoderSettings, VideoEncoder, translating_write_errors
from diffir_video.media.inputs import StrPath
from diffir_video.media.matroska import write_display_size
from diffir_video.media.pixel_choice import choose_pixel_format
from diffir_video.media.publish import CONTAINERS
from diffir_video.media.remux import TrackCopier
from diffir_video.media.time_range import TimeRange
from diffir_video.media.tracks import copy_tags, is_readable_in, timecode_at

# Codecs that say the pixel aspect themselves; Matroska says it for the others.
_CODECS_WITH_ASPECT = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"})


class Muxer:
    """Writes `part`, the file that will be called `path` once it is whole.

    info, settings: the video's, from which its header is made. `encoder` makes its packets; packets of
    another encoder with the same settings do as well. copy_from: the file whose other tracks are copied;
    part_of_copy: the part of them that is, beginning at 0.

    Use as a context manager, or `close()`. Raises OutputError for a container that can't hold the video or
    one of the tracks, EncoderError for an encoder that refuses its settings; then `part` is left as it is.
    """

    def __init__(
        self,
        part: Path,
        path: Path,
        info: StreamInfo,
        settings: EncoderSettings,
        *,
        copy_from: StrPath | None = None,
        part_of_copy: TimeRange | None = None,
    ) -> None:
        self._part, self._path, self._info, self._settings = part, path, info, settings
        self.choice = choose_pixel_format(settings.name, info, CONTAINERS[path.suffix.lower()])
        self._copier = TrackCopier(copy_from, part_of_copy) if copy_from is not None else None
        self._container: OutputContainer | None = None
        self._stream: VideoStream
        self.encoder: VideoEncoder
        try:
            with translating_write_errors(path, settings.name):
                self._container = av.open(f"file:{part}", "w", format=CONTAINERS[path.suffix.lower()])
                self._add_tracks(self._container)
                self._set_container_options(self._container)
                self._container.start_encoding()
        except BaseException:
            self.close()
            raise

    @property
    def global_header(self) -> bool:
        """Whether the container wants the codec's headers beside the packets, not in them."""
        assert self._container is not None
        return bool(self._container.format.flags & FormatFlags.global_header.value)

    @property
    def holds_negative_times(self) -> bool:
        """Whether the container has a time before 0, as MPEG-TS has, whose clock goes round."""
        assert self._container is not None
        return self._container.format.name == "mpegts"

    @property
    def dropped(self) -> tuple[str, ...]:
        """What of `copy_from` the container can't hold."""
        return self._copier.dropped if self._copier else ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the output holds otherwise than the source: pixel format, codec of subtitles."""
        return (*self.choice.notes, *(self._copier.notes if self._copier else ()))

    @property
    def tags(self) -> Mapping[str, str]:
        """What `copy_from` is tagged with as a whole, and the container was given."""
        return self._copier.tags if self._copier else {}

    @property
    def chapters(self) -> int:
        """How many chapters were copied."""
        return self._copier.chapters if self._copier else 0

    @property
    def timecodes(self) -> int:
        """How many tracks of timecodes of `copy_from` the container's muxer writes anew, from metadata."""
        return self._copier.timecodes if self._copier else 0

    @property
    def copied_packets(self) -> dict[int, int]:
        """Packets copied so far for each track index of the source."""
        return dict(self._copier.copied) if self._copier else {}

    @property
    def copied_pcm_bytes(self) -> dict[int, int]:
        """Bytes copied so far for each track index of the source that is PCM."""
        return dict(self._copier.copied_pcm) if self._copier else {}

    @property
    def refused_packets(self) -> int:
        """Packets of the other tracks left out so far: their times, or they themselves, make no sense."""
        return self._copier.refused if self._copier else 0

    @property
    def corrupt_copies(self) -> int:
        """Packets of the other tracks copied so far although the source marks them as damaged."""
        return self._copier.corrupt if self._copier else 0

    @property
    def unreadable_tracks(self) -> int:
        """How many of `dropped` are audio or video too damaged to tell its format."""
        return self._copier.unreadable_tracks if self._copier else 0

    @property
    def copy_source_unreadable(self) -> bool:
        """Whether the source's other tracks ended in a read error."""
        return self._copier.unreadable if self._copier else False

    def write(self, packets: Iterable[Packet[Any]]) -> None:
        """Write packets of the video in decoding order, and of the other tracks what is due before them."""
        assert self._container is not None
        with translating_write_errors(self._path, self._settings.name):
            for packet in packets:
                packet.stream = self._stream
                if self._copier is not None and packet.dts is not None:
                    self._copier.copy_until(self._container, packet.dts * packet.time_base)
                self._container.mux_one(packet)

    def finish(self) -> None:
        """Copy what is left of the other tracks and complete the file."""
        assert self._container is not None
        with translating_write_errors(self._path, self._settings.name):
            if self._copier is not None:
                self._copier.copy_rest(self._container)
            self._container.close()
            self._write_aspect(self._container)
        self._container = None
        self.close()

    def close(self) -> None:
        """Let go of all files. Safe to call at any time; without `finish` the file is not complete."""
        container, self._container = self._container, None
        if container is not None:
            with suppress(av.error.FFmpegError, ValueError, OSError):
                container.close()
        if self._copier is not None:
            self._copier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add_tracks(self, container: OutputContainer) -> None:
        if self._copier is None:
            self._add_video(container)
            return

        def add_video(source: Stream) -> None:
            self._add_video(container)
            copy_tags(source, self._stream, but={"rotate"})

        self._copier.attach(container, add_video)
        if self._info.frames_of_each > 1:
            for tags in (container.metadata, *(stream.metadata for stream in container.streams)):
                if timecode := tags.get("timecode"):
                    tags["timecode"] = timecode_at(timecode, self._info.frames_of_each)

    def _add_video(self, container: OutputContainer) -> None:
        name = self._settings.name
        try:
            stream = container.add_stream(name, rate=self._info.average_rate)
        except ValueError as exc:
            raise OutputError(
                f"{container.format.name} can't hold the video of encoder {name}; "
                "choose another --encoder or another ending of the output's name"
            ) from exc
        assert isinstance(stream, VideoStream)
        codec = stream.codec_context.codec.canonical_name
        if not is_readable_in(container.format.name, codec):
            raise OutputError(
                f"{container.format.name} can't hold {codec}, which encoder {name} makes; "
                "write to .mkv instead, or choose another --encoder, such as libx264"
            )
        self._tells_aspect = (
            container.format.name in ("matroska", "webm") and codec not in _CODECS_WITH_ASPECT
        )
        self._stream = stream
        stream.time_base = self._info.time_base
        self.encoder = VideoEncoder(self._info, self._settings, stream.codec_context, self.choice)

    def _write_aspect(self, container: OutputContainer) -> None:
        aspect = self._info.sample_aspect_ratio
        if not self._tells_aspect or aspect in (None, 1):
            return
        before = [stream for stream in container.streams if stream.index < self._stream.index]
        track = sum(stream.type != "attachment" for stream in before)
        width = round(self._info.width * aspect)
        write_display_size(self._part, track, width, self._info.height)

    def _set_container_options(self, container: OutputContainer) -> None:
        options = container.container_options
        match container.format.name:
            case "mp4" | "mov":
                options["video_track_timescale"] = str(self._info.time_base.denominator)
                if self._copier is not None:
                    options["movie_timescale"] = str(self._copier.movie_timescale(self._info.time_base))
                else:
                    options["movie_timescale"] = str(self._info.time_base.denominator)
                # Phones name the camera and the place by keys of this form, which nothing else holds.
                if any(key.startswith("com.") for key in self.tags):
                    options["movflags"] = "use_metadata_tags"
            case "mpegts":
                # Keep the source's clock instead of starting a new one.
                options["mpegts_copyts"] = "1"
                options["avoid_negative_ts"] = "disabled"
            case "matroska" | "webm":
                options["avoid_negative_ts"] = "disabled"
            case _:
                pass

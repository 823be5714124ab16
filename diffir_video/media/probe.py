"""Open a media file and say what is in it, before a single frame is decoded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from diffir_video.errors import MediaInputError
from diffir_video.media.cut_short import missing_bytes
from diffir_video.media.deinterlace import is_stream_interlaced
from diffir_video.media.inputs import CountedPipe, NetworkAddress, StandardInput, StrPath

# These formats make FFmpeg open further files or hosts that the user never named.
_PLAYLIST_FORMATS = frozenset({"hls", "concat", "dash", "imf", "rtsp", "sdp", "tee", "ffmetadata"})

_NETWORK_PLAYLISTS = frozenset({"hls", "dash"})

# Whatever a playlist on the network names, it isn't a file of this machine.
_NETWORK_PROTOCOLS = "http,https,tcp,tls,crypto"
_NETWORK_SECONDS = 20.0

# A float32 RGB frame exists about this often at once: queues, the network's window, conversion.
_FRAMES_IN_FLIGHT = 12


@dataclass(frozen=True, slots=True)
class TrackInfo:
    """One track of a file; `kind` is video, audio, subtitle, data, attachment or unknown."""

    index: int
    kind: str
    codec: str | None
    language: str | None = None
    title: str | None = None
    default: bool = False


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a file's headers say. `frame_count` and `duration_seconds` are None where they say nothing.

    interlaced: they say so; False also where they say nothing.
    """

    path: str
    container: str
    size_bytes: int
    duration_seconds: float | None
    width: int
    height: int
    pixel_format: str | None
    interlaced: bool
    codec: str
    average_rate: str | None
    frame_count: int | None
    chapters: int
    missing_bytes: int
    tracks: tuple[TrackInfo, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def probe_media(path: StrPath) -> MediaInfo:
    """Read the headers of a media file; raises MediaInputError if it isn't one or has no video."""
    with closing(open_input(path)) as container:
        video = main_video_stream(container, path)
        context = video.codec_context
        return MediaInfo(
            path=str(path),
            container=container.format.name,
            size_bytes=container.size,
            duration_seconds=stream_duration(container, video),
            width=context.width,
            height=context.height,
            pixel_format=context.pix_fmt,
            interlaced=is_stream_interlaced(video),
            codec=context.name,
            average_rate=str(rate) if (rate := frame_rate(video)) else None,
            frame_count=video.frames or None,
            chapters=len(container.chapters()),
            missing_bytes=missing_bytes(path),
            tracks=tuple(track_info(stream) for stream in container.streams),
        )


def open_input(path: StrPath, *, hardware: HWAccel | None = None) -> InputContainer:
    """Open a file by its literal name: `-y` or `concat:a` is a file name, never an option or a protocol.

    Only a `NetworkAddress` is looked for on the network. hardware: what decodes, None for the processor.
    Raises MediaInputError (one line: the path and what to do) for a file that is missing, empty, no
    media, or a playlist that points elsewhere.
    """
    is_network = isinstance(path, NetworkAddress)
    if not isinstance(path, StandardInput | NetworkAddress):
        _check_file(path)
    try:
        container = av.open(
            _opened(path),
            "r",
            options={
                "protocol_whitelist": _NETWORK_PROTOCOLS if is_network else "file",
                "max_pixels": str(largest_pixel_count()),
            },
            timeout=_NETWORK_SECONDS if is_network else None,
            metadata_errors="replace",
            hwaccel=hardware,
        )
    except (av.error.FFmpegError, ValueError, MemoryError) as exc:
        raise MediaInputError(f"can't read {str(path)!r}: {_why_unreadable(path, exc)}") from exc
    allowed = _NETWORK_PLAYLISTS if is_network else frozenset[str]()
    if (_PLAYLIST_FORMATS - allowed).intersection(container.format.name.split(",")):
        name = container.format.name
        container.close()
        raise MediaInputError(f"{str(path)!r} is a playlist ({name}); give the media file itself")
    return container


def _opened(path: StrPath) -> str | CountedPipe:
    if isinstance(path, StandardInput):
        return path.open()
    return os.fspath(path) if isinstance(path, NetworkAddress) else f"file:{os.fspath(path)}"


def main_video_stream(container: InputContainer, path: StrPath) -> VideoStream:
    """The video to restore: the default one, else the first; cover pictures don't count.

    Raises MediaInputError without a decodable one, and for a declared size far beyond memory.
    """
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise MediaInputError(f"{str(path)!r} has no video stream (it holds {kinds})")
    stream = next((s for s in videos if s.disposition & Disposition.default), videos[0])
    if not has_decoder(stream):
        raise MediaInputError(f"{str(path)!r}: this build of FFmpeg has no decoder for its video")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > largest_pixel_count():
        raise MediaInputError(
            f"{str(path)!r} declares frames of {width}x{height}, more than this machine's memory can hold"
        )
    return stream


def largest_pixel_count() -> int:
    """Pixels of the largest frame of which a pipeline's worth fits into this machine's memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(memory // (3 * 4 * _FRAMES_IN_FLIGHT), 2**31 - 1)


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Frames per second, on average; None where the stream doesn't say."""
    average, base = stream.average_rate or None, stream.base_rate or None
    if average is None or base is None or stream.time_base is None:
        return average
    # FFmpeg takes the ticks of raw DV for frames.
    is_of_ticks = average * stream.time_base == 1
    return min(average, base) if is_of_ticks else average


def stream_duration(container: InputContainer, stream: Stream) -> float | None:
    """Seconds, as the track says, else its DURATION tag (Matroska), else the file's."""
    if stream.duration is not None and stream.time_base:
        return float(stream.duration * stream.time_base)
    start = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
    tagged = _duration_tag(stream.metadata)
    if tagged is not None:
        # FFmpeg's muxer writes when a track ends, mkvmerge how long it is.
        is_length = "_STATISTICS_WRITING_APP" in stream.metadata
        return tagged if is_length else max(tagged - start, 0.0)
    duration: int | None = container.duration
    if duration is None:
        return None
    # Matroska's duration counts from zero, everyone else's from the first timestamp.
    return max(duration / av.time_base - (start if "matroska" in container.format.name else 0.0), 0.0)


def earliest_time(path: StrPath) -> Fraction | None:
    """When the first track of a file begins, in seconds; None where no track says. Raises as `open_input`."""
    with closing(open_input(path)) as container:
        begins = [
            stream.start_time * stream.time_base
            for stream in container.streams
            if stream.start_time is not None and stream.time_base is not None
        ]
    return min(begins, default=None)


def track_info(stream: Stream) -> TrackInfo:
    return TrackInfo(
        index=stream.index,
        kind=stream.type,
        codec=codec_name(stream),
        language=stream.metadata.get("language"),
        # MP4 has the one of a track under "name".
        title=stream.metadata.get("title", stream.metadata.get("name")),
        default=bool(stream.disposition & Disposition.default),
    )


def codec_name(stream: Stream) -> str | None:
    """The codec's canonical name, None where FFmpeg knows none."""
    if has_decoder(stream):
        return stream.codec_context.codec.canonical_name
    return getattr(stream, "name", None)


def has_decoder(stream: Stream) -> bool:
    # PyAV's stubs promise a context; without a decoder, and for attachments, it is None.
    return getattr(stream, "codec_context", None) is not None


def _check_file(path: StrPath) -> None:
    file = Path(path)
    try:
        if not file.exists():
            hint = "or allow the network (--allow-network)" if "://" in str(path) else ""
            raise MediaInputError(f"no such file: {str(path)!r}; check the path {hint}".rstrip())
        if not file.is_file():
            raise MediaInputError(f"{str(path)!r} is not a regular file; give a video file")
        if file.stat().st_size == 0:
            raise MediaInputError(f"{str(path)!r} is empty (0 bytes); copy or download it again")
    except (OSError, ValueError) as exc:
        raise MediaInputError(f"can't read {str(path)!r}: {exc}") from exc


def _why_unreadable(path: StrPath, exc: Exception) -> str:
    if isinstance(exc, av.error.PermissionError):
        return "permission denied"
    if isinstance(path, StandardInput):
        return "it is empty, or in no format that FFmpeg reads from a pipe"
    if isinstance(path, NetworkAddress):
        reason = exc.strerror if isinstance(exc, av.error.FFmpegError) else "no readable media"
        return f"{reason}; check the address, and that a video is there"
    try:
        with open(path, "rb") as file:
            is_mp4 = file.read(12)[4:8] == b"ftyp"
    except OSError as error:
        return str(error.strerror)
    if is_mp4:
        return "its index (moov) is missing or damaged; the recording was cut short, get a complete copy"
    return "FFmpeg knows no such format, or the file is damaged; give a video file"


def _duration_tag(metadata: Mapping[str, str]) -> float | None:
    for key, value in metadata.items():
        if key.upper().split("-")[0] == "DURATION":
            try:
                hours, minutes, seconds = value.split(":")
                return float(int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds))
            except ValueError:
                return None
    return None

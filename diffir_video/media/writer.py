"""`VideoWriter`: RGB `Frame`s to a video file that keeps the source's time, colour and other tracks."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from diffir_video.errors import EncoderError
from diffir_video.frame import ColorTags, Frame, StreamInfo
from diffir_video.media.encoder import EncoderSettings, translating_write_errors
from diffir_video.media.inputs import StrPath
from diffir_video.media.muxer import Muxer
from diffir_video.media.publish import check_output, create_part_file, publish


class VideoWriter:
    """Encodes frames to `path` and copies every other track of `copy_from` beside them.

    The file appears under its name when `close()` has finished it, at once and whole; until then, and
    after `abort()` or an exception inside `with`, nothing of that name is created or changed.

    info: the stream to write; frames must have its size and time_base. pts and durations are written as
        they are wherever the container can (Matroska and WebM tick in milliseconds, MPEG-TS in 1/90000 s).
    encoder: FFmpeg's name. Bit depth and chroma subsampling follow `info.pixel_format` where the encoder
        has them; an odd width or height that the encoder can't subsample (libx264: 641x481 in 4:2:0) gets
        a pixel format with full-resolution chroma, never a crop. `notes` tells of such changes.
    encoder_options: FFmpeg's, over DEFAULT_ENCODER_OPTIONS (libx264: crf 16, preset medium).
    copy_from: the file whose audio, subtitles, attachments, chapters and metadata are copied.

    Raises OutputError before any work: the output exists (without `overwrite`), is the input, is in a
    missing folder, has an unknown container, or its container can't hold an audio or subtitle track.
    Raises EncoderError for an unknown encoder, one that refuses its options, a frame it can't take, and, in
    `close`, when there was none.
    """

    def __init__(
        self,
        path: StrPath,
        info: StreamInfo,
        *,
        encoder: str = "libx264",
        encoder_options: Mapping[str, str] | None = None,
        copy_from: StrPath | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.info = info
        self._overwrite = overwrite
        self._settings = EncoderSettings(encoder, dict(encoder_options or {}))
        check_output(path, copy_from=copy_from, overwrite=overwrite)
        self._part = create_part_file(self.path)
        self._is_open = True
        try:
            self._muxer = Muxer(self._part, self.path, info, self._settings, copy_from=copy_from)
        except BaseException:
            self._part.unlink()
            raise
        self.pixel_format = self._muxer.choice.layout.name
        self.color: ColorTags = self._muxer.choice.color
        self.notes: tuple[str, ...] = self._muxer.notes
        self.dropped: tuple[str, ...] = self._muxer.dropped

    @property
    def written_pts(self) -> array[int]:
        """pts of every frame written, in `info.time_base` units."""
        return self._muxer.encoder.pts

    @property
    def copied_packets(self) -> dict[int, int]:
        """Packets copied so far for each track index of the source."""
        return self._muxer.copied_packets

    @property
    def refused_packets(self) -> int:
        """Packets of the other tracks left out so far: their times, or they themselves, make no sense."""
        return self._muxer.refused_packets

    @property
    def corrupt_copies(self) -> int:
        """As of `Muxer`."""
        return self._muxer.corrupt_copies

    @property
    def unreadable_tracks(self) -> int:
        """How many of `dropped` are audio or video too damaged to tell its format."""
        return self._muxer.unreadable_tracks

    def write(self, frame: Frame) -> None:
        """Encode one frame; pts must increase, and no value be NaN. Blocks while the encoder is busy."""
        if frame.data.sum().isnan():
            at = float(frame.pts_seconds)
            raise EncoderError(f"the frame at {at:.3f} s of {str(self.path)!r} holds NaN; check what made it")
        with translating_write_errors(self.path, self._settings.name):
            self._muxer.write(self._muxer.encoder.encode(frame))

    def close(self) -> None:
        """Flush the encoder, copy what is left, finish the file and give it its name. Once is enough."""
        if not self._is_open:
            return
        try:
            if not self.written_pts:
                raise EncoderError(f"no frame was written to {str(self.path)!r}: there is no such video")
            with translating_write_errors(self.path, self._settings.name):
                self._muxer.write(self._muxer.encoder.finish())
                self._muxer.finish()
                publish(self._part, self.path, overwrite=self._overwrite)
                self._part.unlink(missing_ok=True)
        except BaseException:
            self.abort()
            raise
        self._is_open = False

    def abort(self) -> None:
        """Drop everything written; leaves no file behind. Safe to call at any time, also after `close`."""
        self._is_open = False
        self._muxer.close()
        with suppress(FileNotFoundError):
            self._part.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

"""What a job reads: opened as its options say, and told from any other input."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from diffir_video.errors import MediaInputError, UsageError
from diffir_video.job.options import JobOptions
from diffir_video.media import (
    IsolatedReader,
    NetworkAddress,
    PictureReader,
    StandardInput,
    TimeRange,
    VideoReader,
    find_pictures,
    open_video,
)
from diffir_video.media.captions import captions_left_out, carries_captions
from diffir_video.media.inputs import StrPath

# Samples of a file that tell it from another one of the same size and time.
_SAMPLES = 16
_SAMPLE_BYTES = 1 << 16


Source = VideoReader | PictureReader | IsolatedReader


def open_source(input: StrPath, options: JobOptions, *, device: torch.device | str = "cpu") -> Source:
    """A job's input. Raises what `open_video` raises, and UsageError for transparency that nobody gave up.

    device: where a video's frames are made. Where there is an alpha channel, all is decoded once more to know
    whether anything shows through; what can be read only once is refused for the channel alone.
    """
    reader = _open(input, options, device)
    if options.alpha == "refuse" and reader.has_alpha and _shows_through(input, options):
        reader.close()
        raise UsageError(f"{str(input)!r} has an alpha channel, which can't be kept; use --alpha drop")
    return reader


def _open(input: StrPath, options: JobOptions, device: torch.device | str = "cpu") -> Source:
    return open_video(
        input,
        deinterlace=options.deinterlace,
        field_order=options.field_order,
        start=options.start,
        end=options.end,
        crop=options.crop,
        rate=options.rate,
        excursions=True,
        device=device,
        isolate=options.isolate,
        hwaccel=options.hwaccel,
    )


def _shows_through(input: StrPath, options: JobOptions) -> bool:
    if isinstance(input, StandardInput | NetworkAddress):
        return True
    with _open(input, options) as reader:
        return reader.losses.alpha or any(reader.losses.alpha for _ in reader)


def notes_on_late_captions(source: Source, encoder: str | None) -> tuple[str, ...]:
    """What is to be said at the end of captions that the first frame had none of.

    encoder: FFmpeg's name; None where pictures are not encoded.
    """
    is_told = encoder is not None and (carries_captions(encoder) or source.info.has_captions)
    if is_told or not source.has_captions:
        return ()
    return (captions_left_out(encoder or "the output"),)


def no_frames(input: StrPath, part: TimeRange) -> UsageError:
    """The error of a job whose part of the input holds no frame."""
    begin = "its beginning" if part.start is None else f"{float(part.start):g} s"
    end = "its end" if part.end is None else f"{float(part.end):g} s"
    return UsageError(f"no frame of {str(input)!r} is from {begin} to {end}")


def check_unchanged(input: StrPath, before: Mapping[str, str]) -> None:
    """Raise MediaInputError for a file that isn't what it was when `identity_of` gave `before`.

    Its time alone may have changed: it is what a copy, or a backup, may change too.
    """
    now = identity_of(input)
    if any(now.get(key) != before.get(key) for key in ("input size", "input digest")):
        raise MediaInputError(
            f"{str(input)!r} changed while it was restored; once nothing writes it any more, use --restart"
        )


def identity_of(input: StrPath) -> dict[str, str]:
    """What tells an input from another one, without reading all of it; nothing for what isn't there."""
    path = Path(input)
    try:
        if path.is_file():
            return _identity_of_file(path)
        return _identity_of_pictures(find_pictures(path) or [])
    except OSError as exc:
        raise MediaInputError(f"can't read {str(path)!r}: {exc.strerror}") from exc


def _identity_of_file(path: Path) -> dict[str, str]:
    digest = hashlib.blake2b(digest_size=16)
    status = path.stat()
    with path.open("rb") as file:
        for index in range(_SAMPLES):
            file.seek(max(status.st_size - _SAMPLE_BYTES, 0) * index // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return {
        "input size": f"{status.st_size} bytes",
        "input time": f"{status.st_mtime_ns} ns",
        "input digest": digest.hexdigest(),
    }


def _identity_of_pictures(paths: list[Path]) -> dict[str, str]:
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return {"input pictures": str(len(paths)), "input digest": digest.hexdigest()}

"""A file appears under its name when it is whole, at once, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from diffir_video.errors import OutputError
from diffir_video.media.inputs import StrPath
from diffir_video.media.read_options import check_path
from diffir_video.small_files import is_same_file

# Containers that hold arbitrary timestamps; AVI and raw streams have a frame rate instead.
CONTAINERS: Mapping[str, str] = {
    ".m2ts": "mpegts",
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".mov": "mov",
    ".mp4": "mp4",
    ".mts": "mpegts",
    ".ts": "mpegts",
    ".webm": "webm",
}

# What a folder's videos are known by.
VIDEO_SUFFIXES = frozenset(
    {
        *CONTAINERS,
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".gif",
        ".mpeg",
        ".mpg",
        ".mxf",
        ".ogv",
        ".vob",
        ".wmv",
        ".y4m",
    }
)


def check_output(path: StrPath, *, copy_from: StrPath | None = None, overwrite: bool = False) -> None:
    """Raise OutputError if `path` can't or mustn't be written; touches nothing."""
    check_path(path, "output")
    target = Path(path)
    if not target.name:
        raise OutputError(f"can't write {str(path)!r}: it names no file")
    if target.suffix.lower() not in CONTAINERS:
        raise OutputError(
            f"can't write {str(path)!r}: no container for {target.suffix or 'a name without ending'!r}; "
            f"use one of {' '.join(sorted(CONTAINERS))}"
        )
    folder = place_of(target).parent
    if not folder.is_dir():
        raise OutputError(f"can't write {str(path)!r}: there is no folder {str(folder)!r}")
    if copy_from is not None and is_same_file(target, copy_from):
        raise OutputError(f"output {str(path)!r} is the input; choose another name")
    if target.is_dir():
        raise OutputError(f"can't write {str(path)!r}: it is a folder")
    if os.path.lexists(target) and not overwrite:
        raise OutputError(
            f"output {str(path)!r} exists; choose another name or allow overwriting it (--overwrite, "
            "overwrite=True)"
        )
    if not os.access(folder, os.W_OK):
        raise OutputError(f"can't write {str(path)!r}: no permission in {str(folder)!r}")


def place_of(path: Path) -> Path:
    """Where the file of this name lies, or would: a symbolic link's target, else the name itself.

    Who overwrites a link means the file behind it, as with every other program that opens one for writing.
    """
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def create_part_file(path: Path) -> Path:
    """An empty file beside the one that `path` names, of the same file system."""
    place = place_of(path)
    # Up to 4 bytes each, of the 255 that a name may have.
    part = place.with_name(f".{path.stem[:50]}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as exc:
        raise OutputError(f"can't write in {str(place.parent)!r}: {exc.strerror}") from exc
    return part


def publish(part: Path, path: Path, *, overwrite: bool) -> None:
    """Give the finished file its name in one step; a name taken meanwhile is an error, never replaced.

    overwrite: replace what has the name, a link's target.
    `part` may still be there afterwards, as a second name of the same file.
    """
    try:
        _sync(part)
        _name(part, path, overwrite=overwrite)
        _sync(place_of(path).parent)
    except OSError as exc:
        raise OutputError(f"can't write {str(path)!r}: {exc.strerror}") from exc


def _name(part: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        part.replace(place_of(path))
        return
    try:
        os.link(part, path)
    except FileExistsError as exc:
        raise OutputError(f"output {str(path)!r} appeared while it was being made; nothing replaced") from exc
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # A file system without hard links: the check just before is the best there is.
        check_output(path)
        part.rename(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

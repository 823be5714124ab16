"""Files that are whole or not there, and one line where they can't be written."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from diffir_video.errors import OutputError


@contextmanager
def written_whole(path: Path) -> Generator[Path]:
    """A name to write to, which becomes `path` when the block ends, and is gone if it ends in an error.

    Raises OutputError if the file can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with told(path):
        try:
            yield temporary
            temporary.replace(path)
        finally:
            # A folder that is none has nothing in it to remove.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def told(path: Path) -> Generator[None]:
    """OutputError that names `path`, in the place of Python's and torch's errors of writing."""
    try:
        yield
    except (OSError, RuntimeError) as exc:
        reason = (exc.strerror if isinstance(exc, OSError) else None) or str(exc).partition("\n")[0]
        raise OutputError(f"can't write {path}: {reason}; check its folder and the room on the disk") from exc


def make_folder(path: Path) -> None:
    """The folder and those above it. Raises OutputError if it can't be made."""
    with told(path):
        path.mkdir(parents=True, exist_ok=True)

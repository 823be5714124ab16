"""Where what was compiled is kept for the next time."""

from __future__ import annotations

import os
from pathlib import Path

from diffir_video.errors import BackendError


def cache_folder() -> Path:
    """A folder of the user's own, for what is in it is run; raises BackendError where that can't be."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "diffir-video"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as exc:
        raise BackendError(f"can't keep what is compiled in {str(folder)!r}: {exc.strerror}") from exc
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise BackendError(
            f"{str(folder)!r} may be written by others, so nothing in it is run; chmod go-w it"
        )
    return folder

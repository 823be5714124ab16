"""glibc's malloc, told what video is like: megabytes at a time, made in one thread and freed in another."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from threading import Lock

# mallopt(3), from malloc.h: the parameter, its value, and what in the environment says otherwise.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_MMAP_THRESHOLD = 32 << 20
_ARENAS = 1

# What the frames of the loop, and a network's features, are worth keeping.
LOOP_KEEPS_BYTES, NETWORK_KEEPS_BYTES = 64 << 20, 256 << 20

_lock = Lock()
_kept_bytes = 0


def give_back_freed() -> None:
    """Give what this process has freed back to the system, holes between what is in use included.

    Each segment of a job leaves such holes, and not all of the next one's memory fits them. Without glibc
    nothing is done.
    """
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))


def prepare_allocator(kept_bytes: int) -> None:
    """Have this process keep up to `kept_bytes` of what it frees, and allocate from one pool.

    By default memory as large as frames and features is given back to the system at once and zeroed again for
    the next: up to a fifth of a frame's time. And every thread may have a pool, in pieces of 64 MiB that hold
    a few frames each, with holes that frames freed by other threads leave and of which only the first pool's
    can all be given back: half as much memory again, after some segments. A thread that has a pool keeps it:
    this comes before the first. The most that was asked for counts. What the environment says,
    MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_ or MALLOC_ARENA_MAX, stays. Without glibc nothing is done.
    """
    global _kept_bytes  # noqa: PLW0603 - malloc is the process's, and so is what it was told
    with _lock:
        if kept_bytes <= _kept_bytes:
            return
        _kept_bytes = kept_bytes
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return
    if not {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, kept_bytes)
    if "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_ARENA_MAX, _ARENAS)


def _of_glibc(function: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), function, None) if sys.platform.startswith("linux") else None

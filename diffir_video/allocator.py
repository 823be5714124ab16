"""glibc's malloc, told what video is like: megabytes at a time, made in one thread and freed in another."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

# mallopt(3), from malloc.h: the parameter, its value, and what in the environment says otherwise.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_MMAP_THRESHOLD = 32 << 20
_KEPT_BYTES = 256 << 20
_ARENAS = 2


@cache
def prepare_allocator() -> None:
    """Have this process keep up to 256 MiB of what it frees, and allocate from two pools.

    By default memory as large as frames and features is given back to the system at once and zeroed again for
    the next: up to a fifth of a frame's time. And every thread may have a pool, each with holes that frames
    freed by other threads leave: half as much memory again, after some segments. What the environment says,
    MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_THRESHOLD_ or MALLOC_ARENA_MAX, stays. Without glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    if not {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    if "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_ARENA_MAX, _ARENAS)

"""Which options FFmpeg's inputs know: PyAV passes all on, and doesn't say which of them nobody took."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

# See libavutil/opt.h: what says how to read, and searching demuxers and protocols without opening any.
_FOR_READING = 2
_SEARCH_CHILDREN = 1 << 0
_SEARCH_KINDS = 1 << 1


def is_input_option(name: str) -> bool:
    """Whether some demuxer or protocol of PyAV's FFmpeg, or all of them, take an option of this name.

    True for every name where they can't be asked, because PyAV was built with FFmpeg inside its own modules.
    """
    known = _known()
    return known is None or known.has(name)


def similar_input_option(name: str) -> str | None:
    """What was probably meant by a name that is none, None where nothing is similar."""
    known = _known()
    if known is None:
        return None
    # Constants are listed with the options that they are values of.
    names = [each for each in dict.fromkeys(known.names()) if known.has(each)]
    return next(iter(get_close_matches(name, names, n=1, cutoff=0.75)), None)


class _Options:
    """AVOption's tables in FFmpeg's libraries, found by the functions that its own programs use."""

    def __init__(self, formats: ctypes.CDLL, util: ctypes.CDLL) -> None:
        self._util = util
        for function in (util.av_opt_find, util.av_opt_next, util.av_opt_child_class_iterate):
            function.restype = ctypes.c_void_p
        formats.avformat_get_class.restype = ctypes.c_void_p
        self._root = ctypes.c_void_p(formats.avformat_get_class())

    def has(self, name: str) -> bool:
        found = self._util.av_opt_find(
            ctypes.byref(self._root),
            ctypes.c_char_p(name.encode()),
            None,
            ctypes.c_int(_FOR_READING),
            ctypes.c_int(_SEARCH_CHILDREN | _SEARCH_KINDS),
        )
        return bool(found)

    def names(self) -> Iterator[str]:
        yield from self._names_below(self._root)

    def _names_below(self, kind: ctypes.c_void_p) -> Iterator[str]:
        option: Any = None
        while option := self._util.av_opt_next(ctypes.byref(kind), ctypes.c_void_p(option)):
            # Its first field is its name.
            yield (ctypes.c_char_p.from_address(option).value or b"").decode()
        position = ctypes.c_void_p()
        while child := self._util.av_opt_child_class_iterate(kind, ctypes.byref(position)):
            yield from self._names_below(ctypes.c_void_p(child))


@cache
def _known() -> _Options | None:
    try:
        return _Options(_loaded("libavformat"), _loaded("libavutil"))
    except (OSError, AttributeError):
        return None


def _loaded(library: str) -> ctypes.CDLL:
    """One of the libraries that PyAV has loaded; raises OSError where there is none by this name."""
    import_module("av")
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    for line in maps.splitlines():
        path = line.partition("/")[2]
        if path.rpartition("/")[2].startswith(library):
            return ctypes.CDLL(f"/{path}")
    raise OSError(f"{library} is not loaded by itself")

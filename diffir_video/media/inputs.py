"""What is read from: a path, or what stands in its place where there is no file."""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

from diffir_video.errors import MediaInputError

StrPath = str | os.PathLike[str]

# What a pipe holds: larger reads get no more, and cost more memory traffic.
_PIPE_BYTES = 1 << 16


class StandardInput(os.PathLike[str]):
    """In place of a file's path: what another program writes into this one, readable once.

    bytes_read: how much of it FFmpeg has taken so far.
    """

    def __init__(self) -> None:
        self.bytes_read = 0

    def open(self) -> CountedPipe:
        return CountedPipe(self)

    def __fspath__(self) -> str:
        return "standard input"

    def __str__(self) -> str:
        return "standard input"


class CountedPipe:
    """The file object through which FFmpeg reads standard input; it can't seek."""

    def __init__(self, source: StandardInput) -> None:
        self._source = source

    def read(self, size: int) -> bytes:
        try:
            data = os.read(sys.stdin.fileno(), min(size, _PIPE_BYTES))
        except OSError as exc:
            raise MediaInputError(f"can't read standard input: {exc.strerror}") from exc
        self._source.bytes_read += len(data)
        return data


class NetworkAddress(os.PathLike[str]):
    """In place of a file's path: an http:// or https:// address that may be read, and what it leads to.

    A playlist there may name further addresses, inner hosts among them, but no files. Printed without user
    name and password. Raises MediaInputError for any other address.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MediaInputError(
                f"{url!r} can't be read from the network; give an http:// or https:// address"
            )
        self._url = url
        self._shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()

    def __fspath__(self) -> str:
        return self._url

    def __str__(self) -> str:
        return self._shown


def input_size(path: StrPath) -> int:
    """Bytes of a file, or of standard input as far as it was read."""
    return path.bytes_read if isinstance(path, StandardInput) else os.path.getsize(path)

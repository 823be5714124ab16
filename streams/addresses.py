"""Addresses of streams: what kind each is, and how to speak of it without its secrets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)
# What was meant to be an address, but has no "://": rtmp:/server/live/key, rtmp//server/live/key, and
# user:password@camera.
_SLASHLESS = re.compile(
    r"((?:rtmp|rtsp|srt|http|whip|whep|udp|tcp|rtp)s?(?::/?(?!/)|//))(.*)", re.IGNORECASE | re.DOTALL
)
_SCHEMELESS = re.compile(r"([a-z][a-z0-9+.-]*:/?[^/].*@.*)", re.IGNORECASE | re.DOTALL)
_HIDDEN = "***"
# Shorter pieces would turn every log line into stars; they are hidden where the whole address is.
_SHORTEST_SECRET = 5
_PLAIN_WORDS = frozenset({"stream", "streams", "camera", "channel", "publish", "caller", "listener"})
_DELIMITER = re.compile(r"[/@:?&#,!]+")


@dataclass(frozen=True, slots=True)
class Address:
    """A stream's address. `text` is as given and may hold secrets; `str` and `repr` never show them."""

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.text:
            # Imported here because the command hides its arguments before it imports anything large.
            from diffir_video.errors import UsageError

            raise UsageError("an address is empty; give a URL, a file, or - for a pipe")

    def __str__(self) -> str:
        return self.redacted

    @property
    def scheme(self) -> str:
        """In lower case; "pipe" for -, "file" for a path."""
        if self.text == "-":
            return "pipe"
        match = _SCHEME.match(self.text)
        return match[1].lower() if match else "file"

    @property
    def suffix(self) -> str:
        """The ending of the path, in lower case, with its dot."""
        return Path(self.text.split("?")[0]).suffix.lower()

    @property
    def is_network(self) -> bool:
        return self.scheme not in ("pipe", "file")

    @property
    def path(self) -> Path:
        """The file that a "file" address names."""
        return Path(self.text.removeprefix("file://"))

    def is_same_place(self, other: Address) -> bool:
        """Whether what goes to one goes to the other."""
        if self.scheme == other.scheme == "file":
            return self.path.resolve() == other.path.resolve()
        return self.text == other.text

    @property
    def redacted(self) -> str:
        """Scheme, host and port; everything that may be a password, a key or a token is stars."""
        if not self._holds_secrets:
            return self.text
        beginning, address = self._split
        user, host, rest = _parts(address)
        shown = f"{beginning}{_HIDDEN + '@' if user else ''}{host}"
        return f"{shown}/{_HIDDEN}" if rest.strip("/") else shown

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every text that must not be shown, the longest first."""
        if not self._holds_secrets:
            return ()
        _, address = self._split
        user, _, rest = _parts(address)
        if not user and not rest.strip("/"):
            return ()
        wholes = {self.text, address, user, user.partition(":")[2], rest, rest.lstrip("/")}
        pieces = {piece.rpartition("=")[2] for whole in (user, rest) for piece in _DELIMITER.split(whole)}
        secrets = {text for text in wholes if len(text.strip("/")) >= _SHORTEST_SECRET}
        secrets |= {piece for piece in pieces if len(piece) >= _SHORTEST_SECRET and piece not in _PLAIN_WORDS}
        secrets |= {unquote(secret) for secret in secrets}
        return tuple(sorted(secrets, key=len, reverse=True))

    @property
    def _holds_secrets(self) -> bool:
        return self.is_network or self.is_mistyped

    @property
    def is_mistyped(self) -> bool:
        """Whether it would be a file's name, but must have been meant as an address."""
        is_one = _SLASHLESS.match(self.text) or _SCHEMELESS.match(self.text)
        return self.scheme == "file" and is_one is not None

    @property
    def _split(self) -> tuple[str, str]:
        """What says the scheme, as written, and what follows it."""
        if match := _SCHEME.match(self.text):
            return f"{match[1]}://", match[2]
        match = _SLASHLESS.match(self.text)
        return (match[1], match[2]) if match else ("", self.text)

    def hide_in(self, text: str) -> str:
        """`text` with every secret of this address replaced."""
        for secret in self.secrets:
            text = text.replace(secret, _HIDDEN)
        return text


def told_apart(addresses: Sequence[Address]) -> list[str]:
    """Each as it may be shown; those that look the same without their secrets are numbered, as in … (2)."""
    shown = [str(address) for address in addresses]
    names = list[str]()
    for index, name in enumerate(shown):
        earlier = shown[:index].count(name)
        names.append(f"{name} ({earlier + 1})" if earlier else name)
    return names


def _parts(rest: str) -> tuple[str, str, str]:
    """User and password, host and port, and what follows them.

    The last @ decides, because passwords are often written with a bare @ or / in them. Where an @
    belongs to the path instead, more is hidden than needed.
    """
    user, _, host_and_path = rest.rpartition("@")
    cut = re.search(r"[/?]", host_and_path)
    return (
        user,
        host_and_path[: cut.start()] if cut else host_and_path,
        host_and_path[cut.start() :] if cut else "",
    )

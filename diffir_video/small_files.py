"""What is written beside the work, at once: reports, figures, charts, weights."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from diffir_video.errors import OutputError

if TYPE_CHECKING:
    from PIL.Image import Image

StrPath = str | os.PathLike[str]


def is_same_file(a: StrPath, b: StrPath) -> bool:
    """Whether two names mean one file, through links too, or would once it is there."""
    try:
        return os.path.samefile(a, b)
    except OSError:
        return os.path.realpath(a) == os.path.realpath(b)


def check_place(path: StrPath) -> None:
    """Raise OutputError where no file of this name can be; touches nothing."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise OutputError(f"can't write {str(path)!r}: there is no folder {str(folder)!r}")
    if os.path.isdir(path):
        raise OutputError(f"can't write {str(path)!r}: it is a folder")


def check_picture_name(path: StrPath) -> None:
    """As `check_place`; also refuses an ending that no kind of picture has that can be written."""
    from PIL import Image

    check_place(path)
    _encoded(Image.new("RGB", (1, 1)), path)


def refuse_same_file(path: StrPath, others: Iterable[tuple[str, StrPath]]) -> None:
    """Raise OutputError where `path` is one of `others`; each comes after what it is, "the input" say."""
    for what, other in others:
        if is_same_file(path, other):
            raise OutputError(f"{str(path)!r} is {what}, which it would overwrite; choose another name")


def write_whole(path: StrPath, content: bytes) -> None:
    """Write a file that appears when it is whole, in the place of one of its name, a link's target.

    Raises OutputError where that fails; what was there before is there still.
    """
    # Neither a device nor a pipe can be replaced, nor what a shell has opened.
    is_open_elsewhere = Path(path).is_relative_to("/dev")
    try:
        if is_open_elsewhere or (os.path.exists(path) and not os.path.isfile(path)):
            Path(path).write_bytes(content)
        else:
            _replace(Path(os.path.realpath(path)), content)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise OutputError(f"can't write {str(path)!r}: {reason}") from exc


def write_picture(image: Image, path: StrPath) -> None:
    """Write PNG, or what else the ending says, as `write_whole` does; raises OutputError."""
    write_whole(path, _encoded(image, path))


def _replace(target: Path, content: bytes) -> None:
    # Of a length of its own: the target's name may be as long as names can be.
    part = target.with_name(f".diffir-{secrets.token_hex(8)}.part")
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _encoded(image: Image, path: StrPath) -> bytes:
    from PIL import Image as Pillow

    kind = Pillow.registered_extensions().get(Path(path).suffix.lower())
    data = io.BytesIO()
    try:
        image.save(data, format=kind or "none")
    except (OSError, ValueError, KeyError) as exc:
        raise OutputError(
            f"can't write the picture {str(path)!r}: no picture of this kind is written; use .png or .jpg"
        ) from exc
    return data.getvalue()

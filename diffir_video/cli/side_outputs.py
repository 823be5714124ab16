"""Files that a command writes beside its output, refused before any work where they can't be written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from diffir_video.small_files import StrPath, check_picture_name, check_place, refuse_same_file


def check_side_outputs(
    *,
    texts: Mapping[str, str | None] | None = None,
    pictures: Mapping[str, str | None] | None = None,
    others: Iterable[tuple[str, StrPath]],
) -> None:
    """Raise OutputError for a side output that can't be written, or would overwrite something.

    texts, pictures: option to file, None where it wasn't given. others: what no side output may be, each
    after what it is.
    """
    taken = list(others)
    for options, check in ((texts or {}, check_place), (pictures or {}, check_picture_name)):
        for option, path in options.items():
            if path is None:
                continue
            check(path)
            refuse_same_file(path, taken)
            taken.append((f"what {option} writes", path))


def model_files(models: Sequence[str]) -> list[tuple[str, StrPath]]:
    """Those of the models, among `others`, that are files."""
    return [("the model", model) for model in models if Path(model).is_file()]


def files_of(name: str) -> list[StrPath]:
    """What is read where a command is given this name: pictures, or a file."""
    from diffir_video.media import find_pictures

    return [*(find_pictures(name) or [name])]

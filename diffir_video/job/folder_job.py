"""`restore_folder`: every video of a folder, and of the folders in it, into the same tree elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffir_video.errors import DiffirVideoError, MediaInputError, OutputError
from diffir_video.job.report import FileReport, StrPath
from diffir_video.job.work_folder import WorkFolder
from diffir_video.media import CONTAINERS, VIDEO_SUFFIXES
from diffir_video.media.read_options import check_path
from diffir_video.small_files import is_same_file


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """What became of one file: a report, an error, or neither where the output was there already."""

    input: Path
    output: Path
    report: FileReport | None = None
    error: DiffirVideoError | None = None

    @property
    def exit_code(self) -> int:
        if self.error is not None:
            return self.error.exit_code
        return self.report.exit_code if self.report is not None else 0

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values, or what there is without one; with the exit code and the error."""
        known = {"input": str(self.input), "output": str(self.output)}
        return {
            **(known if self.report is None else self.report.to_dict()),
            "exit_code": self.exit_code,
            "error": None if self.error is None else str(self.error),
            "was_there_already": self.report is None and self.error is None,
        }

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.input}: FAILED: {self.error}"
        return f"{self.output}: was there already" if self.report is None else str(self.report)


def restore_folder(
    input: StrPath,
    output: StrPath,
    restore: Callable[[Path, Path], FileReport],
    *,
    overwrite: bool = False,
) -> Iterator[FolderEntry]:
    """Call `restore(file, its place in the output)` for every video, in order of their names.

    Finished outputs are passed by unless `overwrite`, so that the same call goes on where one ended. One
    file's failure doesn't stop the others. A name whose ending is no container of ours gets .mkv added.
    Raises what `folder_places` raises, before any work.
    """
    for video, place in folder_places(input, output).items():
        yield _entry(video, place, restore, overwrite=overwrite)


def folder_places(input: StrPath, output: StrPath) -> dict[Path, Path]:
    """Every video of a folder, in order of their names, and what it becomes in the output.

    Raises MediaInputError for a folder without videos; OutputError for an output that is a file or the folder
    itself, for two videos that would become one file, and for one that would become another.
    """
    check_path(input, "input")
    check_path(output, "output")
    source, target = Path(input), Path(output)
    if is_same_file(source, target):
        raise OutputError(f"output {str(target)!r} is the input; choose another folder")
    if target.exists() and not target.is_dir():
        raise OutputError(f"can't write into {str(target)!r}: it is a file; the input is a folder")
    videos = [path for path in sorted(source.rglob("*")) if _is_video(path, source)]
    if Path(os.path.realpath(source)) in Path(os.path.realpath(target)).parents:
        videos = _without_those_in(target, videos)
    if not videos:
        raise MediaInputError(f"no video in {str(source)!r}; expected {' '.join(sorted(VIDEO_SUFFIXES))}")
    places = {video: _place_of(video, source, target) for video in videos}
    _refuse_clashes(places)
    return places


def _place_of(video: Path, source: Path, target: Path) -> Path:
    place = target / video.relative_to(source)
    return place if place.suffix.lower() in CONTAINERS else place.with_name(f"{place.name}.mkv")


def _refuse_clashes(places: Mapping[Path, Path]) -> None:
    videos: dict[Path, Path] = {}
    for video, place in places.items():
        if other := videos.get(place):
            raise OutputError(
                f"{str(other)!r} and {str(video)!r} would both become {str(place)!r}; rename one of them"
            )
        videos[place] = video
    read = {os.path.realpath(video): video for video in places}
    for video, place in places.items():
        if other := read.get(os.path.realpath(place)):
            raise OutputError(
                f"{str(video)!r} would become {str(other)!r}, which is read too; choose another folder"
            )


def _entry(
    video: Path, place: Path, restore: Callable[[Path, Path], FileReport], *, overwrite: bool
) -> FolderEntry:
    if place.exists() and not overwrite and not WorkFolder.awaits_cleaning(place):
        return FolderEntry(video, place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return FolderEntry(video, place, report=restore(video, place))
    except DiffirVideoError as exc:
        return FolderEntry(video, place, error=exc)
    except OSError as exc:
        error = OutputError(f"can't write in {str(place.parent)!r}: {exc.strerror}")
        return FolderEntry(video, place, error=error)


def _is_video(path: Path, source: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not is_hidden


def _without_those_in(target: Path, videos: Sequence[Path]) -> list[Path]:
    """The videos that aren't results of the same call, whose output lies in its input, by whatever name."""
    ours = Path(os.path.realpath(target))
    return [video for video in videos if ours not in Path(os.path.realpath(video.parent), video.name).parents]

"""What commands show and write: why they failed, a progress bar, JSON, columns."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffir_video.small_files import write_whole

if TYPE_CHECKING:
    from diffir_video.run_report import Progress


def write_json(content: Mapping[str, Any], path: str) -> None:
    write_whole(path, f"{json.dumps(content, indent=2)}\n".encode())


def fail(program: str, message: str, code: int, *, debug: bool) -> int:
    """Say in one line on stderr why a command ends; debug: the trace of the error, before it."""
    if debug:
        traceback.print_exc()
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
    return code


def print_fields(fields: Mapping[str, object]) -> None:
    """A line for each field, the values in one column."""
    width = max(map(len, fields))
    for name, value in fields.items():
        print(f"{name:<{width}}  {value}")


@contextmanager
def notices() -> Generator[None]:
    """On a terminal, say what the engine does that takes its time before the first frame."""
    # Python has no stderr where it was closed.
    if sys.stderr is None or not sys.stderr.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        yield
        return
    engine, handler = logging.getLogger("diffir_video"), _ToStderr()
    level = engine.level
    engine.addHandler(handler)
    engine.setLevel(logging.INFO)
    try:
        yield
    finally:
        engine.removeHandler(handler)
        engine.setLevel(level)


class _ToStderr(logging.Handler):
    """Lines on what is stderr at the time: a progress bar takes its place, and prints them above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


@contextmanager
def progress_bar(name: str) -> Generator[Callable[[Progress], None] | None]:
    """A bar with fps and ETA on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} fps"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(Path(name).name), total=None, fps=0.0)

        def update(progress: Progress) -> None:
            bar.update(task, completed=progress.frames_done, total=progress.frames_total, fps=progress.fps)

        yield update

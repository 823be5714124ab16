"""What the evaluation's own commands share: where the data is, which clips, and how they end."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from diffir_video.errors import DiffirVideoError, UsageError
from training.evaluation.material import CLIPS, EvaluationClip


def tool_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Of ``python -m training.evaluation.<module>``, with `--data` and `--json`."""
    parser = argparse.ArgumentParser(prog=f"python -m training.evaluation.{module}", description=description)
    parser.add_argument("--data", type=Path, required=True, help="where the clips are or are fetched to")
    parser.add_argument("--json", type=Path, help="write every figure here")
    return parser


def add_clip_options(parser: argparse.ArgumentParser, *, frames: int) -> None:
    """`--clips` and `--frames`; frames: how many of each clip by default."""
    parser.add_argument("--clips", nargs="*", help="only these clips")
    parser.add_argument("--frames", type=int, default=frames, help="frames of each clip")


def chosen_clips(names: Sequence[str] | None) -> list[EvaluationClip]:
    """The evaluation's clips of these names; None for all. Raises UsageError for one that it hasn't."""
    known = {clip.name: clip for clip in CLIPS}
    for name in names or ():
        if name not in known:
            raise UsageError(f"no clip {name!r}: give --clips some of {', '.join(known)}")
    return [clip for clip in CLIPS if names is None or clip.name in names]


def exit_code_of(work: Callable[[], None]) -> int:
    """Do the work with its progress on stderr; an error of ours is one line there, and its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        work()
    except DiffirVideoError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0

"""`diffir-video convert`: a checkpoint rewritten."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from diffir_video.errors import OutputError, UsageError
from diffir_video.small_files import check_place, refuse_same_file


def add_convert(commands: Any, shared: argparse.ArgumentParser) -> None:
    convert = commands.add_parser(
        "convert", parents=[shared], help="rewrite a checkpoint (.pth, .safetensors)"
    )
    convert.add_argument("input", metavar="IN", help="a checkpoint, or a built-in model's name")
    convert.add_argument("output", metavar="OUT")
    convert.add_argument("--overwrite", action="store_true", help="replace an existing output")
    convert.set_defaults(command=_convert)


def _convert(arguments: argparse.Namespace) -> int:
    from diffir_video.checkpoint import load_checkpoint, read_notes, save_checkpoint
    from diffir_video.zoo import IDENTITY, find_weights

    if arguments.input == IDENTITY:
        raise UsageError(f"{IDENTITY} has no weights to convert; name another model or a checkpoint")
    weights = find_weights(arguments.input)
    check_place(arguments.output)
    refuse_same_file(arguments.output, [("the input", weights)])
    if os.path.lexists(arguments.output) and not arguments.overwrite:
        raise OutputError(f"output {arguments.output!r} exists; choose another name or use --overwrite")
    notes = read_notes(weights)
    save_checkpoint(load_checkpoint(weights), arguments.output, notes=notes)
    print(f"{arguments.output}: {os.path.getsize(arguments.output) / 1e6:.1f} MB")
    if notes and not arguments.output.endswith(".safetensors"):
        print(f"note: {arguments.output!r} has no place for {', '.join(sorted(notes))}", file=sys.stderr)
    return 0

"""`diffir-video convert`: a checkpoint rewritten."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from diffir_video.cli.printing import check_folder
from diffir_video.errors import OutputError


def add_convert(commands: Any, shared: argparse.ArgumentParser) -> None:
    convert = commands.add_parser(
        "convert", parents=[shared], help="rewrite a checkpoint (.pth, .safetensors)"
    )
    convert.add_argument("input", metavar="IN")
    convert.add_argument("output", metavar="OUT")
    convert.add_argument("--overwrite", action="store_true", help="replace an existing output")
    convert.set_defaults(command=_convert)


def _convert(arguments: argparse.Namespace) -> int:
    from diffir_video.checkpoint import load_checkpoint, save_checkpoint

    if Path(arguments.output).exists() and not arguments.overwrite:
        raise OutputError(f"output {arguments.output!r} exists; choose another name or use --overwrite")
    check_folder(arguments.output)
    save_checkpoint(load_checkpoint(arguments.input), arguments.output)
    print(f"{arguments.output}: {Path(arguments.output).stat().st_size / 1e6:.1f} MB")
    return 0

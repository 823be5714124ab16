"""`diffir-video compare`: files against their reference."""

from __future__ import annotations

import argparse
from typing import Any

from diffir_video.cli.printing import check_folder, write_json


def add_compare(commands: Any, shared: argparse.ArgumentParser) -> None:
    compare = commands.add_parser("compare", parents=[shared], help="measure files against a reference")
    compare.add_argument("reference", metavar="REFERENCE")
    compare.add_argument("a", metavar="A")
    compare.add_argument("b", metavar="B", nargs="?")
    compare.add_argument("--picture", metavar="FILE.png", help="write a before/after picture")
    compare.add_argument("--json", metavar="FILE", help="write the figures of every frame")
    compare.set_defaults(command=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from diffir_video.compare import compare_files

    for path in (arguments.picture, arguments.json):
        check_folder(path)
    comparison = compare_files(arguments.reference, arguments.a, arguments.b, picture=arguments.picture)
    print(comparison.format())
    if arguments.json is not None:
        write_json(comparison.to_dict(), arguments.json)
    return 0

"""`diffir-video compare`: files against their reference."""

from __future__ import annotations

import argparse
from typing import Any

from diffir_video.cli.printing import write_json
from diffir_video.cli.side_outputs import check_side_outputs, files_of


def add_compare(commands: Any, shared: argparse.ArgumentParser) -> None:
    compare = commands.add_parser("compare", parents=[shared], help="measure files against a reference")
    compare.add_argument("reference", metavar="REFERENCE")
    compare.add_argument("a", metavar="A")
    compare.add_argument("b", metavar="B", nargs="?")
    compare.add_argument("--picture", metavar="FILE.png", help="write a before/after picture")
    compare.add_argument("--json", metavar="FILE", help="write the figures of every frame")
    compare.add_argument(
        "--align",
        default="time",
        choices=("time", "start"),
        help="match frames of one time, or of one time after each file's first frame; default: %(default)s",
    )
    compare.set_defaults(command=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from diffir_video.compare import compare_files, draw_comparison

    files = [path for path in (arguments.reference, arguments.a, arguments.b) if path is not None]
    check_side_outputs(
        texts={"--json": arguments.json},
        pictures={"--picture": arguments.picture},
        others=[("compared", file) for path in files for file in files_of(path)],
    )
    comparison = compare_files(arguments.reference, arguments.a, arguments.b, align=arguments.align)
    print(comparison.format())
    if arguments.json is not None:
        write_json(comparison.to_dict(), arguments.json)
    if arguments.picture is not None:
        draw_comparison(comparison, arguments.picture)
    return 0

"""``diffir-train data``: fetch, prepare, check, show."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from training.data.packages import GROUPS

# argparse gives its sub-parsers no public type.
_Commands = Any


def add_data_commands(commands: _Commands, add_recipe_options: Any) -> None:
    """`add_recipe_options`: gives a command --config (or, with `many`, several), --with and --set."""
    data = commands.add_parser("data", help="material to train on").add_subparsers(
        required=True, metavar="COMMAND"
    )
    fetch = data.add_parser("fetch", help="download the documented photographs and clips")
    fetch.add_argument("--root", type=Path, required=True, metavar="DIR")
    fetch.add_argument("--only", action="append", choices=GROUPS, help="default: all")
    fetch.set_defaults(run=_run_fetch)

    prepare = data.add_parser("prepare", help="cut large pictures, or pairs of them, into crops")
    prepare.add_argument("--from", dest="source", type=Path, required=True, metavar="DIR")
    prepare.add_argument("--to", dest="target", type=Path, required=True, metavar="DIR")
    prepare.add_argument("--size", type=int, default=512, metavar="PIXELS", help="of a crop (512)")
    prepare.add_argument("--step", type=int, default=256, metavar="PIXELS", help="from crop to crop (256)")
    prepare.set_defaults(run=_run_prepare)

    check = data.add_parser("check", help="list what recipes train on; find evaluation material in it")
    add_recipe_options(check, many=True)
    check.add_argument(
        "--against",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="evaluation material, which must not be in training; may be repeated",
    )
    check.set_defaults(run=_run_check)

    show = data.add_parser("show", help="a contact sheet of a recipe's samples: LQ and ground truth")
    add_recipe_options(show)
    show.add_argument("--out", type=Path, required=True, metavar="FILE", help="picture to write")
    show.add_argument("--samples", type=int, default=16, metavar="N")
    show.set_defaults(run=_run_show)


def _run_fetch(args: argparse.Namespace) -> None:
    from training.data.fetch import fetch

    fetch(args.root, groups=tuple(args.only or GROUPS))


def _run_prepare(args: argparse.Namespace) -> None:
    from training.data.prepare import cut_into_crops

    done = cut_into_crops(args.source, args.target, size=args.size, step=args.step)
    print(f"{done.crops} crops of {done.pictures} pictures in {args.target}; {done.left_out} left out")


def _run_check(args: argparse.Namespace) -> None:
    from training.data.check import compare, describe_sources, require_held_out
    from training.recipe import load_config

    configs = [load_config(path, args.set, args.overlays) for path in args.config]
    for report in describe_sources(configs):
        source = report.source
        cuts = f", {report.cuts} cuts" if source.kind == "clips" else ""
        print(f"{source.root} ({source.kind}): {report.files} files, {report.frames} frames{cuts}")
    if args.against:
        compared = compare(configs, args.against)
        require_held_out(compared.resemblances)
        for path in compared.unseen:
            print(f"{path} can't be decoded or shows next to nothing: not compared")
        found = compared.resemblances
        nearest = f"; the closest is {found[0].ours}, {found[0].distance} of 256 bits away" if found else ""
        print(
            f"{len(found)} files show nothing of the evaluation material ({compared.evaluation_files} files)"
            f"{nearest}"
        )


def _run_show(args: argparse.Namespace) -> None:
    from training.data.show import write_contact_sheet
    from training.recipe import load_config

    config = load_config(args.config, args.set, args.overlays)
    print(f"{write_contact_sheet(config, args.out, args.samples)} samples in {args.out}")

"""``diffir-train``: thin; parses, calls the stages, prints."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from diffir_video.errors import DiffirVideoError
from training.config import load_config
from training.stage1 import train_stage1
from training.stage2 import train_stage2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code (0 done, 2 usage, 3 unreadable input, 4 output, 1 else)."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        args.run(args)
    except DiffirVideoError as exc:
        if args.debug:
            traceback.print_exc()
        print(f"diffir-train: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        print("diffir-train: interrupted; --resume continues from the last checkpoint", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="diffir-train", description="Train DiffIR, both stages.")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for stage, run, what in (
        ("stage1", _run_stage1, "CPEN and DIRformer, the prior from the ground truth"),
        ("stage2", _run_stage2, "the diffusion that finds the prior, then everything jointly"),
    ):
        command = commands.add_parser(stage, help=what)
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="recipe (YAML)")
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override a setting, e.g. max_steps=20 or data.train.0.root=DIR; may be repeated",
        )
        command.add_argument("--resume", action="store_true", help="continue the run in the output folder")
        command.set_defaults(run=run)
    data = commands.add_parser("data", help="material to train on").add_subparsers(required=True)
    fetch = data.add_parser("fetch", help="download the documented photographs and clips")
    fetch.add_argument("--root", type=Path, required=True, metavar="DIR")
    fetch.add_argument("--only", action="append", choices=("photos", "clips", "eval"), help="default: all")
    fetch.set_defaults(run=_run_fetch)
    return parser


def _run_stage1(args: argparse.Namespace) -> None:
    train_stage1(load_config(args.config, args.set), resume=args.resume)


def _run_stage2(args: argparse.Namespace) -> None:
    train_stage2(load_config(args.config, args.set), resume=args.resume)


def _run_fetch(args: argparse.Namespace) -> None:
    from training.data.fetch import fetch

    fetch(args.root, groups=tuple(args.only or ("photos", "clips", "eval")))


if __name__ == "__main__":
    sys.exit(main())

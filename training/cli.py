"""``diffir-train``: thin; parses, calls the stages, prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from diffir_video.cli.printing import fail
from diffir_video.errors import DiffirVideoError, OutputError
from training.data.commands import add_data_commands
from training.interruption import TerminatedError, stop_requests
from training.messages import print_messages

_PROGRAM = "diffir-train"

_STAGES = {
    "stage1": "CPEN and DIRformer, the prior from the ground truth",
    "stage2": "the diffusion that finds the prior, then everything jointly",
    "gan": "stage 2 goes on, against a discriminator",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, one of `errors` or of a signal (130, 143), 1 for any other."""
    args = _parser().parse_args(argv)
    print_messages("stdout")
    try:
        with stop_requests() as args.stop:
            args.run(args)
    except DiffirVideoError as exc:
        return fail(_PROGRAM, str(exc), exc.exit_code, debug=args.debug)
    except TerminatedError as exc:
        return fail(_PROGRAM, f"terminated{_told(exc)}", 143, debug=args.debug)
    except KeyboardInterrupt as exc:
        return fail(_PROGRAM, f"interrupted{_told(exc)}", 130, debug=args.debug)
    except Exception as exc:  # noqa: BLE001 - a command ends with a line and a code, never a trace
        reason = (str(exc).strip() or "no message").splitlines()
        # An error in another process arrives as its whole trace, the message last.
        line = reason[-1] if "Traceback" in str(exc) else reason[0]
        hint = "" if args.debug else " (run again with --debug for the trace)"
        return fail(_PROGRAM, f"{type(exc).__name__}: {line}{hint}", 1, debug=args.debug)
    return 0


def _told(interrupt: KeyboardInterrupt) -> str:
    return f"; {interrupt}" if str(interrupt) else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="diffir-train", description="Train DiffIR: stage 1, stage 2, GAN.")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for stage, what in _STAGES.items():
        command = commands.add_parser(stage, help=what)
        _add_recipe_options(command)
        command.add_argument("--resume", action="store_true", help="continue the run in the output folder")
        command.set_defaults(run=_run_stage, stage=stage)
    add_data_commands(commands, _add_recipe_options)
    _add_widen(commands.add_parser("widen", help="a checkpoint with more channels, to go on training from"))
    _add_evaluate(commands.add_parser("evaluate", help="a model on a folder of clips, pictures or pairs"))
    return parser


def _add_recipe_options(command: argparse.ArgumentParser, *, many: bool = False) -> None:
    what = {"nargs": "+", "help": "recipes (YAML)"} if many else {"help": "recipe (YAML)"}
    command.add_argument("--config", type=Path, required=True, metavar="FILE", **what)
    command.add_argument(
        "--with",
        dest="overlays",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="settings laid over the recipe, e.g. configs/train/small-cpu.yaml; may be repeated",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting, e.g. max_steps=20 or data.train.root=DIR; may be repeated",
    )


def _add_widen(command: argparse.ArgumentParser) -> None:
    command.add_argument("input", metavar="IN", help="built-in name or checkpoint, of stage 1 or 2")
    command.add_argument(
        "output", type=Path, metavar="OUT", help="the wider checkpoint (.safetensors or .pth)"
    )
    command.add_argument(
        "--factor", type=int, default=2, help="times as many channels (default: %(default)s)"
    )
    command.add_argument("--seed", type=int, default=0, help="of how copies share weights")
    command.add_argument("--overwrite", action="store_true", help="replace OUT")
    command.set_defaults(run=_run_widen)


def _run_widen(args: argparse.Namespace) -> None:
    from diffir_video.checkpoint import load_checkpoint, save_checkpoint
    from diffir_video.zoo import find_weights
    from training.widening import widen

    if args.output.exists() and not args.overwrite:
        raise OutputError(f"{args.output} exists; --overwrite replaces it")
    net = widen(load_checkpoint(find_weights(args.input)), args.factor, seed=args.seed)
    save_checkpoint(net, args.output)
    print(f"{args.output}: stage {net.stage}, dim {net.config.dim}")


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", required=True, help="built-in name or checkpoint")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="clips, pictures or pairs")
    command.add_argument("--stage1", help="checkpoint of its stage 1: prior error and ablations")
    command.add_argument(
        "--damage",
        action="append",
        default=[],
        metavar="WHAT",
        help="none, or sigma=N,crf=N,codec=x264|x265; may be repeated",
    )
    command.add_argument("--frames", type=int, default=30, help="of each clip, from its start")
    command.add_argument("--crop", type=int, metavar="PIXELS", help="border left out (default: as published)")
    command.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    command.add_argument("--plot", type=Path, metavar="FILE", help="draw the ablations here")
    command.set_defaults(run=_run_evaluate)


def _run_evaluate(args: argparse.Namespace) -> None:
    from training.evaluation.command import evaluate_folder

    report = evaluate_folder(
        args.model,
        args.data,
        stage1=args.stage1,
        damages=args.damage,
        frames=args.frames,
        crop=args.crop,
        json_file=args.json,
        plot=args.plot,
    )
    print(report)


def _run_stage(args: argparse.Namespace) -> None:
    from training.gan import train_gan
    from training.recipe import load_config
    from training.run_folder import how_to_go_on
    from training.stage1 import train_stage1
    from training.stage2 import train_stage2

    train = {"stage1": train_stage1, "stage2": train_stage2, "gan": train_gan}[args.stage]
    config = load_config(args.config, args.set, args.overlays)
    try:
        train(config, resume=args.resume, stop=args.stop)
    except KeyboardInterrupt as exc:
        raise type(exc)(how_to_go_on(config.output)) from exc


if __name__ == "__main__":
    sys.exit(main())

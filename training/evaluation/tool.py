"""What the evaluation's own commands share: where the data is, which clips and models, and how they end."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffir_video.errors import DiffirVideoError, UsageError
from diffir_video.frame import Clip
from diffir_video.metrics import mean_psnr, psnr_y
from diffir_video.network import DiffIR, DiffIRS1, DiffIRS2
from diffir_video.restorer import Restorer
from diffir_video.small_files import check_place
from training.evaluation.material import CLIPS, EvaluationClip, to_bytes, to_tensor
from training.evaluation.networks import load_network
from training.evaluation.report import write_if_asked
from training.evaluation.stages import shots_of
from training.messages import print_messages

_NOISE_SEED = 0


def tool_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Of ``python -m training.evaluation.<module>``, with `--data` and `--json`."""
    parser = argparse.ArgumentParser(prog=f"python -m training.evaluation.{module}", description=description)
    parser.add_argument("--data", type=Path, required=True, help="where the clips are or are fetched to")
    parser.add_argument("--json", type=Path, help="write every figure here")
    return parser


def add_models_option(parser: argparse.ArgumentParser) -> None:
    """`--model` for one or more, as `load_networks` takes them."""
    parser.add_argument(
        "--model",
        nargs="+",
        action="extend",
        required=True,
        help="built-in names or checkpoints, either stage",
    )


def load_networks(models: Sequence[str]) -> dict[str, DiffIR]:
    """Each by the name of its run's folder or of its file.

    Raises UnknownModelError, CheckpointError, and UsageError for two of one name and one that enlarges.
    """
    networks: dict[str, DiffIR] = {_name_of(m): load_network(m).eval() for m in models}
    if len(networks) != len(models):
        raise UsageError(f"two of the models have one name: {', '.join(map(_name_of, models))}")
    for name, net in networks.items():
        if net.config.scale > 1:
            raise UsageError(f"{name} enlarges {net.config.scale} times: expected a model that doesn't")
    return networks


def _name_of(model: str) -> str:
    """A run folder's name for a checkpoint in it."""
    path = Path(model)
    return path.parent.parent.name if path.parent.name == "checkpoints" else path.stem


def longest_shot(truth: NDArray[np.uint8]) -> tuple[int, int]:
    """(start, end) of the longest stretch without a cut, `end` exclusive; (T, H, W, 3) uint8."""
    return max(shots_of(to_tensor(truth)), key=lambda shot: shot[1] - shot[0])


def prior_of(net: DiffIR, window: Tensor, gt: Tensor) -> Tensor:
    """(1, prior_width): stage 1's of LQ and ground truth, stage 2's of LQ and the same noise each time."""
    if isinstance(net, DiffIRS1):
        return net.extract_prior(window, gt)
    assert isinstance(net, DiffIRS2)
    generator = torch.Generator().manual_seed(_NOISE_SEED)
    return net.estimate_prior(window, torch.randn(1, net.config.prior_width, generator=generator))


def add_clip_options(parser: argparse.ArgumentParser, *, frames: int) -> None:
    """`--clips` and `--frames`; frames: how many of each clip by default."""
    parser.add_argument("--clips", nargs="+", help="only these clips")
    parser.add_argument("--frames", type=int, default=frames, help="frames of each clip")


def chosen_clips(names: Sequence[str] | None) -> list[EvaluationClip]:
    """The evaluation's clips of these names; None for all. Raises UsageError for one that it hasn't."""
    known = {clip.name: clip for clip in CLIPS}
    for name in names or ():
        if name not in known:
            raise UsageError(f"no clip {name!r}: give --clips some of {', '.join(known)}")
    return [clip for clip in CLIPS if names is None or clip.name in names]


def compare_models(
    module: str,
    description: str | None,
    measure: Callable[[Sequence[str], Path, Sequence[EvaluationClip], int], tuple[str, Any]],
    argv: Sequence[str] | None,
    *,
    models: Sequence[str],
    frames: int,
) -> int:
    """Run a command that measures some models on some clips; returns its exit code.

    measure: given the models, the folder of data, the clips and how many frames of each, the tables as
    Markdown and all figures as JSON takes them. models, frames: those of the command by default.
    """
    parser = tool_parser(module, description)
    parser.add_argument("--models", nargs="+", default=list(models), help="built-in names or checkpoints")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    add_clip_options(parser, frames=frames)
    options = parser.parse_args(argv)

    def tell() -> None:
        clips = chosen_clips(options.clips)
        tables, figures = measure(options.models, options.data, clips, options.frames)
        print(tables)
        write_if_asked(options.json, json.dumps(figures, indent=1))
        write_if_asked(options.markdown, tables + "\n")

    return exit_code_of(tell, options.json, options.markdown)


def restored_bytes(restorer: Restorer, damaged: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8 frames of one clip, restored, as the file of 8 bits that they would become."""
    clip = Clip(to_tensor(damaged), tuple(range(len(damaged))), Fraction(1, 25))
    return to_bytes(restorer.restore(clip).data)


def clip_psnr_y(frames: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Mean PSNR-Y in dB over a clip's frames, (T, H, W, 3) uint8 both."""
    return mean_psnr(psnr_y(to_tensor(frames), to_tensor(truth)))


def exit_code_of(work: Callable[[], None], *outputs: Path | None) -> int:
    """Do the work with its progress on stderr; an error of ours is one line there, and its exit code.

    outputs: files that it ends with, None for one not asked for; where one can't be, no work is begun.
    """
    print_messages("stderr")
    try:
        for path in outputs:
            if path is not None:
                check_place(path)
        work()
    except DiffirVideoError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0

"""The options that choose a model and how it runs, and the restorer that they describe."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from diffir_video.cli.values import auto_off_or_count, auto_or_count
from diffir_video.errors import UsageError

if TYPE_CHECKING:
    from diffir_video.chain import Chain
    from diffir_video.prior import ReusePolicy
    from diffir_video.restorer import Restorer


PRECISIONS = ("auto", "fp32", "bf16", "fp16", "bf16x3", "int8")
REUSE_LEVELS = ("off", "prior", "statistics")
BACKENDS = ("auto", "eager", "compile", "tensorrt")


# What --device takes.
DEVICE, DEVICES = "auto|cpu|cuda|cuda:N", "auto|cpu|cuda|cuda:N[,cuda:N…]|all"


DEFAULT_MODEL = "denoise-nano"


def add_model_options(command: argparse.ArgumentParser, *, several: bool = False) -> None:
    """several: models one after the other, and devices beside each other."""
    command.add_argument(
        "--model",
        action="append",
        metavar="NAME|PATH",
        help=f"default: {DEFAULT_MODEL}"
        + ("; repeat it, and each restores what the one before it made" if several else ""),
    )
    command.add_argument(
        "--device",
        default="auto",
        metavar=DEVICES if several else DEVICE,
        help="default: %(default)s, the first GPU where there is one"
        + ("; several share the segments of a file" if several else ""),
    )


def add_restorer_options(command: argparse.ArgumentParser) -> None:
    """The model's options, and all others that `restorers_of` reads."""
    add_model_options(command, several=True)
    command.add_argument(
        "--precision",
        default="auto",
        choices=PRECISIONS,
        help="what the network multiplies. Default: %(default)s, bf16 on GPUs and CPUs that have it, "
        "fp16 on older GPUs, else fp32. int8 is faster still on CPUs with VNNI but no AMX",
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    _add_reuse_options(command)
    add_size_options(command)
    command.add_argument(
        "--backend",
        default="auto",
        choices=BACKENDS,
        help="what runs the network. Default: %(default)s, compile where this machine has what it needs",
    )


def add_size_options(command: argparse.ArgumentParser) -> None:
    inference = command.add_argument_group("how the network is run (see docs/performance.md)")
    inference.add_argument(
        "--tile",
        default="auto",
        type=auto_off_or_count,
        metavar="auto|off|N",
        help="what of a frame is worked on at a time: about N x N pixels, or all; no seam in any case. "
        "Default: %(default)s, what suits the cache or fits the memory",
    )
    inference.add_argument(
        "--batch",
        default="auto",
        type=auto_or_count,
        metavar="auto|N",
        help="frames of one prior that the network takes at once. Default: %(default)s, on a CPU as many as "
        "its cache may hold, on a GPU as many as fit",
    )


def restorers_of(arguments: argparse.Namespace, *, record_decisions: bool = False) -> list[Restorer | Chain]:
    """One for each device that is named, of all models."""
    from diffir_video.chain import in_turn
    from diffir_video.devices import devices_of
    from diffir_video.restorer import Restorer

    def restorer_of(model: str, device: str) -> Restorer:
        return Restorer.from_pretrained(
            model,
            device=device,
            precision=arguments.precision,
            seed=arguments.seed,
            reuse=_reuse_policy(arguments),
            refresh=arguments.refresh,
            tile=arguments.tile,
            batch=arguments.batch,
            backend=arguments.backend,
            record_decisions=record_decisions,
        )

    return [
        in_turn([restorer_of(model, device) for model in models_of(arguments)])
        for device in devices_of(arguments.device)
    ]


def models_of(arguments: argparse.Namespace) -> list[str]:
    """The models that are named, or the one that is taken where none is."""
    return arguments.model or [DEFAULT_MODEL]


def _add_reuse_options(command: argparse.ArgumentParser) -> None:
    reuse = command.add_argument_group("sharing priors between frames (see docs/reuse.md)")
    reuse.add_argument(
        "--reuse",
        choices=REUSE_LEVELS,
        help="one prior per frame; one until the next refresh; attention maps held with it. Default: off",
    )
    reuse.add_argument(
        "--refresh",
        default="auto",
        type=auto_or_count,
        metavar="auto|N",
        help="when the picture drifts, or every N frames; at cuts in any case. Default: %(default)s",
    )
    reuse.add_argument("--refresh-threshold", type=float, metavar="X", help="drift from which to refresh")
    reuse.add_argument("--max-prior-age", type=int, metavar="N", help="frames after which to refresh")
    reuse.add_argument(
        "--prior-smoothing",
        type=float,
        metavar="S",
        help="share of the prior before in each new one, 0 to below 1",
    )


def _reuse_policy(arguments: argparse.Namespace) -> ReusePolicy:
    from diffir_video.prior import ReusePolicy

    given = {
        "level": arguments.reuse,
        "refresh_threshold": arguments.refresh_threshold,
        "max_prior_age": arguments.max_prior_age,
        "prior_smoothing": arguments.prior_smoothing,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.refresh != "auto" and given.keys() & {"refresh_threshold", "max_prior_age"}:
        raise UsageError("--refresh N leaves no room for --refresh-threshold or --max-prior-age; drop either")
    policy = ReusePolicy(**given)
    unused = [name for name in given if name != "level"]
    if arguments.refresh != "auto":
        unused.append("refresh")
    if policy.level == "off" and unused:
        option = f"--{unused[0].replace('_', '-')}"
        raise UsageError(f"{option} is about a prior that frames share, and none do; add --reuse prior")
    return policy

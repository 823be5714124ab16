"""The options that choose an encoder."""

from __future__ import annotations

import argparse

from diffir_video.cli.values import key_and_value
from diffir_video.errors import UsageError

_DEFAULT_ENCODER = "libx264"


def add_encoder_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--encoder", help=f"FFmpeg's name; default: {_DEFAULT_ENCODER}")
    command.add_argument(
        "--encoder-option",
        action="append",
        default=[],
        type=key_and_value,
        metavar="k=v",
        help="an option of the encoder, such as crf=20; may be repeated",
    )


def add_preset_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--preset", choices=("archive", "web", "fast"), help="an encoder and its options")


def encoder_of(arguments: argparse.Namespace) -> tuple[str, dict[str, str]]:
    """The encoder and its options: the preset's, if there is one, under those given one by one."""
    from diffir_video.media import PRESETS

    given = dict(arguments.encoder_option)
    preset = getattr(arguments, "preset", None)
    if preset is None:
        return arguments.encoder or _DEFAULT_ENCODER, given
    encoder, options = PRESETS[preset]
    if arguments.encoder not in (None, encoder):
        raise UsageError(
            f"--preset {preset} uses {encoder}, not --encoder {arguments.encoder}; give one of them"
        )
    return encoder, {**options, **given}

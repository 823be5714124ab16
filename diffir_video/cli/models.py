"""`diffir-video models`: the built-in models."""

from __future__ import annotations

import argparse
from typing import Any


def add_models(commands: Any, shared: argparse.ArgumentParser) -> None:
    models = commands.add_parser("models", parents=[shared], help="list the built-in models")
    models.set_defaults(command=_models)


def _models(_: argparse.Namespace) -> int:
    from diffir_video.zoo import list_models

    cards = list_models()
    width = max((len(card.name) for card in cards), default=0)
    for card in cards:
        print(f"{card.name:<{width}}  {card.size_bytes / 1e6:5.1f} MB  {card.summary}")
    return 0

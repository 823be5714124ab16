"""Built-in weights: a ``.safetensors`` file each, and the model card that says how it was made."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from diffir_video.errors import CheckpointError, UnknownModelError

IDENTITY = "identity"

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A built-in model.

    summary: what it is for, one sentence: the first of its card. path: its weights. card: its description, in
    Markdown. Both are None for `identity`. size_bytes: of the weights.
    """

    name: str
    summary: str
    path: Path | None
    card: Path | None

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size if self.path else 0


def list_models() -> list[ModelCard]:
    """The built-in models, sorted by name, `identity` last."""
    found = [
        ModelCard(card.stem, _summary(card), _FOLDER / f"{card.stem}.safetensors", card)
        for card in sorted(_FOLDER.glob("*.md"))
    ]
    return [*found, ModelCard(IDENTITY, "No network: the frames pass through the same loop.", None, None)]


def find_weights(name_or_path: str | os.PathLike[str]) -> Path:
    """The checkpoint that a model name or a path means; a file of that name wins.

    Raises CheckpointError for a missing ``.pth`` or ``.safetensors`` path, UnknownModelError for other names.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix in (".pth", ".safetensors"):
        raise CheckpointError(f"no checkpoint at {path}")
    built_in = _FOLDER / f"{path}.safetensors"
    if path.name == str(path) and built_in.is_file():
        return built_in
    names = [model.name for model in list_models()]
    close = difflib.get_close_matches(str(path), names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise UnknownModelError(f"no model or file is called {str(path)!r}{hint} (built in: {', '.join(names)})")


def _summary(card: Path) -> str:
    """The first sentence under a card's heading, which may go over several lines."""
    paragraphs = card.read_text(encoding="utf-8").split("\n\n")
    first = next(" ".join(each.split()) for each in paragraphs if each.strip() and not each.startswith("#"))
    sentence, end, _ = first.partition(". ")
    return sentence + end.strip()

"""Recipes: YAML, other files laid over it and overrides, made into a `TrainConfig`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from diffir_video.errors import UsageError
from training.config import STEP_COUNTS, SourceConfig, TrainConfig
from training.data.suffixes import CLIP_SUFFIXES, PHOTO_SUFFIXES
from training.settings import assign, build, merge, parse_yaml, read_yaml

_log = logging.getLogger(__name__)


def load_config(path: Path, overrides: Sequence[str] = (), overlays: Sequence[Path] = ()) -> TrainConfig:
    """Read a recipe, lay other files over it and apply ``key.path=value`` overrides.

    Values are YAML; list items go by index. ``data.train.root=DIR`` takes one folder in the place of the
    recipe's material; patch_size or batch_size in the place of growing ones; ``shorten: N`` divides all that
    counts steps. Relative paths count from the working directory; `model` may name a YAML file, relative to
    the recipe. Raises UsageError on a missing file, an unknown key or a value of the wrong type.
    """
    values = read_yaml(path)
    _read_model(values, path.parent)
    for overlay in overlays:
        merge(values, read_yaml(overlay))
        _read_model(values, path.parent)
        if "shorten" in values:
            _shorten(values, values.pop("shorten"))
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise UsageError(f"--set {override!r}: expected key=value")
        _override(values, key, parse_yaml(value, f"--set {override!r}: the value"), override)
        _read_model(values, path.parent)
    config = build(TrainConfig, values, "")
    assert isinstance(config, TrainConfig)
    return config


def _read_model(values: dict[str, Any], folder: Path) -> None:
    if isinstance(values.get("model"), str):
        values["model"] = read_yaml(folder / values["model"])


def _override(values: dict[str, Any], key: str, value: Any, override: str) -> None:
    if key == "data.train.root":
        values["data"] |= _material_of(Path(str(value)), values)
        return
    if key == "shorten":
        _shorten(values, value)
        return
    if key in ("patch_size", "batch_size"):
        values["phases"] = []
    assign(values, key.split("."), value, override)


def _shorten(values: dict[str, Any], factor: Any) -> None:
    """Divide whatever counts steps, so that a shorter run goes through the same phases."""
    if not isinstance(factor, int) or factor < 1:
        raise UsageError(f"shorten = {factor!r}: expected a whole number above 0")
    if not values.get("phases"):
        # The steps of a recipe that names none are shortened too.
        values.setdefault("max_steps", TrainConfig.max_steps)
    for name in STEP_COUNTS:
        _divide(values, name, factor)
    phases = values.get("phases")
    for phase in cast(list[Any], phases) if isinstance(phases, list) else []:
        _divide(phase, "steps", factor)


def _divide(settings: Any, name: str, factor: int) -> None:
    """What is no count is left as it is, for `build` to refuse."""
    count = cast(dict[str, Any], settings).get(name) if isinstance(settings, dict) else None
    if isinstance(count, int) and count > 0:
        settings[name] = max(1, count // factor)


def _material_of(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """All clips and pictures of one folder, each source in the way the recipe takes its kind."""
    data = values.get("data")
    if not isinstance(data, dict):
        raise UsageError(f"data = {data!r}: expected a mapping of settings")
    sources = cast(dict[str, Any], data).get("train")
    build(tuple[SourceConfig, ...], sources, "data.train")
    sources = cast(list[dict[str, Any]], sources)
    found: dict[str, dict[str, Any]] = {}
    for source in sources:
        kind = source["kind"]
        suffixes = CLIP_SUFFIXES if kind == "clips" else PHOTO_SUFFIXES
        if kind not in found and any(p.suffix.lower() in suffixes for p in folder.rglob("*")):
            plain = {k: v for k, v in source.items() if k not in ("only", "exclude", "shrink")}
            found[kind] = {**plain, "root": str(folder), "shrink": 1}
    if not found:
        kinds = sorted({source["kind"] for source in sources})
        raise UsageError(f"data.train.root = {folder}: no such folder, or it holds no {' or '.join(kinds)}")
    _log.info("training on %s alone; without validation, unless data.validation is set after it", folder)
    return {"train": list(found.values()), "validation": []}

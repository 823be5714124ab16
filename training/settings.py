"""Settings from YAML into dataclasses: strict, and every error names the setting and its value."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import yaml

from diffir_video.errors import UsageError


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping of settings in a file; raises UsageError if there is none."""
    try:
        text = path.read_text()
    except OSError as exc:
        raise UsageError(f"can't read the configuration {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path} is no YAML, and no text: {exc}") from exc
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no mapping of settings")
    return cast(dict[str, Any], values)


def parse_yaml(text: str, what: str) -> Any:
    """Any value in YAML; raises UsageError that begins with `what` if it is none."""
    try:
        return yaml.safe_load(text)
    # A date that is none is a ValueError.
    except (yaml.YAMLError, ValueError) as exc:
        raise UsageError(f"{what} is no YAML: {exc}") from exc


def merge(values: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    """Lay `overlay` over `values`, in place: mappings are merged key by key, anything else is replaced."""
    for key, value in overlay.items():
        below = values.get(key)
        if isinstance(value, Mapping) and isinstance(below, dict):
            merge(cast(dict[str, Any], below), cast(Mapping[str, Any], value))
        else:
            values[key] = value


def assign(values: Any, keys: list[str], value: Any, override: str) -> None:
    """Set what `keys` lead to, through mappings and lists (by index), in place.

    Raises UsageError that shows `override`, what the user wrote, where they lead nowhere.
    """
    *parents, last = keys
    for key in parents:
        if isinstance(values, list):
            values = _item(cast(list[Any], values), key, override)
        elif isinstance(values, dict):
            values = cast(dict[str, Any], values).setdefault(key, {})
    if isinstance(values, list):
        items = cast(list[Any], values)
        _item(items, last, override)
        items[int(last)] = value
    elif isinstance(values, dict):
        values[last] = value
    else:
        raise UsageError(f"--set {override!r}: {'.'.join(parents)} holds no settings")


def _item(items: list[Any], key: str, override: str) -> Any:
    if not key.isdigit() or int(key) >= len(items):
        raise UsageError(f"--set {override!r}: {key} is no index of a list of {len(items)}")
    return items[int(key)]


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raise UsageError that names a setting, its value and what was expected, unless the condition holds."""
    if not condition:
        raise UsageError(f"{name} = {value!r}: expected {expected}")


def require_range(name: str, ends: tuple[float, float], *, lowest: float) -> None:
    """Raise UsageError unless the ends are in order and none is below `lowest`."""
    require(lowest <= ends[0] <= ends[1], name, list(ends), f"a range from low to high, from {lowest:g} on")


def require_odds(where: str, odds: Mapping[str, float]) -> None:
    """Raise UsageError unless no relative odds are negative and some are above 0."""
    require(
        all(value >= 0 for value in odds.values()) and any(odds.values()),
        f"{where}: {', '.join(odds)}",
        list(odds.values()),
        "none below 0, one or more above",
    )


def require_shares(where: str, shares: Mapping[str, float]) -> None:
    """Raise UsageError for a share that is not 0 to 1."""
    for name, share in shares.items():
        require(0 <= share <= 1, f"{where}, {name}", share, "a share, 0 to 1")


def build(kind: Any, values: Any, where: str) -> Any:
    """Turn plain YAML values into the dataclass, tuple, path or scalar that `kind` asks for."""
    if is_dataclass(kind):
        return _build_dataclass(cast(type[Any], kind), values, where)
    origin = get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        if values is None and type(None) in get_args(kind):
            return None
        return build(next(a for a in get_args(kind) if a is not type(None)), values, where)
    if origin is Literal:
        return _checked(values in get_args(kind), values, where, f"one of {get_args(kind)}")
    if origin is tuple:
        args = get_args(kind)
        _checked(isinstance(values, list), values, where, "a list")
        if args[-1] is Ellipsis:
            return tuple(build(args[0], v, f"{where}.{i}") for i, v in enumerate(values))
        _checked(len(values) == len(args), values, where, f"{len(args)} values")
        return tuple(build(a, v, f"{where}.{i}") for i, (a, v) in enumerate(zip(args, values, strict=True)))
    if kind is Path:
        return Path(_checked(isinstance(values, str), values, where, "a path")).expanduser()
    if kind is float:
        # YAML 1.1 reads 2e-4 as a string.
        try:
            number = float(_checked(not isinstance(values, bool), values, where, "a number"))
        except (TypeError, ValueError, OverflowError) as exc:
            raise UsageError(f"{where} = {values!r}: expected a number") from exc
        _checked(math.isfinite(number), values, where, "a finite number")
        return number
    is_bool_for_int = kind is int and isinstance(values, bool)
    return _checked(isinstance(values, kind) and not is_bool_for_int, values, where, kind.__name__)


def _build_dataclass(kind: type[Any], values: Any, where: str) -> Any:
    _checked(isinstance(values, Mapping), values, where or "the recipe", "a mapping of settings")
    hints = get_type_hints(kind)
    unknown = sorted(str(name) for name in set(values) - set(hints))
    if unknown:
        place = f" in {where}" if where else ""
        raise UsageError(f"unknown settings {unknown}{place}; known are {sorted(hints)}")
    missing = [
        f.name
        for f in fields(kind)
        if f.name not in values and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise UsageError(f"missing settings {missing}{f' in {where}' if where else ''}")
    prefix = f"{where}." if where else ""
    return kind(**{name: build(hints[name], value, prefix + name) for name, value in values.items()})


def _checked(condition: bool, values: Any, where: str, expected: str) -> Any:
    if not condition:
        raise UsageError(f"{where} = {values!r}: expected {expected}")
    return values

"""Settings from YAML as the types they are declared with: strict, and every error names the setting."""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from diffir_video.errors import UsageError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_UNITS = {"ms": Fraction(1, 1000), "s": 1, "m": 60, "h": 3600}

SettingsT = TypeVar("SettingsT")


def seconds(text: str | float | None) -> float | None:
    """300ms, 1.5s, 2m, or a number of seconds; "off", False and None for no limit.

    YAML reads a bare off as False. Raises UsageError on anything else.
    """
    if text is None or text is False or text == "off":
        return None
    match = None if text is True else _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise UsageError(f"{text!r} is no duration; write 300ms, 1.5s or off")
    return float(Fraction(match[1]) * _UNITS[match[2] or "s"])


def from_mapping(kind: type[SettingsT], values: Any, where: str) -> SettingsT:
    """A dataclass from a mapping of its fields; its defaults for None.

    where: begins what an error says. Raises UsageError for unknown fields and values that are none of
    what a field takes.
    """
    if values is None:
        return kind()
    hints = get_type_hints(kind)
    settings = checked_keys(values, {entry.name for entry in fields(cast(Any, kind))}, where)
    return kind(**{key: value_of(hints[key], value, f"{where}: {key}") for key, value in settings.items()})


def check_positive(settings: object, *names: str) -> None:
    """Raise UsageError for the first of these settings that is zero or less; None is no limit."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise UsageError(f"{name} must be more than 0, got {value:g}")


def checked_keys(values: Any, known: set[str], where: str) -> dict[str, Any]:
    """`values` as the mapping that it has to be, with none but `known` keys; raises UsageError otherwise."""
    if not isinstance(values, dict):
        raise UsageError(f"{where}: expected settings, got {_shown(values)}")
    unknown = sorted(str(key) for key in cast(dict[Any, Any], values) if key not in known)
    if unknown:
        raise UsageError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return cast(dict[str, Any], values)


def value_of(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`; raises UsageError, which begins with `where`, if it is none.

    Numbers may be written as text, as they come from the environment; times (`where` ends in "_seconds")
    also as 300ms. Off, which YAML reads as False, is "off" where that is allowed.
    """
    origin, allowed = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _optional(allowed, value, where)
    if origin is Literal:
        chosen = "off" if value is False and "off" in allowed else value
        return _checked(isinstance(chosen, str) and chosen in allowed, chosen, where, " or ".join(allowed))
    if origin is tuple:
        return tuple(_options(value, where).items())
    if origin is not None:
        return _options(value, where)
    if hint is float and where.endswith("_seconds"):
        return _time(value, where)
    if hint in (int, float):
        return _number(hint, value, where)
    expected = "true or false" if hint is bool else "text, in quotes where it looks like something else"
    return _checked(isinstance(value, hint), value, where, expected)


def _optional(allowed: tuple[Any, ...], value: Any, where: str) -> Any:
    (hint,) = (each for each in allowed if each is not types.NoneType)
    is_time = hint is float and where.endswith("_seconds")
    if value is None or (is_time and (value is False or value == "off")):
        return None
    return value_of(hint, value, where)


def _time(value: Any, where: str) -> float:
    try:
        time = seconds(value)
    except UsageError:
        time = None
    return _checked(time is not None, time if time is not None else value, where, "a time, as 300ms or 1.5s")


def _number(kind: type[int] | type[float], value: Any, where: str) -> Any:
    expected = "a whole number" if kind is int else "a number"
    _checked(isinstance(value, int | float | str) and not isinstance(value, bool), value, where, expected)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    is_one = math.isfinite(number) and (kind is float or number.is_integer())
    return kind(_checked(is_one, number if is_one else value, where, expected))


def _options(value: Any, where: str) -> dict[str, str]:
    """FFmpeg's options, of which all values are text; true and false are 1 and 0 there."""
    _checked(isinstance(value, Mapping), value, where, "options, as {name: value}")
    options: dict[str, str] = {}
    for key, each in cast(Mapping[Any, Any], value).items():
        _checked(isinstance(each, str | int | float), each, f"{where}: {key}", "text or a number")
        options[str(key)] = str(int(each)) if isinstance(each, bool) else str(each)
    return options


def _checked(is_right: bool, value: Any, where: str, expected: str) -> Any:
    if not is_right:
        raise UsageError(f"{where}: expected {expected}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """A value as an error may show it: lists and mappings may hold addresses with their secrets."""
    match value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return repr(value)

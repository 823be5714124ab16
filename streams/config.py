"""`LiveConfig`: everything a live filter can be told, and the YAML file it can be read from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from diffir_video.errors import InputError, UsageError
from diffir_video.prior import ReuseLevel
from diffir_video.restorer import Device, Precision
from streams.default_model import DEFAULT_MODEL
from streams.governor import GovernorConfig
from streams.sinks import SinkConfig
from streams.sources import SourceConfig

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_UNITS = {"ms": Fraction(1, 1000), "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConfig:
    """How a `LiveFilter` behaves. throttle: makes the model this many times slower, for trials."""

    source: SourceConfig = field(default_factory=SourceConfig)
    sink: SinkConfig = field(default_factory=SinkConfig)
    governor: GovernorConfig = field(default_factory=GovernorConfig)
    throttle: float = 1.0

    def __post_init__(self) -> None:
        if self.throttle < 1:
            raise UsageError(f"throttle makes the model slower, so it is 1 or more, got {self.throttle:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the command `diffir-stream` runs: the ends, the model, the page, and a `LiveConfig`.

    reuse: what frames share at full quality. The default costs next to nothing of it, and no frame waits
    for a prior of its own.
    http: HOST:PORT of the page and the metrics, None for neither. http_token: asked of visitors from
    elsewhere; needed where `http` is not a loopback address.
    """

    source: str
    sinks: tuple[str, ...]
    model: str = DEFAULT_MODEL
    device: Device = "auto"
    precision: Precision = "auto"
    reuse: ReuseLevel = "prior"
    http: str | None = None
    http_token: str | None = field(default=None, repr=False)
    live: LiveConfig = field(default_factory=LiveConfig)


def read_service(path: str | os.PathLike[str], environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The settings of a YAML file, as keyword arguments of `Service`; ${NAME} is taken from the environment.

    Raises InputError for a file that can't be read, UsageError for unknown keys, wrong values and
    variables that are not set.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        raise InputError(f"can't read {str(path)!r}: {exc.strerror}") from exc
    except yaml.YAMLError as exc:
        # The parser's own text quotes the file, which may hold secrets.
        where = getattr(exc, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise UsageError(f"{str(path)!r} is no YAML{line}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{str(path)!r} holds no settings; expected keys such as source, sinks, model")
    return _service_settings(_expanded(content, environment), str(path))


def _service_settings(content: dict[str, Any], path: str) -> dict[str, Any]:
    known = {"source", "sinks", "model", "device", "precision", "reuse", "http", "http_token"}
    own = {"latency", "throttle", "input", "output", "governor"}
    _reject_unknown(content, known | own, path)
    settings = {key: content[key] for key in known if key in content}
    if "sinks" in settings:
        sinks = settings["sinks"]
        settings["sinks"] = (sinks,) if isinstance(sinks, str) else tuple(sinks)
    governor = _from_mapping(GovernorConfig, content.get("governor"), f"{path}: governor")
    if "latency" in content:
        governor = replace(governor, latency_seconds=seconds(content["latency"]))
    settings["live"] = LiveConfig(
        source=_from_mapping(SourceConfig, content.get("input"), f"{path}: input"),
        sink=_from_mapping(SinkConfig, content.get("output"), f"{path}: output"),
        governor=governor,
        throttle=float(content.get("throttle", 1.0)),
    )
    return settings


def seconds(text: str | float | None) -> float | None:
    """300ms, 1.5s, 2m, or a number of seconds; "off" and None for no limit. Raises UsageError otherwise."""
    if text is None or text == "off":
        return None
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise UsageError(f"{text!r} is no duration; write 300ms, 1.5s or off")
    return float(Fraction(match[1]) * _UNITS[match[2] or "s"])


ConfigT = TypeVar("ConfigT", SourceConfig, SinkConfig, GovernorConfig)


def _from_mapping(kind: type[ConfigT], values: Any, where: str) -> ConfigT:
    if values is None:
        return kind()
    if not isinstance(values, dict):
        raise UsageError(f"{where}: expected settings, got {values!r}")
    settings = cast(dict[str, Any], values)
    _reject_unknown(settings, {entry.name for entry in fields(kind)}, where)
    if isinstance(settings.get("options"), dict):
        options = cast(dict[str, Any], settings["options"])
        settings["options"] = tuple((key, str(value)) for key, value in options.items())
    if "encoder_options" in settings:
        options = cast(dict[str, Any], settings["encoder_options"])
        settings["encoder_options"] = {key: str(value) for key, value in options.items()}
    timed = {key: seconds(value) for key, value in settings.items() if key.endswith("_seconds")}
    complete: dict[str, Any] = settings | timed
    return kind(**complete)


def _reject_unknown(settings: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(settings) - known)
    if unknown:
        raise UsageError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _expanded(value: Any, environment: Mapping[str, str]) -> Any:
    match value:
        case str():
            return _VARIABLE.sub(lambda match: _variable(match[1], environment), value)
        case dict():
            items = cast(dict[str, Any], value).items()
            return {key: _expanded(item, environment) for key, item in items}
        case list():
            return [_expanded(item, environment) for item in cast(list[Any], value)]
        case _:
            return value


def _variable(name: str, environment: Mapping[str, str]) -> str:
    if name not in environment:
        raise UsageError(f"the environment variable {name} is not set")
    return environment[name]

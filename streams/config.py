"""`LiveConfig`: everything a live filter can be told, and the YAML file it can be read from."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_type_hints

import yaml

from diffir_video.devices import Device, check_device_name
from diffir_video.errors import InputError, UsageError
from diffir_video.precision import Precision
from diffir_video.prior import ReuseLevel
from streams.connecting import SourceConfig
from streams.default_model import DEFAULT_MODEL
from streams.governor import GovernorConfig
from streams.publisher import SinkConfig
from streams.settings import checked_keys, from_mapping, seconds, value_of

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConfig:
    """How a `LiveFilter` behaves. throttle: makes the model this many times slower, for trials."""

    source: SourceConfig = field(default_factory=SourceConfig)
    sink: SinkConfig = field(default_factory=SinkConfig)
    governor: GovernorConfig = field(default_factory=GovernorConfig)
    throttle: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.throttle < math.inf:
            raise UsageError(f"throttle makes the model slower, so it is 1 or more, got {self.throttle:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the command `diffir-stream` runs: the ends, the model, the page, and a `LiveConfig`.

    model: names or paths; each restores what the one before it made. reuse: what frames share at full
    quality. The default costs next to nothing of it, and no frame waits for a prior of its own.
    http: HOST:PORT of the page and the metrics, None for neither. http_token: asked of visitors from
    elsewhere; needed where `http` is not a loopback address.
    """

    source: str
    sinks: tuple[str, ...]
    model: tuple[str, ...] = (DEFAULT_MODEL,)
    device: Device = "auto"
    precision: Precision = "auto"
    reuse: ReuseLevel = "prior"
    http: str | None = None
    http_token: str | None = field(default=None, repr=False)
    live: LiveConfig = field(default_factory=LiveConfig)

    def __post_init__(self) -> None:
        if isinstance(self.model, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"model {self.model!r}: expected a tuple of names or paths, as ({self.model!r},)"
            )


def read_service(path: str | os.PathLike[str], environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The settings of a YAML file, as keyword arguments of `Service`; ${NAME} is taken from the environment.

    Raises InputError for a file that can't be read, UsageError for unknown keys, wrong values and
    variables that are not set.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        raise InputError(f"can't read {str(path)!r}: {exc.strerror}") from exc
    except UnicodeDecodeError:
        raise UsageError(f"{str(path)!r} is no text in UTF-8") from None
    except (yaml.YAMLError, ValueError) as exc:
        # A date that is none is a ValueError. The parser's own text quotes the file, which may hold secrets.
        where = getattr(exc, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise UsageError(f"{str(path)!r} is no YAML{line}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{str(path)!r} holds no settings; expected keys such as source, sinks, model")
    return _service_settings(_expanded(content, environment), str(path))


def _service_settings(content: dict[str, Any], path: str) -> dict[str, Any]:
    hints = get_type_hints(Service)
    own = {"latency", "throttle", "input", "output", "governor"}
    checked_keys(content, own | hints.keys() - {"live"}, path)
    settings = {
        key: value_of(hints[key], content[key], f"{path}: {key}")
        for key in hints.keys() - {"sinks", "model", "live", "http_token"}
        if key in content
    }
    if "device" in settings:
        check_device_name(settings["device"])
    if "sinks" in content:
        settings["sinks"] = _sinks(content["sinks"], f"{path}: sinks")
    if "model" in content:
        settings["model"] = _models(content["model"], f"{path}: model")
    if "http_token" in content:
        settings["http_token"] = _token(content["http_token"], f"{path}: http_token")
    governor = from_mapping(GovernorConfig, content.get("governor"), f"{path}: governor")
    if "latency" in content:
        governor = replace(governor, latency_seconds=_latency(content["latency"], f"{path}: latency"))
    settings["live"] = LiveConfig(
        source=from_mapping(SourceConfig, content.get("input"), f"{path}: input"),
        sink=from_mapping(SinkConfig, content.get("output"), f"{path}: output"),
        governor=governor,
        throttle=value_of(float, content.get("throttle", 1.0), f"{path}: throttle"),
    )
    return settings


def _sinks(value: Any, where: str) -> tuple[str, ...]:
    sinks = [value] if isinstance(value, str) else value
    if not isinstance(sinks, list) or not all(isinstance(sink, str) for sink in cast(list[Any], sinks)):
        # Not shown: there may be keys in it.
        raise UsageError(f"{where}: expected an address or a list of addresses")
    return tuple(cast(list[str], sinks))


def _models(value: Any, where: str) -> tuple[str, ...]:
    models = cast(list[Any], value) if isinstance(value, list) else [value]
    if not models:
        raise UsageError(f"{where}: expected a name or path, or a list of them")
    return tuple(value_of(str, model, where) for model in models)


def _token(value: Any, where: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{where}: expected text; put what looks like a number in quotes")
    return value


def _latency(value: Any, where: str) -> float | None:
    try:
        return seconds(value)
    except UsageError as exc:
        raise UsageError(f"{where}: {exc}") from None


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

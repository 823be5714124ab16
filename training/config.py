"""`TrainConfig`: one recipe, read from YAML and checked before anything starts."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from diffir_video.errors import UsageError
from diffir_video.network import ModelConfig


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One folder of ground truth.

    root: folder, read recursively. kind: "clips" are videos, "photos" are pictures that a pan sets in motion.
    weight: how often a sample comes from here, relative to the other sources. shrink: area-average by this
    factor first, so that the compression of the source itself disappears. max_frames: of each clip.
    exclude: name stems that are never read (kept for validation, say). only: read nothing but these stems.
    """

    root: Path
    kind: Literal["clips", "photos"]
    weight: float = 1.0
    shrink: int = 2
    max_frames: int = 400
    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Camera-like noise, drawn per sequence.

    sigma: range of the standard deviation at mid grey, in code values of 255. skew: of its draw,
    low + (high - low) · u**skew with u uniform; above 1 favours weak noise. poisson: share of sequences whose
    variance grows with the signal. clean: share without any noise.
    """

    sigma: tuple[float, float] = (2.0, 50.0)
    skew: float = 1.0
    poisson: float = 0.3
    clean: float = 0.05


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Compression after the noise, drawn per sequence.

    share: of sequences that are compressed. x264, x265, mpeg2, jpeg: relative odds.
    x264_crf, x265_crf: constant rate factors. mpeg2_qscale, jpeg_qscale: quantiser scales.
    """

    share: float = 0.5
    x264: float = 0.75
    x265: float = 0.05
    mpeg2: float = 0.1
    jpeg: float = 0.1
    x264_crf: tuple[int, int] = (18, 36)
    x265_crf: tuple[int, int] = (18, 36)
    mpeg2_qscale: tuple[int, int] = (2, 16)
    jpeg_qscale: tuple[int, int] = (2, 16)


@dataclass(frozen=True, kw_only=True)
class DownscaleConfig:
    """How the LQ of a model of scale 2 or 4 is made, before noise and codec.

    area, bilinear, bicubic, lanczos: relative odds of the kernel, drawn per sequence; none aliases.
    """

    area: float = 0.2
    bilinear: float = 0.1
    bicubic: float = 0.4
    lanczos: float = 0.3


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where samples come from and what is done to them.

    cache: folder for decoded, shrunk frames, made once. sequence_frames: frames degraded together.
    windows_per_sequence: training samples cut from each. workers: loader processes. downscale: for models
    of scale 2 and 4.
    """

    train: tuple[SourceConfig, ...]
    validation: tuple[SourceConfig, ...] = ()
    cache: Path = Path("runs/cache")
    noise: NoiseConfig = NoiseConfig()
    codec: CodecConfig = CodecConfig()
    downscale: DownscaleConfig = DownscaleConfig()
    sequence_frames: int = 9
    windows_per_sequence: int = 2
    workers: int = 1


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A recipe for one stage.

    output: run folder. model: the network. stage1: checkpoint that stage 2 starts from. init: checkpoint to
    go on from: stage 1 takes its DIRformer, of either stage; stage 2 takes one of stage 2 whole, instead of a
    fresh CPEN and denoiser and stage 1's DIRformer. batch_size:
    samples per step; patch_size: of the ground truth, in pixels. max_steps: of all phases. prior_steps: of
    stage 2's first phase, which trains the prior alone. learning_rate falls along a cosine to
    `final_learning_rate` from the start of each phase to its end, after `warmup_steps`. cpen_frozen_steps:
    of stage 1, in which CPEN stays as it was initialised: DIRformer learns what a prior tells before CPEN
    can learn to say nothing. psnr_weight: of PSNR-Y in dB, subtracted from the pixel loss; 0 is the published
    loss. precision: "bf16" computes under autocast, weights stay float32. threads: for torch, 0 leaves
    torch's choice.
    """

    output: Path
    model: ModelConfig
    data: DataConfig
    stage1: Path | None = None
    init: Path | None = None
    seed: int = 0
    batch_size: int = 8
    patch_size: int = 96
    max_steps: int = 1000
    prior_steps: int = 0
    cpen_frozen_steps: int = 0
    learning_rate: float = 2e-4
    prior_learning_rate: float = 2e-4
    final_learning_rate: float = 1e-6
    warmup_steps: int = 0
    adam_betas: tuple[float, float] = (0.9, 0.999)
    ema_decay: float = 0.999
    clip_gradient_norm: float = 0.0
    psnr_weight: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = 0
    log_every: int = 100
    validate_every: int = 1000
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        scale = self.model.scale
        if self.patch_size % (self.model.multiple * scale):
            raise UsageError(
                f"patch_size = {self.patch_size} is no multiple of {self.model.multiple * scale}, "
                "which this model needs"
            )
        if self.batch_size % self.data.windows_per_sequence:
            raise UsageError(
                f"batch_size = {self.batch_size} is no multiple of data.windows_per_sequence = "
                f"{self.data.windows_per_sequence}"
            )
        if self.data.sequence_frames < self.model.frames:
            raise UsageError(
                f"data.sequence_frames = {self.data.sequence_frames} is less than the model's window of "
                f"{self.model.frames} frames"
            )
        if not 0 <= self.prior_steps <= self.max_steps:
            raise UsageError(
                f"prior_steps = {self.prior_steps} is not within 0 … max_steps = {self.max_steps}"
            )
        if not self.data.train:
            raise UsageError("data.train names no source of ground truth")


def load_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a recipe and apply ``key.path=value`` overrides (values are YAML; list items by index).

    Relative paths count from the working directory; `model` may name a YAML file, relative to the recipe.
    Raises UsageError on a missing file, an unknown key or a value of the wrong type.
    """
    values = _read_yaml(path)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise UsageError(f"--set {override!r}: expected key=value")
        _assign(values, key.split("."), yaml.safe_load(value), override)
    if isinstance(values.get("model"), str):
        values["model"] = _read_yaml(path.parent / values["model"])
    config = _build(TrainConfig, values, "")
    assert isinstance(config, TrainConfig)
    return config


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as exc:
        raise UsageError(f"can't read the configuration {path}: {exc.strerror}") from exc
    except yaml.YAMLError as exc:
        raise UsageError(f"{path} is no YAML: {exc}") from exc
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no mapping of settings")
    return typing.cast(dict[str, Any], values)


def _assign(values: Any, keys: list[str], value: Any, override: str) -> None:
    *parents, last = keys
    for key in parents:
        if isinstance(values, list):
            values = _item(typing.cast(list[Any], values), key, override)
        else:
            values = values.setdefault(key, {})
    if isinstance(values, list):
        items = typing.cast(list[Any], values)
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


def _build(kind: Any, values: Any, where: str) -> Any:
    """Turn plain YAML values into the dataclass, tuple, path or scalar that `kind` asks for."""
    if is_dataclass(kind):
        return _build_dataclass(typing.cast(type[Any], kind), values, where)
    origin = get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        if values is None and type(None) in get_args(kind):
            return None
        return _build(next(a for a in get_args(kind) if a is not type(None)), values, where)
    if origin is Literal:
        return _checked(values in get_args(kind), values, where, f"one of {get_args(kind)}")
    if origin is tuple:
        args = get_args(kind)
        _checked(isinstance(values, list), values, where, "a list")
        if args[-1] is Ellipsis:
            return tuple(_build(args[0], v, f"{where}.{i}") for i, v in enumerate(values))
        _checked(len(values) == len(args), values, where, f"{len(args)} values")
        return tuple(_build(a, v, f"{where}.{i}") for i, (a, v) in enumerate(zip(args, values, strict=True)))
    if kind is Path:
        return Path(_checked(isinstance(values, str), values, where, "a path")).expanduser()
    if kind is float:
        # YAML 1.1 reads 2e-4 as a string.
        try:
            return float(_checked(not isinstance(values, bool), values, where, "a number"))
        except (TypeError, ValueError) as exc:
            raise UsageError(f"{where} = {values!r}: expected a number") from exc
    is_bool_for_int = kind is int and isinstance(values, bool)
    return _checked(isinstance(values, kind) and not is_bool_for_int, values, where, kind.__name__)


def _build_dataclass(kind: type[Any], values: Any, where: str) -> Any:
    _checked(isinstance(values, Mapping), values, where or "the recipe", "a mapping of settings")
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
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
    return kind(**{name: _build(hints[name], value, prefix + name) for name, value in values.items()})


def _checked(condition: bool, values: Any, where: str, expected: str) -> Any:
    if not condition:
        raise UsageError(f"{where} = {values!r}: expected {expected}")
    return values


__all__ = [
    "CodecConfig",
    "DataConfig",
    "DownscaleConfig",
    "NoiseConfig",
    "SourceConfig",
    "TrainConfig",
    "load_config",
]

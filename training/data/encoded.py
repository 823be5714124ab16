"""Whole clips damaged and encoded once: a codec's rate and frame types depend on all around a crop."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.config import CodecConfig, DataConfig, SourceConfig
from training.data.clip_damage import age
from training.data.degradations import add_camera_noise, compress_randomly, draw_sharpening, sharpen
from training.data.downscale import downscale_randomly
from training.data.frames import Footage, save_array
from training.writing import make_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedVariant:
    """One clip aged, noisy and coded: (T, H, W, 3) uint8, memory-mapped. sharpening: of its truth."""

    frames: NDArray[np.uint8]
    sharpening: float


def encode_variants(
    footage: Sequence[Footage], source: SourceConfig, data: DataConfig, scale: int = 1
) -> list[list[EncodedVariant]]:
    """`source.encoded_variants` of each clip, `scale` times smaller, from the cache where already made.

    What is drawn for a variant is a function of the clip's name, the variant's number and the recipe's age,
    noise, codec and sharpening. Raises EncoderError, OutputError if the cache can't be written.
    """
    jobs = [(clip, number) for clip in footage for number in range(source.encoded_variants)]
    missing = [job for job in jobs if not _file_of(*job, data, scale).exists()]
    if missing:
        _log.info("encoding %d variants of %d clips", len(missing), len(footage))
        make_folder(data.cache)
        # What lies about unused in this process, perhaps a decoder and its threads, is not the others' to
        # free: they have no such threads, and would wait for them for ever.
        with ProcessPoolExecutor(max_workers=os.cpu_count(), initializer=gc.freeze) as pool:
            list(pool.map(partial(_encode, data=data, scale=scale), *zip(*missing, strict=True)))
    variants = iter([_load(clip, number, data, scale) for clip, number in jobs])
    return [[next(variants) for _ in range(source.encoded_variants)] for _ in footage]


def _draws(clip: Footage, number: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(clip.name.encode()), number])


def _encode(clip: Footage, number: int, *, data: DataConfig, scale: int) -> None:
    import torch

    torch.set_num_threads(1)
    rng = _draws(clip, number)
    clean = sharpen(np.asarray(clip.frames), draw_sharpening(data.sharpen, rng))
    small = _even(clean, scale)
    if scale > 1:
        small = downscale_randomly(small, scale, data.downscale, rng)
    noisy = add_camera_noise(age(small, data.clip_damage, rng), data.noise, rng)
    save_array(
        _file_of(clip, number, data, scale), compress_randomly(noisy, replace(data.codec, share=1.0), rng)
    )


def _load(clip: Footage, number: int, data: DataConfig, scale: int) -> EncodedVariant:
    frames = np.load(_file_of(clip, number, data, scale), mmap_mode="r")
    return EncodedVariant(frames, draw_sharpening(data.sharpen, _draws(clip, number)))


def _even(frames: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Cut to what is even `scale` times smaller."""
    multiple = 2 * scale
    return frames[:, : frames.shape[1] // multiple * multiple, : frames.shape[2] // multiple * multiple]


def _unused(codec: CodecConfig) -> set[str]:
    """Settings that are off: what stands in them makes no other variant."""
    off = {"twice"} if not codec.twice else set[str]()
    off |= {"gop"} if not codec.gop[1] else set()
    for name in ("vp9", "av1"):
        off |= {name, f"{name}_crf"} if not getattr(codec, name) else set()
    return off


def _noise_of(data: DataConfig) -> dict[str, Any]:
    noise = asdict(data.noise)
    return noise if noise["interpolated"] else {key: noise[key] for key in noise if key != "interpolated"}


def _file_of(clip: Footage, number: int, data: DataConfig, scale: int) -> Path:
    codec = {name: value for name, value in asdict(data.codec).items() if name not in _unused(data.codec)}
    drawn_from = [_noise_of(data), codec, asdict(data.sharpen), clip.key]
    if scale > 1:
        drawn_from += [scale, asdict(data.downscale)]
    if data.clip_damage.ages:
        drawn_from.append(asdict(data.clip_damage))
    recipe = json.dumps(drawn_from)
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    return data.cache / f"{clip.name}-{digest}-{number}.npy"

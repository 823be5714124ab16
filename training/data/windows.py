"""Training samples: a window of degraded frames and the clean middle frame."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from diffir_video.errors import UsageError
from diffir_video.media import transcode
from training.config import SourceConfig, TrainConfig
from training.data.clip_damage import age, draw_exposure, exposed, played_from_tape
from training.data.degradations import (
    add_camera_noise,
    add_gaussian_noise,
    compress_randomly,
    draw_sharpening,
    sharpen,
)
from training.data.downscale import downscale, downscale_randomly
from training.data.encoded import EncodedVariant, encode_variants
from training.data.frames import Footage, load_source
from training.schedule import patch_size_of_item

# A pan is cut from the photograph at twice the size and averaged down, so that whole pixels of the
# photograph are half pixels of the sample and nothing is blurred by interpolation.
PAN_OVERSAMPLING = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Source:
    config: SourceConfig
    footage: Sequence[Footage]
    encoded: Sequence[Sequence[EncodedVariant]]


class WindowDataset(Dataset[tuple[Tensor, Tensor]]):
    """Item i is a function of (seed, i) alone: a few windows cut from one degraded sequence.

    Returns lq (K, 3·frames, P / s, P / s) and gt (K, 3, P, P), uint8, K = `windows_per_sequence`.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._sources = [_load(source, config) for source in config.data.train]
        weights = np.array([source.config.weight for source in self._sources])
        self._odds = weights / weights.sum()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        data, scale = self._config.data, self._config.model.scale
        rng = np.random.default_rng((self._config.seed, index))
        size = patch_size_of_item(index, self._config)
        source = self._sources[rng.choice(len(self._sources), p=self._odds)]
        if source.config.encoded_variants and rng.random() < data.codec.share:
            degraded, clean = self._cut_encoded(source, size, rng)
        else:
            exposure = draw_exposure(data.clip_damage, rng)
            sequence = sharpen(
                augment(self._draw_sequence(source, size, exposure, rng), rng),
                draw_sharpening(data.sharpen, rng),
            )
            seen, clean = exposed(sequence, exposure)
            small = seen if scale == 1 else downscale_randomly(seen, scale, data.downscale, rng)
            small = age(small, data.clip_damage, rng)
            degraded = add_camera_noise(small, data.noise, rng)
            if not source.config.encoded_variants:
                degraded = compress_randomly(degraded, data.codec, rng)
        return self._cut_windows(degraded, clean, rng)

    def _draw_sequence(
        self, source: _Source, size: int, exposure: int, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        count = self._config.data.sequence_frames * exposure
        footage = source.footage[int(rng.integers(len(source.footage)))]
        if source.config.kind == "photos":
            picked = source.config.picked > 0 and rng.random() < source.config.picked
            return pan_over(footage.frames[0], count, size, rng, picked=picked)
        return cut_from_clip(footage, count, size, rng)

    def _cut_encoded(
        self, source: _Source, size: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(degraded, clean) sequences; not reversed in time, as frames depend on those encoded before."""
        index = int(rng.integers(len(source.footage)))
        clip, variants = source.footage[index], source.encoded[index]
        variant = variants[int(rng.integers(len(variants)))]
        seen = Footage(clip.name, variant.frames, clip.cuts)
        count, scale = self._config.data.sequence_frames, self._config.model.scale
        crop = draw_crop(seen, count, size // scale, rng, may_skip=False)
        may_turn = not self._config.data.clip_damage.ages
        if scale > 1:
            clean = crop.enlarged(scale).sharpened(clip.frames, variant.sharpening)
            same = int(rng.integers(1 << 32))
            degraded, clean = (
                augment(frames, np.random.default_rng(same), may_reverse=False, may_turn=may_turn)
                for frames in (crop.of(variant.frames), clean)
            )
            return degraded, clean
        clean = crop.sharpened(clip.frames, variant.sharpening)
        both = np.concatenate([crop.of(variant.frames), clean], axis=3)
        both = augment(both, rng, may_reverse=False, may_turn=may_turn)
        return both[..., :3], both[..., 3:]

    def _cut_windows(
        self, degraded: NDArray[np.uint8], clean: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        model, wanted = self._config.model, self._config.data.windows_per_sequence
        room = len(clean) - model.frames + 1
        if model.recurrent:
            starts = np.arange(wanted) + rng.integers(room - wanted + 1)
        elif self._config.temporal_weight:
            # Neighbours in time, in twos, from anywhere in the sequence.
            firsts = np.resize(rng.permutation(room - 1), wanted // 2)
            starts = np.stack([firsts, firsts + 1], axis=1).ravel()
        else:
            starts = np.resize(rng.permutation(room)[:wanted], wanted)
        lq = torch.stack([window_tensor(degraded[s : s + model.frames]) for s in starts])
        gt = torch.stack([window_tensor(clean[s + model.past : s + model.past + 1]) for s in starts])
        return lq, gt


def window_tensor(frames: NDArray[np.uint8]) -> Tensor:
    """(T, H, W, 3) uint8 → (3·T, H, W) uint8, frame after frame."""
    t, h, w, c = frames.shape
    return torch.as_tensor(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).view(t * c, h, w)


def _load(source: SourceConfig, config: TrainConfig) -> _Source:
    footage = load_large_enough(source, config)
    return _Source(source, footage, encode_variants(footage, source, config.data, config.model.scale))


def load_large_enough(source: SourceConfig, config: TrainConfig) -> list[Footage]:
    """The clips or photographs of a source that the recipe's largest patch fits into; others are left out.

    Raises UsageError if the folder is missing or none is large enough.
    """
    patch = max(phase.patch_size for phase in config.all_phases)
    return _without_small(load_source(source, config.data.cache), source, _smallest(source, patch, config))


def _smallest(source: SourceConfig, patch: int, config: TrainConfig) -> int:
    """The side that frames of a source must have, for patches of this size."""
    if source.kind == "photos":
        return patch * PAN_OVERSAMPLING
    # Of clips that are encoded whole, only what is even at the LQ's size is left.
    multiple = 2 * config.model.scale if source.encoded_variants else 1
    return -(-patch // multiple) * multiple


def _without_small(footage: Sequence[Footage], source: SourceConfig, smallest: int) -> list[Footage]:
    kept: list[Footage] = []
    for each in footage:
        height, width = each.frames.shape[1:3]
        if min(height, width) >= smallest:
            kept.append(each)
        else:
            _log.warning("left out %s: smaller than %d pixels: %dx%d", each.path, smallest, width, height)
    if not kept:
        raise UsageError(
            f"no {source.kind} of {smallest} pixels or more in {source.root}: lower patch_size or shrink"
        )
    return kept


@dataclass(frozen=True)
class Crop:
    """A square of `size` pixels at (y, x), out of the frames of these indices."""

    indices: NDArray[np.intp]
    y: int
    x: int
    size: int

    def of(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(T, H, W, 3) → (count, size, size, 3)."""
        y, x, size = self.y, self.x, self.size
        return np.stack([frames[i, y : y + size, x : x + size] for i in self.indices])

    def enlarged(self, scale: int) -> Crop:
        """The same place in frames `scale` times as large."""
        return Crop(self.indices, self.y * scale, self.x * scale, self.size * scale)

    def sharpened(self, frames: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
        """What this crop is of the whole frames sharpened."""
        above, before = min(self.y, 1), min(self.x, 1)
        y, x, size = self.y - above, self.x - before, self.size
        around = np.stack([frames[i, y : self.y + size + 1, x : self.x + size + 1] for i in self.indices])
        return sharpen(around, amount)[:, above : above + size, before : before + size]


def draw_crop(
    clip: Footage, count: int, size: int, rng: np.random.Generator, *, may_skip: bool = True
) -> Crop:
    """`count` frames of one shot, with `may_skip` sometimes every other one.

    A shot that is too short repeats its last frame. Raises UsageError if the frames are smaller than `size`.
    """
    shape: tuple[int, ...] = clip.frames.shape
    _, height, width, _ = shape
    if height < size or width < size:
        raise UsageError(f"clip {clip.name} of {width}x{height} is smaller than a patch of {size}")
    shots = clip.shots()
    lengths = np.array([end - start for start, end in shots], dtype=np.float64)
    start, end = shots[rng.choice(len(shots), p=lengths / lengths.sum())]
    stride = 2 if may_skip and rng.random() < 0.15 else 1
    first = int(rng.integers(start, max(start + 1, end - (count - 1) * stride)))
    indices = np.minimum(first + stride * np.arange(count), end - 1)
    return Crop(indices, int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1)), size)


def cut_from_clip(clip: Footage, count: int, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A (count, size, size, 3) uint8 crop of `count` frames of one shot; see `draw_crop`."""
    return draw_crop(clip, count, size, rng).of(clip.frames)


def pan_over(
    photo: NDArray[np.uint8], count: int, size: int, rng: np.random.Generator, *, picked: bool = False
) -> NDArray[np.uint8]:
    """A pan at random speed, at rest in a fifth of the draws: (count, size, size, 3) uint8.

    photo: (H, W, 3) uint8, at least twice `size`. picked: every other pixel of the photograph, not means of
    four. Raises UsageError if it is smaller.
    """
    span = size * PAN_OVERSAMPLING
    room = np.array(photo.shape[:2]) - span
    if room.min() < 0:
        raise UsageError(f"a photograph of {photo.shape[1]}x{photo.shape[0]} is smaller than {span}")
    velocity = np.zeros(2) if rng.random() < 0.2 else rng.normal(0, rng.choice([1, 3, 8]), 2)
    shake = 0.0 if rng.random() < 0.6 else rng.uniform(0, 2)
    origin = rng.uniform(0, 1, 2) * room
    frames: list[NDArray[np.uint16]] = []
    for t in range(count):
        corner = origin + velocity * t + rng.normal(0, 1, 2) * shake
        y, x = np.clip(np.rint(corner), 0, room).astype(int)
        big = photo[y : y + span, x : x + span].astype(np.uint16)
        if picked:
            frames.append(big[::2, ::2])
            continue
        frames.append((big[::2, ::2] + big[1::2, ::2] + big[::2, 1::2] + big[1::2, 1::2] + 2) // 4)
    return np.stack(frames).astype(np.uint8)


def augment(
    frames: NDArray[np.uint8], rng: np.random.Generator, *, may_reverse: bool = True, may_turn: bool = True
) -> NDArray[np.uint8]:
    """The same flips, transposition and direction of time for all frames; (T, H, W, C) in and out.

    may_turn: False leaves lines lines, from left to right and from top to bottom.
    """
    if may_reverse and rng.random() < 0.5:
        frames = frames[::-1]
    if may_turn and rng.random() < 0.5:
        frames = frames[:, ::-1]
    if may_turn and rng.random() < 0.5:
        frames = frames[:, :, ::-1]
    if may_turn and rng.random() < 0.5:
        frames = frames.transpose(0, 2, 1, 3)
    return np.ascontiguousarray(frames)


def validation_windows(
    config: TrainConfig, *, sigma: float, crf: int | None, tape: float = 0.0, size: int = 192
) -> list[tuple[Tensor, Tensor]]:
    """One window from the middle of each validation clip: tape of this wear, unless 0, Gaussian noise, then
    x264 unless `crf` is None.

    For a model of scale s > 1 the clip is made smaller first, by the antialiased bicubic kernel. Returns
    pairs lq (K, 3·frames, h / s, w / s) and gt (K, 3, h, w), float in [0, 1]; h, w at most `size`. K is 1;
    for a recurrent model it is all windows of the sequence, in time order. A clip shorter than the window
    repeats its last frame.
    """
    scale = config.model.scale
    windows: list[tuple[Tensor, Tensor]] = []
    for source in config.data.validation:
        smallest = config.model.multiple * scale
        if source.kind == "photos":
            smallest = _smallest(source, config.all_phases[-1].patch_size, config)
        footage = _without_small(load_source(source, config.data.cache), source, smallest)
        for index, clip in enumerate(footage):
            clean = _middle_of(clip, source, config, size)
            rng = np.random.default_rng((config.seed, index))
            small = clean if scale == 1 else downscale(clean, scale, "bicubic")
            small = played_from_tape(small, tape, rng) if tape else small
            noisy = add_gaussian_noise(small, sigma, rng)
            if crf is not None:
                noisy = transcode(noisy, "libx264", options={"crf": str(crf), "preset": "medium"})
            frames, past = config.model.frames, config.model.past
            last = len(clean) - frames
            starts = range(0 if config.model.recurrent else last, last + 1)
            lq = torch.stack([window_tensor(noisy[s : s + frames]) for s in starts])
            gt = torch.stack([window_tensor(clean[s + past : s + past + 1]) for s in starts])
            windows.append((lq.float() / 255, gt.float() / 255))
    return windows


def _middle_of(clip: Footage, source: SourceConfig, config: TrainConfig, size: int) -> NDArray[np.uint8]:
    if source.kind == "photos":
        size = config.all_phases[-1].patch_size
        return pan_over(clip.frames[0], config.data.sequence_frames, size, np.random.default_rng(0))
    count = config.data.sequence_frames
    start = max(0, (len(clip.frames) - count) // 2)
    multiple = config.model.multiple * config.model.scale
    height, width = (min(side, size) // multiple * multiple for side in clip.frames.shape[1:3])
    y, x = (clip.frames.shape[1] - height) // 2, (clip.frames.shape[2] - width) // 2
    cut = clip.frames[start : start + count, y : y + height, x : x + width]
    shown = np.arange(max(len(cut), config.model.frames))
    return np.ascontiguousarray(cut[np.minimum(shown, len(cut) - 1)])

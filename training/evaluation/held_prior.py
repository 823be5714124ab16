"""What a held prior costs as it ages: the prior of frame t - k restores frame t, for every model and age k.

``python -m training.evaluation.held_prior --data DIR --model FILE FILE --ages 24 48 --plot FILE.png``
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from diffir_video.chart import BLUE, GREEN, ORANGE, PURPLE, RED, Axis, Chart
from diffir_video.errors import UsageError
from diffir_video.metrics import mean_psnr, psnr_y, temporal_flicker
from diffir_video.network import DiffIR
from diffir_video.small_files import check_picture_name
from diffir_video.tiling import pad_to_multiple
from training.evaluation.material import CLIPS, EvaluationClip, add_noise, ground_truth, to_bytes, to_tensor
from training.evaluation.programmes import noise_rising
from training.evaluation.report import markdown_table, write_if_asked
from training.evaluation.tool import (
    add_clip_options,
    add_models_option,
    chosen_clips,
    exit_code_of,
    load_networks,
    longest_shot,
    prior_of,
    tool_parser,
)

logger = logging.getLogger(__name__)

AGES = (0, 1, 6, 12, 24, 48)
STEADY, RISING = "σ 25", "σ 5 rising to 45"
_FRAMES = 60
_COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE)


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one clip. psnr_y: mean over the frames, dB. flicker: 8-bit levels."""

    model: str
    damage: str
    clip: str
    age: int
    psnr_y: float
    flicker: float


@dataclass(frozen=True, slots=True)
class Ageing:
    """All rows; every age of a clip restores the same frames."""

    rows: Sequence[Row]

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(row.model for row in self.rows))

    @property
    def ages(self) -> list[int]:
        return sorted({row.age for row in self.rows})

    def psnr_y(self, model: str, damage: str, age: int) -> float:
        return fmean(r.psnr_y for r in self._rows(model, damage, age))

    def loss(self, model: str, damage: str, age: int) -> float:
        """dB of PSNR-Y lost against a prior of age 0, mean over the clips; a gain is negative."""
        return self.psnr_y(model, damage, 0) - self.psnr_y(model, damage, age)

    def flicker(self, model: str, damage: str, age: int) -> float:
        return fmean(r.flicker for r in self._rows(model, damage, age))

    def to_markdown(self) -> str:
        """For each damage, dB lost and flicker by age, a row for each model."""
        return "\n\n".join(self._table(damage) for damage in dict.fromkeys(r.damage for r in self.rows))

    def _table(self, damage: str) -> str:
        heading = [f"{damage}: dB lost (flicker)", "PSNR-Y at age 0", *(f"age {age}" for age in self.ages)]
        rows = [
            [
                model,
                f"{self.psnr_y(model, damage, 0):.3f}",
                *(
                    f"{self.loss(model, damage, age):+.4f} ({self.flicker(model, damage, age):.3f})"
                    for age in self.ages
                ),
            ]
            for model in self.models
        ]
        return markdown_table(heading, rows)

    def draw(self, path: Path) -> None:
        """dB lost by age, a line for each model, where noise is steady."""
        lines = {m: [(float(age), self.loss(m, STEADY, age)) for age in self.ages] for m in self.models}
        values = [loss for line in lines.values() for _, loss in line]
        margin = max(0.001, 0.1 * (max(values) - min(values)))
        chart = Chart(
            "PSNR-Y lost by a prior of another frame, sigma 25",
            Axis("frames ago", 0, max(self.ages) + 1),
            Axis("dB lost", min(values) - margin, max(values) + margin),
        )
        for index, (model, line) in enumerate(lines.items()):
            colour = _COLOURS[index % len(_COLOURS)]
            chart.line(line, colour, model)
            chart.points(line, colour, radius=4)
        chart.save(path)

    def _rows(self, model: str, damage: str, age: int) -> list[Row]:
        return [r for r in self.rows if (r.model, r.damage, r.age) == (model, damage, age)]


def evaluate(
    models: Sequence[str],
    data: Path,
    *,
    ages: Sequence[int] = AGES,
    clips: Sequence[EvaluationClip] = CLIPS,
    frame_limit: int = _FRAMES,
) -> Ageing:
    """Measure models of either stage; stage 1's prior is that of an earlier frame's LQ and ground truth.

    ages: of the prior, in frames; 0 is added. Frames are those with the oldest prior's behind them in their
    shot; a clip without two of them is left out, with a warning. Raises DiffirVideoError for unknown models,
    recurrent or enlarging ones, a negative age, and where no clip is long enough.
    """
    ages = sorted({0, *ages})
    if ages[0] < 0:
        raise UsageError(f"ages {ages}: expected 0 or more frames")
    networks = load_networks(models)
    for name, net in networks.items():
        if net.config.recurrent:
            raise UsageError(f"{name} is recurrent: expected a model that restores frames one by one")
    rows: list[Row] = []
    for clip in clips:
        truth = ground_truth(data, clip, frame_limit)
        start, end = longest_shot(truth)
        truth = truth[start:end]
        for damage, damaged in (
            (STEADY, add_noise(truth, clip.name, 25)),
            (RISING, noise_rising(truth, clip.name)),
        ):
            for name, net in networks.items():
                found = [Row(name, damage, clip.name, *each) for each in _by_age(net, damaged, truth, ages)]
                if not found:
                    logger.warning("%s of %s: left out, no shot lasts to age %d", clip.name, name, ages[-1])
                rows += found
    if not rows:
        raise UsageError(f"no shot of {frame_limit} frames is long enough for priors {ages[-1]} frames old")
    return Ageing(rows)


@torch.inference_mode()
def _by_age(
    net: DiffIR, damaged: NDArray[np.uint8], truth: NDArray[np.uint8], ages: Sequence[int]
) -> Iterator[tuple[int, float, float]]:
    """(age, PSNR-Y, flicker) over the frames that have a prior of every age."""
    past, future = net.config.past, net.config.future
    middles = range(max(ages) + past, len(truth) - future)
    if len(middles) < 2:
        return
    lq, gt = (pad_to_multiple(to_tensor(frames), net.multiple) for frames in (damaged, truth))
    windows = {t: lq[t - past : t + future + 1].flatten(0, 1)[None] for t in range(past, len(truth) - future)}
    priors = {t: prior_of(net, window, gt[t : t + 1]) for t, window in windows.items()}
    height, width = truth.shape[1:3]
    expected = to_tensor(truth)[list(middles)]
    for age in ages:
        restored = torch.cat([net.restore(windows[t], priors[t - age]) for t in middles])
        # Rounded to 8 bits like the file it would become.
        pictures = to_tensor(to_bytes(restored[..., :height, :width].clamp(0, 1)))
        flicker = temporal_flicker(pictures, expected).mean().item() * 255
        yield age, mean_psnr(psnr_y(pictures, expected)), flicker


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; returns the exit code."""
    parser = tool_parser("held_prior", __doc__)
    add_models_option(parser)
    parser.add_argument("--ages", type=int, nargs="+", default=AGES, help="of the prior, in frames")
    parser.add_argument("--plot", type=Path, help="draw dB lost by age here")
    add_clip_options(parser, frames=_FRAMES)
    options = parser.parse_args(argv)

    def compare() -> None:
        if options.plot is not None:
            check_picture_name(options.plot)
        clips = chosen_clips(options.clips)
        result = evaluate(
            options.model, options.data, ages=options.ages, clips=clips, frame_limit=options.frames
        )
        print(result.to_markdown())
        write_if_asked(options.json, json.dumps([asdict(row) for row in result.rows], indent=1))
        if options.plot is not None:
            result.draw(options.plot)

    return exit_code_of(compare, options.json)


if __name__ == "__main__":
    sys.exit(main())

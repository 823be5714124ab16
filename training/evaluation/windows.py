"""`make compare-windows`: what a network makes of neighbouring frames, and what they cost.

``python -m training.evaluation.windows --data DIR --model FILE FILE --json FILE``
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from diffir_video.errors import UsageError
from diffir_video.metrics import psnr_y, temporal_flicker
from diffir_video.network import DiffIR
from diffir_video.tiling import pad_to_multiple
from training.evaluation.material import CLIPS, EvaluationClip, add_noise, ground_truth, to_bytes, to_tensor
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
from training.recurrence import restore_windows

SIGMA = 25
_FRAMES = 40
# Frames after which a recurrent network has gathered what it can.
_SETTLED = 12
_PROBE = 96


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one clip's longest shot; gains in dB of PSNR-Y over the input, flicker in 8-bit levels.

    first: of the first frame, which is what the first after a cut is: it has no past. settled: the mean of
    all from the 13th on.
    """

    model: str
    clip: str
    gain: float
    first: float
    settled: float
    flicker: float


@dataclass(frozen=True, slots=True)
class Cost:
    """kmac: thousands of multiplications per pixel of DIRformer. delay: frames that have to be waited for."""

    model: str
    past: int
    future: int
    recurrent: bool
    kmac: float
    delay: int


@dataclass(frozen=True, slots=True)
class Comparison:
    costs: Sequence[Cost]
    rows: Sequence[Row]

    def to_markdown(self) -> str:
        """A row for each model, means over the clips."""
        heading = ["model", "frames", "kMAC per pixel", "delay"]
        heading += ["gain, dB", "first after a cut", "from the 13th on", "flicker"]
        return markdown_table(heading, [self._line(cost) for cost in self.costs])

    def _line(self, cost: Cost) -> list[str]:
        rows = [row for row in self.rows if row.model == cost.model]
        frames = f"{cost.past} past, {cost.future} ahead" + (", as restored" if cost.recurrent else "")
        gains = (fmean(getattr(row, name) for row in rows) for name in ("gain", "first", "settled"))
        flicker = fmean(row.flicker for row in rows)
        cells = [cost.model, frames, f"{cost.kmac:.2f}", str(cost.delay)]
        return [*cells, *(f"{gain:+.2f}" for gain in gains), f"{flicker:.2f}"]


def evaluate(
    models: Sequence[str],
    data: Path,
    *,
    clips: Sequence[EvaluationClip] = CLIPS,
    frame_limit: int = _FRAMES,
) -> Comparison:
    """Measure models of either stage on clips with noise of σ 25; stage 1's prior is the ground truth's.

    frame_limit: frames of each clip, from its start, of which the longest shot is used. Raises
    DiffirVideoError for unknown models and for one that enlarges, UsageError for fewer frames than settle.
    """
    if frame_limit <= _SETTLED:
        raise UsageError(f"--frames {frame_limit}: more than {_SETTLED} are needed")
    networks = load_networks(models)
    rows = [
        _measure(name, net, clip.name, damaged, truth)
        for clip, damaged, truth in _inputs(data, clips, frame_limit)
        for name, net in networks.items()
    ]
    return Comparison([_cost(name, net) for name, net in networks.items()], rows)


def _inputs(
    data: Path, clips: Sequence[EvaluationClip], frames: int
) -> Iterator[tuple[EvaluationClip, Tensor, Tensor]]:
    for clip in clips:
        truth = ground_truth(data, clip, frames)
        start, end = longest_shot(truth)
        truth = truth[start:end]
        if len(truth) <= _SETTLED:
            raise UsageError(f"{clip.name} has a shot of {len(truth)} frames: more than {_SETTLED} needed")
        yield clip, to_tensor(add_noise(truth, clip.name, SIGMA)), to_tensor(truth)


@torch.inference_mode()
def _measure(name: str, net: DiffIR, clip: str, damaged: Tensor, truth: Tensor) -> Row:
    lq, gt = (pad_to_multiple(frames, net.multiple) for frames in (damaged, truth))
    height, width = truth.shape[-2:]
    windows = [lq[indices].flatten(0, 1)[None] for indices in _windows(net, len(lq))]
    priors = [prior_of(net, window, gt[t : t + 1]) for t, window in enumerate(windows)]
    if net.config.recurrent:
        restored = restore_windows(net, torch.cat(windows), torch.cat(priors), len(windows))
    else:
        pairs = zip(windows, priors, strict=True)
        restored = torch.cat([net.restore(window, prior) for window, prior in pairs])
    # Rounded to 8 bits like the file it would become.
    pictures = to_tensor(to_bytes(restored[..., :height, :width].clamp(0, 1)))
    gains = psnr_y(pictures, truth) - psnr_y(damaged, truth)
    flicker = float(temporal_flicker(pictures, truth).mean()) * 255
    return Row(name, clip, float(gains.mean()), float(gains[0]), float(gains[_SETTLED:].mean()), flicker)


def _windows(net: DiffIR, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """(count, frames) indices; the first and the last frame stand for those beyond."""
    offsets = np.arange(-net.config.past, net.config.future + 1)
    return np.clip(np.arange(count)[:, None] + offsets, 0, count - 1)


@torch.inference_mode()
def _cost(name: str, net: DiffIR) -> Cost:
    config = net.config
    with FlopCounterMode(display=False) as counter:
        net.restore(torch.zeros(1, config.lq_channels, _PROBE, _PROBE), torch.zeros(1, config.prior_width))
    kmac = counter.get_total_flops() / 2 / _PROBE**2 / 1000
    return Cost(name, config.past, config.future, config.recurrent, kmac, delay=config.future)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; returns the exit code."""
    parser = tool_parser("windows", __doc__)
    add_models_option(parser)
    add_clip_options(parser, frames=_FRAMES)
    options = parser.parse_args(argv)

    def compare() -> None:
        found = evaluate(
            options.model, options.data, clips=chosen_clips(options.clips), frame_limit=options.frames
        )
        print(found.to_markdown())
        write_if_asked(options.json, json.dumps(asdict(found), indent=1))

    return exit_code_of(compare, options.json)


if __name__ == "__main__":
    sys.exit(main())

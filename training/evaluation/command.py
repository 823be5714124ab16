"""``diffir-train evaluate``: a model on any folder of clips or pictures, and what its parts are worth."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from diffir_video.chart import BLACK, BLUE, GREEN, RED, Axis, Chart
from diffir_video.errors import UsageError
from diffir_video.frame import Clip
from diffir_video.metrics import (
    SSIM_WINDOW,
    mean_psnr,
    psnr,
    psnr_y,
    ssim,
    ssim_rgb,
    temporal_flicker,
)
from diffir_video.network import DiffIRS1, DiffIRS2
from diffir_video.restorer import Restorer
from diffir_video.small_files import check_picture_name, check_place
from training.evaluation.ablations import Ablations, ablate
from training.evaluation.folder import inputs_in, parse_damage
from training.evaluation.material import to_bytes, to_tensor
from training.evaluation.networks import load_network
from training.evaluation.report import markdown_table, write_if_asked
from training.evaluation.stages import LabelledInput
from training.evaluation.upscalers import enlarged_bicubic

_ABLATED_FRAMES = 4


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over a clip's frames: PSNR in dB and SSIM of luma and of RGB; flicker in 8-bit levels.

    SSIM is NaN for pictures smaller than its window, 11x11.
    """

    psnr_y: float
    psnr_rgb: float
    ssim_y: float
    ssim_rgb: float
    flicker: float


@dataclass(frozen=True, slots=True)
class Line:
    """One clip or picture with one damage, before and after."""

    name: str
    damage: str
    before: Figures
    after: Figures


def evaluate_folder(
    model: str,
    data: Path,
    *,
    stage1: str | None = None,
    damages: Sequence[str] = (),
    frames: int = 30,
    crop: int | None = None,
    json_file: Path | None = None,
    plot: Path | None = None,
) -> str:
    """Measure a model, and with `stage1` take it apart; returns the tables as Markdown.

    damages: see `parse_damage`; by default noise of σ 25, or nothing where the model enlarges. crop: pixels
    left out along the border; by default the scale where the model enlarges, as is published, or none.
    Raises UsageError on an empty folder, on a `crop` that leaves nothing, and on a `stage1` that is no
    stage-1 checkpoint or of another kind of network than the model.
    """
    _check_counts(frames, crop)
    if json_file is not None:
        check_place(json_file)
    if plot is not None:
        check_picture_name(plot)
    restorer = Restorer.from_pretrained(model, device="cpu", precision="fp32", seed=0)
    scale = restorer.scale
    border = crop if crop is not None else (scale if scale > 1 else 0)
    wanted = [parse_damage(text, scale) for text in damages or (["none"] if scale > 1 else ["sigma=25"])]
    if plot is not None and stage1 is None:
        raise UsageError("--plot draws the ablations, which need --stage1")
    stages = None if stage1 is None else _both_stages(stage1, model)
    with tempfile.TemporaryDirectory() as cache:

        def inputs() -> Iterator[LabelledInput]:
            # Anew for each use: all of a folder's clips at once are more than a memory holds.
            return inputs_in(data, wanted, scale=scale, frames=frames, cache=Path(cache))

        lines = [_measure(item, restorer, border) for item in inputs()]
        ablations = None if stages is None else ablate(*stages, inputs(), _ABLATED_FRAMES)
    tables = [_table(lines)]
    if ablations is not None:
        tables.append(_ablation_table(ablations))
        if plot is not None:
            _plot(ablations, plot)
    write_if_asked(json_file, json.dumps(_as_dict(model, lines, ablations), indent=1, allow_nan=False))
    return "\n\n".join(tables)


def _check_counts(frames: int, crop: int | None) -> None:
    if frames < 1:
        raise UsageError(f"frames {frames}: expected 1 or more of each clip")
    if crop is not None and crop < 0:
        raise UsageError(f"crop {crop}: expected 0 pixels or more")


def _measure(item: LabelledInput, restorer: Restorer, border: int) -> Line:
    clip = Clip(item.damaged, tuple(range(len(item.damaged))), Fraction(1, 25))
    restored = to_tensor(to_bytes(restorer.restore(clip).data))
    before = item.damaged
    if before.shape != item.truth.shape:
        before = enlarged_bicubic(before, restorer.scale)
    if 2 * border >= min(item.truth.shape[-2:]):
        height, width = item.truth.shape[-2:]
        raise UsageError(f"crop {border}: leaves nothing of {item.clip}, {width}x{height} pixels")
    return Line(
        item.clip,
        str(item.damage),
        _figures(before, item.truth, border),
        _figures(restored, item.truth, border),
    )


def _figures(pictures: Tensor, truth: Tensor, border: int) -> Figures:
    if border:
        pictures, truth = (t[..., border:-border, border:-border] for t in (pictures, truth))
    large = min(truth.shape[-2:]) >= SSIM_WINDOW
    return Figures(
        psnr_y=mean_psnr(psnr_y(pictures, truth)),
        psnr_rgb=mean_psnr(psnr(pictures, truth)),
        ssim_y=ssim(pictures, truth).mean().item() if large else float("nan"),
        ssim_rgb=ssim_rgb(pictures, truth).mean().item() if large else float("nan"),
        flicker=temporal_flicker(pictures, truth).mean().item() * 255 if len(truth) > 1 else 0.0,
    )


def _both_stages(stage1: str, model: str) -> tuple[DiffIRS1, DiffIRS2]:
    first, second = map(load_network, (stage1, model))
    if not (isinstance(first, DiffIRS1) and isinstance(second, DiffIRS2)):
        raise UsageError(
            f"ablations need a stage-1 and a stage-2 checkpoint, got stage {first.stage} in {stage1} "
            f"and stage {second.stage} in {model}"
        )
    return first, second


def _table(lines: Sequence[Line]) -> str:
    heading = ["clip", "damage", "PSNR-Y", "PSNR", "SSIM-Y", "SSIM", "flicker"]
    rows = [[line.name, line.damage, *_cells(line.before, line.after)] for line in lines]
    before, after = (_mean([getattr(line, side) for line in lines]) for side in ("before", "after"))
    return markdown_table(heading, [*rows, ["mean", "", *_cells(before, after)]])


def _cells(before: Figures, after: Figures) -> list[str]:
    forms = {"psnr_y": ".2f", "psnr_rgb": ".2f", "ssim_y": ".4f", "ssim_rgb": ".4f", "flicker": ".2f"}
    return [f"{getattr(before, name):{form}} → {getattr(after, name):{form}}" for name, form in forms.items()]


def _mean(figures: Sequence[Figures]) -> Figures:
    return Figures(*(fmean(column) for column in zip(*(asdict(f).values() for f in figures), strict=True)))


def _ablation_table(ablations: Ablations) -> str:
    rows = [[name, f"{value:.3f}"] for name, value in ablations.psnr_y.items()]
    rows += [
        [f"stage 2, prior in {count} steps", f"{value:.3f}"] for count, value in ablations.by_steps.items()
    ]
    error = (
        f"Prior error: ‖S2 - S1‖ / ‖S1‖ {ablations.relative_prior_error:.4f}, mean absolute difference "
        f"{ablations.prior_error:.4f}."
    )
    return f"{markdown_table(['what restores', 'PSNR-Y'], rows)}\n\n{error}"


def _plot(ablations: Ablations, path: Path) -> None:
    own, gt_prior = (ablations.psnr_y[f"stage 2, {of} prior"] for of in ("its own", "stage 1's"))
    mean_prior = ablations.psnr_y["stage 2, one mean prior for all"]
    values = [own, gt_prior, mean_prior, *ablations.by_steps.values()]
    margin = max(0.02, 0.1 * (max(values) - min(values)))
    chart = Chart(
        "What the prior is worth, by the steps of its diffusion",
        Axis("steps", 0, max(ablations.by_steps) + 1),
        Axis("PSNR-Y, dB", min(values) - margin, max(values) + margin),
    )
    chart.horizontal(gt_prior, GREEN, "stage 1's prior")
    chart.horizontal(mean_prior, RED, "one mean prior")
    chart.line(list(ablations.by_steps.items()), BLUE, "sampled prior")
    chart.points(list(ablations.by_steps.items()), BLACK, radius=4)
    chart.save(path)


def _as_dict(model: str, lines: Sequence[Line], ablations: Ablations | None) -> dict[str, Any]:
    return {
        "model": model,
        "clips": [
            {
                "name": line.name,
                "damage": line.damage,
                "before": _figures_to_dict(line.before),
                "after": _figures_to_dict(line.after),
            }
            for line in lines
        ],
        "ablations": None if ablations is None else asdict(ablations),
    }


def _figures_to_dict(figures: Figures) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in asdict(figures).items()}

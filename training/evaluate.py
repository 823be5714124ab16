"""`make eval`: what the built-in models gain on real clips they have never seen, next to what else there is.

``python -m training.evaluate --data DIR --models denoise-nano --json FILE --markdown FILE``
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffir_video.errors import CheckpointError, UnknownModelError, UsageError
from diffir_video.frame import Clip
from diffir_video.metrics import mean_psnr, psnr, psnr_y, ssim, temporal_flicker
from diffir_video.network import DiffIRS1, DiffIRS2
from diffir_video.restorer import Restorer
from diffir_video.zoo import find_weights
from training.evaluation.filters import FILTERS, score_filters
from training.evaluation.material import (
    CLIPS,
    Damage,
    EvaluationClip,
    damaged,
    ground_truth,
    to_bytes,
    to_tensor,
)
from training.evaluation.networks import load_network
from training.evaluation.report import Cell, Evaluation, Quality, to_markdown, to_text, write_if_asked
from training.evaluation.stages import LabelledInput, PriorComparison, compare_priors
from training.evaluation.task import TASKS, Task, stage1_of, task_of
from training.evaluation.tool import exit_code_of
from training.evaluation.upscalers import PEERS, Peer, enlarged_bicubic, is_missing, score_upscalers

logger = logging.getLogger(__name__)

FRAMES = 60
_PRIOR_FRAMES_PER_CLIP = 12


def main(argv: Sequence[str] | None = None) -> int:
    """Run the evaluation; returns the exit code."""
    options = _parse(argv)

    def measure() -> None:
        if not 1 <= options.clips <= len(CLIPS):
            raise UsageError(f"--clips {options.clips}: expected 1 to {len(CLIPS)}")
        if options.frames < 2:
            raise UsageError(f"--frames {options.frames}: expected 2 or more, as flicker is between frames")
        evaluations = [
            evaluate(
                model,
                options.data,
                task=task_of(model, options.task),
                stage1=options.stage1,
                clips=CLIPS[: options.clips],
                frame_limit=options.frames,
            )
            for model in options.models or [None]
        ]
        print("\n\n".join(to_text(e) for e in evaluations))
        write_if_asked(options.json, json.dumps([e.to_dict() for e in evaluations], indent=1))
        write_if_asked(options.markdown, "\n".join(to_markdown(e) for e in evaluations))

    return exit_code_of(measure, options.json, options.markdown)


def evaluate(
    model: str | None,
    data: Path,
    *,
    task: Task,
    stage1: str | None = None,
    clips: Sequence[EvaluationClip] = CLIPS,
    frame_limit: int = FRAMES,
) -> Evaluation:
    """Measure one model on every clip and damage of its task, and what else there is for the same.

    Args:
        model: a built-in name or a checkpoint; None measures inputs and filters only.
        task: the damage, and what is asked. FFmpeg's filters are run where it compares with them.
        data: where the clips are, or are fetched to; `data/cache` keeps encoded inputs and filter scores.
        stage1: the checkpoint whose ground-truth prior stage 2 is compared with; None takes `stage1_of` the
            model, and leaves the comparison out, saying so, where there is none.
        frame_limit: frames of each clip, from its start.

    Raises:
        DiffirVideoError: clips that can't be fetched, an unknown model, one of another scale than the task's.
    """
    cache = data / "cache"
    restorer = (
        None if model is None else Restorer.from_pretrained(model, device="cpu", precision="fp32", seed=0)
    )
    if restorer is not None and restorer.scale != task.scale:
        raise UsageError(f"{model} enlarges {restorer.scale} times, the task {task.name} {task.scale} times")

    def inputs() -> Iterator[LabelledInput]:
        for clip in clips:
            yield from _inputs_of_clip(clip, task, data, frame_limit)

    cells = [_measure(item, restorer, cache) for item in inputs()]
    compared = clips if task.filter_margin is not None else ()
    filter_scores = {
        clip.name: score_filters(
            ground_truth(data, clip, frame_limit), clip.name, task.reference, FILTERS, cache
        )
        for clip in compared
    }
    priors, notes = None, [f"{peer.name} left out: needs the extra `peers`" for peer in _absent_peers(task)]
    if model is not None:
        try:
            first = find_weights(stage1 or stage1_of(model))
        except (UnknownModelError, CheckpointError):
            if stage1 is not None:
                raise
            notes.append(f"no {stage1_of(model)}: stage 2 was not compared with stage 1")
        else:
            priors = _compare_priors(first, find_weights(model), inputs)
    return Evaluation(
        model=model,
        frames=frame_limit,
        cells=cells,
        filters=filter_scores,
        priors=priors,
        notes=notes,
        task=task,
    )


def _inputs_of_clip(
    clip: EvaluationClip, task: Task, data: Path, frame_limit: int
) -> Iterator[LabelledInput]:
    truth = _cut_to(ground_truth(data, clip, frame_limit), 2 * task.scale)
    for damage in task.damages:
        picture = damaged(truth, clip.name, damage, data / "cache")
        yield LabelledInput(clip.name, damage, to_tensor(picture), to_tensor(truth))


def _absent_peers(task: Task) -> list[Peer]:
    return [peer for peer in PEERS if is_missing(peer)] if task.scale > 1 else []


def _cut_to(frames: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    height, width = (side // multiple * multiple for side in frames.shape[1:3])
    return frames[:, :height, :width]


def _measure(item: LabelledInput, restorer: Restorer | None, cache: Path) -> Cell:
    is_small = item.damage.shrink > 1
    before = _quality(item, enlarged_bicubic(item.damaged) if is_small else item.damaged)
    others = score_upscalers(item.damaged, item.truth, item.clip, cache) if is_small else {}
    if restorer is None:
        return Cell(item.clip, item.damage, before, None, others)
    clip = Clip(item.damaged, tuple(range(len(item.damaged))), Fraction(1, 25))
    # Rounded to 8 bits like the file it would become.
    restored = to_tensor(to_bytes(restorer.restore(clip).data))
    after = _quality(item, restored)
    logger.info("%s, %s: %.2f → %.2f dB", item.clip, item.damage, before.psnr_y, after.psnr_y)
    return Cell(item.clip, item.damage, before, after, others)


def _quality(item: LabelledInput, pictures: Tensor) -> Quality:
    return Quality(
        psnr_y=mean_psnr(psnr_y(pictures, item.truth)),
        psnr=mean_psnr(psnr(pictures, item.truth)),
        ssim=ssim(pictures, item.truth).mean().item(),
        flicker=temporal_flicker(pictures, item.truth).mean().item() * 255,
    )


def _compare_priors(
    stage1: Path, stage2: Path, inputs: Callable[[], Iterable[LabelledInput]]
) -> dict[Damage, PriorComparison]:
    networks = load_network(stage1), load_network(stage2)
    match networks:
        case DiffIRS1() as first, DiffIRS2() as second:
            return compare_priors(first, second, inputs, _PRIOR_FRAMES_PER_CLIP)
        case first, second:
            raise UsageError(
                f"expected a stage-1 and a stage-2 checkpoint, got stage {first.stage} in {stage1} "
                f"and stage {second.stage} in {stage2}"
            )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="where the clips are or are fetched to")
    parser.add_argument(
        "--models",
        nargs="*",
        default=["denoise-nano"],
        help="built-in names or checkpoints; none: filters only",
    )
    parser.add_argument(
        "--task", choices=list(TASKS), help="what to measure on (default: by the model's name)"
    )
    parser.add_argument("--stage1", help="stage-1 checkpoint to compare with (default: MODEL-s1)")
    parser.add_argument("--clips", type=int, default=len(CLIPS), help="only the first N clips")
    parser.add_argument("--frames", type=int, default=FRAMES, help="frames of each clip")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--markdown", type=Path, help="write the tables here, for a model card")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())

"""What a recipe would train on, and that nothing of it is evaluation material."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffir_video.errors import DiffirVideoError
from training.config import SourceConfig, TrainConfig
from training.data.fingerprints import Resemblance, closest, fingerprints_of, media_files
from training.data.frames import load_source
from training.data.pictures import list_pictures
from training.data.suffixes import CLIP_SUFFIXES


class ContaminationError(DiffirVideoError):
    """Evaluation material among what is trained on."""


@dataclass(frozen=True, slots=True)
class SourceReport:
    """One source: how many files it gives, and frames (pictures are one)."""

    source: SourceConfig
    files: int
    frames: int
    cuts: int


def describe_sources(config: TrainConfig) -> Iterator[SourceReport]:
    """Open every training source as a run would; raises UsageError for one that is missing or empty."""
    for source in config.data.train:
        if config.data.samples == "pictures":
            largest = max(phase.patch_size for phase in config.all_phases) * source.shrink
            count = len(list_pictures(source, largest, scale=config.model.scale))
            yield SourceReport(source, count, count, 0)
        else:
            footage = load_source(source, config.data.cache)
            frames = sum(len(clip.frames) for clip in footage)
            yield SourceReport(source, len(footage), frames, sum(len(clip.cuts) for clip in footage))


def resemblances(config: TrainConfig, evaluation: Sequence[Path]) -> list[Resemblance]:
    """For every training file, what in the evaluation folders (or files) is most like it; closest first."""
    held_out = fingerprints_of([file for folder in evaluation for file in media_files(folder)])
    trained_on = fingerprints_of(sorted({file for s in config.data.train for file in _files_of(s)}))
    found = [closest(ours, held_out) for ours in trained_on]
    return sorted((r for r in found if r is not None), key=lambda r: r.distance)


def require_held_out(found: Sequence[Resemblance]) -> None:
    """Raises ContaminationError that names the first training file that shows evaluation material."""
    for r in found:
        if r.is_the_same:
            raise ContaminationError(
                f"{r.ours} (frame {r.our_frame}) shows what {r.theirs} (frame {r.their_frame}) shows: "
                f"{r.distance} of 256 bits differ; exclude it from training"
            )


def _files_of(source: SourceConfig) -> Iterator[Path]:
    for path in media_files(source.root):
        is_clip = path.suffix.lower() in CLIP_SUFFIXES
        wanted = not source.only or path.stem in source.only
        if is_clip == (source.kind == "clips") and wanted and path.stem not in source.exclude:
            yield path

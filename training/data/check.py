"""What a recipe would train on, and that nothing of it is evaluation material."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffir_video.errors import DiffirVideoError, UsageError
from training.config import SourceConfig, TrainConfig
from training.data.fingerprints import Resemblance, closest, fingerprints_of, media_files
from training.data.pictures import list_pictures
from training.data.suffixes import CLIP_SUFFIXES
from training.data.windows import load_large_enough


class ContaminationError(DiffirVideoError):
    """Evaluation material among what is trained on."""


@dataclass(frozen=True, slots=True)
class SourceReport:
    """One source: how many files it gives, and frames (pictures are one)."""

    source: SourceConfig
    files: int
    frames: int
    cuts: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """For every training file, what in the evaluation material is most like it; the closest first.

    unseen: training files that can't be decoded, or show next to nothing, and so were not compared.
    """

    resemblances: Sequence[Resemblance]
    unseen: Sequence[Path]
    evaluation_files: int


def describe_sources(configs: Sequence[TrainConfig]) -> Iterator[SourceReport]:
    """Open every training source once as a run would; raises UsageError for one that is missing or empty."""
    described: set[tuple[SourceConfig, int, int]] = set()
    reported: set[SourceReport] = set()
    # Which pictures and clips are large enough depends on the patch and the scale.
    for config in configs:
        of_pictures = config.data.samples == "pictures"
        largest = max(phase.patch_size for phase in config.all_phases)
        for source in config.data.train:
            # Weights and the like differ from stage to stage of the same material.
            material = replace(source, weight=1.0, encoded_variants=0, picked=0.0)
            encoded = replace(material, encoded_variants=min(1, source.encoded_variants))
            key = (encoded, largest, config.model.scale)
            if key in described:
                continue
            described.add(key)
            if of_pictures:
                count = len(list_pictures(source, largest * source.shrink, scale=config.model.scale))
                report = SourceReport(material, count, count, 0)
            else:
                footage = load_large_enough(source, config)
                frames = sum(len(clip.frames) for clip in footage)
                report = SourceReport(material, len(footage), frames, sum(len(c.cuts) for c in footage))
            if report not in reported:
                reported.add(report)
                yield report


def compare(configs: Sequence[TrainConfig], evaluation: Sequence[Path]) -> Comparison:
    """Every training file of every recipe against everything in the evaluation folders (or files).

    Raises UsageError if there is no evaluation material, or some of it has no fingerprint: a comparison that
    leaves it out proves nothing.
    """
    files = [file for folder in evaluation for file in media_files(folder)]
    held_out = fingerprints_of(files)
    unseen = sorted(set(files) - {each.path for each in held_out})
    if unseen or not files:
        what = f"{unseen[0]} has no fingerprint" if unseen else "no clips or pictures there"
        raise UsageError(f"evaluation material {', '.join(map(str, evaluation))}: {what}")
    ours = sorted({file for config in configs for s in config.data.train for file in _files_of(s)})
    trained_on = fingerprints_of(ours)
    found = [closest(each, held_out) for each in trained_on]
    return Comparison(
        sorted((r for r in found if r is not None), key=lambda r: r.distance),
        sorted(set(ours) - {each.path for each in trained_on}),
        len(held_out),
    )


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

"""What joints cost: PSNR of a job in segments less that of one uninterrupted, around joints and elsewhere.

`python -m tests.job.joints CLIP` prints it for x264 as it is and at a constant quantiser, and for FFV1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from diffir_video import JobOptions, Restorer
from diffir_video.job import restore_file
from diffir_video.job.cutting import SegmentCutter
from diffir_video.media import VideoReader
from diffir_video.metrics import psnr

# Frames on either side of a joint that count as "around" it, and the PSNR that stands for "equal".
_NEAR = 3
_EQUAL_DB = 100.0


@dataclass(frozen=True)
class Joints:
    """dB that cutting into segments gained or cost: the means of frames around joints and of others."""

    segments: int
    around: float
    elsewhere: float

    @property
    def cost(self) -> float:
        return self.elsewhere - self.around

    def __str__(self) -> str:
        return (
            f"{self.segments} segments: {self.around:+.3f} dB around joints, {self.elsewhere:+.3f} elsewhere"
        )


def measure(
    clip: Path,
    folder: Path,
    restorer: Restorer,
    *,
    segment_frames: int,
    encoder: str,
    encoder_options: Mapping[str, str],
    end: Fraction | None = None,
) -> Joints:
    """Both against the frames as restored, which an uninterrupted job keeps in FFV1."""

    def frames(name: str, codec: str, options: Mapping[str, str], length: int) -> Tensor:
        output = folder / f"{name}.mkv"
        job = JobOptions(
            encoder=codec, encoder_options=options, segment_frames=length, end=end, overwrite=True
        )
        restore_file(clip, output, restorer=restorer, options=job)
        with VideoReader(output) as reader:
            return torch.stack([frame.data for frame in reader])

    restored = frames("restored", "ffv1", {}, sys.maxsize)
    one = frames("one", encoder, encoder_options, sys.maxsize)
    many = frames("many", encoder, encoder_options, segment_frames)
    gain = psnr(many, restored).clamp(max=_EQUAL_DB) - psnr(one, restored).clamp(max=_EQUAL_DB)
    starts = _segment_starts(clip, segment_frames, end)
    near = torch.zeros(len(gain), dtype=torch.bool)
    for joint in starts[1:]:
        near[max(joint - _NEAR, 0) : joint + _NEAR] = True
    return Joints(len(starts), gain[near].double().mean().item(), gain[~near].double().mean().item())


def _segment_starts(clip: Path, segment_frames: int, end: Fraction | None) -> list[int]:
    """The index of each segment's first frame, as a job cuts the clip."""
    starts: list[int] = [0]
    with VideoReader(clip, end=end) as reader:
        for segment in SegmentCutter(reader, (0, 0), segment_frames):
            starts.append(starts[-1] + sum(1 for _ in segment))
    return starts[:-1]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.job.joints", description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", default="identity")
    parser.add_argument("--segment-frames", type=int, default=20, metavar="N", help="default: %(default)s")
    parser.add_argument("--end", type=Fraction, metavar="S", help="measure so many seconds of it")
    given = parser.parse_args(argv)
    restorer = Restorer.from_pretrained(given.model, device="cpu")
    for encoder, options in (("libx264", {}), ("libx264", {"qp": "18"}), ("ffv1", {})):
        with TemporaryDirectory() as folder:
            joints = measure(
                given.clip,
                Path(folder),
                restorer,
                segment_frames=given.segment_frames,
                encoder=encoder,
                encoder_options=options,
                end=given.end,
            )
        print(f"{encoder} {options or 'as it is'}: {joints}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

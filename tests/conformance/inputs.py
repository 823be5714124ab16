"""Awkward inputs × what is kept of them, the table of docs/media.md: `python -m tests.conformance.inputs`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from diffir_video import JobOptions, Restorer
from diffir_video.job import restore_file
from diffir_video.media import VideoReader
from tests.media_samples import decoded_bytes, packets, sample, video_pts

INPUTS = [
    *("bframes.mp4", "index_at_end.mp4", "fragmented.mp4", "h264.mkv", "vp9_opus.webm", "mpeg2.ts"),
    *(
        "odd.mkv",
        "silent.mp4",
        "vfr.mp4",
        "ten_bit.mp4",
        "hdr10.mp4",
        "hdr10_topleft.mp4",
        "hlg.mp4",
        "upright.mp4",
    ),
    *("rotated.mp4", "start_offset.mkv", "start_offset.mp4", "full_range_bt709.mp4", "bt601.mp4"),
    *("calm_bt601.mkv", "calm_full_range_bt709.mkv", "calm_ten_bit.mkv", "calm_odd.mkv", "anamorphic.mp4"),
    *("lossless444_bt709.mkv", "gray.mkv", "packed_rgb.mkv", "nv12.mkv", "interlaced.mp4", "interlaced.ts"),
    *("everything.mkv", "short.mp4", "centre_vp9.mkv", "motion_jpeg.avi", "mpeg1.mpg"),
]
HEADER = ["input", "frames", "timestamps", "end", "tags, aspect", "other tracks", "chapters", "codes"]


@dataclass(frozen=True)
class Row:
    """What came out of one input by way of the identity and FFV1 in Matroska, beside what went in."""

    name: str
    cells: tuple[str, ...]

    def __str__(self) -> str:
        return f"| {' | '.join([self.name, *self.cells])} |"


def measure(name: str, folder: Path) -> Row:
    source, output = sample(name), folder / f"{name}.mkv"
    options = JobOptions(deinterlace="off", encoder="ffv1")
    report = restore_file(source, output, restorer=Restorer(None), options=options)
    with av.open(str(source)) as before, av.open(str(output)) as after:
        same_tracks = Counter(s.type for s in before.streams) == Counter(s.type for s in after.streams)
        chapters = (len(before.chapters()), len(after.chapters()))
    checks = {check.name: check.passed for check in report.verification.checks}
    same_tags = all(passed for check, passed in checks.items() if check.startswith(("colour", "pixel")))
    put, found = video_pts(source), video_pts(output)
    cells = (
        _equal(len(put), len(found)),
        _times(put, found),
        _passed(checks["end"]),
        _passed(same_tags),
        _passed(same_tracks and _same_bytes(source, output)),
        _equal(*chapters),
        _codes(source, output, report.pixel_format),
    )
    return Row(name, cells)


def table() -> str:
    with TemporaryDirectory() as folder:
        rows = [str(measure(name, Path(folder))) for name in INPUTS]
    return "\n".join([f"| {' | '.join(HEADER)} |", "|" + " --- |" * len(HEADER), *rows])


def _equal(before: int, after: int) -> str:
    return f"{after}" if before == after else f"**{before} → {after}**"


def _passed(passed: bool) -> str:
    return "same" if passed else "**differ**"


def _times(put: list[Fraction], found: list[Fraction]) -> str:
    error = max((abs(a - b) for a, b in zip(put, found, strict=False)), default=Fraction(0))
    if error == 0:
        return "exact"
    return "to 0.5 ms" if error <= Fraction(1, 2000) else f"**off by {float(error):.4f} s**"


def _same_bytes(source: Path, output: Path) -> bool:
    before, after = packets(source), packets(output)
    return all([bytes(p) for p in before[i]] == [bytes(p) for p in after[i]] for i in set(before) - {0})


def _codes(source: Path, output: Path, pixel_format: str) -> str:
    with VideoReader(source) as before, VideoReader(output) as after:
        if before.info.pixel_format.replace("j", "").replace("nv12", "yuv420p") != pixel_format:
            return f"as {pixel_format}"
        is_turned = before.info.width != after.info.width or "rotated" in source.name
    if is_turned:
        return "turned upright"
    dtype = np.uint8 if before.info.bit_depth == 8 else np.uint16
    left, right = (np.frombuffer(decoded_bytes(path, pixel_format), dtype) for path in (source, output))
    changed = np.count_nonzero(left != right) / left.size
    return "exact" if changed == 0 else f"**{100 * changed:.2g} % changed**"


if __name__ == "__main__":
    print(table())

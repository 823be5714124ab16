"""What the pipeline costs when it changes nothing: `python -m tests.benchmarks.transparency`.

The identity against FFmpeg doing the same by itself (decode, RGB, encode with the same settings), in pairs
of runs, one after the other; and the memory of a clip against that of one ten times as long.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import imageio_ffmpeg

from diffir_video.bench_material import write_sample_clip
from diffir_video.machine import this_machine
from diffir_video.media import VideoReader
from diffir_video.media.encoder import ENCODER_THREADS, EncoderSettings, all_options

_WIDTH, _HEIGHT = 1280, 720
_TIMES_LONGER = 10

# Restores one file in a process of its own, and says how long that took and the most memory it held.
_RESTORE = """
import resource, sys, time
import diffir_video as dv
source, output, encoder = sys.argv[1:4]
isolate = sys.argv[4] == "isolated"
given = dict(o.split("=", 1) for o in sys.argv[5:])
options = dv.JobOptions(encoder=encoder, encoder_options=given, isolate=isolate)
restorer = dv.Restorer(None)
started = time.perf_counter()
report = dv.restore_file(source, output, restorer=restorer, options=options)
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
assert not report.lost()
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.transparency", description=__doc__)
    parser.add_argument("--frames", type=int, default=250, metavar="N", help="default: %(default)s")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument("--encoder", default="libx264", help="default: %(default)s")
    parser.add_argument("--encoder-option", action="append", default=[], metavar="k=v")
    arguments = parser.parse_args(argv)
    print(this_machine())
    with TemporaryDirectory(prefix="diffir-transparency-") as folder:
        clip = Path(folder) / "clip.mkv"
        write_sample_clip(clip, _WIDTH, _HEIGHT, frames=arguments.frames)
        ratio, isolated = _ratio(clip, arguments.pairs, arguments.encoder, arguments.encoder_option)
        growth = _growth(clip)
    print(
        f"median ratio {ratio:.3f}, isolated {isolated:.3f}; "
        f"memory over {_TIMES_LONGER} times the length: {growth:.3f}"
    )
    return 0


def _ratio(clip: Path, pairs: int, encoder: str, options: Sequence[str]) -> tuple[float, float]:
    """Of a job as it is, and of one with `isolate`."""
    ratios: list[float] = []
    isolated_ratios: list[float] = []
    for number in range(1, pairs + 1):
        theirs = _ffmpeg_seconds(clip, encoder, options)
        ours, _ = _restore(clip, encoder, options)
        isolated, _ = _restore(clip, encoder, options, isolate=True)
        ratios.append(ours / theirs)
        isolated_ratios.append(isolated / theirs)
        print(f"pair {number}: ffmpeg {theirs:.2f} s, identity {ours:.2f} s, ratio {ratios[-1]:.3f}")
    return median(ratios), median(isolated_ratios)


def _growth(clip: Path) -> float:
    encoder, options = "libx264", ["preset=ultrafast"]
    long = clip.with_name("long.mkv")
    repeat = ["-stream_loop", str(_TIMES_LONGER - 1), "-i", str(clip), "-c", "copy", str(long)]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *repeat], check=True)
    (_, short_bytes), (_, long_bytes) = (_restore(path, encoder, options) for path in (clip, long))
    print(f"memory: {short_bytes / 1e6:.0f} MB, {long_bytes / 1e6:.0f} MB for {_TIMES_LONGER} times as much")
    return long_bytes / short_bytes


def _ffmpeg_seconds(clip: Path, encoder: str, options: Sequence[str]) -> float:
    """FFmpeg's own way: its program decodes, converts to RGB and back, and encodes with our settings."""
    given = dict(option.split("=", 1) for option in options)
    with VideoReader(clip) as reader:
        settings = all_options(EncoderSettings(encoder, given), reader.info)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(clip)]
    command += ["-vf", "format=gbrp,format=yuv420p", "-c:v", encoder, "-threads", str(ENCODER_THREADS)]
    command += [word for key, value in settings.items() for word in (f"-{key}", value)]
    started = time.perf_counter()
    subprocess.run([*command, str(clip.with_name("theirs.mkv"))], check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - started


def _restore(clip: Path, encoder: str, options: Sequence[str], *, isolate: bool = False) -> tuple[float, int]:
    """Seconds and peak bytes of a job, without the start of the interpreter."""
    output = clip.with_name("ours.mkv")
    output.unlink(missing_ok=True)
    command = [sys.executable, "-c", _RESTORE, str(clip), str(output), encoder]
    command += ["isolated" if isolate else "plain", *options]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(printed[0]), int(printed[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())

"""Mutated files: an error of ours or a restored prefix, in bounded time; never a crash or half a file."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.media_samples import sample

SAMPLES = ["bframes.mp4", "h264.mkv", "mpeg2.ts", "vp9_opus.webm", "fragmented.mp4"]
OUTPUT = {"OutputError", "EncoderError"}

# Restores each of the files named on its standard input, and says what came of it.
PROGRAM = """
import sys
from pathlib import Path
from diffir_video import DiffirVideoError, JobOptions, Restorer, restore_file
restorer, options = Restorer(None), JobOptions(encoder="ffv1")
for line in sys.stdin:
    source = Path(line.strip())
    output = source.with_suffix(".out.mkv")
    try:
        report = restore_file(source, output, restorer=restorer, options=options)
        outcome = f"code {report.exit_code}"
    except DiffirVideoError as exc:
        outcome = f"{type(exc).__name__}{' AND A FILE' * output.exists()}"
    print(outcome, flush=True)
"""


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, a stretch zeroed, removed or doubled, or the end cut off."""
    changed = bytearray(data)
    match rng.randrange(5):
        case 0:
            for _ in range(rng.choice([1, 10, 200])):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
        case 1:
            begin, length = stretch(changed, rng)
            changed[begin : begin + length] = bytes(length)
        case 2:
            begin, length = stretch(changed, rng)
            del changed[begin : begin + length]
        case 3:
            begin, length = stretch(changed, rng)
            changed[begin:begin] = changed[begin : begin + length]
        case _:
            del changed[rng.randrange(len(changed)) :]
    return bytes(changed)


def stretch(data: bytearray, rng: random.Random) -> tuple[int, int]:
    begin = rng.randrange(len(data))
    return begin, rng.randrange(1, min(5000, len(data) - begin + 1) + 1)


def check(folder: Path, count: int, seconds: float) -> None:
    rng = random.Random(5)
    paths: list[Path] = []
    for index in range(count):
        name = SAMPLES[index % len(SAMPLES)]
        paths.append(folder / f"{index:05d}{Path(name).suffix}")
        paths[-1].write_bytes(mutated(sample(name).read_bytes(), rng))
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    outcomes = finished.stdout.splitlines()
    assert finished.returncode == 0, (paths[len(outcomes)], finished.stderr[-2000:])
    assert len(outcomes) == count
    assert set(outcomes) <= {
        "code 0",
        "code 5",
        "MediaInputError",
        "OutputError",
        "EncoderError",
        "UsageError",
    }
    assert len(set(outcomes)) > 1
    for path, outcome in zip(paths, outcomes, strict=True):
        assert path.with_suffix(".out.mkv").exists() == outcome.startswith("code")
    # What was restored is kept only where the output, not the input, was the trouble.
    troubled = {f".{p.stem}.out.mkv.diffir-job" for p, o in zip(paths, outcomes, strict=True) if o in OUTPUT}
    assert {name for name in os.listdir(folder) if name.endswith(".diffir-job")} <= troubled


def test_a_few_mutated_files(tmp_path: Path) -> None:
    check(tmp_path, 15, 120)


@pytest.mark.slow
def test_two_thousand_mutated_files(tmp_path: Path) -> None:
    check(tmp_path, 2000, 3600)

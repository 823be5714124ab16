"""README's uses beyond one file do what they say, as they stand there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch

import diffir_video as dv
from tests.media_samples import video_pts
from tests.network.test_variants import tiny

README = Path(__file__).parents[1] / "README.md"
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
FRAMES = 3
PICTURES = [f"shot-{number:04d}.png" for number in range(1, FRAMES + 1)]


def draw(path: Path, frames: int = FRAMES) -> None:
    path.parent.mkdir(exist_ok=True)
    source = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=24", "-frames:v", str(frames))
    subprocess.run([FFMPEG, "-v", "error", *source, str(path)], check=True, capture_output=True)


def command_with(words: str) -> str:
    (line,) = [line for line in README.read_text(encoding="utf-8").splitlines() if words in line]
    return line.removeprefix("$ ")


def shell(command: str, folder: Path) -> None:
    """In `folder`, where `diffir-video` and `ffmpeg` are those of this environment, and nobody looks."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "ffmpeg").symlink_to(FFMPEG)
    (programs / "ffplay").write_text("#!/bin/sh\ncat > played.y4m\n", encoding="utf-8")
    (programs / "ffplay").chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    shell = ["bash", "-o", "pipefail", "-c", command]
    subprocess.run(shell, check=True, capture_output=True, cwd=folder, env=environment)


@pytest.mark.parametrize(
    ("words", "given", "made"),
    [
        (
            "restore footage/",
            ["footage/one.mp4", "footage/two.mkv"],
            ["restored/one.mp4", "restored/two.mkv"],
        ),
        ("restore photo.jpg", ["photo.jpg"], ["clean.png"]),
        ("yuv4mpegpipe", ["noisy.mp4"], ["played.y4m"]),
    ],
)
def test_a_use_shown_in_readme(words: str, given: list[str], made: list[str], tmp_path: Path) -> None:
    for name in given:
        draw(tmp_path / name, 1 if name.endswith("jpg") else FRAMES)
    shell(command_with(words), tmp_path)
    for source, output in zip(given, made, strict=True):
        assert len(video_pts(tmp_path / output)) == len(video_pts(tmp_path / source))


def test_the_picture_sequence_shown_in_readme(tmp_path: Path) -> None:
    draw(tmp_path / "shots" / "shot-%04d.png")
    shell(command_with("restore shots/"), tmp_path)
    assert sorted(path.name for path in (tmp_path / "clean").iterdir()) == PICTURES


def test_the_network_by_itself_as_shown_in_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (snippet,) = [
        block.removeprefix("python")
        for block in README.read_text(encoding="utf-8").split("```")
        if "estimate_prior" in block
    ]
    monkeypatch.chdir(tmp_path)
    net = dv.DiffIRS2(tiny())
    dv.save_checkpoint(net, "published.pth")
    names: dict[str, object] = {
        "dv": dv,
        "lq": torch.rand(1, 3, 32, 32),
        "x_T": torch.randn(1, net.config.prior_width),
    }
    exec(snippet, names)
    output = names["output"]
    assert isinstance(output, torch.Tensor)
    assert output.shape == (1, 3, 32, 32)

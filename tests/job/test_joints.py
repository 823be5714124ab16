"""Where two segments meet, pictures are as good as anywhere, next to those of a job in one piece.

A segment begins with a keyframe, and no frame before it looks past it. The piece they are compared with has
closed GOPs of the same frames: what those cost by themselves is the encoder's.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch
from torch import Tensor

from diffir_video import JobOptions, Restorer
from diffir_video.job import restore_file
from diffir_video.media import VideoReader
from diffir_video.metrics import psnr_y
from tests.media_samples import packets, video_pts
from training.data.fetch import fetch

SEGMENT_FRAMES, FRAMES = 16, 80

# At most so much below, in dB.
MOST = 0.1

_X265 = f"keyint={SEGMENT_FRAMES}:min-keyint={SEGMENT_FRAMES}:scenecut=0:open-gop=0:log-level=error"
CLOSED_GOPS = {
    "ffv1": {},
    "libx264": {"g": f"{SEGMENT_FRAMES}", "sc_threshold": "0"},
    "libx265": {"x265-params": _X265},
}


def ffmpeg(*arguments: str) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments]
    subprocess.run(command, check=True, capture_output=True)


def noisy(truth: Path, path: Path) -> Path:
    """The clip with a moving grain and with sound, without loss, and with one keyframe."""
    sound = ("-f", "lavfi", "-i", "sine=f=440:d=3")
    lossless = ("-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", "-g", "999", "-sc_threshold", "0")
    ffmpeg("-i", str(truth), *sound, "-vf", "noise=alls=40:allf=t+u", *lossless, "-c:a", "aac", str(path))
    return path


def drawn(folder: Path) -> Path:
    """A detailed picture that moves everywhere."""
    truth = folder / "truth.mkv"
    ffmpeg(
        "-f", "lavfi", "-i", "mandelbrot=s=320x176:r=25:end_scale=0.2:end_pts=100", "-frames:v", str(FRAMES),
        "-pix_fmt", "yuv420p", "-c:v", "ffv1", str(truth),
    )  # fmt: skip
    return truth


def filmed(folder: Path) -> Path:
    (clip,) = fetch(folder, groups=("eval",), names={"carphone_pristine.mp4"})["eval"]
    truth = folder / "truth.mkv"
    ffmpeg("-i", str(clip), "-frames:v", str(FRAMES), "-c:v", "ffv1", "-an", str(truth))
    return truth


def quality(path: Path, truth: Path) -> Tensor:
    """PSNR-Y in dB, frame by frame."""
    with VideoReader(path) as reader, VideoReader(truth) as expected:
        pairs = zip(reader, expected, strict=True)
        return torch.cat([psnr_y(ours.data[None], theirs.data[None]) for ours, theirs in pairs])


def below_elsewhere(truth: Path, folder: Path, model: str, encoder: str) -> float:
    """By how many dB frames beside joints are lower than in a job in one piece, less what the others are."""
    source = noisy(truth, folder / "noisy.mkv")
    restorer = Restorer.from_pretrained(model, device="cpu")
    outputs = {"one": 1000, "many": SEGMENT_FRAMES}
    for name, segment_frames in outputs.items():
        options = JobOptions(
            encoder=encoder, encoder_options=CLOSED_GOPS[encoder], segment_frames=segment_frames
        )
        report = restore_file(source, folder / f"{name}.mkv", restorer=restorer, options=options)
        assert report.segments == (1 if name == "one" else FRAMES // SEGMENT_FRAMES)
    one, many = folder / "one.mkv", folder / "many.mkv"
    assert video_pts(many) == video_pts(one)
    assert [packet.pts for packet in packets(many)[1]] == [packet.pts for packet in packets(one)[1]]
    lost = quality(one, truth) - quality(many, truth)
    at_joint = torch.zeros(FRAMES, dtype=torch.bool)
    for joint in range(SEGMENT_FRAMES, FRAMES, SEGMENT_FRAMES):
        at_joint[joint - 1 : joint + 1] = True
    below = lost[at_joint].mean() - lost[~at_joint].mean()
    print(
        f"{model}, {encoder}: joints {below:+.3f} dB below elsewhere, worst frame {lost[at_joint].max():+.3f}"
    )
    return float(below)


@pytest.mark.parametrize("encoder", ["ffv1", "libx264"])
def test_a_joint_is_as_good_as_the_rest(encoder: str, tmp_path: Path) -> None:
    assert below_elsewhere(drawn(tmp_path), tmp_path, "denoise-live", encoder) <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("model", ["denoise-live", "denoise-nano"])
@pytest.mark.parametrize("encoder", ["ffv1", "libx264", "libx265"])
def test_a_joint_of_a_real_clip_is_as_good_as_the_rest(model: str, encoder: str, tmp_path: Path) -> None:
    assert below_elsewhere(filmed(tmp_path), tmp_path, model, encoder) <= MOST

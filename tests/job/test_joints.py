"""Where two segments meet, pictures are as good as anywhere, next to those of a job in one piece.

The piece is what the encoder makes of all frames by itself, its keyframes where it wants them. With segments
as long as they are by default, everything is measured against the truth. With shorter ones, joints are where
the encoder would make no keyframe. A keyframe is truer to what the encoder was given than the B-frame in its
place, and the noise that restoring left is part of that: against the truth it may lose more. With much
shorter ones, how well frames are restored is measured without loss, and how well they are encoded, against
what the encoder was given.
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
from diffir_video.job.cutting import SEGMENT_FRAMES as SEGMENT_FRAMES_BY_DEFAULT
from diffir_video.media import VideoReader
from diffir_video.metrics import psnr_y
from tests.media_samples import packets, video_pts
from training.data.fetch import fetch

SEGMENT_FRAMES, FRAMES = 16, 80

# At most so much below, in dB; and where the encoder would make no keyframe, against the truth.
MOST, MOST_OFF_ITS_KEYFRAMES = 0.1, 0.25

# Three joints as far apart as they are by default.
AS_THEY_COME = 795


def ffmpeg(*arguments: str) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments]
    subprocess.run(command, check=True, capture_output=True)


def noisy(truth: Path, path: Path, *, gop: int = 999) -> Path:
    """The clip with a moving grain and with sound, without loss; gop: frames from keyframe to keyframe."""
    sound = ("-f", "lavfi", "-i", "sine=f=440:d=3")
    lossless = ("-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", "-g", str(gop), "-sc_threshold", "0")
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


def filmed(folder: Path, name: str, frames: int) -> Path:
    """The clip's first frames without loss, each of them a keyframe."""
    (clip,) = fetch(folder, groups=("eval",), names={name})["eval"]
    truth = folder / "truth.mkv"
    as_they_are = ("-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "-c:v", "ffv1", "-g", "1", "-an")
    ffmpeg("-i", str(clip), "-frames:v", str(frames), *as_they_are, str(truth))
    return truth


def sound_pts(path: Path) -> list[int]:
    return [packet.pts for packet in packets(path).get(1, [])]


def quality(path: Path, truth: Path) -> Tensor:
    """PSNR-Y in dB, frame by frame."""
    with VideoReader(path) as reader, VideoReader(truth) as expected:
        pairs = zip(reader, expected, strict=True)
        return torch.cat([psnr_y(ours.data[None], theirs.data[None]) for ours, theirs in pairs])


def below_elsewhere(
    source: Path, expected: Path, folder: Path, model: str, encoder: str, segment_frames: int = SEGMENT_FRAMES
) -> float:
    """By how many dB frames beside joints are lower than in a job in one piece, less what the others are.

    expected: what PSNR is taken against.
    """
    restorer = Restorer.from_pretrained(model, device="cpu")
    every = JobOptions(encoder=encoder, segment_frames=segment_frames).longest_segment
    outputs = {"one": 100_000, "many": segment_frames}
    for name, longest in outputs.items():
        options = JobOptions(encoder=encoder, segment_frames=longest)
        report = restore_file(source, folder / f"{name}.mkv", restorer=restorer, options=options)
        if name == "one":
            assert report.segments == 1
    one, many = folder / "one.mkv", folder / "many.mkv"
    assert video_pts(many) == video_pts(one)
    assert sound_pts(many) == sound_pts(one)
    lost = quality(one, expected) - quality(many, expected)
    at_joint = torch.zeros(len(lost), dtype=torch.bool)
    joints = range(every, len(lost), every)
    assert report.segments == len(joints) + 1
    for joint in joints:
        at_joint[joint - 1 : joint + 1] = True
    below = lost[at_joint].mean() - lost[~at_joint].mean()
    print(
        f"{source.name} {model}, {encoder}: {len(joints)} joints {below:+.3f} dB below elsewhere, "
        f"worst frame {lost[at_joint].max():+.3f}"
    )
    return float(below)


def restored_below_elsewhere(truth: Path, folder: Path, model: str, encoder: str) -> float:
    source, expected = noisy(truth, folder / "noisy.mkv"), truth
    if encoder != "ffv1":
        expected = folder / "expected.mkv"
        restorer = Restorer.from_pretrained(model, device="cpu")
        options = JobOptions(encoder="ffv1", segment_frames=100_000)
        restore_file(source, expected, restorer=restorer, options=options)
    return below_elsewhere(source, expected, folder, model, encoder)


@pytest.mark.parametrize("encoder", ["ffv1", "libx264"])
def test_a_joint_is_as_good_as_the_rest(encoder: str, tmp_path: Path) -> None:
    assert restored_below_elsewhere(drawn(tmp_path), tmp_path, "denoise-live", encoder) <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("model", ["denoise-live", "denoise-nano"])
@pytest.mark.parametrize("encoder", ["ffv1", "libx264", "libx265"])
def test_a_joint_of_a_real_clip_is_as_good_as_the_rest(model: str, encoder: str, tmp_path: Path) -> None:
    truth = filmed(tmp_path, "carphone_pristine.mp4", FRAMES)
    assert restored_below_elsewhere(truth, tmp_path, model, encoder) <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libvpx-vp9", "libsvtav1"])
@pytest.mark.parametrize("clip", ["vtest.avi", "franck.mp4"])
@pytest.mark.parametrize("model", ["identity", "denoise-live"])
def test_joints_of_segments_as_they_come_are_as_good_as_the_rest(
    model: str, clip: str, encoder: str, tmp_path: Path
) -> None:
    truth = filmed(tmp_path, clip, AS_THEY_COME)
    source = truth if model == "identity" else noisy(truth, tmp_path / "noisy.mkv", gop=1)
    assert below_elsewhere(source, truth, tmp_path, model, encoder, SEGMENT_FRAMES_BY_DEFAULT) <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
@pytest.mark.parametrize("clip", ["vtest.avi", "franck.mp4"])
def test_joints_where_the_encoder_would_make_no_keyframe_cost_little(
    clip: str, encoder: str, tmp_path: Path
) -> None:
    truth = filmed(tmp_path, clip, AS_THEY_COME)
    source = noisy(truth, tmp_path / "noisy.mkv", gop=1)
    below = below_elsewhere(source, truth, tmp_path, "denoise-live", encoder, 125)
    assert below <= MOST_OFF_ITS_KEYFRAMES

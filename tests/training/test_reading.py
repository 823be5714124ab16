"""Pictures deeper than 8 bits keep their tones; clips with a rotation in their metadata come upright."""

from __future__ import annotations

import subprocess
from pathlib import Path

import decord
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

import diffir_video as dv
from tests.training.conftest import picture
from training.config import SourceConfig
from training.data.fingerprints import fingerprints_of
from training.data.frames import load_source
from training.data.pictures import list_pictures, read_patch
from training.data.prepare import cut_into_crops
from training.data.reading import read_clip, read_picture
from training.evaluation.folder import inputs_in
from training.evaluation.material import Damage

# decord fails where turned pictures are of this width.
GREY = picture(64, 96, 0)[:, :, 0]
AS_RGB = np.repeat(GREY[:, :, None], 3, axis=2)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A folder with GREY as a PNG of 16 bits."""
    folder = tmp_path / "deep"
    folder.mkdir()
    Image.fromarray(GREY.astype(np.uint16) * 257).save(folder / "grey.png")
    return folder


def turned(folder: Path, degrees: int) -> Path:
    """A lossless clip of four still frames that its display matrix turns into GREY."""
    folder.mkdir(exist_ok=True)
    plain, path = folder.parent / "plain.mp4", folder / "turned.mp4"
    stored = np.ascontiguousarray(np.rot90(GREY, -degrees // 90))
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"]
    raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{stored.shape[1]}x{stored.shape[0]}", "-i", "-"]
    x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-pix_fmt", "yuv420p", str(plain)]
    subprocess.run([*ffmpeg, *raw, *x264], input=stored.tobytes() * 4, check=True)
    rotation = ["-display_rotation", str(degrees), "-i", str(plain), "-c", "copy", str(path)]
    subprocess.run([*ffmpeg, *rotation], check=True)
    return path


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_samples_of_16_bits_keep_their_values(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(GREY.astype(dtype) * 257).save(tmp_path / "grey.tif")
    assert np.array_equal(read_picture(tmp_path / "grey.tif"), AS_RGB)


def test_every_reader_takes_deep_pictures_by_value(deep: Path, tmp_path: Path) -> None:
    source = SourceConfig(root=deep, kind="photos", shrink=1)
    (footage,) = load_source(source, tmp_path / "cache")
    assert np.array_equal(footage.frames[0], AS_RGB)
    (found,) = list_pictures(source, 64)
    _, patch = read_patch(found, 64, 1, 1, np.random.default_rng(0))
    assert any(np.array_equal(patch, AS_RGB[:, x : x + 64]) for x in range(33))
    cut_into_crops(deep, tmp_path / "crops", size=64, step=64)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "crops" / "grey-00000-00000.png")), AS_RGB[:, :64])
    (entry,) = inputs_in(deep, [Damage()], scale=1, frames=1, cache=tmp_path / "cache")
    assert np.array_equal((entry.truth[0, 0] * 255).round().byte().numpy(), GREY)
    assert [each.path.name for each in fingerprints_of([deep / "grey.png"])] == ["grey.png"]


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_every_reader_takes_a_photo_as_its_exif_orientation_says(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    """The LQ of a pair is as a camera left it, its ground truth as an editor saved it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    lq, gt = tmp_path / "lq" / f"grey{suffix}", tmp_path / "gt" / f"grey{suffix}"
    lq.parent.mkdir()
    gt.parent.mkdir()
    stored = np.ascontiguousarray(np.rot90(AS_RGB, {3: 2, 6: 1}[orientation]))
    Image.fromarray(stored).save(lq, exif=exif, quality=100)
    Image.fromarray(AS_RGB).save(gt, quality=100)
    assert np.abs(read_picture(lq).astype(int) - AS_RGB).max() <= 8
    (pair,) = list_pictures(SourceConfig(root=tmp_path, kind="pairs", shrink=1), 64)
    seen, truth = read_patch(pair, 32, 1, 1, np.random.default_rng(0))
    assert seen is not None
    assert np.abs(seen.astype(int) - truth).max() <= 8
    (footage,) = load_source(SourceConfig(root=lq.parent, kind="photos", shrink=1), tmp_path / "cache")
    assert footage.frames.shape == (1, *AS_RGB.shape)
    assert cut_into_crops(tmp_path, tmp_path / "crops", size=64, step=64).left_out == 0
    crop = np.asarray(Image.open(tmp_path / "crops" / "lq" / "grey-00000-00000.png"))
    assert np.abs(crop.astype(int) - AS_RGB[:, :64]).max() <= 8


def test_floating_point_is_left_out_and_told(deep: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(GREY.astype(np.float32)).save(deep / "float.tif")
    source = SourceConfig(root=deep, kind="photos", shrink=1)
    assert [found.gt.name for found in list_pictures(source, 64)] == ["grey.png"]
    assert "float.tif: samples of floating point" in caplog.text


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_clip_comes_upright(tmp_path: Path, degrees: int) -> None:
    turned(tmp_path / "clips", degrees)
    (footage,) = load_source(
        SourceConfig(root=tmp_path / "clips", kind="clips", shrink=1), tmp_path / "cache"
    )
    assert footage.frames.shape == (4, *AS_RGB.shape)
    assert np.abs(footage.frames[1] - AS_RGB.astype(int)).max() <= 4


def test_clip_that_decord_refuses_to_open_is_read_by_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = turned(tmp_path / "clips", 0)

    def refuse(*_: object, **__: object) -> None:
        raise decord.DECORDError("another of its own errors")

    monkeypatch.setattr(decord, "VideoReader", refuse)
    assert [len(frames) for frames in read_clip(path, limit=3, at_once=2)] == [2, 1]
    (tmp_path / "broken.mp4").write_bytes(b"none")
    with pytest.raises(dv.MediaInputError):
        list(read_clip(tmp_path / "broken.mp4"))


def test_turned_clip_has_a_fingerprint(tmp_path: Path) -> None:
    path = turned(tmp_path / "clips", 180)
    assert [each.path for each in fingerprints_of([path])] == [path]


def test_clip_is_read_up_to_the_limit_and_in_steps(tmp_path: Path) -> None:
    for degrees in (0, 180):
        path = turned(tmp_path / "clips", degrees)
        assert sum(len(frames) for frames in read_clip(path, limit=3)) == 3
        assert [len(frames) for frames in read_clip(path, step=2, at_once=1)] == [1, 1]

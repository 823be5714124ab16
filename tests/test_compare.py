"""`compare_files`: figures of real files, matched by time, and the picture that shows them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from diffir_video.compare import compare_files
from diffir_video.errors import MediaInputError, OutputError, UsageError
from diffir_video.metrics import PSNR_CEILING

FRAMES, HEIGHT, WIDTH = 8, 48, 64


def write_lossless(path: Path, frames: NDArray[np.uint8], *arguments: str, rate: str = "25") -> Path:
    height, width = frames.shape[1:3]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-framerate", rate]
    sink = ["-c:v", "ffv1", "-pix_fmt", "gbrp", "-fps_mode", "passthrough", "-y", str(path)]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *source, "-i", "-", *arguments, *sink]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return path


def clip(height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Every frame differs from every other, and none comes near black or white."""
    generator = np.random.default_rng(3)
    return generator.integers(60, 180, (FRAMES, height, width, 3), np.uint8)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return write_lossless(tmp_path / "truth.mkv", clip())


def brighter(levels: int) -> NDArray[np.uint8]:
    return clip() + np.uint8(levels)


def test_a_file_equals_itself(truth: Path) -> None:
    comparison = compare_files(truth, truth)
    (score,) = comparison.scores
    assert (score.identical, score.missing, score.extra) == (FRAMES, 0, 0)
    assert score.psnr == PSNR_CEILING
    assert score.ssim == pytest.approx(1)
    assert "equal" in comparison.format()


def test_a_constant_error_has_the_psnr_of_its_definition(truth: Path, tmp_path: Path) -> None:
    (score,) = compare_files(truth, write_lossless(tmp_path / "a.mkv", brighter(10))).scores
    assert score.psnr == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)
    assert score.psnr_y == pytest.approx(20 * np.log10(255 / 10 * 255 / 219), abs=1e-3)


def test_the_worst_frame_is_the_damaged_one(truth: Path, tmp_path: Path) -> None:
    frames = brighter(1)
    frames[5] += 30
    (score,) = compare_files(truth, write_lossless(tmp_path / "a.mkv", frames)).scores
    assert score.worst.index == 5
    assert score.worst.pts_seconds == pytest.approx(5 / 25)


def test_the_gain_is_b_over_a(truth: Path, tmp_path: Path) -> None:
    a = write_lossless(tmp_path / "a.mkv", brighter(20))
    b = write_lossless(tmp_path / "b.mkv", brighter(10))
    assert compare_files(truth, a, b).gain == pytest.approx(20 * np.log10(2), abs=1e-3)


def test_the_gain_is_of_the_frames_that_both_files_have(truth: Path, tmp_path: Path) -> None:
    frames = brighter(10)
    frames[3] += 60
    a = write_lossless(tmp_path / "a.mkv", frames)
    b = write_lossless(tmp_path / "b.mkv", frames, "-vf", "select='not(eq(n,3))'")
    comparison = compare_files(truth, a, b)
    assert comparison.scores[1].psnr_y > comparison.scores[0].psnr_y
    assert comparison.gain == 0
    assert "+0.000" in comparison.format()


def test_a_dropped_frame_is_counted_and_does_not_shift_the_others(truth: Path, tmp_path: Path) -> None:
    dropped = write_lossless(tmp_path / "a.mkv", clip(), "-vf", "select='not(eq(n,3))'")
    (score,) = compare_files(truth, dropped).scores
    assert [f.index for f in score.frames] == [0, 1, 2, 4, 5, 6, 7]
    assert (score.missing, score.extra, score.identical) == (1, 0, FRAMES - 1)


def test_frames_the_reference_lacks_are_counted_as_extra(truth: Path, tmp_path: Path) -> None:
    shorter = write_lossless(tmp_path / "short.mkv", clip(), "-vf", "select='between(n,1,5)'")
    (score,) = compare_files(shorter, truth).scores
    assert (len(score.frames), score.missing, score.extra) == (5, 0, 3)
    assert score.identical == 5


def test_clocks_of_different_containers_still_match(tmp_path: Path) -> None:
    matroska = write_lossless(tmp_path / "truth.mkv", clip(), rate="30000/1001")
    quicktime = write_lossless(tmp_path / "a.nut", clip(), rate="30000/1001")
    (score,) = compare_files(matroska, quicktime).scores
    assert (score.identical, score.missing, score.extra) == (FRAMES, 0, 0)


def test_files_without_a_common_time_are_refused(truth: Path, tmp_path: Path) -> None:
    late = write_lossless(tmp_path / "late.mkv", clip(), "-vf", "setpts=PTS+10/TB")
    with pytest.raises(UsageError, match=r"late\.mkv has no frame at the time of any frame"):
        compare_files(truth, late)


def test_unequal_sizes_are_refused_with_both_sizes(truth: Path, tmp_path: Path) -> None:
    other = write_lossless(tmp_path / "other.mkv", clip(width=WIDTH + 2))
    with pytest.raises(UsageError, match=f"{WIDTH + 2}x{HEIGHT}.*{WIDTH}x{HEIGHT}"):
        compare_files(truth, other)


def test_a_missing_file_is_an_input_error(truth: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaInputError):
        compare_files(truth, tmp_path / "none.mkv")


def test_the_figures_are_plain_json_even_for_equal_files(truth: Path) -> None:
    text = json.dumps(compare_files(truth, truth, truth).to_dict(), allow_nan=False)
    figures = json.loads(text)
    assert figures["gain_psnr_y"] == 0
    assert len(figures["scores"][1]["per_frame"]) == FRAMES


def test_the_table_names_the_files_and_the_gain(truth: Path, tmp_path: Path) -> None:
    a = write_lossless(tmp_path / "input.mkv", brighter(20))
    b = write_lossless(tmp_path / "restored.mkv", brighter(10))
    text = compare_files(truth, a, b).format()
    assert "input.mkv" in text
    assert "restored.mkv" in text
    assert "+6.021" in text


@pytest.mark.parametrize("versions", [1, 2])
def test_the_picture_shows_the_files_own_pixels(truth: Path, tmp_path: Path, versions: int) -> None:
    a = write_lossless(tmp_path / "a.mkv", np.full_like(clip(), (255, 0, 0)))
    b = write_lossless(tmp_path / "b.mkv", np.full_like(clip(), (0, 0, 255)))
    drawn = tmp_path / "picture.png"
    compare_files(truth, a, b if versions == 2 else None, picture=drawn)
    with Image.open(drawn) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    shown = [bool((pixels == colour).all(axis=-1).any()) for colour in ((255, 0, 0), (0, 0, 255))]
    assert shown == [True, versions == 2]


def test_a_picture_that_cannot_be_written_is_an_output_error(truth: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="none"):
        compare_files(truth, truth, picture=tmp_path / "none" / "picture.png")


def test_a_file_that_starts_elsewhere_is_matched_from_its_first_frame_on(truth: Path, tmp_path: Path) -> None:
    late = write_lossless(tmp_path / "late.mkv", clip(), "-vf", "setpts=PTS+1.4/TB")
    (score,) = compare_files(truth, late, align="start").scores
    assert (score.identical, score.missing, score.extra) == (FRAMES, 0, 0)
    assert score.starts_later_by == pytest.approx(1.4)


def test_a_dropped_frame_is_missing_however_files_are_aligned(truth: Path, tmp_path: Path) -> None:
    dropped = write_lossless(tmp_path / "a.mkv", clip(), "-vf", "select='not(eq(n,3))',setpts=PTS+1.4/TB")
    (score,) = compare_files(truth, dropped, align="start").scores
    assert (score.missing, score.extra, score.identical) == (1, 0, FRAMES - 1)


def test_files_of_which_a_part_matches_by_chance_are_told_to_start_elsewhere(
    truth: Path, tmp_path: Path
) -> None:
    late = write_lossless(tmp_path / "late.mkv", clip(), "-vf", "setpts=PTS+0.08/TB")
    assert "late.mkv starts +0.080 s after the reference" in compare_files(truth, late).format()
    assert "note" not in compare_files(truth, late, align="start").format()


def test_another_alignment_is_refused(truth: Path) -> None:
    with pytest.raises(UsageError, match="align 'end'"):
        compare_files(truth, truth, align="end")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["shots/%03d.png", "shots"])
def test_pictures_compare_with_a_video_at_its_rate(name: str, tmp_path: Path) -> None:
    video = write_lossless(tmp_path / "truth.mkv", clip(), rate="30")
    (tmp_path / "shots").mkdir()
    for index, frame in enumerate(clip(), start=1):
        Image.fromarray(frame).save(tmp_path / "shots" / f"{index:03d}.png")
    for comparison in (compare_files(video, tmp_path / name), compare_files(tmp_path / name, video)):
        (score,) = comparison.scores
        assert (score.identical, score.missing, score.extra) == (FRAMES, 0, 0)


def test_pictures_too_small_for_ssim_have_a_psnr_all_the_same(tmp_path: Path) -> None:
    small = write_lossless(tmp_path / "small.mkv", clip(height=10))
    other = write_lossless(tmp_path / "other.mkv", clip(height=10) + np.uint8(10))
    comparison = compare_files(small, other, other)
    assert comparison.scores[0].psnr == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)
    assert "nan" not in comparison.format()
    assert json.loads(json.dumps(comparison.to_dict(), allow_nan=False))["scores"][0]["ssim"] is None


def test_a_picture_is_refused_before_any_frame_is_read(truth: Path, tmp_path: Path) -> None:
    for name in ("picture.xyz", "truth.mkv"):
        with pytest.raises(OutputError, match=name):
            compare_files(truth, tmp_path / "none.mkv", picture=tmp_path / name)

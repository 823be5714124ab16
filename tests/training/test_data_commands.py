"""``diffir-train data`` and ``evaluate``: crops, contact sheets, contamination, figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import diffir_video as dv
from diffir_video.checkpoint import save_checkpoint
from diffir_video.metrics import psnr_y
from tests.network.test_variants import tiny
from tests.training.conftest import Recipe, picture
from training.cli import main
from training.data.fingerprints import BITS, SAME_BELOW, Fingerprints, closest, difference_hash
from training.data.prepare import cut_into_crops
from training.data.show import write_contact_sheet
from training.evaluation.command import evaluate_folder
from training.evaluation.ffmpeg import encode
from training.evaluation.folder import parse_damage
from training.evaluation.material import resize, to_tensor
from training.evaluation.upscalers import enlarged_bicubic


def test_crops_cover_the_picture_and_keep_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("blur", "sharp"):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.fromarray(picture(70, 100, 0)).save(tmp_path / "in" / name / "a.png")
    (tmp_path / "in" / "sharp" / "broken.png").write_bytes(b"none")
    command = ["data", "prepare", "--from", str(tmp_path / "in"), "--to", str(tmp_path / "out")]
    assert main([*command, "--size", "64", "--step", "32"]) == 0
    assert "12 crops of 2 pictures" in capsys.readouterr().out
    names = [p.name for p in sorted((tmp_path / "out" / "blur").iterdir())]
    assert names == [p.name for p in sorted((tmp_path / "out" / "sharp").iterdir())]
    last = np.asarray(Image.open(tmp_path / "out" / "blur" / "a-00006-00036.png"))
    assert np.array_equal(last, picture(70, 100, 0)[6:70, 36:100])
    assert main([*command, "--size", "64", "--step", "65"]) == 2


def pairs(folder: Path, lq_size: tuple[int, int], gt_size: tuple[int, int]) -> Path:
    """A ground truth, and an LQ beside it: every pixel of both says where it is (row, column, 0)."""
    for name, (width, height) in (("lq", lq_size), ("gt", gt_size)):
        y, x = np.mgrid[:height, :width]
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.stack([y, x, 0 * x], axis=-1).astype(np.uint8)).save(folder / name / "a.png")
    return folder


def test_crops_of_a_smaller_lq_lie_where_those_of_the_ground_truth_do(tmp_path: Path) -> None:
    cut_into_crops(pairs(tmp_path / "in", (50, 36), (100, 72)), tmp_path / "out", size=64, step=32)
    names = sorted(p.name for p in (tmp_path / "out" / "gt").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "out" / "lq").iterdir())
    assert "a-00008-00036.png" in names
    for name in names:
        lq, gt = (np.asarray(Image.open(tmp_path / "out" / folder / name)) for folder in ("lq", "gt"))
        assert np.array_equal(2 * lq.astype(int), gt[::2, ::2])


def test_lq_of_no_whole_factor_is_left_out_with_its_ground_truth(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = pairs(tmp_path / "in", (70, 70), (100, 100))
    with pytest.raises(dv.UsageError, match="no readable picture"):
        cut_into_crops(folder, tmp_path / "out", size=64, step=32)
    assert caplog.text.count("the LQ of 70x70 does not belong to 100x100") == 2
    odd = pairs(tmp_path / "odd", (50, 50), (100, 100))
    with pytest.raises(dv.UsageError, match="choose multiples of 2"):
        cut_into_crops(odd, tmp_path / "odd-out", size=63, step=21)


def test_pictures_whose_crops_would_share_names_are_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        Image.fromarray(picture(70, 100, 0)).save(tmp_path / name)
    with pytest.raises(dv.UsageError, match=r"a\.jpg and .*a\.png would give crops of the same names"):
        cut_into_crops(tmp_path, tmp_path / "out", size=64, step=32)


def test_crops_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(picture(70, 100, 0)).save(tmp_path / "in" / "a.png")
    first = cut_into_crops(tmp_path / "in", tmp_path / "out", size=64, step=32)
    assert cut_into_crops(tmp_path / "in", tmp_path / "out", size=64, step=32) == first
    with pytest.raises(dv.UsageError, match="holds crops of other settings"):
        cut_into_crops(tmp_path / "in", tmp_path / "out", size=48, step=32)
    with pytest.raises(dv.UsageError, match="choose an empty folder"):
        cut_into_crops(tmp_path / "in", tmp_path / "in", size=64, step=32)


def fingerprint(frame: np.ndarray) -> Fingerprints:
    hashed = difference_hash(frame)
    assert hashed is not None
    return Fingerprints(Path("x"), hashed[None], (0,))


def test_same_scene_is_recognised_through_scaling_noise_and_jpeg(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    original = picture(192, 256, 0)
    Image.fromarray(original).resize((160, 120)).save(tmp_path / "copy.jpg", quality=40)
    copy = np.asarray(Image.open(tmp_path / "copy.jpg")).astype(float)
    noisy = np.clip(copy + rng.normal(0, 15, copy.shape), 0, 255).astype(np.uint8)
    ours = fingerprint(original)
    same, other = closest(ours, [fingerprint(noisy)]), closest(ours, [fingerprint(picture(192, 256, 1))])
    assert same is not None
    assert other is not None
    assert same.distance < SAME_BELOW / 2 < SAME_BELOW < other.distance < BITS
    assert difference_hash(np.full((64, 64, 3), 90, np.uint8)) is None


def test_evaluation_material_in_training_is_an_error(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.config()
    command = ["data", "check", "--config", str(recipe.folder / "recipe.yaml"), "--against"]
    (recipe.folder / "held").mkdir()
    Image.fromarray(picture(120, 160, 77)).save(recipe.folder / "held" / "other.png")
    assert main([*command, str(recipe.folder / "held")]) == 0
    assert "3 files show nothing of the evaluation material (1 files)" in capsys.readouterr().out
    Image.fromarray(picture(72, 88, 1)).resize((110, 90)).save(recipe.folder / "held" / "again.jpg")
    assert main([*command, str(recipe.folder / "held")]) == 1
    assert "1.png (frame 0) shows what" in capsys.readouterr().err


def test_check_counts_what_a_run_would_train_on(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    """Photographs too small for the largest patch are no material."""
    recipe.config()
    Image.fromarray(picture(40, 40, 0)).save(recipe.folder / "photos" / "small.png")
    assert main(["data", "check", "--config", str(recipe.folder / "recipe.yaml")]) == 0
    assert "photos (photos): 3 files, 3 frames" in capsys.readouterr().out


def test_evaluation_material_without_a_fingerprint_is_an_error(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.config()
    held = recipe.folder / "held"
    held.mkdir()
    command = ["data", "check", "--config", str(recipe.folder / "recipe.yaml"), "--against", str(held)]
    assert main(command) == 2
    assert "no clips or pictures there" in capsys.readouterr().err
    (held / "broken.png").write_bytes(b"none")
    assert main(command) == 2
    assert "broken.png has no fingerprint" in capsys.readouterr().err


def test_all_recipes_of_a_command_are_compared(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    """What the second recipe alone trains on is found, too."""
    recipe.config()
    first = recipe.folder / "recipe.yaml"
    other = recipe.folder / "other"
    other.mkdir()
    Image.fromarray(picture(120, 160, 77)).save(other / "a.png")
    second = recipe.folder / "second.yaml"
    second.write_text(first.read_text().replace(str(recipe.folder / "photos"), str(other)))
    assert second.read_text() != first.read_text()
    command = ["data", "check", "--against", str(other), "--config", str(first)]
    assert main(command) == 0
    assert main([*command, str(second)]) == 1
    assert "0 of 256 bits differ" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(
    not all(Path("data", name).is_dir() for name in ("photos", "clips", "footage", "more-clips", "eval")),
    reason="the built-in models' material is not in data/",
)
def test_built_in_models_were_not_trained_on_evaluation_material(capsys: pytest.CaptureFixture[str]) -> None:
    names = (
        "denoise-nano",
        "denoise-live",
        "tape-nano",
        "deblock-nano",
        "upscale-x2-nano",
        "upscale-x2-small",
    )
    recipes = [str(path) for name in names for path in sorted(Path("configs/train", name).glob("*.yaml"))]
    assert len(recipes) >= 2 * (len(names) - 1) + 1
    assert main(["data", "check", "--against", "data/eval", "--config", *recipes]) == 0
    with capsys.disabled():
        print(capsys.readouterr().out)


def test_contact_sheet_shows_lq_beside_ground_truth(recipe: Recipe) -> None:
    recipe.config()
    out = recipe.folder / "sheet.png"
    command = ["data", "show", "--config", str(recipe.folder / "recipe.yaml"), "--out", str(out)]
    assert main([*command, "--samples", "3"]) == 0
    assert Image.open(out).size == (64, 96)


def test_contact_sheet_of_nothing_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(dv.UsageError, match="samples = 0: expected 1 or more"):
        write_contact_sheet(recipe.config(), tmp_path / "sheet.png", 0)


def test_evaluation_of_a_folder(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    """An untrained network that is silenced changes nothing, whatever its prior."""
    torch.manual_seed(0)
    first, second = (cls(recipe.config().model) for cls in (dv.DiffIRS1, dv.DiffIRS2))
    for net, name in ((first, "s1"), (second, "s2")):
        torch.nn.init.zeros_(net.G.output.weight)
        save_checkpoint(net, recipe.folder / f"{name}.safetensors")
    command = [
        "evaluate",
        "--model",
        str(recipe.folder / "s2.safetensors"),
        "--data",
        str(recipe.folder / "photos"),
    ]
    command += ["--stage1", str(recipe.folder / "s1.safetensors"), "--damage", "sigma=10"]
    assert (
        main([*command, "--json", str(recipe.folder / "all.json"), "--plot", str(recipe.folder / "a.png")])
        == 0
    )
    figures = json.loads((recipe.folder / "all.json").read_text())
    assert len(figures["clips"]) == 3
    for line in figures["clips"]:
        assert line["after"]["psnr_y"] == pytest.approx(line["before"]["psnr_y"], abs=0.01)
        assert 24 < line["before"]["psnr_rgb"] < 32
    values = list(figures["ablations"]["psnr_y"].values())
    assert max(values) - min(values) < 1e-4
    assert figures["ablations"]["relative_prior_error"] > 0
    assert "| mean |" in capsys.readouterr().out
    assert main([*command[:4], str(recipe.folder), "--crop", "4", "--damage", "blur"]) == 2


def test_damage_is_read_strictly() -> None:
    assert str(parse_damage("sigma=25,crf=30", 1)) == "σ 25, CRF 30"
    assert str(parse_damage("none", 2)) == "1/2"
    assert str(parse_damage("sigma=25,crf=30,codec=x265", 1)) == "σ 25, x265 CRF 30"
    for wrong in ("sigma", "blur=3", "crf=3.5", "crf=30,codec=vp8", "sigma=25,codec=x265", "sigma=²"):
        with pytest.raises(dv.UsageError, match="damage"):
            parse_damage(wrong, 1)


def weights(folder: Path, kind: type[dv.DiffIRS1] | type[dv.DiffIRS2], name: str, **settings: Any) -> str:
    torch.manual_seed(0)
    dv.save_checkpoint(kind(tiny(**settings)), folder / name)
    return str(folder / name)


def write_clip(folder: Path, pictures: Sequence[NDArray[np.uint8]]) -> Path:
    encode(np.stack(pictures), 10, folder / "clip.mkv")
    return folder


def test_a_black_frame_that_no_codec_changes_leaves_figures_finite(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    clip = write_clip(tmp_path, [np.zeros((8, 8, 3), np.uint8), *noise])
    model, figures = weights(tmp_path, dv.DiffIRS2, "net.safetensors"), tmp_path / "all.json"
    table = evaluate_folder(model, clip, damages=["crf=35"], json_file=figures)
    assert "inf" not in table
    (line,) = json.loads(figures.read_text(), parse_constant=pytest.fail)["clips"]
    assert 100 / 3 < line["before"]["psnr_y"] < 100
    assert line["before"]["ssim_y"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 8}, "crop 8: leaves nothing of clip, 16x16"),
        ({"crop": -1}, "crop -1"),
        ({"frames": 0}, "frames 0"),
        ({"frames": -1}, "frames -1"),
    ],
)
def test_counts_that_leave_nothing_to_measure_are_refused(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path, [np.full((16, 16, 3), 99, np.uint8)] * 2)
    with pytest.raises(dv.UsageError, match=message):
        evaluate_folder(weights(tmp_path, dv.DiffIRS2, "net.safetensors"), clip, **settings)


def test_what_enlarges_is_measured_against_the_bicubic_that_make_eval_measures_against(
    tmp_path: Path,
) -> None:
    blobs = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    truth = np.asarray(Image.fromarray(blobs).resize((64, 64), Image.Resampling.BICUBIC))
    Image.fromarray(truth).save(tmp_path / "still.png")
    model, figures = weights(tmp_path, dv.DiffIRS2, "net.safetensors", scale=2), tmp_path / "all.json"
    evaluate_folder(model, tmp_path, crop=0, json_file=figures)
    small = to_tensor(resize(truth[None], 0.5))
    expected = psnr_y(enlarged_bicubic(small), to_tensor(truth[None])).item()
    (line,) = json.loads(figures.read_text())["clips"]
    assert line["before"]["psnr_y"] == pytest.approx(expected, abs=1e-4)


def test_stages_of_different_kinds_of_networks_are_not_taken_apart(tmp_path: Path) -> None:
    clip = write_clip(tmp_path, [np.full((16, 16, 3), 99, np.uint8)] * 2)
    model = weights(tmp_path, dv.DiffIRS2, "net.safetensors")
    other = weights(tmp_path, dv.DiffIRS1, "net-s1.safetensors", past=1, scale=2)
    with pytest.raises(dv.UsageError, match=r"stage 1 has past 1, scale 2, .* stage 2 has past 0, scale 1"):
        evaluate_folder(model, clip, stage1=other)

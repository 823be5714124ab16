"""The published variants and our compact family are configurations of one network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

import diffir_video as dv
from diffir_video.floors import macs_per_pixel
from diffir_video.network import DIRformer
from diffir_video.network.dirformer import blend_pictures, pictures_to_blend
from tests.benchmarks.plain import written_plainly

MODELS = Path(__file__).parents[2] / "configs" / "models"

# Stage 2 and stage 1, from the published implementation.
PUBLISHED = {
    "deblur": (26_911_934, 26_742_206),
    "sr-x4": (24_971_206, 24_801_478),
    "sr-x2": (24_981_574, 24_811_846),
    "sr-x1": (25_023_046, 24_853_318),
    "inpaint": (26_402_474, 26_232_746),
}


def config(name: str) -> dv.ModelConfig:
    return dv.ModelConfig.from_dict(yaml.safe_load((MODELS / f"{name}.yaml").read_text()))


def tiny(**settings: object) -> dv.ModelConfig:
    values = {
        "dim": 8, "blocks": [1, 1], "heads": [1, 2], "refinement_blocks": 0,
        "cpen_blocks": 1, "cpen_width": 8, "prior_width": 16,
    }  # fmt: skip
    return dv.ModelConfig.from_dict(values | settings)


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name: str) -> None:
    with torch.device("meta"):
        assert (count(dv.DiffIRS2(config(name))), count(dv.DiffIRS1(config(name)))) == PUBLISHED[name]


@pytest.mark.parametrize(("name", "multiple"), [("deblur", 8), ("sr-x4", 8), ("sr-x2", 16), ("sr-x1", 32)])
def test_multiple_of_the_input_size(name: str, multiple: int) -> None:
    assert config(name).multiple == multiple


def test_denoise_nano_stays_within_its_budget() -> None:
    """At most 12 kMAC per pixel in DIRformer, counted on the operations that run."""
    assert macs_per_pixel(config("denoise-nano")) <= 12_000


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("unshuffle", [1, 2])
def test_compact_family_scales(scale: int, unshuffle: int) -> None:
    net = dv.DiffIRS2(tiny(scale=scale, unshuffle=unshuffle)).eval()
    size = 4 * net.multiple
    with torch.no_grad():
        prior = net.estimate_prior(torch.rand(1, 3, size, size), torch.randn(1, 16))
        out = net.restore(torch.rand(1, 3, size, size), prior)
    assert out.shape == (1, 3, scale * size, scale * size)


def test_windowed_model_starts_from_its_middle_frame() -> None:
    """With the network silenced only the residual is left, and it is the frame in the middle."""
    net = dv.DiffIRS2(tiny(past=2, future=1, unshuffle=2)).eval()
    torch.nn.init.zeros_(net.G.output.weight)
    window = torch.rand(1, 12, 16, 16)
    with torch.no_grad():
        assert torch.equal(net.restore(window, torch.zeros(1, 16)), window[:, 6:9])


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("blend", [False, True])
def test_enlarging_model_starts_from_its_frame_enlarged(mode: str, blend: bool) -> None:
    """With the network silenced the residual alone is left: the middle frame, or the mean of all."""
    model = tiny(past=1, future=1, scale=2, unshuffle=2, residual_upsample=mode, blend=blend)
    net = dv.DiffIRS2(model).eval()
    torch.nn.init.zeros_(net.G.output.weight)
    window = torch.rand(1, 9, 16, 16)
    base = window.view(1, 3, 3, 16, 16).mean(1) if blend else window[:, 3:6]
    with torch.no_grad():
        out = net.restore(window, torch.zeros(1, 16))
    torch.testing.assert_close(out, torch.nn.functional.interpolate(base, scale_factor=2.0, mode=mode))


@pytest.mark.parametrize("name", ["denoise-nano", "sr-x2"])
def test_plain_formulation_computes_the_same(name: str) -> None:
    """What training is timed against does the same work."""
    torch.manual_seed(0)
    net = DIRformer(config(name)).eval()
    lq = torch.rand(1, net.config.lq_channels, 2 * net.config.multiple, net.config.multiple)
    prior = torch.randn(1, net.config.prior_width)
    with torch.no_grad():
        expected = net(lq, prior)
        torch.testing.assert_close(written_plainly(net)(lq, prior), expected, atol=1e-5, rtol=1e-5)


def test_windowed_model_sees_every_frame_of_the_window() -> None:
    torch.manual_seed(0)
    net = dv.DiffIRS2(tiny(past=1, future=1)).eval()
    window = torch.rand(1, 9, 16, 16, requires_grad=True)
    net.restore(window, torch.ones(1, 16)).sum().backward()
    assert isinstance(window.grad, Tensor)
    assert (window.grad.view(3, -1).abs().amax(1) > 0).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"dim": 7}, {"blocks": [1]}, {"heads": [1, 3]}, {"heads": [1]}, {"norm": "batch"}, {"scale": 3},
        {"tail": "upsample", "scale": 1, "unshuffle": 1}, {"past": -1}, {"image_channels": 5}, {"width": 4},
        {"blend": True}, {"residual_upsample": "area"}, {"blend_smoothed": True, "past": 1},
    ],
)  # fmt: skip
def test_settings_that_make_no_network_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(dv.UsageError, match=next(iter(settings))):
        tiny(**settings)


@pytest.mark.parametrize("shape", [(1, 3, 17, 16), (1, 4, 16, 16), (3, 16, 16)])
def test_wrong_input_is_refused_with_its_shape(shape: tuple[int, ...]) -> None:
    net = dv.DiffIRS2(tiny())
    with pytest.raises(ValueError, match=str(shape[-2]) if len(shape) == 4 else "lq"):
        net.restore(torch.zeros(shape), torch.zeros(shape[0], 16))


def test_wrong_prior_and_noise_are_refused() -> None:
    net = dv.DiffIRS2(tiny())
    with pytest.raises(ValueError, match="prior"):
        net.restore(torch.zeros(1, 3, 16, 16), torch.zeros(1, 15))
    with pytest.raises(ValueError, match="noise"):
        net.estimate_prior(torch.zeros(1, 3, 16, 16), torch.zeros(2, 16))
    with pytest.raises(ValueError, match="gt"):
        dv.DiffIRS1(tiny()).extract_prior(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 32, 32))


def test_fresh_prior_tells_noisy_from_clean() -> None:
    """Noise of σ = 25 moves a fresh prior by more than a tenth, and more than as much brightness does."""
    torch.manual_seed(0)
    net = dv.DiffIRS1(config("denoise-nano"))
    gt = 0.4 + 0.1 * torch.rand(1, 3, 12, 12).repeat_interleave(8, 2).repeat_interleave(8, 3)

    def prior(lq: Tensor) -> Tensor:
        with torch.no_grad():
            return net.extract_prior(lq.repeat(1, net.config.frames, 1, 1), gt)

    clean = prior(gt)
    by_noise = float((prior(gt + 0.1 * torch.randn(gt.shape)) - clean).norm() / clean.norm())
    by_brightness = float((prior(gt + 0.1) - clean).norm() / clean.norm())
    assert by_noise > 0.1
    assert by_noise > by_brightness


def test_blending_model_starts_from_a_mean_of_its_window() -> None:
    """With the network silenced all frames weigh the same."""
    net = dv.DiffIRS2(tiny(past=1, future=1, unshuffle=2, blend=True)).eval()
    torch.nn.init.zeros_(net.G.output.weight)
    window = torch.rand(1, 9, 16, 16)
    with torch.no_grad():
        out = net.restore(window, torch.zeros(1, 16))
    torch.testing.assert_close(out, window.view(1, 3, 3, 16, 16).mean(1))


def test_blend_takes_each_cell_from_the_frame_with_all_the_weight() -> None:
    window = torch.rand(1, 6, 4, 4)
    logits = torch.full((1, 2, 2, 2), -100.0)
    logits[0, 0, :, 0] = logits[0, 1, :, 1] = 100.0
    blended = blend_pictures(window.view(1, 2, 3, *window.shape[2:]), logits, cell=2)
    assert torch.equal(blended[..., :2], window[:, :3, :, :2])
    assert torch.equal(blended[..., 2:], window[:, 3:, :, 2:])


def test_smoothed_pictures_take_part_in_the_blend() -> None:
    """Middle frame and mean, over 3x3, along rows and along columns; the edges average what is there."""
    model = tiny(past=1, blend=True, blend_smoothed=True)
    flat = torch.full((1, 6, 8, 8), 0.5)
    assert pictures_to_blend(flat, model).shape == (1, 2 + 6, 3, 8, 8)
    torch.testing.assert_close(pictures_to_blend(flat, model), torch.full((1, 8, 3, 8, 8), 0.5))
    row = torch.zeros(1, 6, 8, 8)
    row[:, 3:, 4] = 1.0
    pictures = pictures_to_blend(row, model)[0, :, 0, 4, 4]
    torch.testing.assert_close(pictures, torch.tensor([0, 1, 1 / 3, 1, 1 / 5, 1 / 6, 1 / 2, 1 / 10]))


@pytest.mark.parametrize("zero_sum", [True, False])
def test_zero_sum_prior_is_blind_to_brightness_and_sees_noise(zero_sum: bool) -> None:
    """Whatever training does to the weights: here every filter was pushed to see brightness."""
    torch.manual_seed(0)
    net = dv.DiffIRS2(tiny(cpen_zero_sum=zero_sum)).eval()
    first = net.condition.E[0]
    assert isinstance(first, torch.nn.Conv2d)
    torch.nn.init.constant_(first.weight, 0.1)
    first.weight.data.add_(0.01 * torch.randn_like(first.weight))
    grey = torch.full((1, 3, 64, 64), 0.4)
    noisy = grey + 0.1 * torch.randn_like(grey)
    with torch.no_grad():
        still, brighter, moved = (net.extract_condition(lq) for lq in (grey, grey + 0.2, noisy))
    by_brightness, by_noise = (float((prior - still).norm()) for prior in (brighter, moved))
    assert (by_noise > by_brightness) is zero_sum


def test_a_picture_of_one_colour_has_a_gradient() -> None:
    """Black in, zeros in q and k, and a root whose derivative is infinite there."""
    net = dv.DiffIRS2(tiny())
    net.restore(torch.zeros(1, 3, 16, 16), torch.zeros(1, 16)).sum().backward()
    assert all(p.grad.isfinite().all() for p in net.G.parameters() if p.grad is not None)

"""A Restorer gives every frame back, once, in its place, whatever the size and however it is fed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from typing import Any

import pytest
import torch

import diffir_video as dv
from diffir_video.metrics import psnr_y
from tests.network.test_motion import panned
from tests.network.test_variants import tiny


def clip(frames: int = 6, height: int = 21, width: int = 34) -> dv.Clip:
    """One shot: neighbours are as alike as those of a video."""
    generator = torch.Generator().manual_seed(1)
    picture = torch.rand(3, height, width, generator=generator)
    data = 0.9 * picture + 0.1 * torch.rand(frames, 3, height, width, generator=generator)
    return dv.Clip(data, tuple(7 * i for i in range(frames)), Fraction(1, 90))


def restorer(seed: int = 0, **settings: object) -> dv.Restorer:
    torch.manual_seed(0)
    return dv.Restorer(dv.DiffIRS2(tiny(**settings)), device="cpu", seed=seed)


def test_identity_passes_frames_through() -> None:
    source = clip()
    assert torch.equal(dv.Restorer.from_pretrained("identity").restore(source).data, source.data)


@pytest.mark.parametrize("window", [(0, 0), (1, 1), (2, 0), (0, 2)])
def test_every_frame_comes_back_in_its_place(window: tuple[int, int]) -> None:
    source = clip()
    out = restorer(past=window[0], future=window[1], scale=2).restore(source)
    assert out.data.shape == (6, 3, 42, 68)
    assert (out.pts, out.time_base) == (source.pts, source.time_base)
    assert 0 <= float(out.data.min()) <= float(out.data.max()) <= 1


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_stream_equals_clip_whatever_the_batch(batch: int) -> None:
    source, model = clip(), restorer(past=2, future=2)
    stream, frames = model.open_stream(), source.frames()
    out = [f for i in range(0, 6, batch) for f in stream.push(frames[i : i + batch])] + stream.finish()
    assert [f.pts for f in out] == list(source.pts)
    torch.testing.assert_close(dv.Clip.from_frames(out).data, model.restore(source).data, atol=1e-6, rtol=0)


def test_ends_repeat_the_outer_frames() -> None:
    model, source = restorer(past=1, future=1), clip(frames=1)
    repeated = dv.Clip(source.data.expand(3, -1, -1, -1), (0, 1, 2), source.time_base)
    torch.testing.assert_close(model.restore(source).data[0], model.restore(repeated).data[1])


def test_stream_never_holds_more_than_the_others_of_a_window() -> None:
    stream = restorer(past=2, future=2).open_stream()
    held = []
    for frame in clip(frames=12).frames():
        stream.push([frame])
        held.append(len(stream._windows))
    assert max(held) == 4


def test_same_seed_same_bytes_other_seed_other_prior() -> None:
    first, again, other = (restorer(seed).restore(clip()).data for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_padding_mirrors_and_is_cut_off() -> None:
    """A frame that needs padding gives what the padded frame gives, cropped."""
    model, source = restorer(unshuffle=2), clip(height=21, width=34)
    padded = torch.nn.functional.pad(source.data, (0, 2, 0, 3), mode="reflect")
    whole = model.restore(dv.Clip(padded, source.pts, source.time_base)).data
    torch.testing.assert_close(model.restore(source).data, whole[:, :, :21, :34])


def test_tiny_frames_restore() -> None:
    assert restorer(unshuffle=2).restore(clip(height=1, width=2)).data.shape == (6, 3, 1, 2)


def test_low_precision_stays_close() -> None:
    torch.manual_seed(0)
    net = dv.DiffIRS2(tiny())
    full = dv.Restorer(net, device="cpu", precision="fp32").restore(clip()).data
    half = dv.Restorer(net, device="cpu", precision="bf16").restore(clip()).data
    assert half.dtype == torch.float32
    assert 0 < float((full - half).abs().max()) < 0.05


def test_frames_may_come_from_a_generator() -> None:
    model, source = restorer(past=1), clip()
    for stream in (model.open_stream(), dv.Blended(model, 1).open_stream()):
        out = stream.push(frame for frame in source.frames()) + stream.finish()
        assert [frame.pts for frame in out] == list(source.pts)


@pytest.mark.parametrize("given", [[torch.rand(3, 8, 8)], torch.rand(3, 8, 8), clip().frames()[0], clip()])
def test_what_is_no_list_of_frames_is_refused(given: Any) -> None:
    for model in (restorer(), dv.Restorer(None)):
        with pytest.raises(dv.UsageError, match="expected frames"):
            model.open_stream().push(given)


def test_a_frame_with_nan_is_named_and_none_of_its_batch_is_taken() -> None:
    model, frames = restorer(past=1, future=1), clip().frames()
    broken = frames[3].data.clone()
    broken[1, 4, 5] = torch.nan
    stream = model.open_stream()
    out = stream.push(frames[:2])
    with pytest.raises(dv.UsageError, match=r"pushed at 0\.233 s holds NaN"):
        stream.push([frames[2], frames[3].with_data(broken)])
    out += stream.push(frames[2:]) + stream.finish()
    torch.testing.assert_close(dv.Clip.from_frames(out).data, model.restore(clip()).data, atol=1e-6, rtol=0)


def test_what_comes_out_can_be_used_in_a_graph() -> None:
    for model in (restorer(), dv.Restorer(None)):
        stream = model.open_stream()
        (frame,) = stream.push(clip(frames=1).frames()) or stream.finish()
        weight = torch.ones((), requires_grad=True)
        (frame.data * weight).sum().backward()
        assert weight.grad is not None


def test_an_enclosing_autocast_changes_nothing() -> None:
    model = restorer(past=1)
    plain = model.restore(clip()).data
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.restore(clip()).data, plain)


@contextmanager
def float64_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("odd", [float64_by_default, lambda: torch.device("meta")])
def test_torch_s_defaults_change_nothing(odd: Callable[[], AbstractContextManager[object]]) -> None:
    """Neither then nor later: of a size that no other test has, so that nothing is known of it before."""
    source = clip(frames=2, height=22, width=30)
    with odd():
        meanwhile = dv.Restorer.from_pretrained("denoise-live", device="cpu").restore(source).data
    later = dv.Restorer.from_pretrained("denoise-live", device="cpu").restore(source).data
    assert (meanwhile.dtype, meanwhile.device.type) == (torch.float32, "cpu")
    assert torch.equal(meanwhile, later)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_restorer_that_was_used_can_be_copied(copied: Callable[[dv.Restorer], dv.Restorer]) -> None:
    model = restorer(past=1)
    restored = model.restore(clip()).data
    assert torch.equal(copied(model).restore(clip()).data, restored)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": None}, "seed None"),
        ({"seed": "a"}, "seed 'a'"),
        ({"seed": 1.5}, r"seed 1\.5"),
        ({"seed": 2**64}, "seed 18446744073709551616"),
        ({"reuse": None}, "reuse None"),
        ({"reuse": dv.ReusePolicy(prior_delay=3)}, "prior delay 3"),
        ({"reuse": "prior", "refresh": None}, "refresh None"),
        ({"reuse": "prior", "refresh": 2.5}, r"refresh 2\.5"),
        ({"reuse": "prior", "refresh": True}, "refresh True"),
        ({"reuse": "prior", "refresh": 0}, "refresh 0"),
    ],
)
def test_a_setting_that_makes_no_sense_is_a_usage_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(dv.UsageError, match=message):
        dv.Restorer(None, **settings)


def test_size_change_is_refused() -> None:
    stream = restorer(past=1).open_stream()
    stream.push(clip().frames())
    with pytest.raises(ValueError, match="one size"):
        stream.push(clip(height=10).frames())


def test_what_cannot_restore_video_is_refused() -> None:
    with pytest.raises(dv.UsageError, match="stage-1"):
        dv.Restorer(dv.DiffIRS1(tiny()))
    with pytest.raises(dv.UsageError, match="mask"):
        dv.Restorer(dv.DiffIRS2(tiny(image_channels=4, residual=False)))
    with pytest.raises(dv.UsageError, match=r"DiffIRS2, got str; from_pretrained"):
        dv.Restorer("denoise-nano")  # pyright: ignore[reportArgumentType]
    with pytest.raises(dv.UnknownModelError, match=r"identiti.*identity"):
        dv.Restorer.from_pretrained("identiti")
    with pytest.raises(dv.UsageError, match="tpu"):
        dv.Restorer.from_pretrained("identity", device="tpu")  # pyright: ignore[reportArgumentType]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the CUDA device the test must lack")
def test_missing_gpu_is_an_error_not_a_fallback() -> None:
    with pytest.raises(dv.UsageError, match="CUDA"):
        dv.Restorer.from_pretrained("identity", device="cuda")


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_a_gpu_without_bfloat16_multiplies_in_half_precision(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: capability)
    restorer = dv.Restorer.from_pretrained("identity", device="cuda:1", backend="eager")
    assert (str(restorer.device), restorer.precision) == ("cuda:1", precision)
    with pytest.raises(dv.UsageError, match="numbered 0 to 1"):
        dv.Restorer.from_pretrained("identity", device="cuda:2")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_equals_cpu() -> None:
    torch.manual_seed(0)
    net = dv.DiffIRS2(tiny(past=1))
    cpu = dv.Restorer(copy.deepcopy(net), device="cpu", precision="fp32").restore(clip()).data
    gpu = dv.Restorer(net, device="cuda", precision="fp32").restore(clip()).data
    torch.testing.assert_close(gpu, cpu, atol=1e-4, rtol=0)


def recurrent_network() -> dv.DiffIRS2:
    torch.manual_seed(0)
    return dv.DiffIRS2(tiny(past=1, recurrent=True, blend=True, unshuffle=2)).eval()


def test_recurrent_network_sees_what_it_made_of_the_frame_before() -> None:
    net = recurrent_network()
    restorer = dv.Restorer(net, device="cpu", precision="fp32")
    # Of black and white, so that what is made of them has to be clamped.
    bright = (torch.rand(3, 32, 32) > 0.5).float()
    data = (bright + 0.1 * torch.randn(4, 3, 32, 32)).clamp(0, 1)
    clip = dv.Clip(data, tuple(range(4)), Fraction(1, 25))
    restored = restorer.restore(clip).data
    noise = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    before = clip.data[:1]
    for frame, got in zip(clip.data.split(1), restored.split(1), strict=True):
        window = torch.cat([before, frame], dim=1)
        with torch.no_grad():
            before = net.restore(window, net.estimate_prior(window, noise)).clamp(0, 1)
        torch.testing.assert_close(got, before, atol=1e-5, rtol=0)


def test_recurrent_network_restores_the_same_in_batches_of_any_size_and_forgets_at_a_cut() -> None:
    restorer = dv.Restorer(recurrent_network(), device="cpu", reuse="statistics")
    dark, light = 0.1 * torch.rand(3, 3, 32, 32), 0.9 + 0.1 * torch.rand(3, 3, 32, 32)
    clip = dv.Clip(torch.cat([dark, light]), tuple(range(6)), Fraction(1, 25))
    whole = restorer.restore(clip).data
    stream = restorer.open_stream()
    one_by_one = [frame for given in clip.frames() for frame in stream.push([given])] + stream.finish()
    assert torch.equal(torch.stack([frame.data for frame in one_by_one]), whole)
    alone = restorer.restore(dv.Clip(light, (0, 1, 2), Fraction(1, 25))).data
    torch.testing.assert_close(whole[3:], alone, atol=1e-5, rtol=0)


def test_recurrent_network_reaches_back_further_than_its_window() -> None:
    restorer = dv.Restorer(recurrent_network(), device="cpu")
    assert restorer.window == (1, 0)
    assert restorer.reach == (32, 0)
    assert dv.Restorer.from_pretrained("denoise-nano", device="cpu").reach == (2, 2)


@pytest.mark.parametrize("columns", [0, 1])
def test_what_the_live_model_knew_before_its_reach_no_longer_shows(columns: int) -> None:
    """Standing still or panned, less than a code value is left on average, and as good a picture.

    Not nothing: motion found in noise depends on how the noise was restored before.
    """
    views = panned(*((0, columns * t) for t in range(48)), height=48, width=64).reshape(48, 3, 48, 64)
    noise = torch.randn(views.shape, generator=torch.Generator().manual_seed(3))
    data = (views + 0.1 * noise).clamp(0, 1)
    restorer = dv.Restorer.from_pretrained("denoise-live", device="cpu", precision="fp32")

    def last_of(frames: torch.Tensor) -> torch.Tensor:
        return restorer.restore(dv.Clip(frames, tuple(range(len(frames))), Fraction(1, 25))).data[-1]

    before, _ = restorer.reach
    alone, since_then, whole = (last_of(data[first:]) for first in (-1, -before - 1, 0))
    assert (since_then - whole).abs().mean() < 0.5 / 255
    assert (alone - whole).abs().mean() > 2 / 255
    psnr = [psnr_y(picture[None], views[-1:]).item() for picture in (since_then, whole)]
    assert abs(psnr[0] - psnr[1]) < 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_network_trained_in_another_precision_restores_like_its_float32_copy(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = dv.DiffIRS2(tiny()).to(dtype)
    expected = dv.Restorer(copy.deepcopy(net).float(), device="cpu", precision="fp32").restore(clip())
    restored = dv.Restorer(net, device="cpu", precision="fp32").restore(clip())
    assert torch.equal(restored.data, expected.data)


def test_networks_of_the_same_weights_that_see_other_frames_have_other_settings() -> None:
    centred, causal = (restorer(past=past, future=2 - past) for past in (1, 2))
    assert centred.settings != causal.settings
    assert centred.settings == restorer(past=1, future=1).settings

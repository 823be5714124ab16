"""The folded network is the network: under any prior, of any size, in strips of any height."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import diffir_video as dv
from diffir_video.inference import Backend, Batch, FoldedDIRformer, InferenceOptions, Tile
from diffir_video.inference.engine import SMALLEST_STRIP_BYTES
from diffir_video.inference.strips import plain_norm
from diffir_video.network import DIRformer
from tests.network.test_motion import panned
from tests.network.test_variants import PUBLISHED, config, tiny

TOLERANCE = 1e-5


def network(model: dv.ModelConfig, seed: int = 0) -> DIRformer:
    """Every weight random, those that start at 0 or 1 as well, so that each has to be folded rightly.

    It takes windows as a folded network does, whose neighbours are where they are to be.
    """
    torch.manual_seed(seed)
    net = DIRformer(replace(model, compensated=False)).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "norm" in name or "temperature" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def frame(model: dv.ModelConfig, height: int, width: int, count: int = 1) -> Tensor:
    return torch.rand(count, model.lq_channels, height, width, generator=torch.Generator().manual_seed(1))


def priors(model: dv.ModelConfig, count: int) -> Tensor:
    return torch.randn(count, model.prior_width, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def reference(net: DIRformer, lq: Tensor, prior: Tensor) -> Tensor:
    return net(lq, prior.expand(len(lq), -1))


def difference(restored: Tensor, expected: Tensor, lq: Tensor, model: dv.ModelConfig) -> float:
    """Relative to what the network adds to the frame, so that the frame can't hide an error."""
    first = model.past * model.image_channels
    base = lq[:, first : first + 3]
    base = torch.nn.functional.interpolate(
        base, scale_factor=float(model.scale), mode=model.residual_upsample
    )
    added = expected - base if model.residual else expected
    return float((restored - expected).norm() / added.norm())


@pytest.mark.parametrize("name", [*PUBLISHED, "denoise-nano", "denoise-live", "upscale-x2-nano"])
def test_folding_changes_nothing(name: str) -> None:
    model = config(name)
    net = network(model)
    folded = FoldedDIRformer(net)
    lq = frame(model, model.multiple, 2 * model.multiple)
    for prior in priors(model, 3):
        folded.fold(prior)
        assert difference(folded.restore(lq), reference(net, lq, prior), lq, model) <= TOLERANCE


@pytest.mark.parametrize("backend", ["eager", "compile"])
@pytest.mark.parametrize("name", ["denoise-nano", "denoise-live"])
def test_neighbours_are_moved_before_they_are_folded_in(name: str, backend: Backend) -> None:
    """Windows that share pictures, as those of a video do, come out as each by itself."""
    model = config(name)
    torch.manual_seed(0)
    net = DIRformer(model).eval()
    folded = FoldedDIRformer(net, options=InferenceOptions(backend=backend))
    views = panned(*((t, 2 * t) for t in range(model.frames + 2)), height=40, width=56)
    pictures = list(views.reshape(-1, 3, 40, 56))
    windows = [pictures[first : first + model.frames] for first in range(3)]
    lq = torch.stack([torch.cat(window) for window in windows])
    (prior,) = priors(model, 1)
    folded.fold(prior)
    expected = reference(net, lq, prior)
    assert difference(folded.restore(folded.gather(windows)), expected, lq, model) <= TOLERANCE
    # Once more, with pictures that are known already and a shot's end, which is repeated.
    again = [windows[2], [*windows[2][1:], windows[2][-1]]]
    lq = torch.stack([torch.cat(window) for window in again])
    restored = folded.restore(folded.gather(again))
    assert difference(restored, reference(net, lq, prior), lq, model) <= TOLERANCE


@pytest.mark.parametrize("name", ["deblur", "denoise-nano"])
@pytest.mark.parametrize("tile", ["auto", "off", 16, 24, 64])
def test_tiles_of_any_size_leave_no_seam(name: str, tile: Tile) -> None:
    """Statistics are the whole frame's and halos are true, so tiles can't be told from one piece."""
    model = config(name)
    net = network(model)
    lq = frame(model, 9 * model.multiple, 3 * model.multiple)
    folded = FoldedDIRformer(net, options=InferenceOptions(tile=tile, backend="eager"))
    (prior,) = priors(model, 1)
    folded.fold(prior)
    expected = reference(net, lq, prior)
    assert difference(folded.restore(lq), expected, lq, model) <= TOLERANCE
    assert difference(folded.restore_keeping_maps(lq), expected, lq, model) <= TOLERANCE
    assert difference(folded.restore_with_held_maps(lq), expected, lq, model) <= TOLERANCE


@pytest.mark.parametrize("name", ["sr-x4", "denoise-nano"])
@pytest.mark.parametrize("batch", ["auto", 1, 2, 3])
def test_frames_of_a_batch_keep_their_own_attention(name: str, batch: Batch) -> None:
    """However many of them the network takes at once; held maps serve them all."""
    model = config(name)
    net = network(model)
    lq = frame(model, 2 * model.multiple, 3 * model.multiple, count=3)
    (prior,) = priors(model, 1)
    folded = FoldedDIRformer(net, options=InferenceOptions(batch=batch, backend="eager"))
    folded.fold(prior)
    assert difference(folded.restore(lq), reference(net, lq, prior), lq, model) <= TOLERANCE
    folded.restore_keeping_maps(lq[1:2])
    one_by_one = torch.cat([folded.restore_with_held_maps(window) for window in lq.split(1)])
    assert difference(folded.restore_with_held_maps(lq), one_by_one, lq, model) <= TOLERANCE


def test_held_maps_make_the_network_local() -> None:
    """A change in one corner then stays there; with the frame's own maps it reaches every pixel."""
    model = tiny(blocks=[1, 1])
    net = network(model)
    folded = FoldedDIRformer(net)
    folded.fold(priors(model, 1)[0])
    lq = frame(model, 64, 64)
    changed = lq.clone()
    changed[:, :, :4, :4] = 0
    kept = folded.restore_keeping_maps(lq)
    far = (slice(None), slice(None), slice(48, None), slice(48, None))
    assert torch.equal(folded.restore_with_held_maps(changed)[far], kept[far])
    assert not torch.equal(folded.restore(changed)[far], kept[far])


def test_held_maps_come_from_somewhere() -> None:
    model = tiny()
    folded = FoldedDIRformer(network(model))
    folded.fold(priors(model, 1)[0])
    with pytest.raises(ValueError, match="no attention maps are held"):
        folded.restore_with_held_maps(frame(model, 16, 16))
    with pytest.raises(ValueError, match="of one frame, got 2"):
        folded.restore_keeping_maps(frame(model, 16, 16, count=2))


@pytest.mark.parametrize("name", ["sr-x4", "inpaint", "denoise-nano"])
def test_half_precision_stays_close(name: str) -> None:
    """bf16 features and weights, float32 statistics: at least 40 dB from float32 on untrained weights."""
    model = config(name)
    net = network(model)
    lq = frame(model, 2 * model.multiple, 2 * model.multiple)
    (prior,) = priors(model, 1)
    folded = FoldedDIRformer(net, dtype=torch.bfloat16)
    folded.fold(prior)
    squared = (folded.restore(lq) - reference(net, lq, prior)).square().mean()
    assert -10 * squared.log10() >= 40


def test_refolding_writes_in_place() -> None:
    """Compiled code and CUDA graphs hold the weights' addresses."""
    model = tiny()
    net = network(model)
    folded = FoldedDIRformer(net)
    first, second = priors(model, 2)
    folded.fold(first)
    lq = frame(model, 16, 16)
    before = {tensor.data_ptr(): tensor.clone() for tensor in folded.weights()}
    folded.fold(second)
    after = {tensor.data_ptr(): tensor for tensor in folded.weights()}
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[address], after[address]) for address in before)
    assert difference(folded.restore(lq), reference(net, lq, second), lq, model) <= TOLERANCE


def test_out_of_memory_is_met_with_smaller_strips_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = config("denoise-nano")
    net = network(model)
    folded = FoldedDIRformer(net, options=InferenceOptions(tile="off", backend="eager"))
    (prior,) = priors(model, 1)
    folded.fold(prior)
    lq = frame(model, 512, 512)

    def norm_within(features: Tensor, *, centred: bool) -> Tensor:
        if features.nbytes > 2 * SMALLEST_STRIP_BYTES:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain_norm(features, centred=centred)

    monkeypatch.setattr("diffir_video.inference.strips.plain_norm", norm_within)
    restored = folded.restore(lq)
    assert "out of memory: frames are worked through 1.0 MiB at a time" in caplog.text
    assert difference(restored, reference(net, lq, prior), lq, model) <= TOLERANCE


def test_out_of_memory_that_strips_cannot_help_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(features: Tensor, *, centred: bool) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = tiny()
    folded = FoldedDIRformer(network(model))
    folded.fold(priors(model, 1)[0])
    monkeypatch.setattr("diffir_video.inference.strips.plain_norm", no_memory)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        folded.restore(frame(model, 64, 64))

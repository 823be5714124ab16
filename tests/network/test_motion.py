"""Neighbours are moved to where the middle frame has their content: what is found, and what is made of it."""

from __future__ import annotations

import copy
import pickle
import weakref
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import diffir_video as dv
from diffir_video.inference import hasten_motion
from diffir_video.inference.native import motion as native
from diffir_video.network.motion import BLOCK, FindMotion, compensate, find_motion, move
from diffir_video.reference import ReferenceRestorer
from tests.network.test_variants import tiny

MODEL = tiny(past=1, future=1, compensated=True)

# What is found near the edges of a frame may come from beyond it.
EDGE = 2


def textured(height: int, width: int, *, seed: int = 0) -> Tensor:
    """A picture with detail of some pixels' size, (3, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 5 + 2, width // 5 + 2, generator=generator)
    return F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)[0]


def noisy(picture: Tensor, sigma: float, seed: int) -> Tensor:
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(seed))
    return (picture + sigma / 255 * noise).clamp(0, 1)


def panned(*offsets: tuple[int, int], height: int = 96, width: int = 128, margin: int = 64) -> Tensor:
    """A window of views of one scene, each so many rows and columns further: (1, 3 · frames, H, W)."""
    scene = textured(height + 2 * margin, width + 2 * margin)
    views = [scene[:, margin + y :, margin + x :][:, :height, :width] for y, x in offsets]
    return torch.cat(views)[None]


def inner(vectors: Tensor) -> Tensor:
    """(…, rows, columns, 2) without the blocks at the edges, one vector after the other."""
    return vectors[..., EDGE:-EDGE, EDGE:-EDGE, :].flatten(0, -2)


def moved_by_kernels(lq: Tensor, model: dv.ModelConfig) -> Tensor:
    return native.NativeCompensation(model.past)([list(window.split(3)) for window in lq])


@pytest.fixture(params=["torch", "native"])
def find(request: pytest.FixtureRequest) -> FindMotion:
    return find_motion if request.param == "torch" else native.find_motion


@pytest.mark.parametrize("offset", [(0, 0), (3, -5), (-14, 9), (20, 24)])
def test_a_pan_is_found_to_the_pixel(find: FindMotion, offset: tuple[int, int]) -> None:
    """Content that lies so many pixels further up and left in the neighbour is pointed at, in halves."""
    vectors = find(panned(offset, (0, 0)), 2, 1)
    assert vectors.shape == (1, 1, 12, 16, 2)
    assert vectors.dtype == torch.int16
    expected = torch.tensor([-2 * offset[0], -2 * offset[1]])
    assert (inner(vectors[0, 0]) == expected).all(1).float().mean() > 0.95


def test_frames_are_told_apart_in_their_order(find: FindMotion) -> None:
    vectors = find(panned((0, 4), (0, 2), (0, 0), (0, -2), (0, -4)), 5, 2)
    for place, expected in enumerate((-8, -4, 4, 8)):
        found = inner(vectors[0, place])[:, 1]
        assert found.mode().values == expected, place


def test_motion_of_half_a_pixel_is_found(find: FindMotion) -> None:
    """Twice as large, one pixel is half of one."""
    large = textured(200, 264)[None]
    here, there = (F.avg_pool2d(large[..., column : column + 256], 2)[..., :96, :] for column in (2, 1))
    vectors = inner(find(torch.cat([there, here], dim=1), 2, 1)[0, 0])
    assert (vectors[:, 1] == 1).float().mean() > 0.8


@pytest.mark.parametrize("sigma", [10, 40])
def test_noise_is_not_taken_for_motion(find: FindMotion, sigma: int) -> None:
    scene = textured(96, 128)
    still = torch.cat([noisy(scene, sigma, 1), noisy(scene, sigma, 2)])[None]
    assert (find(still, 2, 1) == 0).all(-1).float().mean() > 0.9


def test_what_is_all_one_colour_stands_still(find: FindMotion) -> None:
    assert not find(torch.full((1, 6, 24, 40), 0.5), 2, 0).any()


def test_no_number_is_no_motion(find: FindMotion) -> None:
    """A frame that a model made NaN of is restored once more; until then it must not stop anything."""
    lq = panned((0, 0), (0, 0))
    lq[:, :3] = float("nan")
    assert find(lq, 2, 1).abs().max() <= 64


def test_large_frames_are_searched_further(find: FindMotion) -> None:
    lq = panned((0, 50), (0, 0), height=1032, width=1024)
    assert inner(find(lq, 2, 1)[0, 0])[:, 1].mode().values == -100


def test_things_that_move_apart_are_followed_each_by_itself() -> None:
    scene, thing = textured(96, 128, seed=1), textured(32, 32, seed=2)

    def seen_with_thing_at(column: int) -> Tensor:
        picture = scene.clone()
        picture[:, 32:64, column : column + 32] = thing
        return picture

    lq = torch.cat([seen_with_thing_at(40), seen_with_thing_at(48)])[None]
    vectors = find_motion(lq, 2, 1)[0, 0]
    assert (vectors[5:7, 7:9] == torch.tensor([0, -16])).all()
    assert not vectors[:3].any()
    assert not vectors[9:].any()


def test_a_pan_compensated_is_the_middle_frame() -> None:
    lq = panned((-6, 11), (0, 0), (4, -3))
    moved = compensate(lq, MODEL).unflatten(1, (3, 3))[0]
    middle = moved[1]
    assert torch.equal(middle, lq[0, 3:6])
    edge = EDGE * BLOCK
    for neighbour in (moved[0], moved[2]):
        off = (neighbour - middle)[:, edge:-edge, edge:-edge].abs()
        assert off.mean() < 1e-3


def test_beyond_the_frame_are_its_outermost_pixels() -> None:
    frame = torch.rand(1, 3, 8, 8)
    assert torch.equal(move(frame, torch.full((1, 1, 1, 2), 80)), frame[..., -1:, -1:].expand_as(frame))
    assert torch.equal(move(frame, torch.full((1, 1, 1, 2), -80)), frame[..., :1, :1].expand_as(frame))


def test_half_a_pixel_is_interpolated_as_h264_does() -> None:
    row = torch.tensor([0.0, 0.0, 0.0, 32.0, 0.0, 0.0, 0.0, 0.0]).expand(1, 3, 8, 8)
    moved = move(row, torch.tensor([0, 1]).expand(1, 1, 1, 2))
    assert moved[0, 0, 0].tolist() == [1, -5, 20, 20, -5, 1, 0, 0]
    down = move(row.transpose(2, 3), torch.tensor([1, 0]).expand(1, 1, 1, 2))
    assert torch.equal(down, moved.transpose(2, 3))


def test_gradients_run_through_what_is_moved() -> None:
    """As a recurrent network's past is what it made."""
    frame = torch.rand(1, 1, 11, 13, dtype=torch.float64, requires_grad=True)
    vectors = torch.randint(-9, 9, (1, 2, 2, 2), generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: move(x, vectors), (frame,))


def test_a_compensated_network_sees_a_pan_as_standing_still() -> None:
    net = dv.DiffIRS2(MODEL).eval()
    prior = torch.zeros(1, MODEL.prior_width)
    pan, still = panned((0, 6), (0, 0), (0, -6)), panned((0, 0), (0, 0), (0, 0))
    edge = 3 * BLOCK
    with torch.no_grad():
        seen = [net.G.patch_embed(compensate(lq, MODEL))[..., edge:-edge] for lq in (pan, still)]
        restored = net.restore(pan, prior)
        other = dv.DiffIRS2(tiny(past=1, future=1)).eval()
        other.load_state_dict(net.state_dict())
        assert torch.equal(restored, other.restore(compensate(pan, MODEL), prior))
    assert (seen[0] - seen[1]).abs().mean() < 0.01 * seen[1].abs().mean()


def test_a_recurrent_network_learns_through_what_it_moved() -> None:
    model = tiny(past=1, recurrent=True, blend=True, unshuffle=2, compensated=True)
    net = dv.DiffIRS2(model)
    frames = panned((0, 3), (0, 0)).unflatten(1, (2, 3))
    windows = torch.stack([frames[:, [0, 0]].flatten(1, 2), frames.flatten(1, 2)], dim=1)
    net.restore_in_turn(windows, torch.zeros(1, 2, model.prior_width))[:, 1].mean().backward()
    gradient = net.G.patch_embed.proj.weight.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.any()


@pytest.mark.parametrize("settings", [{}, {"past": 1, "image_channels": 4}])
def test_only_a_window_of_pictures_can_be_compensated(settings: dict[str, int]) -> None:
    with pytest.raises(dv.UsageError, match="compensated"):
        tiny(compensated=True, **settings)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 24), (57, 83), (1032, 1024)])
def test_the_kernels_in_c_are_twins(height: int, width: int) -> None:
    """Of any size, in any number of windows, and with any frame in the middle."""
    offsets = [(-6, 3), (0, 0)] if height > 1000 else [(3, -5), (-6, 3), (0, 0), (11, -13)]
    model = tiny(past=len(offsets) - 2, future=1, compensated=True)
    lq = panned(*offsets, height=height, width=width)
    if height < 1000:
        lq = torch.cat([lq, lq.flip(-1)])
    lq = (lq + 0.04 * torch.randn(lq.shape, generator=torch.Generator().manual_seed(3))).clamp(-0.2, 1.2)
    found = native.find_motion(lq, model.frames, model.past)
    assert torch.equal(found, find_motion(lq, model.frames, model.past))
    expected = compensate(lq, model)
    torch.testing.assert_close(moved_by_kernels(lq, model), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(native.compensate(lq, model), expected, atol=1e-6, rtol=0)


def test_a_gradient_runs_through_what_the_kernels_found() -> None:
    """As where a recurrent network's last output is moved."""
    lq, model = panned((3, -5), (0, 0), height=32, width=48), tiny(past=1, compensated=True)
    gradients: list[Tensor] = []
    for moved_by in (native.compensate, compensate):
        x = lq.clone().requires_grad_()
        moved_by(x, model).square().sum().backward()
        assert x.grad is not None
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


def test_each_picture_is_looked_at_once_however_it_lies_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """In several windows each, and, as most libraries hold them, with a pixel's colours side by side."""
    seen: list[Tensor] = []
    build = native.put_pyramids

    def put_pyramids(pictures: Sequence[Tensor]) -> list[Tensor]:
        seen.extend(pictures)
        return build(pictures)

    monkeypatch.setattr(native, "put_pyramids", put_pyramids)
    frames = panned(*((t, 2 * t) for t in range(4)), height=24, width=40).unflatten(1, (4, 3))[0]
    pictures = list(frames.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2))
    windows = [pictures[first : first + 3] for first in (0, 1)]
    gather = native.NativeCompensation(1)
    gathered = torch.cat([gather([window]) for window in windows])
    lq = torch.stack([torch.cat(window) for window in windows])
    torch.testing.assert_close(gathered, compensate(lq, MODEL), atol=1e-6, rtol=0)
    assert len(seen) == 4


def test_a_stream_leaves_none_of_its_pictures_in_memory() -> None:
    """Folded networks outlive streams, to be borrowed by the next one."""
    restorer = dv.Restorer(dv.DiffIRS2(MODEL), device="cpu", precision="fp32", backend="compile")
    assert restorer.network is not None
    folded = restorer.network.borrow_folded()
    pictures = [textured(16, 24, seed=seed) for seed in range(3)]
    held = [weakref.ref(picture) for picture in pictures]
    folded.gather([pictures])
    del pictures
    restorer.network.give_back(folded)
    assert [ref() for ref in held] == [None] * 3


@pytest.mark.parametrize(
    "window",
    [
        [torch.zeros(3, 8, 16), torch.zeros(3, 16, 16)],
        [torch.zeros(3, 8, 16, dtype=torch.float64)] * 2,
        [torch.zeros(1, 8, 16)] * 2,
        [torch.zeros(3, 8, 16, device="meta")] * 2,
    ],
    ids=["of two sizes", "float64", "grey", "elsewhere"],
)
def test_what_the_kernels_would_misread_is_refused(window: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="expected"):
        native.NativeCompensation(1)([window])


def test_what_is_on_another_device_is_left_to_plain_torch() -> None:
    """A network that was a CPU's, and finds motion by kernels there, may be moved."""
    lq = torch.zeros(1, 6, 24, 40, device="meta")
    assert native.find_motion(lq, 2, 1).device.type == "meta"
    assert native.compensate(lq, tiny(past=1, compensated=True)).device.type == "meta"


def test_a_network_that_is_compiled_moves_neighbours_by_the_kernels_too() -> None:
    """As `compile: true` trains it."""
    net = dv.DiffIRS2(tiny(past=1, compensated=True))
    lq, prior = panned((3, -5), (0, 0), height=32, width=48), torch.zeros(1, net.config.prior_width)
    expected = net.restore(lq, prior)
    hasten_motion(net.G)
    assert net.G.compensate is native.compensate
    net.G.compile(backend="eager")  # pyright: ignore[reportUnknownMemberType]
    restored = net.restore(lq, prior)
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)
    restored.mean().backward()
    assert all(p.grad is not None for p in net.G.parameters())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_finds_motion_as_its_original_does(copied: Callable[[dv.Restorer], dv.Restorer]) -> None:
    """In another process, say, after it has restored something."""
    original = dv.Restorer(dv.DiffIRS2(MODEL), device="cpu", precision="fp32", backend="compile")
    frames = panned((0, 0), (1, 2), (2, 4), height=32, width=48).unflatten(1, (3, 3))[0]
    clip = dv.Clip(frames, (0, 1, 2), Fraction(1, 25))
    restored = original.restore(clip).data
    assert torch.equal(copied(original).restore(clip).data, restored)


@pytest.mark.parametrize("settings", [{"batch": 3}, {"tile": 16}, {"reuse": "prior"}])
def test_compensated_frames_are_the_same_however_they_are_worked_on(settings: dict[str, Any]) -> None:
    """Alone or together, whole or in pieces, by the kernels and as the network was trained; with a cut."""
    torch.manual_seed(0)
    net = dv.DiffIRS2(MODEL)
    scene = panned((0, 0), (1, 3), (2, 6), (3, 9), height=32, width=48).unflatten(1, (4, 3))[0]
    # A picture twice, and another shot.
    frames = torch.cat([scene, scene[3:], 1 - scene])
    clip = dv.Clip(frames, tuple(range(len(frames))), Fraction(1, 25))
    reference = ReferenceRestorer(net, device="cpu").open_stream()
    expected = [*reference.push(clip.frames()), *reference.finish()]
    restorer = dv.Restorer(net, device="cpu", precision="fp32", **settings)
    stream = restorer.open_stream()
    restored = [frame for given in clip.frames() for frame in stream.push([given])] + stream.finish()
    together = restorer.restore(clip).data
    assert torch.equal(torch.stack([frame.data for frame in restored]), together)
    if "reuse" not in settings:
        torch.testing.assert_close(
            together, torch.stack([frame.data for frame in expected]), atol=1e-5, rtol=0
        )


def test_motion_is_the_same_for_any_number_of_threads() -> None:
    lq = noisy(panned((3, -5), (0, 0), (2, 7)), 20, 4)
    threads, results = torch.get_num_threads(), list[Tensor]()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(moved_by_kernels(lq, MODEL))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_triton_kernels_are_twins() -> None:
    """Under Triton's interpreter where there is no GPU (see tests/conftest.py)."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from diffir_video.inference.cuda import motion as triton_motion

    device = "cuda" if torch.cuda.is_available() else "cpu"
    lq = noisy(panned((3, -5), (0, 0), height=16, width=24), 20, 5).to(device)
    assert torch.equal(triton_motion.find_motion(lq, 2, 1), find_motion(lq, 2, 1).int())
    model = tiny(past=1, compensated=True)
    expected = compensate(lq, model)
    torch.testing.assert_close(triton_motion.compensate(lq, model), expected, atol=1e-5, rtol=0)

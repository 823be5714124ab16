"""Frames restored side by side: the same frames, each by its part of the processors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

import diffir_video as dv
from diffir_video.inference import FoldedDIRformer, InferenceOptions, limit_threads
from diffir_video.prior import ReusePolicy
from tests.network.test_variants import tiny


@pytest.fixture(params=[1, 2, 3, 5])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def scene() -> dv.Clip:
    """A shot that brightens, a picture twice, and another shot."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(3, 24, 40, generator=generator)
    shot = [picture * (0.5 + 0.05 * t) for t in range(7)]
    frames = torch.stack([*shot, shot[-1], *(1 - p for p in shot[:4])])
    return dv.Clip(frames, tuple(range(len(frames))), Fraction(1, 25))


def restored_in_pushes(restorer: dv.Restorer, size: int) -> Tensor:
    stream, frames = restorer.open_stream(), scene().frames()
    pushes = [frames[start : start + size] for start in range(0, len(frames), size)]
    restored = [frame for push in pushes for frame in stream.push(push)] + stream.finish()
    return torch.stack([frame.data for frame in restored])


@pytest.mark.parametrize(
    "settings", [{"past": 1, "future": 1, "compensated": True}, {}], ids=["window", "frame"]
)
@pytest.mark.parametrize("reuse", ["off", "prior", "statistics"])
def test_they_are_the_same_whatever_comes_together(
    threads: int, reuse: Any, settings: dict[str, Any]
) -> None:
    """Alone, in pairs, by fours with some left over, and all at once."""
    torch.manual_seed(0)
    restorer = dv.Restorer(dv.DiffIRS2(tiny(**settings)), device="cpu", precision="fp32", reuse=reuse)
    expected = restored_in_pushes(restorer, 1)
    for size in (2, 4, len(expected)):
        assert torch.equal(restored_in_pushes(restorer, size), expected)
    assert torch.get_num_threads() == threads


DELAYED = ReusePolicy(level="prior", max_prior_age=3, prior_delay=2)


@pytest.mark.parametrize("reuse", ["off", DELAYED], ids=["off", "delayed"])
def test_a_stream_that_ends_leaves_no_threads(threads: int, reuse: Any) -> None:
    restorer = dv.Restorer(dv.DiffIRS2(tiny()), device="cpu", precision="fp32", reuse=reuse)
    before = set(threading.enumerate())
    stream = restorer.open_stream()
    stream.push(scene().frames())
    assert len(threading.enumerate()) > len(before) or (threads, reuse) == (1, "off")
    stream.finish()
    assert set(threading.enumerate()) <= before


def test_each_has_its_part_of_the_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    restore, parts = FoldedDIRformer.restore, set[int]()

    def restore_and_tell(folded: FoldedDIRformer, lq: Tensor) -> Tensor:
        if threading.current_thread().name.startswith("diffir-lane"):
            parts.add(torch.get_num_threads())
        return restore(folded, lq)

    monkeypatch.setattr(FoldedDIRformer, "restore", restore_and_tell)
    dv.Restorer(dv.DiffIRS2(tiny()), device="cpu", precision="fp32").restore(scene())
    assert parts == ({1} if threads > 1 else set())


def test_a_stream_borrows_the_networks_of_the_one_before(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FoldedDIRformer] = []

    def make(*arguments: Any, **settings: Any) -> FoldedDIRformer:
        made.append(FoldedDIRformer(*arguments, **settings))
        return made[-1]

    monkeypatch.setattr("diffir_video.prior_network.FoldedDIRformer", make)
    restorer = dv.Restorer(dv.DiffIRS2(tiny()), device="cpu", precision="fp32")
    for _ in range(3):
        restorer.restore(scene())
    assert len(made) == threads


def test_a_frame_that_fails_is_done_again_and_the_others_are_not() -> None:
    net = dv.DiffIRS2(tiny()).eval()
    expected = dv.Restorer(net, device="cpu", precision="fp32").restore(scene()).data
    restorer = dv.Restorer(net, device="cpu", precision="fp32")
    assert restorer.network is not None
    folded, spoilt = restorer.network.borrow_folded(), list[int]()
    restorer.network.give_back(folded)
    plain = folded.restore

    def spoil(lq: Tensor) -> Tensor:
        spoilt.append(len(lq))
        return plain(lq) * (float("nan") if len(spoilt) == 1 else 1)

    folded.restore = spoil
    stream = restorer.open_stream()
    restored = [*stream.push(scene().frames()), *stream.finish()]
    torch.testing.assert_close(torch.stack([f.data for f in restored]), expected, atol=1e-5, rtol=0)
    assert stream.reuse.redone_in_float32 == 1


@pytest.mark.parametrize(
    ("options", "size", "most"),
    [
        (InferenceOptions(backend="compile"), (64, 64), 3),
        (InferenceOptions(backend="compile", batch=2), (64, 64), 2),
        (InferenceOptions(backend="compile", batch=1), (64, 64), 1),
        (InferenceOptions(backend="compile"), (8192, 8192), 1),
        (InferenceOptions(backend="eager"), (64, 64), 1),
    ],
    ids=["small", "two at once", "one at once", "huge", "eager"],
)
def test_how_many_go_at_once(options: InferenceOptions, size: tuple[int, int], most: int) -> None:
    folded = FoldedDIRformer(dv.DiffIRS2(tiny()).G, options=options)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert folded.lanes(*size) == most
    finally:
        torch.set_num_threads(before)


def test_only_the_calling_thread_is_limited() -> None:
    seen: list[int] = []

    def limited() -> None:
        limit_threads(1)
        seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    for work in (limited, lambda: seen.append(torch.get_num_threads())):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [1, before]
    assert torch.get_num_threads() == before

"""Tiles of every size, on real pictures of odd sizes: what comes out is what one piece gives."""

from __future__ import annotations

from fractions import Fraction

import pytest
import skimage.data
import torch
from torch import Tensor
from torch.nn.functional import interpolate

import diffir_video as dv
from diffir_video.bench_material import load_network
from diffir_video.inference import Backend, Tile
from diffir_video.prior import ReuseLevel
from tests.inference.test_folded import TOLERANCE
from tests.network.test_variants import MODELS, PUBLISHED

TILES: list[Tile] = [64, 128, 256, 512]

# Where a network finds motion in what it made of the frame before, the last bit of that may decide between
# two places that are as like in noise.
AFTER_MOTION_IN_RESTORED = 1e-3


def clip(height: int, width: int, frames: int = 3) -> dv.Clip:
    """A photograph that moves by a pixel per frame, with noise."""
    photo = torch.from_numpy(skimage.data.coffee()).permute(2, 0, 1)[None].float() / 255
    whole = interpolate(photo, (height, width + frames), mode="bicubic").clamp(0, 1)[0]
    pictures = torch.stack([whole[:, :, at : at + width] for at in range(frames)])
    noise = 0.1 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(3))
    return dv.Clip((pictures + noise).clamp(0, 1), tuple(range(frames)), Fraction(1, 25))


def restored(net: dv.DiffIRS2, lq: dv.Clip, tile: Tile, reuse: ReuseLevel, backend: Backend) -> Tensor:
    restorer = dv.Restorer(net, device="cpu", precision="fp32", tile=tile, reuse=reuse, backend=backend)
    return restorer.restore(lq).data


def assert_tiles_change_nothing(
    net: dv.DiffIRS2, lq: dv.Clip, reuse: ReuseLevel, backend: Backend, tiles: list[Tile]
) -> None:
    whole = restored(net, lq, "off", reuse, backend)
    for tile in tiles:
        tiled = restored(net, lq, tile, reuse, backend)
        first, later = (relative(tiled[some], whole[some]) for some in (slice(1), slice(1, None)))
        size = f"{lq.data.shape[-1]}x{lq.data.shape[-2]}"
        print(f"{reuse}, {backend}, {size}, tile {tile}: {first:.1e}, later {later:.1e}")
        finds_motion_in_restored = net.config.recurrent and net.config.compensated
        assert first <= TOLERANCE
        assert later <= (AFTER_MOTION_IN_RESTORED if finds_motion_in_restored else TOLERANCE)


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def built_in(name: str) -> dv.DiffIRS2:
    return dv.Restorer.from_pretrained(name, device="cpu").network.net  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("reuse", ["prior", "statistics"])
@pytest.mark.parametrize("backend", ["eager", "compile"])
@pytest.mark.parametrize("name", ["denoise-nano", "denoise-live"])
def test_tiles_of_a_picture_of_odd_size(name: str, backend: Backend, reuse: ReuseLevel) -> None:
    assert_tiles_change_nothing(built_in(name), clip(241, 321), reuse, backend, [64, 128])


@pytest.mark.slow
@pytest.mark.parametrize("size", [(481, 641), (721, 1281)])
@pytest.mark.parametrize("reuse", ["prior", "statistics"])
@pytest.mark.parametrize("backend", ["eager", "compile"])
@pytest.mark.parametrize(
    "name",
    [
        *("denoise-nano", "denoise-live", "tape-nano", "deblock-nano"),
        *("upscale-x2-nano", "upscale-x2-small"),
    ],
)
def test_tiles_of_larger_pictures(
    name: str, backend: Backend, reuse: ReuseLevel, size: tuple[int, int]
) -> None:
    assert_tiles_change_nothing(built_in(name), clip(*size), reuse, backend, TILES)


@pytest.mark.slow
@pytest.mark.parametrize("reuse", ["prior", "statistics"])
@pytest.mark.parametrize("backend", ["eager", "compile"])
@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "inpaint"])
def test_tiles_of_published_networks(name: str, backend: Backend, reuse: ReuseLevel) -> None:
    """With weights drawn by chance, and on small pictures: they take seconds for each.

    The weights add to a picture about what trained ones do. Without that sr-x4 makes hundreds of a pixel, and
    what is left of that between 0 and 1 is 25 times as unlike as the whole.
    """
    net = load_network(str(MODELS / f"{name}.yaml"))
    size = (137, 203) if net.config.scale * net.config.unshuffle > 1 else (105, 139)
    assert_tiles_change_nothing(net, clip(*size, frames=2), reuse, backend, [64, 128])

"""What a frame can't take less than: its arithmetic at the machine's best, and its least traffic."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from diffir_video.errors import BackendError
from diffir_video.inference import FoldedDIRformer, InferenceOptions, Products, terms_of
from diffir_video.inference.native import NativeProduct, Terms
from diffir_video.network import DiffIRS2, DIRformer, ModelConfig
from diffir_video.network.dirformer import TransformerBlock
from diffir_video.prior import ReuseLevel

# Large enough for any machine's best, small enough for a second of a slow one.
_PRODUCT, _COPIED_BYTES = 2048, 1 << 28
_TURNS = 8


@dataclass(frozen=True, slots=True)
class MachineRates:
    """The most that was measured: FLOP per second in products of matrices, bytes per second in a copy.

    Products by torch, or on a CPU by the kernels in C where those are faster.
    """

    products: float
    traffic: float


@dataclass(frozen=True, slots=True)
class Floors:
    """Of one frame in DIRformer, its prior folded: what has to be done, and how long that takes at best.

    flop: two for a multiplication and an addition, of convolutions and products, means among them; the rest
    of norms, gates and softmax is left out. A Gram matrix counts as it is computed, up to 64 channels for all
    heads at once. bytes: the blocks' features, read and written once by attention and once by the
    feed-forward, and read once more where attention maps are made.
    """

    flop: int
    bytes: int
    arithmetic_seconds: float
    traffic_seconds: float

    @property
    def seconds(self) -> float:
        """The higher of the two."""
        return max(self.arithmetic_seconds, self.traffic_seconds)


@torch.inference_mode()
def floors_of(
    net: DiffIRS2, lq: Tensor, reuse: ReuseLevel, dtype: torch.dtype, rates: MachineRates
) -> Floors:
    """Count what one frame takes, in plain operators, and divide by `rates`.

    lq: (1, lq_channels, H, W) in [0, 1], H and W multiples of ``config.multiple``, on the device of `net`.
    dtype: of the features; counting itself is done in float32.
    """
    engine = FoldedDIRformer(net.G, options=InferenceOptions(backend="eager", tile="off"))
    engine.fold(torch.zeros(net.config.prior_width))
    restore: Callable[[Tensor], Tensor] = engine.restore
    if reuse == "statistics":
        engine.restore_keeping_maps(lq)
        restore = engine.restore_with_held_maps
    with FlopCounterMode(display=False) as counted:
        restore(lq)
    flop = counted.get_total_flops()
    passes = 4 if reuse == "statistics" else 5
    moved = passes * _block_features(net, lq) * dtype.itemsize
    return Floors(flop, moved, flop / rates.products, moved / rates.traffic)


def macs_per_pixel(config: ModelConfig) -> float:
    """Multiplications with their additions in DIRformer per pixel of the LQ, as the network is trained.

    Of convolutions and products of matrices, counted at 256x256; finding motion has none.
    """
    side, config = 256, replace(config, compensated=False)
    with torch.device("meta"), FlopCounterMode(display=False) as counted:
        lq, prior = torch.zeros(1, config.lq_channels, side, side), torch.zeros(1, config.prior_width)
        DIRformer(config)(lq, prior)
    return counted.get_total_flops() / 2 / side**2


def measure_rates(device: torch.device, dtype: torch.dtype, products_of: Products = "plain") -> MachineRates:
    """The best of several turns each; takes seconds. products_of: how those of `dtype` are made."""
    multiplied, terms = (torch.bfloat16, 3) if products_of == "bf16x3" else (dtype, 1)
    a, b = (torch.randn(_PRODUCT, _PRODUCT, device=device).to(multiplied) for _ in range(2))
    products = 2 * _PRODUCT**3 / _best_seconds(lambda: a @ b, device) / terms
    if device.type == "cpu" and dtype != torch.float16:
        products = max(products, _rate_of_kernels(terms_of(dtype, products_of)))
    source = torch.zeros(_COPIED_BYTES, dtype=torch.uint8, device=device)
    copy = torch.empty_like(source)
    return MachineRates(
        products=products, traffic=2 * _COPIED_BYTES / _best_seconds(lambda: copy.copy_(source), device)
    )


def _rate_of_kernels(terms: Terms) -> float:
    """FLOP per second of a product that fits the cache; 0 where there are no kernels for it."""
    rows, channels = 128, 256
    try:
        product = NativeProduct(torch.randn(channels, channels), terms)
    except BackendError:
        return 0.0
    x = torch.randn(rows, rows, channels)
    return 2 * x.numel() * channels / _best_seconds(lambda: product(x), torch.device("cpu"))


def _block_features(net: DiffIRS2, lq: Tensor) -> int:
    """The numbers in the features of all blocks together."""
    counts: list[int] = []

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        counts.append(inputs[0].numel())

    handles = [
        module.register_forward_pre_hook(count)
        for module in net.G.modules()
        if isinstance(module, TransformerBlock)
    ]
    net.restore(lq, torch.zeros(1, net.config.prior_width, device=lq.device))
    for handle in handles:
        handle.remove()
    return sum(counts)


def _best_seconds(work: Callable[[], object], device: torch.device) -> float:
    best = float("inf")
    for _ in range(_TURNS):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best

"""`FoldedDIRformer`: DIRformer under a held prior, exact, and as fast as the machine allows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from diffir_video.inference.convolutions import Convolutions
from diffir_video.inference.fold import FoldedBlock
from diffir_video.network.dirformer import DIRformer, TransformerBlock

# A strip's features: what is made of them on the way, up to six times as much, stays near a core.
CPU_STRIP_BYTES = 1024 * 1024

# On CUDA strips cost launches and save nothing but memory.
WHOLE_FRAME = 1 << 62

# Strips of less are not what fills a memory: the frame's own features are.
SMALLEST_STRIP_BYTES = 1 << 20

_log = logging.getLogger(__name__)


class FoldedDIRformer:
    """DIRformer with one prior folded into its weights; it returns what the network returns.

    Frames are worked through in strips of rows. Attention maps sum over the whole frame and convolutions
    read true neighbours whatever the strips are, so there is no seam, and the size of a frame is bounded by
    its feature maps alone.
    """

    def __init__(
        self,
        net: DIRformer,
        *,
        dtype: torch.dtype = torch.float32,
        strip_bytes: int | None = None,
    ) -> None:
        """`net`: its weights are copied, on its device, but for the prior's projections.

        dtype: of features and weights; norms' statistics, Gram matrices and softmax are float32 in any case.
        strip_bytes: of features worked on at a time; by default what suits the device. `fold` comes before
        the first frame.
        """
        self._config = net.config
        self._dtype = dtype
        self._device = net.patch_embed.proj.weight.device
        on_cpu = self._device.type == "cpu"
        self.strip_bytes = strip_bytes or (CPU_STRIP_BYTES if on_cpu else WHOLE_FRAME)
        self._levels = {
            name: [FoldedBlock(cast(TransformerBlock, block), dtype) for block in level]
            for name, level in net.named_children()
            if isinstance(level, nn.ModuleList)
        }
        self._convolutions = Convolutions(net, dtype)
        self._held_maps: list[Tensor] = []

    @torch.inference_mode()
    def fold(self, prior: Tensor) -> None:
        """Serve this prior, (prior_width,), from now on; weights are rewritten in place."""
        prior = prior.to(self._device, torch.float32)
        for block in chain.from_iterable(self._levels.values()):
            block.fold(prior)

    def weights(self) -> Iterator[Tensor]:
        """The tensors that `fold` rewrites, always the same ones."""
        for block in chain.from_iterable(self._levels.values()):
            yield from block.weights()

    def restore(self, lq: Tensor) -> Tensor:
        """Restore the middle frames of windows, each with its own attention maps.

        lq: (N, lq_channels, H, W) float in [0, 1] on the network's device, H and W multiples of
        ``config.multiple``. Returns (N, 3, s·H, s·W) float32, unclamped.
        """
        return self._restore_each(lq, None)

    @torch.inference_mode()
    def restore_keeping_maps(self, lq: Tensor) -> Tensor:
        """As `restore` of one window, (1, lq_channels, H, W), whose attention maps are held from now on.

        Raises ValueError for another number of windows.
        """
        if len(lq) != 1:
            raise ValueError(f"attention maps are held of one frame, got {len(lq)}")
        restored, self._held_maps = self._restore_within_memory(lq, None)
        return restored

    def restore_with_held_maps(self, lq: Tensor) -> Tensor:
        """As `restore`, with the attention maps held since `restore_keeping_maps`.

        What becomes of a pixel then depends on its surroundings alone. Raises ValueError if none are held.
        """
        if not self._held_maps:
            raise ValueError("no attention maps are held; restore_keeping_maps comes first")
        return self._restore_each(lq, self._held_maps)

    @torch.inference_mode()
    def _restore_each(self, lq: Tensor, held_maps: Sequence[Tensor] | None) -> Tensor:
        windows = torch.split(lq, 1)
        return torch.cat([self._restore_within_memory(window, held_maps)[0] for window in windows])

    def _restore_within_memory(
        self, lq: Tensor, held_maps: Sequence[Tensor] | None
    ) -> tuple[Tensor, list[Tensor]]:
        """The restored frame and the maps made for it; where memory runs out, again in smaller strips."""
        while True:
            maps = _Maps(held_maps)
            try:
                return self._restore_frame(lq, maps), maps.made
            except torch.OutOfMemoryError:
                if not self._halve_strips(lq):
                    raise

    def _halve_strips(self, lq: Tensor) -> bool:
        """False where they are so small already that they are not what fills the memory."""
        cells = lq.shape[-2] * lq.shape[-1] // self._config.unshuffle**2
        whole_frame = 2 * self._config.dim * cells * self._dtype.itemsize
        smaller = min(self.strip_bytes, whole_frame) // 2
        if smaller < SMALLEST_STRIP_BYTES:
            return False
        self.strip_bytes = smaller
        _log.warning("out of memory: frames are worked through %.1f MiB at a time from now", smaller / 2**20)
        return True

    def _restore_frame(self, lq: Tensor, maps: _Maps) -> Tensor:
        convolutions, depth = self._convolutions, len(self._config.blocks)
        x = convolutions.embed(lq.to(self._dtype))
        skips: list[Tensor] = []
        for number in range(1, depth):
            x = self._through(f"encoder_level{number}", x, maps)
            skips.append(x)
            x = convolutions.down(number, x)
        x = self._through("latent", x, maps)
        for number in reversed(range(1, depth)):
            x = torch.cat([convolutions.up(number, x), skips.pop()], dim=1)
            x = convolutions.reduce(number, x)
            x = self._through(f"decoder_level{number}", x, maps)
        x = self._through("refinement", x, maps)
        return convolutions.to_picture(x, lq.float())

    def _through(self, level: str, x: Tensor, maps: _Maps) -> Tensor:
        for block in self._levels.get(level, ()):
            x = block(x, maps.of(block, x, self.strip_bytes), self.strip_bytes)
        return x


class _Maps:
    """Attention maps of one frame, block after block: those held, or else made on the way and kept."""

    def __init__(self, held: Sequence[Tensor] | None) -> None:
        self._held = None if held is None else iter(held)
        self.made: list[Tensor] = []

    def of(self, block: FoldedBlock, x: Tensor, strip_bytes: int) -> Tensor:
        if self._held is not None:
            return next(self._held)
        self.made.append(block.attention_maps(x, strip_bytes))
        return self.made[-1]

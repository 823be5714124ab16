"""`FoldedDIRformer`: DIRformer under a held prior, exact, and as fast as the machine allows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

from diffir_video.allocator import NETWORK_KEEPS_BYTES, prepare_allocator
from diffir_video.inference.backends import build, gathering
from diffir_video.inference.native import can_limit_threads
from diffir_video.inference.native.motion import NativeCompensation
from diffir_video.inference.options import Batch, InferenceOptions, Tile
from diffir_video.inference.strips import StripSteps
from diffir_video.network.dirformer import DIRformer

# A strip's features: what is made of them on the way, up to six times as much, stays near a core.
CPU_STRIP_BYTES = 1024 * 1024

# Small frames go through the kernels together: threads then meet less often, and wait less for one whose
# processor an encoder took. More leave the last cache.
CPU_BATCH_BYTES = 16 * 1024 * 1024

# Of frames that are restored side by side: a lane's features, and all lanes' weights. What is larger keeps
# all threads busy by itself, and fills memory.
LANE_BYTES = 64 * 1024 * 1024
LANES_WEIGHT_BYTES = 1024 * 1024 * 1024

# Strips of less are not what fills a memory: the frame's own features are.
SMALLEST_STRIP_BYTES = 1 << 20

# What a whole frame takes at its widest, the decoder's first level, in features of the first level: its own
# twice as wide features, the skip, and norm, hidden channels and their convolution in a feed-forward.
_WIDEST = 28
_SHARE_OF_FREE_MEMORY = 0.8

_EAGER = InferenceOptions(backend="eager")

_log = logging.getLogger(__name__)


class FoldedDIRformer:
    """DIRformer with one prior folded into its weights; it returns what the network returns.

    A network that compensates motion moves neighbours itself; here `gather` does, so that what is known of a
    picture serves all its windows.

    Attention maps sum over the whole frame and convolutions read true neighbours whatever a frame is cut
    into, so there is no seam, and the size of a frame is bounded by its feature maps alone.
    """

    def __init__(
        self,
        net: DIRformer,
        *,
        dtype: torch.dtype = torch.float32,
        options: InferenceOptions = _EAGER,
    ) -> None:
        """`net`: its weights are copied, on its device, but for the prior's projections.

        dtype: of features and weights; norms' statistics, Gram matrices and softmax are float32 in any case.
        options: tile: strips of whole rows, and on a CPU pieces that fit the cache. Frames that are cut into
            strips go one after the other. What is compiled for CUDA takes whole frames; those that have to be
            cut run eagerly. Where memory runs out, batch and then tile are made smaller, with a warning.
        `fold` comes before the first frame. Raises BackendError for a backend that is not to be had here.
        """
        prepare_allocator(NETWORK_KEEPS_BYTES)
        self._config = net.config
        self._device = net.patch_embed.proj.weight.device
        options = options.on(self._device, dtype)
        self._tile: Tile = options.tile
        self._batch: Batch = options.batch
        self._strips = StripSteps(None)
        self._itemsize = dtype.itemsize
        pixels = None if isinstance(self._tile, str) else self._tile
        self._graph, self._whole_frames = build(
            net, dtype, options.backend, self._strips, pixels, products=options.products
        )
        self._gather = gathering(net.config, self._device, options.backend)
        self._prior: Tensor | None = None
        self._held_maps: tuple[Tensor, ...] = ()
        # What running out of memory has taught.
        self._most_frames: int | None = None
        self._largest_strip: int | None = None

    @torch.inference_mode()
    def fold(self, prior: Tensor) -> None:
        """Serve this prior, (prior_width,), from now on; weights are rewritten in place."""
        self._prior = prior = prior.to(self._device, torch.float32)
        for block in self._graph.blocks():
            block.fold(prior)

    def serve_as(self, other: FoldedDIRformer) -> None:
        """Serve the prior, and hold the attention maps, that another copy of the same network does."""
        if other._prior is not None and self._prior is not other._prior:
            self.fold(other._prior)
        self._held_maps = other._held_maps

    def weights(self) -> Iterator[Tensor]:
        """The tensors that `fold` rewrites, always the same ones."""
        return chain.from_iterable(block.weights() for block in self._graph.blocks())

    @torch.inference_mode()
    def gather(self, windows: Sequence[Sequence[Tensor]]) -> Tensor:
        """Windows of pictures as `restore` takes them: a compensated network's neighbours are moved here.

        windows: pictures, (3 or 4, H, W) float32 in [0, 1] on the network's device, oldest first; those that
        several windows share are best the same tensors. Returns (N, lq_channels, H, W).
        """
        return self._gather(windows)

    def forget_pictures(self) -> None:
        """Let go of what `gather` keeps of the last windows, when a stream ends."""
        if isinstance(self._gather, NativeCompensation):
            self._gather.forget()

    def lanes(self, height: int, width: int) -> int:
        """How many frames of a size are best restored at once, by a network for each.

        1 where there is one processor, and where anything but the kernels in C runs the network.
        """
        if self._device.type != "cpu" or self._graph.steps is self._strips or not can_limit_threads():
            return 1
        if self._kernels_feature_bytes(height * width) > LANE_BYTES:
            return 1
        # As they are folded, and as the kernels have them.
        held = chain(self._graph.parameters(), self._graph.buffers())
        weights = 2 * sum(tensor.nbytes for tensor in held)
        most = max(1, LANES_WEIGHT_BYTES // weights)
        wanted = most if isinstance(self._batch, str) else min(most, self._batch)
        return min(torch.get_num_threads(), wanted)

    def restore(self, lq: Tensor) -> Tensor:
        """Restore the middle frames of windows, each with its own attention maps.

        lq: (N, lq_channels, H, W) float in [0, 1] on the network's device, H and W multiples of
        ``config.multiple``, as `gather` makes it. Returns (N, 3, s·H, s·W) float32, unclamped.
        """
        return self._restore_all(lq, ())

    @torch.inference_mode()
    def restore_keeping_maps(self, lq: Tensor) -> Tensor:
        """As `restore` of one window, (1, lq_channels, H, W), whose attention maps are held from now on.

        Raises ValueError for another number of windows.
        """
        if len(lq) != 1:
            raise ValueError(f"attention maps are held of one frame, got {len(lq)}")
        restored, *maps = self._run_within_memory(lq, ())
        self._held_maps = tuple(maps)
        return restored

    def restore_with_held_maps(self, lq: Tensor) -> Tensor:
        """As `restore`, with the attention maps held since `restore_keeping_maps`.

        What becomes of a pixel then depends on its surroundings alone. Raises ValueError if none are held.
        """
        if not self._held_maps:
            raise ValueError("no attention maps are held; restore_keeping_maps comes first")
        return self._restore_all(lq, self._held_maps)

    @torch.inference_mode()
    def _restore_all(self, lq: Tensor, held_maps: Sequence[Tensor]) -> Tensor:
        restored: list[Tensor] = []
        done = 0
        while done < len(lq):
            some = lq[done : done + self._frames_at_once(lq)]
            try:
                restored.append(self._run(some, held_maps)[0])
                done += len(some)
            except torch.OutOfMemoryError:
                if not self._ask_for_less(some):
                    raise
        return restored[0] if len(restored) == 1 else torch.cat(restored)

    def _run_within_memory(self, lq: Tensor, held_maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """One window, again in smaller strips where memory runs out."""
        while True:
            try:
                return self._run(lq, held_maps)
            except torch.OutOfMemoryError:
                if not self._ask_for_less(lq):
                    raise

    def _run(self, lq: Tensor, held_maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        self._strips.strip_bytes = self._strip_bytes(lq)
        if self._strips.strip_bytes is None:
            return self._whole_frames(lq, *held_maps)
        return self._graph(lq, *held_maps)

    def _frames_at_once(self, lq: Tensor) -> int:
        if self._is_cut_by_rows(lq):
            return 1
        wanted = self._frames_that_fit(lq) if isinstance(self._batch, str) else self._batch
        return max(1, wanted if self._most_frames is None else min(wanted, self._most_frames))

    def _frames_that_fit(self, lq: Tensor) -> int:
        if self._device.type == "cpu":
            features = self._kernels_feature_bytes(lq.shape[-2] * lq.shape[-1])
            return 1 if self._graph.steps is self._strips else CPU_BATCH_BYTES // features
        return int(_free_memory(self._device) // self._frame_bytes(lq))

    def _is_cut_by_rows(self, lq: Tensor) -> bool:
        return self._graph.steps is self._strips and self._strip_bytes(lq) is not None

    def _strip_bytes(self, lq: Tensor) -> int | None:
        """How many bytes of features are worked on at a time; None for the whole frame."""
        wanted = self._wanted_strip_bytes(lq)
        if self._largest_strip is None:
            return wanted
        return self._largest_strip if wanted is None else min(wanted, self._largest_strip)

    def _wanted_strip_bytes(self, lq: Tensor) -> int | None:
        if not isinstance(self._tile, str):
            return self._feature_bytes(self._tile**2)
        if self._tile == "off":
            return None
        if self._device.type == "cpu":
            # Frames that are to go together can't be cut.
            return CPU_STRIP_BYTES if self._batch in ("auto", 1) else None
        missing = self._frame_bytes(lq) / _free_memory(self._device)
        whole_frame = self._feature_bytes(lq.shape[-2] * lq.shape[-1])
        return None if missing <= 1 else max(SMALLEST_STRIP_BYTES, int(whole_frame / missing))

    def _feature_bytes(self, pixels: int) -> int:
        """The first level's features of so many pixels."""
        return max(1, self._config.dim * self._itemsize * pixels // self._config.unshuffle**2)

    def _kernels_feature_bytes(self, pixels: int) -> int:
        """The same in the kernels in C, which hold float32 whatever they multiply."""
        return self._feature_bytes(pixels) * 4 // self._itemsize

    def _frame_bytes(self, lq: Tensor) -> int:
        """What a whole frame takes beside the weights, about: what `auto` starts from."""
        return _WIDEST * self._feature_bytes(lq.shape[-2] * lq.shape[-1])

    def _ask_for_less(self, lq: Tensor) -> bool:
        """After running out of memory with `lq`. False where neither fewer frames nor strips can help."""
        if len(lq) > 1:
            self._most_frames = len(lq) // 2
            _log.warning("out of memory: %d frames at a time from now", self._most_frames)
            return True
        whole_frame = 2 * self._feature_bytes(lq.shape[-2] * lq.shape[-1])
        smaller = min(self._strip_bytes(lq) or whole_frame, whole_frame) // 2
        if smaller < SMALLEST_STRIP_BYTES:
            return False
        self._largest_strip = smaller
        _log.warning("out of memory: frames are worked through %.1f MiB at a time from now", smaller / 2**20)
        return True


def _free_memory(device: torch.device) -> float:
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _SHARE_OF_FREE_MEMORY * (free + cached)

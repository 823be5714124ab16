"""A network as streams share it: what estimates priors, and folded networks to borrow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffir_video.inference import FoldedDIRformer, InferenceOptions, hasten_motion
from diffir_video.network import DiffIRS2


class PriorNetwork:
    """A stage-2 network on a device: its CPEN and diffusion as trained, DIRformer folded for a prior.

    Held priors and attention maps are a stream's own, so each stream borrows a `FoldedDIRformer`.
    """

    def __init__(
        self, net: DiffIRS2, device: torch.device, dtype: torch.dtype, seed: int, options: InferenceOptions
    ) -> None:
        # In float32 whatever it was trained in: priors are estimated so, and DIRformer's copies have `dtype`.
        net.eval().float().to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if options.backend == "compile":
            hasten_motion(net.G)
        self.net = net
        self._device, self._dtype, self._options = device, dtype, options
        generator = torch.Generator("cpu").manual_seed(seed)
        noise = torch.randn(1, net.config.prior_width, generator=generator, dtype=torch.float32, device="cpu")
        self._noise = noise.to(device)
        self._idle: list[FoldedDIRformer] = []

    def __getstate__(self) -> dict[str, Any]:
        # Folded networks hold what only this process knows, and are made again when they are needed.
        return {**self.__dict__, "_idle": []}

    def estimate_prior(self, picture: Tensor) -> Tensor:
        """(3 or 4, H, W) → (prior_width,); in float32, as it steers a whole span of frames."""
        return self.net.estimate_prior_of_frame(picture[None], self._noise)[0]

    def restore_in_float32(self, lq: Tensor) -> Tensor:
        """One window, (1, lq_channels, H, W) → (3, s·H, s·W), by the network as trained, nothing held."""
        return self.net.restore(lq, self.net.estimate_prior(lq, self._noise))[0]

    def borrow_folded(self) -> FoldedDIRformer:
        if self._idle:
            return self._idle.pop()
        return FoldedDIRformer(self.net.G, dtype=self._dtype, options=self._options)

    def give_back(self, folded: FoldedDIRformer) -> None:
        folded.forget_pictures()
        self._idle.append(folded)

"""DiffIR's two stages (Xia et al., "DiffIR: Efficient Diffusion Model for Image Restoration", ICCV 2023)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffir_video.network.config import GT_UNSHUFFLE, ModelConfig
from diffir_video.network.cpen import CPEN
from diffir_video.network.diffusion import Denoiser, PriorDiffusion
from diffir_video.network.dirformer import DIRformer, middle_frame

Stage = Literal[1, 2]


class DiffIR(nn.Module):
    """What both stages share: DIRformer `G`, and `restore`."""

    stage: ClassVar[Stage]

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.G = DIRformer(config)

    @property
    def multiple(self) -> int:
        """Height and width of an LQ must be multiples of this."""
        return self.config.multiple

    def restore(self, lq: Tensor, prior: Tensor) -> Tensor:
        """Restore the middle frame of a window.

        lq: (N, lq_channels, H, W) float in [0, 1], H and W multiples of `multiple`; a windowed model takes
        its frames one after the other on the channel axis, oldest first. prior: (N, prior_width).
        Returns (N, 3, s·H, s·W), not clamped. Raises ValueError on other shapes.
        """
        self._check_lq(lq)
        expected = (len(lq), self.config.prior_width)
        if tuple(prior.shape) != expected:
            raise ValueError(f"expected a prior of shape {expected}, got {tuple(prior.shape)}")
        return self.G(lq, prior)

    def restore_in_turn(self, lq: Tensor, prior: Tensor) -> Tensor:
        """Restore consecutive frames of several sequences with a recurrent network, one after the other.

        lq: (N, T, lq_channels, H, W), windows in time order; the first of each is taken for a shot's first.
        prior: (N, T, prior_width). Returns (N, T, 3, H, W), not clamped. Raises ValueError on other shapes.
        """
        restored: list[Tensor] = []
        for window, frame_prior in zip(lq.unbind(1), prior.unbind(1), strict=True):
            frame = middle_frame(window, self.config)
            before = restored[-1].clamp(0, 1).to(frame.dtype) if restored else frame
            restored.append(self.restore(torch.cat([before, frame], dim=1), frame_prior))
        return torch.stack(restored, dim=1)

    def _check_lq(self, lq: Tensor) -> None:
        channels, multiple = self.config.lq_channels, self.multiple
        if lq.ndim != 4 or lq.shape[1] != channels:
            raise ValueError(f"expected lq of shape (N, {channels}, H, W), got {tuple(lq.shape)}")
        if lq.shape[2] % multiple or lq.shape[3] % multiple:
            raise ValueError(
                f"height and width of lq must be multiples of {multiple}, got {lq.shape[2]}x{lq.shape[3]}; "
                "pad the frame first"
            )


class DiffIRS1(DiffIR):
    """Stage 1: the prior comes from the LQ and its ground truth."""

    stage = 1

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        in_channels = config.image_channels * config.lq_unshuffle**2 + 3 * GT_UNSHUFFLE**2
        self.E = _cpen(in_channels, config)

    def extract_prior(self, lq: Tensor, gt: Tensor) -> Tensor:
        """The prior of LQ and ground truth.

        lq: (N, lq_channels, H, W), gt: (N, 3, s·H, s·W), both float in [0, 1]. Returns (N, prior_width).
        Raises ValueError on other shapes.
        """
        self._check_lq(lq)
        scale = self.config.scale
        expected = (len(lq), 3, lq.shape[2] * scale, lq.shape[3] * scale)
        if tuple(gt.shape) != expected:
            raise ValueError(f"expected gt of shape {expected}, got {tuple(gt.shape)}")
        frame = F.pixel_unshuffle(middle_frame(lq, self.config), self.config.lq_unshuffle)
        return self.E(torch.cat([frame, F.pixel_unshuffle(gt, GT_UNSHUFFLE)], dim=1))

    def forward(self, lq: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
        """(restored, prior): what stage-1 training needs in one call, so that it can be compiled whole."""
        prior = self.extract_prior(lq, gt)
        return self.restore(lq, prior), prior


class DiffIRS2(DiffIR):
    """Stage 2: a short diffusion, conditioned on the LQ alone, finds the prior."""

    stage = 2

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.condition = _cpen(config.image_channels * config.lq_unshuffle**2, config)
        self.denoise = Denoiser(config.prior_width, blocks=config.denoiser_blocks)
        self.diffusion = PriorDiffusion(
            self.condition,
            self.denoise,
            timesteps=config.timesteps,
            linear_start=config.linear_start,
            linear_end=config.linear_end,
        )

    def extract_condition(self, lq: Tensor) -> Tensor:
        """CPEN's view of the LQ: (N, lq_channels, H, W) → (N, prior_width).

        Raises ValueError on other shapes.
        """
        self._check_lq(lq)
        return self._condition_of_frame(middle_frame(lq, self.config))

    def estimate_prior(self, lq: Tensor, noise: Tensor) -> Tensor:
        """The prior of an LQ, (N, prior_width), sampled from `noise`.

        lq: (N, lq_channels, H, W) float in [0, 1]. noise: x_T, (N, prior_width), standard normal; the same
        noise gives the same prior. Raises ValueError on other shapes.
        """
        self._check_lq(lq)
        return self.estimate_prior_of_frame(middle_frame(lq, self.config), noise)

    def estimate_prior_of_frame(self, frame: Tensor, noise: Tensor) -> Tensor:
        """As `estimate_prior`, of a window's middle frame alone, (N, 3 or 4, H, W): CPEN sees no other."""
        self._check_noise(noise, len(frame))
        return self.diffusion.sample(self._condition_of_frame(frame), noise)

    def estimate_training_prior(self, lq: Tensor, s1_prior: Tensor, noise: Tensor) -> Tensor:
        """As `estimate_prior`, but from q(x_T | s1_prior), as stage 2 trains (DiffIR, algorithm 1)."""
        self._check_noise(noise, len(lq))
        return self.diffusion.sample(self.extract_condition(lq), self.diffusion.add_noise(s1_prior, noise))

    def _condition_of_frame(self, frame: Tensor) -> Tensor:
        return self.condition(F.pixel_unshuffle(frame, self.config.lq_unshuffle))

    def _check_noise(self, noise: Tensor, batch: int) -> None:
        expected = (batch, self.config.prior_width)
        if tuple(noise.shape) != expected:
            raise ValueError(f"expected noise of shape {expected}, got {tuple(noise.shape)}")


def _cpen(in_channels: int, config: ModelConfig) -> CPEN:
    return CPEN(
        in_channels,
        width=config.cpen_width,
        blocks=config.cpen_blocks,
        prior_width=config.prior_width,
        zero_sum=config.cpen_zero_sum,
    )

"""The diffusion over the prior: schedule, denoiser and deterministic sampling (DiffIR, section 3.2)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffir_video.network.cpen import CPEN, SLOPE, init_for_leaky_relu


class ResidualMLP(nn.Module):
    """One hidden layer of the denoiser. Named for its key in published checkpoints; it has no skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resmlp = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(SLOPE))

    def forward(self, x: Tensor) -> Tensor:
        return self.resmlp(x)


class Denoiser(nn.Module):
    """Predicts the clean prior from the condition, the step and the noisy prior.

    condition, noisy: (N, width); step: (N, 1), t / (10·T). Returns (N, width).
    """

    def __init__(self, width: int, *, blocks: int) -> None:
        super().__init__()
        self.resmlp = nn.Sequential(
            nn.Linear(2 * width + 1, width),
            nn.LeakyReLU(SLOPE),
            *(ResidualMLP(width) for _ in range(blocks)),
        )
        self.apply(init_for_leaky_relu)

    def forward(self, condition: Tensor, step: Tensor, noisy: Tensor) -> Tensor:
        return self.resmlp(torch.cat([condition, step, noisy], dim=1))


class PriorDiffusion(nn.Module):
    """T steps from noise to a prior; each returns the posterior mean, nothing random is added.

    `condition` and `model` are the modules of the stage-2 network, held under a second name because
    published checkpoints hold them twice.
    """

    betas: Tensor
    alphas_cumprod: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor
    posterior_mean_coef1: Tensor
    posterior_mean_coef2: Tensor

    def __init__(
        self, condition: CPEN, model: Denoiser, *, timesteps: int, linear_start: float, linear_end: float
    ) -> None:
        super().__init__()
        self.condition = condition
        self.model = model
        self.timesteps = timesteps
        for name, values in schedule(timesteps, linear_start, linear_end).items():
            self.register_buffer(name, torch.as_tensor(values.astype(np.float32)))

    def add_noise(self, prior: Tensor, noise: Tensor) -> Tensor:
        """q(x_T | prior): the prior (N, width) as the last, noisiest step sees it."""
        last = self.timesteps - 1
        return self.sqrt_alphas_cumprod[last] * prior + self.sqrt_one_minus_alphas_cumprod[last] * noise

    def sample(self, condition: Tensor, x_T: Tensor) -> Tensor:
        """From x_T (N, width) down to the prior (N, width); differentiable through all steps."""
        x = x_T
        for t in reversed(range(self.timesteps)):
            step = condition.new_full((len(condition), 1), t / (10 * self.timesteps))
            clean = self.model(condition, step, x)
            x = self.posterior_mean_coef1[t] * clean + self.posterior_mean_coef2[t] * x
        return x


def schedule(timesteps: int, linear_start: float, linear_end: float) -> dict[str, NDArray[np.float64]]:
    """The twelve buffers of the published diffusion, float64, each of shape (T,).

    β is spaced evenly in the square root; the posterior is that of DDPM (Ho et al. 2020, eq. 7).
    """
    first: float = linear_start**0.5
    last: float = linear_end**0.5
    betas = np.linspace(first, last, timesteps) ** 2
    alphas = 1 - betas
    cumprod = np.cumprod(alphas, dtype=np.float64)
    cumprod_prev = np.append(1.0, cumprod[:-1])
    variance = betas * (1 - cumprod_prev) / (1 - cumprod)
    return {
        "betas": betas,
        "alphas_cumprod": cumprod,
        "alphas_cumprod_prev": cumprod_prev,
        "sqrt_alphas_cumprod": np.sqrt(cumprod),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - cumprod),
        "log_one_minus_alphas_cumprod": np.log(1 - cumprod),
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / cumprod),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / cumprod - 1),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(cumprod_prev) / (1 - cumprod),
        "posterior_mean_coef2": (1 - cumprod_prev) * np.sqrt(alphas) / (1 - cumprod),
    }

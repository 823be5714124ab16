"""CPEN, the compact IR prior extraction network (DiffIR, section 3.1)."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1


class ResidualBlock(nn.Module):
    """conv3x3, LeakyReLU, conv3x3, plus the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ZeroSumConv2d(nn.Conv2d):
    """A convolution whose filters sum to zero, whatever training makes of their weights.

    Filters that see brightness drift in training until every LeakyReLU stays on one side; the average that
    follows then cancels noise and artefacts, and the prior tells of colour only.
    """

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return F.conv2d(input, weight, self.bias, padding=self.padding)


class CPEN(nn.Module):
    """Squeezes an unshuffled picture, or LQ and GT together, into one prior.

    (N, in_channels, h, w) float → (N, prior_width), unbounded. The width grows from `width` over twice that
    to `prior_width`, then a global average leaves one vector, on which a two-layer MLP works.
    """

    def __init__(
        self, in_channels: int, *, width: int, blocks: int, prior_width: int, zero_sum: bool = False
    ) -> None:
        """`zero_sum`: see `ModelConfig.cpen_zero_sum`."""
        super().__init__()
        first = ZeroSumConv2d if zero_sum else nn.Conv2d
        self.E = nn.Sequential(
            first(in_channels, width, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            *(ResidualBlock(width) for _ in range(blocks)),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(2 * width, prior_width, 3, padding=1),
            nn.LeakyReLU(SLOPE),
        )
        self.mlp = nn.Sequential(
            nn.Linear(prior_width, prior_width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(prior_width, prior_width),
            nn.LeakyReLU(SLOPE),
        )
        self.apply(init_for_leaky_relu)
        self._init_blind_to_brightness()

    def _init_blind_to_brightness(self) -> None:
        """Start with first filters of sum zero, scaled up to what is left of a picture without its mean.

        Otherwise the mean, many times the noise and the artefacts, keeps each LeakyReLU on one side, and the
        average that follows cancels what the prior should tell of them.
        """
        first = cast(nn.Conv2d, self.E[0]).weight.data
        first -= first.mean(dim=(1, 2, 3), keepdim=True)
        first *= 4

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.E(x).mean(dim=(2, 3)))


def init_for_leaky_relu(layer: nn.Module) -> None:
    """He et al. 2015 for slope 0.1, biases at zero; to be given to `Module.apply`.

    PyTorch's own initialisation shrinks the picture's part of the signal at every layer: a fresh prior is
    then the biases' work, the same for all pictures to four digits, and training a small network leaves it
    so.
    """
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(layer.weight, a=SLOPE)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

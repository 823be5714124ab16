"""CPEN, the compact IR prior extraction network (DiffIR, section 3.1)."""

from __future__ import annotations

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


class CPEN(nn.Module):
    """Squeezes an unshuffled picture, or LQ and GT together, into one prior.

    (N, in_channels, h, w) float → (N, prior_width), unbounded. The width grows from `width` over twice that
    to `prior_width`, then a global average leaves one vector, on which a two-layer MLP works.
    """

    def __init__(self, in_channels: int, *, width: int, blocks: int, prior_width: int) -> None:
        super().__init__()
        self.E = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1),
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

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.E(x).mean(dim=(2, 3)))

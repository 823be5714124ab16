"""The GAN stage's opponent: a U-Net that judges every pixel (Wang et al., Real-ESRGAN, section 3.3)."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

# Height and width of what it judges are multiples of this: three levels, each of half the size.
MULTIPLE = 8

_SLOPE = 0.2


class Discriminator(nn.Module):
    """(N, 3, H, W) in [0, 1], H and W multiples of 8 → (N, 1, H, W) logits: real is above 0.

    Three levels down and up with skips by addition. All convolutions but the first and the last are
    spectrally normalised (Miyato et al. 2018), which keeps the opponent from winning too early.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        widths = [channels * 2**level for level in range(4)]
        self.down = nn.ModuleList(
            _normed(narrow, wide, kernel=4, stride=2) for narrow, wide in pairwise(widths)
        )
        self.up = nn.ModuleList(_normed(wide, narrow) for wide, narrow in pairwise(reversed(widths)))
        self.judge = nn.Sequential(
            _normed(channels, channels),
            nn.LeakyReLU(_SLOPE),
            _normed(channels, channels),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(channels, 1, 3, padding=1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(pictures), _SLOPE)
        skips: list[Tensor] = []
        for down in self.down:
            skips.append(x)
            x = F.leaky_relu(down(x), _SLOPE)
        for up in self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
            x = F.leaky_relu(up(x), _SLOPE) + skips.pop()
        return self.judge(x)


def _normed(in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=1, bias=False)
    return spectral_norm(conv)

"""Cut out of a picture, and the size it is to have: what `Crop` and `SizeLimit` say, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import torch.nn.functional as F
from torch import Tensor

from diffir_video.errors import UsageError
from diffir_video.frame import StreamInfo


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of a picture, in its pixels. x, y: of its upper left corner; None is in the middle."""

    width: int
    height: int
    x: int | None = None
    y: int | None = None

    def __str__(self) -> str:
        place = "" if self.x is None or self.y is None else f"+{self.x}+{self.y}"
        return f"{self.width}x{self.height}{place}"

    def placed_in(self, width: int, height: int) -> Crop:
        """The same with its corner; raises UsageError where it doesn't lie in a picture of this size."""
        x = (width - self.width) // 2 if self.x is None else self.x
        y = (height - self.height) // 2 if self.y is None else self.y
        is_inside = x >= 0 and y >= 0 and x + self.width <= width and y + self.height <= height
        if not is_inside or self.width < 1 or self.height < 1:
            raise UsageError(f"crop {self} doesn't lie in the pictures, which are {width}x{height}")
        return replace(self, x=x, y=y)

    def apply(self, data: Tensor) -> Tensor:
        """Cut (…, H, W) data; the crop has its corner."""
        assert self.x is not None
        assert self.y is not None
        return data[..., self.y : self.y + self.height, self.x : self.x + self.width].contiguous()


def fitted_to(info: StreamInfo, size: tuple[int, int]) -> StreamInfo:
    """The stream at exactly this width and height, shown in the same shape as before.

    Where width and height have another ratio than before, the pixels' own shape makes up for it; a
    difference of less than a pixel is rounding.
    """
    width, height = size
    stretch = Fraction(info.width * height, info.height * width)
    aspect = info.sample_aspect_ratio
    if abs(stretch - 1) * max(width, height) >= 1:
        aspect = (aspect or Fraction(1)) * stretch
    return replace(info, width=width, height=height, sample_aspect_ratio=aspect)


def limited_to(info: StreamInfo, size: tuple[int, int]) -> StreamInfo:
    """The stream no wider and no higher than `size`, in its shape; never enlarged.

    What is made smaller has even sides, as 4:2:0 needs them, unless a side may have but one pixel.
    """
    ratio = min(Fraction(size[0], info.width), Fraction(size[1], info.height))
    if ratio >= 1:
        return info
    most = [max(side - side % 2, 1) for side in size]
    ratio = min(Fraction(most[0], info.width), Fraction(most[1], info.height))
    width, height = (max(2 * round(side * ratio / 2), 2) for side in (info.width, info.height))
    return replace(info, width=min(width, most[0]), height=min(height, most[1]))


def resized(data: Tensor, width: int, height: int) -> Tensor:
    """(3, H, W) data at another size: bicubic, with as much low-pass as making it smaller needs."""
    if data.shape[-2:] == (height, width):
        return data
    return F.interpolate(data[None].float(), (height, width), mode="bicubic", antialias=True)[0]

"""How a decoded picture has to be laid down so that it is upright."""

from __future__ import annotations

from dataclasses import dataclass

import av
import torch
from av.sidedata.sidedata import Type as SideDataType
from torch import Tensor

from diffir_video.media.side_data import side_data_of


@dataclass(frozen=True, slots=True)
class Orientation:
    """The display matrix, to the nearest of the eight ways to lay a picture down."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, picture: av.VideoFrame) -> Orientation:
        matrix = side_data_of(picture, SideDataType.DISPLAYMATRIX)
        if matrix is None:
            return cls()
        # x' = a·x + c·y, y' = b·x + d·y in 16.16 fixed point, rows of three.
        a, b, _, c, d = (int(v) for v in matrix[:5])
        if abs(b) > abs(a):
            return cls(transpose=True, flip_x=c < 0, flip_y=b < 0)
        return cls(flip_x=a < 0, flip_y=d < 0)

    def apply(self, data: Tensor) -> Tensor:
        if self.transpose:
            data = data.transpose(-1, -2)
        axes = [axis for axis, flip in ((-1, self.flip_x), (-2, self.flip_y)) if flip]
        return torch.flip(data, axes) if axes else data.contiguous()

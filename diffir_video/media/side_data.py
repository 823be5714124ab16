"""What a decoder says of a picture beside its samples: display matrix, HDR's static metadata, captions."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from numpy.typing import NDArray


def _unnamed_kind(cls: type[SideDataType], value: object) -> SideDataType | None:
    """A member for a kind that FFmpeg knows and PyAV has no name for."""
    if not isinstance(value, int):
        return None
    kind: Any = object.__new__(cls)
    kind._name_, kind._value_ = f"UNNAMED_{value}", value
    return kind


# PyAV's list of kinds ends before FFmpeg's (EXIF, which every TIFF carries, is missing), and one kind that
# it doesn't know keeps it from giving any of a picture's side data.
_kinds: Any = SideDataType
_kinds._missing_ = classmethod(_unnamed_kind)


def side_data_of(picture: VideoFrame, kind: SideDataType) -> NDArray[np.int32] | None:
    """The side data of one kind as 32-bit integers, None where the picture has none."""
    data = side_bytes_of(picture, kind)
    return None if data is None else np.frombuffer(data, np.int32)


def side_bytes_of(picture: VideoFrame, kind: SideDataType) -> bytes | None:
    """The side data of one kind as it is, None where the picture has none."""
    container: Any = picture.side_data
    data = container.get(kind)
    return None if data is None else bytes(data)

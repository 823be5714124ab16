"""`LivePicture`: one decoded picture of a live stream."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from av.video.frame import VideoFrame
from torch import Tensor

from diffir_video.frame import StreamInfo
from diffir_video.media.captions import captions_of
from diffir_video.media.color import PictureDecoder


@dataclass(frozen=True, slots=True)
class LivePicture:
    """A decoded picture that becomes RGB when someone wants it: dropping one costs no conversion.

    pts, duration: in `time_base` units, None where the stream has none. stream: what is known of the
    stream at this picture, its size included. is_corrupt: the decoder patched it up. is_second_field: it was
    made of the second field of the picture that came before, together with which it comes.
    """

    stream: StreamInfo
    pts: int | None
    duration: int | None
    time_base: Fraction
    is_corrupt: bool
    _picture: VideoFrame
    _decoder: PictureDecoder
    is_second_field: bool = False

    def to_rgb(self) -> Tensor:
        """(3, H, W) float32 RGB in [0, 1], gamma-coded as in the source."""
        return self._decoder.decode(self._picture)

    @property
    def captions(self) -> bytes | None:
        """As of `Frame`."""
        return None if self.is_second_field else captions_of(self._picture)

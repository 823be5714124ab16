"""`PictureTimes`: timestamps for the pictures of a source that gives none."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction

from diffir_video.media import LivePicture
from streams.addresses import Address

_log = logging.getLogger(__name__)

_USUAL_RATE = Fraction(25)
# RTSP's first pictures may come without a time, and the sound that they belong to as well.
_PATIENCE_SECONDS = 1.0


class PictureTimes:
    """Completes the times of one source's pictures, over all of its connections.

    is_live: its pictures come when their time has come, so that the wall clock can stand in for their own.
    Of any other only the frame rate tells one picture's time from the next one's.
    """

    def __init__(self, address: Address, *, is_live: bool) -> None:
        self._address, self._is_live = address, is_live
        self._next: Fraction | None = None
        self._has_times = False
        self._began = 0.0
        self._has_warned = False

    def begin(self, now: float) -> None:
        """A connection begins at `now`, in seconds."""
        self._next, self._has_times, self._began = None, False, now

    def completed(self, picture: LivePicture) -> LivePicture:
        """The picture with a timestamp, by the frame rate if it had none.

        One of a live source stays without: the wall clock is to say.
        """
        rate = picture.stream.average_rate or _USUAL_RATE
        if picture.pts is None:
            if self._is_live:
                return picture
            self._warn(f"{float(rate):g} frames a second are assumed")
            picture = replace(picture, pts=round((self._next or 0) / picture.time_base))
        assert picture.pts is not None
        self._has_times = True
        self._next = picture.pts * picture.time_base + 1 / rate
        return picture

    def never_comes(self, now: float) -> bool:
        """Whether so many pictures came without a time by `now` that the others will have none either."""
        if self._has_times or now - self._began < _PATIENCE_SECONDS:
            return False
        self._warn("they are shown when they come")
        return True

    def _warn(self, what: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning("%s: its pictures have no times; %s", self._address, what)

"""`Chain`: restorers one after the other, as where noise is to go before a picture is enlarged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from diffir_video.errors import UsageError
from diffir_video.frame import Clip, Frame, StreamInfo
from diffir_video.prior import Decision, ReusePolicy, ReuseReport
from diffir_video.restorer import Restorer, RestorerStream
from diffir_video.stages import FrameTransfers, NoTransfers


class Chain:
    """Each restorer restores what the one before it made; stands wherever one `Restorer` may.

    Between them frames stay on their device, in float32, as they are: nothing is rounded to codes. Each finds
    cuts, and holds priors, in what it is given.
    Raises UsageError for no restorer, for what is none, and for networks on different devices.
    """

    def __init__(self, restorers: Sequence[Restorer]) -> None:
        self.restorers = tuple(restorers)
        if not self.restorers:
            raise UsageError("a chain has one restorer or more, got none")
        for restorer in self.restorers:
            if not isinstance(restorer, Restorer):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UsageError(f"restorer {restorer!r}: a chain is of Restorers")
        # What passes frames through does so anywhere.
        networks = [restorer for restorer in self.restorers if restorer.network is not None]
        self.device: torch.device = (networks or self.restorers)[0].device
        devices = sorted({str(restorer.device) for restorer in networks})
        if len(devices) > 1:
            raise UsageError(f"the restorers of a chain are on one device, got {' and '.join(devices)}")

    @property
    def scale(self) -> int:
        """Output size over input size."""
        scale = 1
        for restorer in self.restorers:
            scale *= restorer.scale
        return scale

    @property
    def window(self) -> tuple[int, int]:
        """Frames (past, future) of the input that one of the output is made of."""
        return _summed([restorer.window for restorer in self.restorers])

    @property
    def reach(self) -> tuple[int, int]:
        """As of `Restorer`."""
        return _summed([restorer.reach for restorer in self.restorers])

    @property
    def policy(self) -> ReusePolicy:
        """The first restorer's."""
        return self.restorers[0].policy

    @property
    def settings(self) -> dict[str, str]:
        """All that decides what a frame becomes: what all restorers share once, else each one's in turn."""
        each = [restorer.settings for restorer in self.restorers]
        joined = {key: " + ".join(settings[key] for settings in each) for key in each[0]}
        shared = {key: each[0][key] for key in each[0] if len({settings[key] for settings in each}) == 1}
        return {**joined, **shared, "weights": joined["weights"]}

    def batch_frames(self, info: StreamInfo) -> int | None:
        """As of `Restorer`: what suits all of them."""
        wanted: list[int] = []
        for restorer in self.restorers:
            if (frames := restorer.batch_frames(info)) is not None:
                wanted.append(frames)
            info = info.scaled(restorer.scale)
        return min(wanted, default=None)

    def restore(self, clip: Clip) -> Clip:
        """As of `Restorer`: (T, 3, H, W) → (T, 3, s·H, s·W)."""
        for restorer in self.restorers:
            clip = restorer.restore(clip)
        return clip

    def open_stream(self) -> ChainStream:
        """Begin a stream: frames pushed into it come back restored, in order."""
        return ChainStream([restorer.open_stream() for restorer in self.restorers])


class ChainStream:
    """One pass over one video; holds the windows of all its streams.

    latest_decision: the first stream's, which has come furthest.
    """

    def __init__(self, streams: Sequence[RestorerStream]) -> None:
        self._streams = tuple(streams)

    @property
    def reuse(self) -> ReuseReport:
        """What was decided so far: a frame counts once for each restorer."""
        return ReuseReport.combined([stream.reuse for stream in self._streams])

    @property
    def latest_decision(self) -> Decision | None:
        return self._streams[0].latest_decision

    @property
    def policy(self) -> ReusePolicy:
        """The first stream's; what it is replaced by is that of all of them."""
        return self._streams[0].policy

    @policy.setter
    def policy(self, policy: ReusePolicy) -> None:
        for stream in self._streams:
            stream.policy = policy

    def open_transfers(self) -> FrameTransfers:
        """What moves frames to the networks' device and back, if others are to do it."""
        opened = [stream.open_transfers() for stream in self._streams]
        return next((each for each in opened if not isinstance(each, NoTransfers)), opened[0])

    def push(self, frames: Iterable[Frame]) -> list[Frame]:
        """As of `RestorerStream`."""
        for stream in self._streams:
            frames = stream.push(frames)
        return list(frames)

    def finish(self) -> list[Frame]:
        """As of `RestorerStream`: what one stream still had goes through all that follow it."""
        frames: list[Frame] = []
        for stream in self._streams:
            frames = [*stream.push(frames), *stream.finish()]
        return frames


def in_turn(restorers: Sequence[Restorer]) -> Restorer | Chain:
    """The restorer by itself if there is but one, else a chain of them. Raises UsageError as `Chain` does."""
    return restorers[0] if len(restorers) == 1 else Chain(restorers)


def _summed(pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(before for before, _ in pairs), sum(after for _, after in pairs)

"""`Chain`: restorers one after the other, as where noise is to go before a picture is enlarged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import torch

from diffir_video.errors import UsageError
from diffir_video.frame import Clip, Frame, StreamInfo
from diffir_video.prior import Decision, ReusePolicy, ReuseReport
from diffir_video.restorer import Restorer, RestorerStream
from diffir_video.stages import FrameTransfers, NoTransfers


class Chain:
    """Each restorer restores what the one before it made.

    Jobs, the loop and live filters take it as they take a `Restorer`. Between its restorers frames stay
    float32: nothing is rounded to codes. Each finds cuts, and holds priors, in what it is given.
    restorers: chains among them stand for their own.
    Raises UsageError for no restorer, for what is none, and for networks of different devices or policies.
    """

    def __init__(self, restorers: Sequence[Restorer | Chain]) -> None:
        if not isinstance(restorers, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"expected restorers in a list, got {type(restorers).__name__}")
        self.restorers = tuple(each for restorer in restorers for each in _restorers_in(restorer))
        if not self.restorers:
            raise UsageError("a chain has one restorer or more, got none")
        # What passes frames through does so anywhere, and shares nothing.
        networks = [restorer for restorer in self.restorers if restorer.network is not None]
        first = (networks or self.restorers)[0]
        self.device: torch.device = first.device
        self.policy: ReusePolicy = first.policy
        for restorer in networks:
            if _place_of(restorer.device) != _place_of(first.device):
                both = f"{first.device} and {restorer.device}"
                raise UsageError(f"the restorers of a chain are on one device, got {both}")
            if restorer.policy != first.policy:
                both = f"{first.policy} and {restorer.policy}"
                raise UsageError(f"the restorers of a chain share priors by one policy, got {both}")

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return prod(restorer.scale for restorer in self.restorers)

    @property
    def window(self) -> tuple[int, int]:
        """Frames (past, future) of the input that one of the output is made of."""
        return _summed([restorer.window for restorer in self.restorers])

    @property
    def reach(self) -> tuple[int, int]:
        """As of `Restorer`."""
        return _summed([restorer.reach for restorer in self.restorers])

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
        """What was decided so far: a frame counts once for each restorer that has a network."""
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


def _restorers_in(given: Restorer | Chain) -> tuple[Restorer, ...]:
    if isinstance(given, Chain):
        return given.restorers
    if not isinstance(given, Restorer):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"restorer {given!r}: a chain is of Restorers")
    return (given,)


def _place_of(device: torch.device) -> tuple[str, int]:
    return device.type, device.index or 0


def _summed(pairs: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(before for before, _ in pairs), sum(after for _, after in pairs)

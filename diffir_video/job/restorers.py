"""What restores a job's frames: one restorer, or several alike on devices of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import torch

from diffir_video.errors import UsageError
from diffir_video.frame import StreamInfo
from diffir_video.stages import FrameRestorer

# Of float32 RGB, as frames are read.
_BYTES_PER_PIXEL = 3 * 4


class FileRestorer(FrameRestorer, Protocol):
    """What `restore_file` needs of a `Restorer`. Its frames may come on its device."""

    @property
    def device(self) -> torch.device: ...

    @property
    def scale(self) -> int: ...

    @property
    def reach(self) -> tuple[int, int]: ...

    @property
    def settings(self) -> Mapping[str, str]:
        """All that decides what it makes of a frame, the weights' digest included."""
        ...


def check_restorer(restorer: FileRestorer) -> None:
    """Raise UsageError for what restores nothing, such as the name of a model, and for several."""
    if isinstance(restorer, Sequence) and not isinstance(restorer, str):
        raise UsageError("several restorers share the segments of a file that becomes a video; give one here")
    if not hasattr(restorer, "open_stream"):
        raise UsageError(
            f"restorer {restorer!r}: expected a Restorer; Restorer.from_pretrained makes one of a name"
        )


def restorers_of(given: FileRestorer | Sequence[FileRestorer]) -> tuple[FileRestorer, ...]:
    """One restorer or several, as several.

    Raises UsageError for none, for one that is there twice, for what restores nothing, and for restorers
    that would not make the same of a frame, naming the difference.
    """
    restorers: tuple[FileRestorer, ...]
    if isinstance(given, Sequence) and not isinstance(given, str):
        restorers = tuple(given)
    else:
        restorers = (cast(FileRestorer, given),)
    if not restorers:
        raise UsageError("restorers: expected one or more, got none")
    for restorer in restorers:
        check_restorer(restorer)
    if len({id(restorer) for restorer in restorers}) < len(restorers):
        raise UsageError("the same restorer is given twice; make one for each device")
    first = restorers[0].settings
    for restorer in restorers[1:]:
        other = restorer.settings
        different = [key for key in sorted({*first, *other}) if first.get(key) != other.get(key)]
        if different:
            key = different[0]
            raise UsageError(
                f"restorers of one file differ in {key}: {first.get(key)} and {other.get(key)}; "
                "give all of them the same model and options, on devices of one kind"
            )
    return restorers


def check_memory(restorers: Sequence[FileRestorer], info: StreamInfo, longest_segment: int) -> None:
    """Raise UsageError where the segments that several restorers hold would not fit into memory.

    Each segment is read to its end while it is restored, so that the next one can begin, and what was read
    stays in memory.
    """
    if len(restorers) == 1:
        return
    frames = len(restorers) * longest_segment
    if info.frame_count is not None:
        frames = min(frames, info.frame_count)
    frame_bytes = info.width * info.height * _BYTES_PER_PIXEL
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if frames * frame_bytes > memory // 2:
        fitting = memory // 2 // frame_bytes // len(restorers)
        raise UsageError(
            f"{len(restorers)} devices at one file hold up to {frames} frames of {info.width}x{info.height}, "
            f"{frames * frame_bytes / 1e9:.0f} GB, and this machine has {memory / 1e9:.0f} GB; use "
            f"--segment-frames {max(fitting, 1)}, or fewer devices"
        )

"""What a job would do, told before it does it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What `restore_file` would make of a file, and what that would take.

    frames: the container's count, or its duration times its rate, where these say it; of MPEG-TS and
    MPEG-PS, whose clock may be reset on the way, counted. None where there is neither, and with it the
    estimates. seconds, size_bytes (of the video alone): from the measured_frames at the beginning
    of the file, which were restored and encoded to find out; several devices are taken to be as fast as the
    first. memory_bytes: the most this process took.
    """

    input: str
    output: str
    width: int
    height: int
    pixel_format: str
    encoder: str
    frames: int | None
    measured_frames: int
    seconds: float | None
    size_bytes: int | None
    memory_bytes: int
    dropped: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        frames = "an unknown number of" if self.frames is None else str(self.frames)
        picture = f"{self.width}x{self.height} {self.pixel_format} ({self.encoder})"
        lines = [
            f"{self.output}: {frames} frames of {picture}",
            f"memory: {self.memory_bytes / 1e6:.0f} MB",
        ]
        if self.seconds is not None and self.size_bytes is not None:
            lines.append(
                f"time: about {timedelta(seconds=round(self.seconds))}; video: about "
                f"{self.size_bytes / 1e6:.1f} MB (from the first {self.measured_frames} frames)"
            )
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"not held by the container: {name}" for name in self.dropped]
        return "\n".join([*lines, "dry run: no video was written"])

"""What a file job did: for people as a few lines, for programs as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from diffir_video.job.segments import DeviceShare
from diffir_video.job.verification import Check, Verification
from diffir_video.media import ReadLosses
from diffir_video.prior import ReuseReport
from diffir_video.run_report import RunReport, StageTime
from diffir_video.small_files import StrPath, write_whole
from diffir_video.zoo import IDENTITY


@dataclass(frozen=True, slots=True)
class FileReport:
    """The outcome of `restore_file`.

    losses: what could not be read of the input. dropped: data tracks, attachments, chapters or tags that the
    output's container can't hold. notes: what the output has otherwise than the input, such as its pixel
    format. segments: how many the video was cut into; resumed_segments: those of them that an earlier,
    unfinished job had left. model: all that decided what it made of a frame, the device, precision and
    backend that "auto" chose among it. devices: what each of a job's restorers did. run: what restoring the
    others took. exit_code: 0, or 5 with losses.
    """

    input: str
    output: str
    width: int
    height: int
    pixel_format: str
    encoder: str
    segments: int
    resumed_segments: int
    model: Mapping[str, str]
    devices: tuple[DeviceShare, ...]
    run: RunReport
    losses: ReadLosses
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    verification: Verification

    @property
    def is_complete(self) -> bool:
        return not self.lost()

    @property
    def exit_code(self) -> int:
        return 0 if self.is_complete else 5

    def lost(self) -> list[str]:
        """One phrase for each loss, in the input's reading and in the output's verification."""
        return [*self.losses.describe(), *self.verification.problems]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "run": self.run.to_dict(), "complete": self.is_complete, "lost": self.lost()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The report that `to_dict` described; also after a way through JSON."""
        plain = {key: value for key, value in fields.items() if key not in ("complete", "lost")}
        run, verification = dict(plain["run"]), dict(plain["verification"])
        run["stages"] = {name: StageTime(**stage) for name, stage in run["stages"].items()}
        run["reuse"] = ReuseReport.from_dict(run["reuse"])
        verification["problems"] = tuple(verification["problems"])
        verification["checks"] = tuple(Check(**check) for check in verification["checks"])
        plain["devices"] = tuple(DeviceShare(**share) for share in plain["devices"])
        plain["run"] = RunReport(**run)
        plain["losses"] = ReadLosses(**plain["losses"])
        plain["verification"] = Verification(**verification)
        for name in ("dropped", "notes"):
            plain[name] = tuple(plain[name])
        return cls(**plain)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    def table(self) -> str:
        """What was put into the file and what was found in it, a line for each property."""
        rows = [("checked", "put in", "found", "")]
        rows += [(c.name, c.expected, c.found, "" if c.passed else "WRONG") for c in self.verification.checks]
        first, second, third = (max(len(row[column]) for row in rows) for column in range(3))
        lines = [f"{a:<{first}}  {b:<{second}}  {c:<{third}}  {d}" for a, b, c, d in rows]
        return "\n".join(line.rstrip() for line in lines)

    def _how_it_ran(self) -> list[str]:
        """Nothing for the identity, which nothing runs."""
        if self.model.get("weights") == IDENTITY:
            return []
        return [", ".join(f"{key} {self.model[key]}" for key in ("device", "precision", "backend"))]

    def _resumed(self) -> list[str]:
        if not self.resumed_segments:
            return []
        return [f"went on after {self.resumed_segments} of {self.segments} segments, done before"]

    def __str__(self) -> str:
        run, check = self.run, self.verification
        stages = ", ".join(f"{name} {time.busy_seconds:.1f} s" for name, time in run.stages.items())
        pts = "exact" if check.pts_exact else f"within {check.pts_max_error_seconds * 1e3:.2f} ms"
        picture = f"{self.width}x{self.height} {self.pixel_format} ({self.encoder})"
        lines = [
            f"{self.output}: {check.frames} frames of {picture}",
            f"{run.wall_seconds:.1f} s, {run.fps:.1f} fps; busy: {stages}; bottleneck: {run.bottleneck}",
            *self._how_it_ran(),
            *(map(str, self.devices) if len(self.devices) > 1 else ()),
            *([] if run.reuse.level == "off" or not run.reuse.frames else [str(run.reuse)]),
            f"timestamps {pts}; {check.copied_tracks} other tracks copied ({check.copied_packets} packets)",
            *self._resumed(),
            *(f"note: {note}" for note in self.notes),
            *(f"not held by the container: {name}" for name in self.dropped),
            *(f"LOST: {what}" for what in self.lost()),
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class PlainReport:
    """The outcome of a job without a journal: into a pipe or pictures.

    notes: what the output could not carry. exit_code: 0, or 5 with losses.
    """

    run: RunReport
    losses: ReadLosses
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return 5 if self.losses else 0

    def __str__(self) -> str:
        lines = [
            f"{self.run.frames_out} frames, {self.run.fps:.1f} fps; bottleneck: {self.run.bottleneck}",
            *(f"note: {note}" for note in self.notes),
            *(f"LOST: {what}" for what in self.losses.describe()),
        ]
        return "\n".join(lines)


def save_report(report: FileReport, path: StrPath) -> None:
    """Write the report as JSON; raises OutputError if that fails, and what was there before stays."""
    write_whole(path, f"{report.to_json()}\n".encode())

"""The finished file read back, against what was put into it."""

from __future__ import annotations

import os
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from diffir_video.frame import ColorTags, StreamInfo
from diffir_video.media import Timeline, TrackTimeline, VideoReader
from diffir_video.media.sound import is_pcm

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file should hold.

    color: the tags given to the encoder; color_meant: those, with the codes that were written where it
    was given none. copied_packets, copied_pcm_bytes: by track; those that are PCM are cut into packets anew
    and have their bytes compared. pts, end: of the video, in `info.time_base` units; end is None if unknown.
    timecodes: tracks of timecodes that the container's muxer is to make; it may make more.
    """

    info: StreamInfo
    color: ColorTags
    color_meant: ColorTags
    pts: array[int]
    end: int | None
    chapters: int
    copied_packets: Mapping[int, int]
    copied_pcm_bytes: Mapping[int, int]
    copy_source_unreadable: bool
    timecodes: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """One property of the file: what was put in, what was found, and whether that is as it should be."""

    name: str
    expected: str
    found: str
    passed: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.expected} put in, {self.found} found in the output"


@dataclass(frozen=True, slots=True)
class Verification:
    """What the finished file holds, read back packet by packet, against what was put in.

    pts_max_error_seconds: the largest distance between a frame's pts and the one found; not above half a
    tick of the output's clock, and 0 where that clock is as fine as the source's.
    checks: every property that was compared. problems: one phrase for each that isn't as it should be.
    """

    frames: int
    pts_exact: bool
    pts_max_error_seconds: float
    end_seconds: float | None
    copied_tracks: int
    copied_packets: int
    checks: tuple[Check, ...]
    problems: tuple[str, ...]


def verify_timeline(expected: Expected, found: Timeline) -> Verification:
    """Compare a file's timeline with what was put into it."""
    video = found.video
    max_error = _max_pts_error(expected, video)
    others = [track for track in found.tracks if track.index != found.video_index and not track.is_timecode]
    checks = [
        _equal("frames", len(expected.pts), video.packets),
        _pts_check(max_error, video),
        *_end_check(expected, video),
        _equal("size", _size(expected.info), f"{found.width}x{found.height}"),
        _aspect_check(expected.info, found),
        *_color_checks(expected, found.color),
        *_packets_checks(expected, others),
        *_timecode_check(expected, found),
        _equal("chapters", expected.chapters, found.chapters),
    ]
    problems = [str(check) for check in checks if not check.passed]
    if expected.copy_source_unreadable:
        problems.append("audio or subtitles end where the input became unreadable")
    return Verification(
        frames=video.packets,
        pts_exact=max_error == 0 and len(video.pts) == video.packets,
        pts_max_error_seconds=float(max_error),
        end_seconds=float(video.end) if video.end is not None else None,
        copied_tracks=len(others),
        copied_packets=sum(track.packets for track in others),
        checks=tuple(checks),
        problems=tuple(problems),
    )


def verify_by_decoding(verification: Verification, path: StrPath, frames: int) -> Verification:
    """`verification` with one check more: `path` was decoded to its end, strictly, and gave all `frames`."""
    with VideoReader(path, strict=True) as reader:
        decoded = sum(1 for _ in reader)
        losses = reader.losses
    check = Check(
        "decoded frames",
        str(frames),
        ", ".join([str(decoded), *losses.describe()]),
        decoded == frames and not losses,
    )
    problems = verification.problems if check.passed else (*verification.problems, str(check))
    return replace(verification, checks=(*verification.checks, check), problems=problems)


def _equal(name: str, expected: object, found: object) -> Check:
    return Check(name, str(expected), str(found), str(expected) == str(found))


def _size(info: StreamInfo) -> str:
    return f"{info.width}x{info.height}"


def _aspect_check(info: StreamInfo, found: Timeline) -> Check:
    put, got = info.sample_aspect_ratio or Fraction(1), found.sample_aspect_ratio or Fraction(1)
    # Matroska holds the size on the screen instead, in whole pixels.
    return Check("pixel aspect", str(put), str(got), abs(put - got) * info.width < 1)


def _max_pts_error(expected: Expected, video: TrackTimeline) -> Fraction:
    tick = expected.info.time_base
    pairs = zip(expected.pts, video.pts, strict=False)
    return max((abs(put * tick - got * video.time_base) for put, got in pairs), default=Fraction(0))


def _pts_check(max_error: Fraction, video: TrackTimeline) -> Check:
    found = "the same" if max_error == 0 else f"off by up to {float(max_error) * 1e3:.3f} ms"
    if without := video.packets - len(video.pts):
        found = f"none for {without} frames"
    return Check("timestamps", "the input's", found, max_error <= video.time_base / 2 and not without)


def _end_check(expected: Expected, video: TrackTimeline) -> list[Check]:
    if expected.end is None or video.end is None or not video.pts:
        return []
    put = expected.end * expected.info.time_base
    # MPEG-TS carries no durations: there the end found is the last frame's beginning.
    if video.end <= video.pts[-1] * video.time_base:
        return []
    passed = abs(put - video.end) <= max(video.time_base, expected.info.time_base)
    return [Check("end", f"{float(put):.4f} s", f"{float(video.end):.4f} s", passed)]


def _packets_checks(expected: Expected, others: list[TrackTimeline]) -> list[Check]:
    pcm = expected.copied_pcm_bytes
    copied = sorted(count for index, count in expected.copied_packets.items() if index not in pcm)
    found = [track for track in others if track.packets]
    checks = [
        _equal(
            "packets of other tracks",
            copied,
            sorted(track.packets for track in found if not is_pcm(track.codec)),
        )
    ]
    if pcm:
        sizes = sorted(track.size for track in found if is_pcm(track.codec))
        checks.append(_equal("bytes of PCM tracks", sorted(pcm.values()), sizes))
    return checks


def _timecode_check(expected: Expected, found: Timeline) -> list[Check]:
    if not expected.timecodes:
        return []
    made = sum(track.is_timecode for track in found.tracks)
    return [Check("timecode tracks", str(expected.timecodes), str(made), made >= expected.timecodes)]


def _color_checks(expected: Expected, found: ColorTags) -> list[Check]:
    # Limited range is what no range means, and often written so; left is what no chroma location means.
    unspecified = {"matrix": (2,), "primaries": (2,), "transfer": (2,)}
    unspecified |= {"color_range": (0, 1), "chroma_location": (0, 1)}
    checks: list[Check] = []
    for name, nothing in unspecified.items():
        put, meant, got = (getattr(tags, name) for tags in (expected.color, expected.color_meant, found))
        passed = got in (put, meant) or (put in nothing and got in nothing)
        called = name.removeprefix("color_").replace("_", " ")
        checks.append(Check(f"colour {called}", str(put), str(got), passed))
    return checks

"""The finished file read back, against what was put into it."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from diffir_video.frame import ColorTags, StreamInfo
from diffir_video.media import Timeline, TrackTimeline


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file should hold.

    color: the tags given to the encoder; color_meant: those, with the codes that were written where it
    was given none. pts, end: of the video, in `info.time_base` units; end is None if unknown.
    """

    info: StreamInfo
    color: ColorTags
    color_meant: ColorTags
    pts: array[int]
    end: int | None
    copied_packets: Mapping[int, int]
    copy_source_unreadable: bool


@dataclass(frozen=True, slots=True)
class Verification:
    """What the finished file holds, read back packet by packet, against what was put in.

    pts_max_error_seconds: the largest distance between a frame's pts and the one found; not above half a
    tick of the output's clock, and 0 where that clock is as fine as the source's.
    problems: one phrase for everything that isn't as it should be; empty when all is well.
    """

    frames: int
    pts_exact: bool
    pts_max_error_seconds: float
    end_seconds: float | None
    copied_tracks: int
    copied_packets: int
    problems: tuple[str, ...]


def verify(expected: Expected, found: Timeline) -> Verification:
    video, info = found.video, expected.info
    max_error = _max_pts_error(expected, video)
    others = [track for track in found.tracks if track.index != found.video_index]
    problems = [
        *_frame_problems(expected, video),
        *_pts_problems(max_error, video.time_base),
        *_end_problems(expected, video),
        *_track_problems(expected, others),
        *_color_problems(expected, found.color),
    ]
    if (found.width, found.height) != (info.width, info.height):
        problems.append(f"the output says {found.width}x{found.height}, not {info.width}x{info.height}")
    return Verification(
        frames=video.packets,
        pts_exact=max_error == 0,
        pts_max_error_seconds=float(max_error),
        end_seconds=float(video.end) if video.end is not None else None,
        copied_tracks=len(others),
        copied_packets=sum(track.packets for track in others),
        problems=tuple(problems),
    )


def _max_pts_error(expected: Expected, video: TrackTimeline) -> Fraction:
    tick = expected.info.time_base
    pairs = zip(expected.pts, video.pts, strict=False)
    return max((abs(put * tick - got * video.time_base) for put, got in pairs), default=Fraction(0))


def _frame_problems(expected: Expected, video: TrackTimeline) -> list[str]:
    written = len(expected.pts)
    return (
        [] if video.packets == written else [f"{written} frames written, {video.packets} found in the output"]
    )


def _pts_problems(max_error: Fraction, tick: Fraction) -> list[str]:
    return [f"timestamps off by up to {float(max_error):.4f} s"] if max_error > tick / 2 else []


def _end_problems(expected: Expected, video: TrackTimeline) -> list[str]:
    if expected.end is None or video.end is None or not video.pts:
        return []
    put = expected.end * expected.info.time_base
    # MPEG-TS carries no durations: there the end found is the last frame's beginning.
    is_known = video.end > video.pts[-1] * video.time_base
    if not is_known or abs(put - video.end) <= max(video.time_base, expected.info.time_base):
        return []
    return [f"the video ends at {float(video.end):.4f} s, not at {float(put):.4f} s"]


def _track_problems(expected: Expected, others: list[TrackTimeline]) -> list[str]:
    problems: list[str] = []
    copied = sorted(count for count in expected.copied_packets.values())
    found = sorted(track.packets for track in others if track.packets)
    if copied != found:
        problems.append(f"packets of copied tracks: {copied} put in, {found} found in the output")
    if expected.copy_source_unreadable:
        problems.append("audio or subtitles end where the input became unreadable")
    return problems


def _color_problems(expected: Expected, found: ColorTags) -> list[str]:
    # Limited range is what no range means, and often written so.
    unspecified = {"matrix": (2,), "primaries": (2,), "transfer": (2,), "color_range": (0, 1)}
    problems: list[str] = []
    for name, nothing in unspecified.items():
        put, meant, got = (getattr(tags, name) for tags in (expected.color, expected.color_meant, found))
        if got not in (put, meant) and not (put in nothing and got in nothing):
            problems.append(f"colour tag {name}: {put} put in, {got} found in the output")
    return problems

"""The output's clock: the source's timestamps while they make sense, else the wall clock's pace."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest

from streams.clock import OutputClock, Track

MS = Fraction(1, 1000)
FRAME = 3600


def stamped(
    clock: OutputClock, pts: list[int | None], *, start: float = 0.0, track: Track = "video"
) -> list[int | None]:
    """The ticks given to 25 fps of video with these timestamps in milliseconds, arriving in real time."""
    stamps = [clock.stamp(track, each, MS, start + index * 0.04) for index, each in enumerate(pts)]
    return [None if stamp is None else stamp.ticks for stamp in stamps]


def test_timestamps_of_a_healthy_source_pass_unchanged() -> None:
    assert stamped(OutputClock(), [5000, 5040, 5080]) == [450_000, 453_600, 457_200]


def test_frames_left_out_leave_a_gap_of_their_own_length() -> None:
    clock = OutputClock()
    stamped(clock, [0, 40])
    late = clock.stamp("video", 10_040, MS, 10.04)
    assert late is not None
    assert (late.ticks, late.is_jump) == (10_040 * 90, False)


@pytest.mark.parametrize("jump", [3_600_000, -3_600_000, -1960, 26 * 3_600_000 + 7])
def test_a_jump_goes_on_where_the_output_was(jump: int) -> None:
    clock = OutputClock()
    before = 10_000_000
    ticks = stamped(clock, [before, before + 40, before + 80 + jump, before + 120 + jump])
    steps = [b - a for a, b in pairwise(each for each in ticks if each is not None)]
    assert steps == [FRAME, FRAME, FRAME]


def test_the_wrap_of_mpeg_ts_is_a_jump_like_any_other() -> None:
    clock, tick = OutputClock(), Fraction(1, 90_000)
    last = 2**33 - 1000
    first = clock.stamp("video", last, tick, 0.0)
    second = clock.stamp("video", (last + FRAME) % 2**33, tick, 0.04)
    assert first is not None
    assert second is not None
    assert second.ticks - first.ticks == FRAME


def test_sound_and_picture_that_jump_one_after_the_other_stay_together() -> None:
    clock = OutputClock()
    for index in range(50):
        clock.stamp("video", index * 40, MS, index * 0.04)
        clock.stamp("audio", index * 40 + 7, MS, index * 0.04)
    offsets = set[int]()
    jump = -1500
    for index in range(50, 100):
        video = clock.stamp("video", index * 40 + jump, MS, index * 0.04)
        # The sound of the next moments was sent before the jump.
        audio = clock.stamp("audio", index * 40 + 7 + (jump if index > 55 else 0), MS, index * 0.04)
        assert video is not None
        if audio is not None:
            offsets.add(audio.ticks - video.ticks)
    assert offsets == {7 * 90}


@pytest.mark.parametrize("rate", [25, 50])
def test_what_jumps_and_comes_at_once_follows_at_the_pace_of_before(rate: int) -> None:
    clock, step = OutputClock(), 1000 // rate
    for index in range(10):
        clock.stamp("video", index * step, MS, index * step / 1000)
    jumped = clock.stamp("video", 3_600_000, MS, 9 * step / 1000)
    assert jumped is not None
    assert (jumped.ticks, jumped.is_jump) == (10 * step * 90, True)


def test_sound_that_was_far_behind_is_in_sync_with_a_new_beginning() -> None:
    clock = OutputClock()
    for index in range(100):
        clock.stamp("video", index * 40, MS, index * 0.04)
        if index >= 50:
            clock.stamp("audio", index * 40 - 2000, MS, index * 0.04)
    clock.reconnected()
    video, audio = clock.stamp("video", 0, MS, 4.0), clock.stamp("audio", 7, MS, 4.0)
    assert video is not None
    assert audio is not None
    assert audio.ticks - video.ticks == 7 * 90


@pytest.mark.parametrize("first", ["video", "audio"])
@pytest.mark.parametrize("is_new_connection", [True, False])
@pytest.mark.parametrize("ran", [0.6, 1.3, 4.0])
@pytest.mark.parametrize("silent", [0.0, 0.5, 1.8])
@pytest.mark.parametrize("lead", [-0.3, 0.0, 0.3])
def test_a_source_that_begins_again_is_in_sync_whichever_track_comes_first(
    first: Track, is_new_connection: bool, ran: float, silent: float, lead: float
) -> None:
    clock, now = OutputClock(), 100.0
    for index in range(round(ran / 0.04)):
        clock.stamp("video", index * 40, MS, now + index * 0.04)
        # Sound may have come further than the pictures when the source died, or less far.
        clock.stamp("audio", round(index * 40 + 1000 * lead * index * 0.04 / ran), MS, now + index * 0.04)
    now += ran
    for index in range(round(max(silent - 0.6, 0) / 0.04)):
        clock.bridge(now + 0.6 + index * 0.04)
    now += silent
    if is_new_connection:
        clock.reconnected()
    tracks: tuple[Track, ...] = ("video", "audio") if first == "video" else ("audio", "video")
    offsets, last = set[int](), dict[Track, int]()
    for index in range(100):
        ticks = dict[Track, int]()
        for track in tracks:
            stamp = clock.stamp(track, index * 40 + (7 if track == "audio" else 0), MS, now + index * 0.04)
            if stamp is not None:
                ticks[track] = stamp.ticks
                assert stamp.ticks > last.get(track, -1)
                last[track] = stamp.ticks
        if len(ticks) == 2:
            offsets.add(ticks["audio"] - ticks["video"])
    assert offsets == {7 * 90}


def test_a_new_connection_goes_on_by_the_wall_clock() -> None:
    clock = OutputClock()
    stamped(clock, [0, 40, 80])
    clock.reconnected()
    (first, second) = stamped(clock, [777_000, 777_040], start=2.08)
    assert first == 187_200
    assert second == first + FRAME


def test_a_connection_that_brought_nothing_changes_no_time_of_the_next() -> None:
    clock = OutputClock()
    clock.reconnected()
    assert stamped(clock, [5000, 5040]) == [450_000, 453_600]


def test_times_that_muxers_could_not_tell_apart_are_moved_apart() -> None:
    clock, tick = OutputClock(), Fraction(1, 90_000)
    stamps = [clock.stamp("video", pts, tick, 0.0) for pts in (0, FRAME, FRAME + 40)]
    ticks = [stamp.ticks for stamp in stamps if stamp is not None]
    assert ticks[:2] == [0, FRAME]
    assert all(after - before >= 90 for before, after in pairwise(ticks))


def test_a_held_picture_and_the_return_of_the_source_follow_on_each_other() -> None:
    clock = OutputClock()
    stamped(clock, [0, 40])
    held = [clock.bridge(0.64), clock.bridge(0.68)]
    assert held == [57_600, 61_200]
    assert stamped(clock, [660, 700], start=0.70) == [None, 63_000]


def test_a_source_that_was_paused_goes_on_after_what_was_held() -> None:
    clock = OutputClock()
    stamped(clock, [0, 40])
    held = [clock.bridge(0.64 + index * 0.04) for index in range(200)]
    (after,) = stamped(clock, [80], start=8.64)
    assert after == held[-1] + FRAME


def test_sound_that_goes_on_while_pictures_are_held_keeps_its_place() -> None:
    clock = OutputClock()
    for index in range(100):
        at = index * 0.04
        if not 30 <= index < 70:
            clock.stamp("video", index * 40, MS, at)
        elif index > 45:
            clock.bridge(at)
        sound = clock.stamp("audio", index * 40 + 7, MS, at + 0.01 * (index % 3))
        assert sound is not None
        assert sound.ticks == (index * 40 + 7) * 90


def test_the_same_time_twice_is_shown_once() -> None:
    assert stamped(OutputClock(), [0, 0, 40]) == [0, None, FRAME]


def test_a_first_picture_without_a_time_is_left_out_and_a_later_one_gets_one() -> None:
    assert stamped(OutputClock(), [None, 0, None, 80]) == [None, 0, FRAME, 2 * FRAME]


def test_a_source_without_any_times_is_placed_where_the_wall_clock_is() -> None:
    clock = OutputClock()
    ticks = [clock.stamp_untimed("video", 7.0 + index * 0.04).ticks for index in range(3)]
    assert ticks == [0, FRAME, 2 * FRAME]


def test_output_never_runs_backwards_whatever_comes() -> None:
    import random

    dice, clock = random.Random(7), OutputClock()
    now, last, pts = 0.0, -1, 0
    for _ in range(3000):
        now += dice.choice([0.0, 0.001, 0.04, 0.04, 0.04, 2.0])
        pts += dice.choice([40, 40, 40, 40, 0, -3_600_000, 3_600_000, 1, -39, 999])
        if dice.random() < 0.02:
            clock.reconnected()
        if dice.random() < 0.02:
            ticks = clock.bridge(now)
        else:
            stamp = clock.stamp("video", pts, MS, now)
            if stamp is None:
                continue
            ticks = stamp.ticks
        assert ticks >= last + 90
        last = ticks


@pytest.mark.parametrize("interval", [0.02, 0.04, 0.066])
def test_fields_without_times_that_come_in_twos_share_the_time_between_pictures(interval: float) -> None:
    clock = OutputClock()
    ticks: list[int] = []
    for index in range(50):
        now = 7.0 + index * interval
        ticks += [clock.stamp_untimed("video", now).ticks, clock.stamp_untimed_second_field(now).ticks]
    steps = [b - a for a, b in pairwise(ticks)]
    assert steps[4:] == pytest.approx([interval / 2 * 90_000] * len(steps[4:]), abs=2)
    assert ticks[98] - ticks[0] == pytest.approx(49 * interval * 90_000, abs=100)


def test_a_second_field_after_a_silence_is_near_its_first() -> None:
    clock = OutputClock()
    for now in (1.0, 1.04, 1.08, 61.08):
        first = clock.stamp_untimed("video", now).ticks
        second = clock.stamp_untimed_second_field(now).ticks
        assert 0 < second - first <= 1800
    assert first == pytest.approx(60.08 * 90_000, abs=2)

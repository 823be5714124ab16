"""What a filter tells a person: the latest of everything, not fifty times the same."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("prometheus_client", reason="the extra `live` is not installed")

from streams.stats import LiveStats


def told(*texts: str) -> list[tuple[str, int]]:
    stats = LiveStats()
    for text in texts:
        stats.tell(text)
    return [(event.text, event.times) for event in stats.events()]


def test_a_peer_that_is_away_takes_one_line() -> None:
    away = [f"rtmp://a/live: connection refused; next attempt in {wait / 10:.1f} s" for wait in range(5, 205)]
    assert told("level 1 (fast): late", *away) == [("level 1 (fast): late", 1), (away[-1], 200)]


def test_two_peers_that_are_away_take_a_line_each() -> None:
    texts = [f"srt://{name}: no answer; next attempt in {wait} s" for wait in range(40) for name in "ab"]
    assert told(*texts) == [(texts[-2], 40), (texts[-1], 40)]


def test_what_changed_in_between_is_told_again() -> None:
    away, back = "srt://a: no answer; next attempt in 1.0 s", "srt://a: reached again"
    assert told(away, back, away, away) == [(away, 1), (back, 1), (away, 2)]


def test_another_size_is_another_event() -> None:
    assert told("srt://a: now 640x360", "srt://a: now 1280x720") == [
        ("srt://a: now 640x360", 1),
        ("srt://a: now 1280x720", 1),
    ]


def test_an_event_says_since_when() -> None:
    stats, begun = LiveStats(), time.time()
    stats.tell("srt://a: no answer")
    time.sleep(0.02)
    stats.tell("srt://a: no answer")
    (event,) = stats.events()
    assert begun <= event.since < event.at <= time.time()

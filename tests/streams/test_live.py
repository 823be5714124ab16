"""A live filter between real peers: frames, timestamps and sound arrive as they were sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

import diffir_video as dv
from streams import LiveConfig, LiveFilter, SourceConfig
from streams.governor import GovernorConfig
from tests.network.test_variants import tiny
from tests.streams.peers import Received, clip, free_port, publish, receive, running, wait_until

UNHURRIED = GovernorConfig(latency_seconds=None)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Every thread, child and descriptor that a test's filter had is gone afterwards."""
    me = psutil.Process()
    threads, children = threading.active_count(), len(me.children())
    yield
    assert wait_until(lambda: threading.active_count() <= threads, 8), threading.enumerate()
    assert wait_until(lambda: len(me.children()) <= children, 8), me.children()


def identity() -> dv.Restorer:
    return dv.Restorer.from_pretrained("identity", device="cpu")


def test_a_file_goes_through_whole_with_its_timestamps_and_its_sound(tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    live = LiveFilter(str(clip(2)), identity(), str(out), LiveConfig(governor=UNHURRIED)).start()
    assert live.wait(30)
    assert live.failure is None
    sent, received = Received(clip(2)), Received(out)
    assert received.numbers == list(range(50))
    assert received.video_seconds == pytest.approx(sent.video_seconds, abs=0.001)
    from_first_frame = [at for at in sent.audio_seconds if at >= sent.video_seconds[0]]
    assert received.audio_seconds == pytest.approx(from_first_frame, abs=0.001)


def test_udp_in_and_out_restored_in_real_time(tmp_path: Path) -> None:
    port_in, port_out = free_port(), free_port()
    out = tmp_path / "out.ts"
    source = f"udp://127.0.0.1:{port_in}"
    with (
        running(receive(["-f", "mpegts", "-i", f"udp://127.0.0.1:{port_out}"], out)),
        LiveFilter(source, identity(), f"udp://127.0.0.1:{port_out}", LiveConfig(governor=UNHURRIED)) as live,
        running(publish(clip(4), "-f", "mpegts", f"{source}?pkt_size=1316")) as publisher,
    ):
        assert wait_until(lambda: publisher.poll() is not None)
        assert wait_until(lambda: live.stats.count("bridge") > 0)
    received = Received(out)
    assert all(b > a for a, b in pairwise(received.video_dts))
    assert len(set(received.numbers)) >= 60
    assert len(received.audio_seconds) > 60
    assert received.sizes == {(192, 112)}


@pytest.mark.parametrize("can_warm_up", [True, False])
def test_the_model_is_warmed_up_before_the_first_frame_comes(tmp_path: Path, *, can_warm_up: bool) -> None:
    frames_before: list[int] = []

    class Recording(dv.Restorer):
        def restore(self, clip: dv.Clip) -> dv.Clip:
            frames_before.append(live.stats.count("in"))
            if not can_warm_up:
                raise RuntimeError("out of memory")
            return super().restore(clip)

    live = LiveFilter(str(clip(2)), Recording(None), str(tmp_path / "out.mkv"))
    assert not live.is_ready
    assert live.start().wait(30)
    assert frames_before == [0]
    assert live.stats.count("out") == 50


def test_one_model_after_the_other_restores_a_live_stream(tmp_path: Path) -> None:
    chain = dv.Chain([dv.Restorer(dv.DiffIRS2(tiny(scale=scale)), device="cpu") for scale in (1, 2)])
    live = LiveFilter(str(clip(2)), chain, str(tmp_path / "out.mkv"), LiveConfig(governor=UNHURRIED))
    assert live.start().wait(60)
    assert live.failure is None
    assert live.stats.count("restored") == 50
    assert Received(tmp_path / "out.mkv").sizes == {(2 * 192, 2 * 112)}


def test_a_recording_is_whole_though_who_waited_for_it_was_interrupted(
    interrupt: Callable[[], None], tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    config = LiveConfig(governor=UNHURRIED, source=SourceConfig(realtime=True))
    with LiveFilter(str(clip(8)), identity(), str(out), config) as live:
        assert wait_until(lambda: live.stats.count("out") > 10)
        threading.Timer(0.1, interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            live.wait(30)
    assert not live.is_live
    assert len(Received(out).numbers) >= 10


@pytest.mark.slow
def test_frames_are_accounted_for_when_the_model_is_too_slow(tmp_path: Path) -> None:
    config = LiveConfig(source=SourceConfig(realtime=True))
    restorer = dv.Restorer.from_pretrained("denoise-nano", device="cpu", precision="fp32")
    live = LiveFilter(str(clip(4)), restorer, str(tmp_path / "out.mkv"), config).start()
    assert live.wait(60)
    stats = live.stats
    assert stats.count("in") == 100
    assert stats.count("in") == stats.count("out") + stats.count("dropped/mailbox")
    reasons = ("overload", "same_time")
    counted = sum(stats.sample("diffir_dropped_total", stage="mailbox", reason=why) for why in reasons)
    assert counted == stats.count("dropped/mailbox")


def test_a_source_that_can_wait_has_no_budget_whatever_it_is_told(tmp_path: Path) -> None:
    live = LiveFilter(str(clip(2)), dv.Restorer.from_pretrained("identity"), str(tmp_path / "out.mkv"))
    assert live.governor.config.latency_seconds is None
    live.configure(GovernorConfig(latency_seconds=0.3, calm_seconds=9))
    assert live.governor.config == GovernorConfig(latency_seconds=None, calm_seconds=9)

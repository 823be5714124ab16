"""WebRTC: a stream watched by WHEP, one published by WHIP."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

import diffir_video as dv
from streams import LiveConfig, LiveFilter, SourceConfig
from streams.governor import GovernorConfig
from tests.streams.peers import Received, clip, wait_until

pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'diffir-video[webrtc]'")

from tests.streams.webrtc import WebRtcServer

pytestmark = pytest.mark.slow

UNHURRIED = GovernorConfig(latency_seconds=None)
TOKEN = "t0ken-of-whep"


def identity() -> dv.Restorer:
    return dv.Restorer.from_pretrained("identity", device="cpu")


def test_whep_in(tmp_path: Path) -> None:
    out, server = tmp_path / "out.mkv", WebRtcServer(clip(8), tmp_path / "none.mkv", TOKEN)
    config = LiveConfig(governor=UNHURRIED, source=SourceConfig(open_seconds=10, reconnect=False))
    with server.running() as address:
        with LiveFilter(f"whep://:{TOKEN}@{address}/whep", identity(), str(out), config) as live:
            assert wait_until(lambda: live.stats.count("out") > 80, 30), (live.failure, live.stats.events())
        assert wait_until(lambda: server.left == 1)
    received = Received(out)
    assert len(set(received.numbers)) >= 60
    assert all(b > a for a, b in pairwise(received.video_dts))
    assert received.sizes == {(192, 112)}
    assert len(received.audio_seconds) > 60
    assert max(abs(offset) for offset in received.beep_offsets) <= 0.1, received.beep_offsets


def test_whep_with_a_wrong_token_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    config = LiveConfig(governor=UNHURRIED, source=SourceConfig(reconnect=False))
    with WebRtcServer(clip(8), tmp_path / "none.mkv", TOKEN).running() as address:
        source = f"whep://:not-the-t0ken@{address}/whep"
        live = LiveFilter(source, identity(), str(tmp_path / "out.mkv"), config).start()
        assert live.wait(20)
    assert isinstance(live.failure, dv.LiveInputError)
    assert live.failure.reason == "refused"
    assert "not-the-t0ken" not in caplog.text + str(live.failure)


def test_whip_out(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded.mkv"
    server = WebRtcServer(clip(8), recorded)
    config = LiveConfig(governor=UNHURRIED, source=SourceConfig(realtime=True))
    with server.running() as address:
        live = LiveFilter(str(clip(8)), identity(), f"whip://{address}/whip", config).start()
        assert live.wait(40)
        events = live.stats.events()
    received = Received(recorded)
    assert len(set(received.numbers)) >= 60, events
    assert len(received.audio_seconds) > 60

"""Every protocol through real servers: frames arrive, the sound is intact, the barcode readable."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import diffir_video as dv
from streams import LiveConfig, LiveFilter, SourceConfig
from streams.governor import GovernorConfig
from tests.streams.peers import (
    Received,
    clip,
    ffmpeg,
    free_port,
    publish,
    receive,
    running,
    wait_until,
)
from tests.streams.servers import answers, rtmp_server, rtsp_server

UNHURRIED = LiveConfig(governor=GovernorConfig(latency_seconds=None))


def identity() -> dv.Restorer:
    return dv.Restorer.from_pretrained("identity", device="cpu")


def check(received: Received, *, reference: Path | None = None, frames: int = 30) -> None:
    """Enough of the clip arrived, in order, with a picture that can be read and the sound that belongs to it.

    reference: what an independent FFmpeg got from the same server; None for the clip itself.
    """
    assert len(received.numbers) >= frames
    steps = [b - a for a, b in pairwise(received.video_dts)]
    assert min(steps) > 0
    in_order = [b >= a for a, b in pairwise(received.numbers)]
    assert sum(in_order) >= len(in_order) - 1
    assert len(received.audio_seconds) >= frames
    assert received.sizes == {(192, 112)}
    sent = np.median(Received(reference or clip(4)).beep_offsets)
    assert received.beep_offsets
    assert max(abs(offset - sent) for offset in received.beep_offsets) <= 0.04, (sent, received.beep_offsets)


@pytest.mark.slow
def test_rtmp_through_nginx(tmp_path: Path) -> None:
    with rtmp_server(tmp_path) as (server, _):
        with (
            running(publish(clip(8), "-f", "flv", f"{server}/in")),
            LiveFilter(f"{server}/in", identity(), f"{server}/out", UNHURRIED) as live,
            running(receive(["-f", "flv", "-i", f"{server}/out"], tmp_path / "out.mkv")),
        ):
            assert wait_until(lambda: live.stats.count("out") > 100, 20)
        check(Received(tmp_path / "out.mkv"))


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_rtsp_through_gstreamer(tmp_path: Path, transport: str) -> None:
    config = LiveConfig(
        governor=GovernorConfig(latency_seconds=None),
        source=SourceConfig(options=(("rtsp_transport", transport),), reconnect=False),
    )
    recorded, ours = tmp_path / "recorded.mkv", tmp_path / "ours.mkv"
    reference = tmp_path / "reference.mkv"
    with rtsp_server(clip(5), recorded) as server:
        read = ["-rtsp_transport", transport, "-i", f"{server}/play"]
        subprocess.run(receive(read, reference), check=True, timeout=30)
        with LiveFilter(f"{server}/play", identity(), [f"{server}/record", str(ours)], config) as live:
            assert wait_until(lambda: live.stats.count("out") > 80, 20), live.failure
            live.stop()
        assert wait_until(lambda: recorded.exists() and recorded.stat().st_size > 0, 3)
    check(Received(ours), reference=reference)
    # This recorder puts its own clock on what it gets, also on what FFmpeg sends it.
    theirs = Received(recorded)
    assert len(set(theirs.numbers)) >= 30
    assert len(theirs.audio_seconds) >= 30


@pytest.mark.slow
def test_srt(tmp_path: Path) -> None:
    source = f"srt://127.0.0.1:{free_port()}?mode=listener"
    sink = f"srt://127.0.0.1:{free_port()}?mode=listener"
    with (
        running(receive(["-f", "mpegts", "-i", sink], tmp_path / "out.ts")),
        LiveFilter(source, identity(), sink.replace("listener", "caller"), UNHURRIED) as live,
        running(publish(clip(6), "-f", "mpegts", source.replace("listener", "caller"))),
    ):
        assert wait_until(lambda: live.stats.count("out") > 80, 20)
    check(Received(tmp_path / "out.ts"))


@pytest.mark.slow
def test_hls_of_nginx_in_and_segments_on_disk_out(tmp_path: Path) -> None:
    folder = tmp_path / "segments"
    folder.mkdir()
    with rtmp_server(tmp_path) as (server, _), running(publish(clip(12), "-f", "flv", f"{server}/in")):
        playlist = tmp_path / "hls" / "in.m3u8"
        assert wait_until(lambda: playlist.exists() and playlist.read_text().count("#EXTINF") >= 2)
        with http_folder(tmp_path / "hls") as address:
            source = f"{address}/in.m3u8"
            with LiveFilter(source, identity(), str(folder / "live.m3u8"), UNHURRIED) as live:
                assert wait_until(lambda: live.stats.count("out") > 80, 20), live.stats.events()
    received = tmp_path / "joined.mkv"
    subprocess.run(
        [ffmpeg(), "-v", "error", "-i", str(folder / "live.m3u8"), "-c", "copy", str(received)], check=True
    )
    check(Received(received))


def test_a_pipe_in_and_a_pipe_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streams", "-", "-", "--model", "identity", "--latency", "off"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    sent = clip(4).read_bytes()
    done = subprocess.run(command, input=sent, capture_output=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (tmp_path / "out.nut").write_bytes(done.stdout)
    check(Received(tmp_path / "out.nut"))


@contextmanager
def http_folder(folder: Path) -> Iterator[str]:
    """Serves a folder over HTTP."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "-d", str(folder)]
    with running(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
        assert wait_until(lambda: answers(port))
        yield f"http://127.0.0.1:{port}"

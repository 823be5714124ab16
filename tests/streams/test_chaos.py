"""Minutes of trouble: sources that vanish, jump, change; servers that die and freeze; and a soak.

DIFFIR_CHAOS_SECONDS (default 60) and DIFFIR_SOAK_SECONDS (default 1800) say for how long.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

import diffir_video as dv
from streams import LiveConfig, LiveFilter, SinkConfig, SourceConfig
from tests.streams.peers import Received, clip, free_port, publish, running, wait_until
from tests.streams.servers import rtmp_server

pytestmark = pytest.mark.slow


def test_chaos(tmp_path: Path) -> None:
    seconds = float(os.environ.get("DIFFIR_CHAOS_SECONDS", "60"))
    dice, me, server_port = random.Random(1), psutil.Process(), free_port()
    source, recording = f"udp://127.0.0.1:{free_port()}", tmp_path / "out.mkv"
    clips = [clip(20), clip(20, audio=False), clip(20, size=(384, 224))]
    config = LiveConfig(
        source=SourceConfig(stall_seconds=1.0, open_seconds=2.0), sink=SinkConfig(size_change="fit")
    )
    restorer = dv.Restorer.from_pretrained("identity", device="cpu")
    sinks = [str(recording), f"rtmp://127.0.0.1:{server_port}/live/out"]
    resumed, memory, happened = list[float](), list[float](), Counter[str]()
    threads, descriptors = threading.active_count(), me.num_fds()
    with LiveFilter(source, restorer, sinks, config) as live:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            shift = dice.choice([0, 0, 3600, -3600, 95_000])
            target = ("-output_ts_offset", str(shift + 100_000), "-f", "mpegts", f"{source}?pkt_size=1316")
            before = live.stats.count("in")
            chosen = dice.choice(clips) if before else clips[0]
            with (
                rtmp_server(tmp_path, server_port) as (_, server),
                running(publish(chosen, *target)) as sender,
            ):
                began = time.monotonic()
                assert wait_until(lambda: live.stats.count("in") > before + 5, 10), live.stats.events()  # noqa: B023
                resumed.append(time.monotonic() - began)
                if dice.random() < 0.4:
                    os.kill(server.pid, signal.SIGSTOP)
                    happened["servers frozen"] += 1
                time.sleep(dice.uniform(1, 5))
                os.kill(server.pid, signal.SIGCONT)
                for process in (sender, server):
                    process.kill()
            happened.update(["sources killed", "servers killed", f"times by {shift} s", chosen.stem])
            memory.append(me.memory_info().rss / 2**20)
            assert live.is_live
            time.sleep(dice.choice([0.0, 0.3, 2.0]))
        assert live.stats.count("dropped/mailbox") < live.stats.count("in")
    late = memory[len(memory) // 3 :]
    print(
        f"\n{dict(happened)}; back after {max(resumed):.1f} s at most; "
        f"memory {memory[0]:.0f}, {late[0]:.0f} → {late[-1]:.0f} MiB"
    )
    assert live.failure is None
    assert max(resumed) <= 5.0, resumed
    check_recordings(sorted(tmp_path.glob("out*.mkv")))
    assert late[-1] - late[0] < 16
    assert wait_until(lambda: threading.active_count() <= threads, 10), threading.enumerate()
    assert me.num_fds() <= descriptors + 4
    assert not me.children()


def check_recordings(files: Sequence[Path]) -> None:
    """One file, or more where sound was first heard after the pictures: each in order, and in sync."""
    offsets = list[float]()
    for file in files:
        received = Received(file)
        assert all(b > a for a, b in pairwise(received.video_dts))
        assert all(b > a for a, b in pairwise(received.audio_seconds))
        assert received.sizes == {(192, 112)}
        offsets += received.beep_offsets
    sent = np.median(Received(clip(20)).beep_offsets)
    print(f"{len(offsets)} beeps, at most {max(abs(each - sent) for each in offsets) * 1000:.0f} ms off")
    assert max(abs(each - sent) for each in offsets) <= 0.04, offsets


def test_soak(tmp_path: Path) -> None:
    seconds = float(os.environ.get("DIFFIR_SOAK_SECONDS", "1800"))
    source, me = f"udp://127.0.0.1:{free_port()}", psutil.Process()
    restorer = dv.Restorer.from_pretrained("denoise-live", device="cpu", reuse="prior")
    target = ("-f", "mpegts", f"{source}?pkt_size=1316")
    with (
        LiveFilter(source, restorer, str(tmp_path / "out.ts")) as live,
        running(publish(clip(20), *target, loop=True)),
    ):
        assert wait_until(lambda: live.stats.count("out") > 100)
        memory = list[float]()
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            time.sleep(min(seconds / 40, 10))
            children = [child.memory_info().rss for child in me.children() if "pipe:0" in child.cmdline()]
            memory.append((me.memory_info().rss + sum(children)) / 2**20)
        late = memory[len(memory) // 2 :]
        growth = np.polyfit(np.linspace(0, seconds / 2 / 3600, len(late)), late, 1)[0]
        print(f"memory {memory[0]:.1f} → {memory[-1]:.1f} MiB, {growth:.1f} MiB an hour over the second half")
        assert late[-1] - late[0] < 8
        assert live.is_ready

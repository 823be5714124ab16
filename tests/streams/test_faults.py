"""What happens when peers vanish, freeze, change or lie: the output goes on, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import torch

import diffir_video as dv
from diffir_video import Frame, LiveInputError, StreamInfo
from diffir_video.media import LiveEncoder, PacketMuxer
from diffir_video.prior import ReuseReport
from streams import LiveConfig, LiveFilter, SinkConfig, SourceConfig
from streams.addresses import Address
from streams.children import FFmpegChild
from streams.frames import TICK, LiveFrame
from streams.governor import GovernorConfig
from streams.publishing import arguments_for
from streams.sinks import LiveSink
from tests.streams.peers import Received, clip, free_port, publish, receive, running, wait_until
from tests.streams.servers import rtmp_server

UNHURRIED = GovernorConfig(latency_seconds=None)
QUICK = LiveConfig(governor=UNHURRIED, source=SourceConfig(stall_seconds=1.0, open_seconds=2.0))


def identity() -> dv.Restorer:
    return dv.Restorer.from_pretrained("identity", device="cpu")


def is_increasing(values: Sequence[float]) -> bool:
    return all(b > a for a, b in pairwise(values))


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield server.getsockname()[1]


@pytest.mark.slow
def test_a_source_that_dies_is_held_and_goes_on_in_the_same_output(tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    with (
        rtmp_server(tmp_path) as (server, _),
        LiveFilter(f"{server}/in", identity(), str(out), QUICK) as live,
    ):
        with running(publish(clip(8), "-f", "flv", f"{server}/in")) as publisher:
            assert wait_until(lambda: live.stats.count("in") > 30)
            publisher.kill()
            assert wait_until(lambda: live.stats.count("bridge") > 20)
        before = live.stats.count("in")
        with running(publish(clip(8), "-f", "flv", f"{server}/in")):
            returned = time.monotonic()
            assert wait_until(lambda: live.stats.count("in") > before + 25)
            assert time.monotonic() - returned <= 5.0 + 1.0
    received = Received(out)
    assert is_increasing(received.video_dts)
    assert is_increasing(received.audio_seconds)
    gaps = [b - a for a, b in pairwise(received.video_seconds)]
    assert max(gaps) < 1.0
    assert live.stats.sample("diffir_reconnects_total", end="source") >= 1


@pytest.mark.slow
def test_a_frozen_server_holds_nobody_up_and_gets_the_stream_again(tmp_path: Path) -> None:
    recording = tmp_path / "recording.mkv"
    with rtmp_server(tmp_path) as (server, process):
        # Enough bits to fill what the kernel buffers for a peer that doesn't read.
        sink = SinkConfig(encoder_options={"crf": "2", "preset": "ultrafast"})
        config = LiveConfig(governor=UNHURRIED, source=SourceConfig(realtime=True), sink=sink)
        noisy = clip(20, size=(320, 180), audio=False, noise=60)
        sinks = [f"{server}/out", str(recording)]
        with LiveFilter(str(noisy), identity(), sinks, config) as live:
            assert wait_until(lambda: live.stats.count("out") > 40)
            os.kill(process.pid, signal.SIGSTOP)
            before = live.stats.count("out")
            assert wait_until(lambda: live.stats.sample("diffir_reconnects_total", end="sink") >= 1, 12)
            assert live.stats.count("out") > before
            os.kill(process.pid, signal.SIGCONT)
            with running(receive(["-f", "flv", "-i", f"{server}/out"], tmp_path / "out.mkv")) as receiver:
                assert wait_until(lambda: has_grown(tmp_path / "out.mkv", 20_000), 6), live.stats.events()
                assert receiver.poll() is None
            assert live.wait(30)
    assert len(Received(recording).numbers) >= 0.5 * 20 * 25


def test_a_sink_that_was_away_is_told_of_when_it_is_there_again(tmp_path: Path) -> None:
    port = free_port()
    config = LiveConfig(governor=UNHURRIED, source=SourceConfig(realtime=True))
    with LiveFilter(str(clip(20, noise=60)), identity(), f"tcp://127.0.0.1:{port}", config) as live:
        assert wait_until(lambda: told(live, "next attempt"))
        assert not told(live, "reached again")
        listener = ["-f", "mpegts", "-i", f"tcp://127.0.0.1:{port}?listen=1"]
        with running(receive(listener, tmp_path / "out.ts")):
            assert wait_until(lambda: told(live, "reached again")), live.stats.events()


def told(live: LiveFilter, what: str) -> bool:
    return any(what in event.text for event in live.stats.events())


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "sizes"), [("follow", 2), ("fit", 1)])
def test_a_new_size_is_followed_in_a_new_file_or_fitted_into_the_first(
    tmp_path: Path, policy, sizes: int
) -> None:
    source, out = f"udp://127.0.0.1:{free_port()}", tmp_path / "out.mkv"
    config = LiveConfig(governor=UNHURRIED, source=QUICK.source, sink=SinkConfig(size_change=policy))
    target = ("-f", "mpegts", f"{source}?pkt_size=1316")
    with LiveFilter(source, identity(), str(out), config) as live:
        for size in ((192, 112), (256, 144)):
            before = live.stats.count("in")
            with running(publish(clip(3, size=size), *target)) as publisher:
                assert wait_until(lambda: publisher.poll() is not None)
            assert wait_until(lambda: live.stats.count("in") > before + 20)  # noqa: B023
    files = sorted(tmp_path.glob("out*.mkv"), key=lambda file: len(file.name))
    assert len(files) == sizes
    found = [Received(file).sizes for file in files]
    assert found[0] == {(192, 112)}
    assert found[-1] == ({(256, 144)} if policy == "follow" else {(192, 112)})


def test_a_model_that_fails_lets_the_frames_pass(tmp_path: Path) -> None:
    class Failing:
        reuse = ReuseReport()

        def open_stream(self) -> Failing:
            return self

        def push(self, frames: Sequence[Frame]) -> list[Frame]:
            raise RuntimeError("out of memory")

        def finish(self) -> list[Frame]:
            return []

    out = tmp_path / "out.mkv"
    live = LiveFilter(str(clip(2)), Failing(), str(out), LiveConfig(governor=UNHURRIED)).start()
    assert live.wait(30)
    assert live.failure is None
    assert Received(out).numbers == list(range(50))
    assert live.stats.sample("diffir_errors_total", stage="restore") == 50


def test_a_file_that_is_none_ends_the_filter_with_an_error_that_says_so(tmp_path: Path) -> None:
    live = LiveFilter(str(tmp_path / "missing.mp4"), identity(), str(tmp_path / "out.mkv")).start()
    assert live.wait(10)
    assert isinstance(live.failure, LiveInputError)
    assert live.failure.reason == "absent"


def test_sigterm_with_a_dead_peer_ends_in_five_seconds_and_the_recording_plays(tmp_path: Path) -> None:
    recording = tmp_path / "recording.mp4"
    with black_hole() as port:
        sink = f"rtmp://127.0.0.1:{port}/live/key"
        with stream_command(clip(30), sink, "--tee", str(recording), "--realtime") as process:
            assert wait_until(lambda: has_grown(recording, 1000), 30)
            time.sleep(2)
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert time.monotonic() - asked <= 5.0
    assert len(Received(recording).numbers) > 25


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(torch.full((3, 360, 640), 0.5), id="waited for when it had all"),
        pytest.param(torch.rand(3, 360, 640), id="waited for to take more"),
    ],
)
def test_what_the_end_of_the_stream_ends_is_no_failure_of_a_sink(picture: torch.Tensor) -> None:
    with black_hole() as port:
        sink = LiveSink([f"rtmp://127.0.0.1:{port}/live/x"], SinkConfig(close_seconds=0.3))
        sink.open()
        info = StreamInfo(width=640, height=360, time_base=TICK, pixel_format="yuv420p")
        for number in range(20):
            sink.write(LiveFrame(picture, 3600 * number, TICK, stream=info, arrived=0.0, epoch=0))
        sink.stop()
        sink.close()
    (event,) = sink.stats.events()
    assert "ended with the stream, before it had taken all of it" in event.text
    assert sink.stats.count("errors") == 0
    assert sink.stats.sample("diffir_reconnects_total", end="sink") == 0


@pytest.mark.slow
def test_after_kill_9_the_recording_plays_and_no_child_is_left(tmp_path: Path) -> None:
    recording = tmp_path / "recording.mp4"
    with stream_command(clip(30), str(recording), "--realtime") as process:
        assert wait_until(lambda: has_grown(recording, 1000), 30)
        time.sleep(2)
        children = psutil.Process(process.pid).children()
        process.kill()
        process.wait()
        assert wait_until(lambda: not any(child.is_running() for child in children), 5)
    assert len(Received(recording).numbers) > 25


@pytest.mark.parametrize(
    "attempts", [pytest.param(25, id="25"), pytest.param(1000, id="1000", marks=pytest.mark.slow)]
)
def test_many_reconnects_leave_nothing_behind(tmp_path: Path, attempts: int, monkeypatch) -> None:
    monkeypatch.setattr("streams.sources.Backoff", _Impatient)
    me = psutil.Process()
    with hanging_up() as (port, calls):
        live = LiveFilter(f"tcp://127.0.0.1:{port}", identity(), str(tmp_path / "out.mkv"), QUICK).start()
        assert wait_until(lambda: len(calls) >= 10, 30)
        threads, descriptors = threading.active_count(), me.num_fds()
        assert wait_until(lambda: len(calls) >= attempts, attempts)
        assert threading.active_count() <= threads + 1
        assert me.num_fds() <= descriptors + 4
        live.stop()


@pytest.fixture
def without_looking_for_circles() -> Iterator[None]:
    """As Python does it seldom, where there is much else in memory."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_looking_for_circles")
def test_connections_that_brought_pictures_leave_no_decoder_behind(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("streams.sources.Backoff", _Impatient)
    config = replace(QUICK, source=replace(QUICK.source, format="flv"))
    me = psutil.Process()
    with (
        hanging_up(clip(2).read_bytes()) as (port, calls),
        LiveFilter(f"tcp://127.0.0.1:{port}", identity(), str(tmp_path / "out.mkv"), config),
    ):
        assert wait_until(lambda: len(calls) >= 3, 30)
        threads = me.num_threads()
        assert wait_until(lambda: len(calls) >= 9, 30)
        assert me.num_threads() <= threads + 3


@pytest.mark.usefixtures("without_looking_for_circles")
def test_connections_that_fell_silent_leave_no_decoder_behind(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("streams.sources.Backoff", _Impatient)
    config = LiveConfig(governor=UNHURRIED, source=SourceConfig(stall_seconds=0.2, open_seconds=2.0))
    source, me, threads = f"udp://127.0.0.1:{free_port()}", psutil.Process(), list[int]()
    with LiveFilter(source, identity(), str(tmp_path / "out.mkv"), config) as live:
        for _ in range(5):
            before = live.stats.count("in")
            with running(publish(clip(2), "-f", "mpegts", f"{source}?pkt_size=1316", loop=True)):
                assert wait_until(lambda: live.stats.count("in") > before + 3)  # noqa: B023
            reconnects = live.stats.sample("diffir_reconnects_total", end="source")
            assert wait_until(
                lambda: live.stats.sample("diffir_reconnects_total", end="source") > reconnects  # noqa: B023
            )
            threads.append(me.num_threads())
    assert threads[-1] <= threads[0] + 3, threads


class _Impatient:
    attempts = 0

    def next_seconds(self) -> float:
        return 0.001

    def reset(self) -> None:
        pass


@contextmanager
def hanging_up(after: bytes = b"") -> Iterator[tuple[int, list[int]]]:
    """A server that hangs up on everyone at once, or after some bytes, and how often it was called."""
    calls: list[int] = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        ended = threading.Event()

        def serve() -> None:
            server.settimeout(0.1)
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                calls.append(1)
                with connection, suppress(OSError):
                    connection.sendall(after)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], calls
        finally:
            ended.set()
            thread.join()


def test_hours_of_packets_leave_the_program_of_a_sink_as_it_was() -> None:
    info = StreamInfo(width=64, height=48, time_base=TICK, pixel_format="yuv420p", average_rate=Fraction(25))
    encoder = LiveEncoder(info, options={"preset": "ultrafast"})
    coded = [p for n in range(50) for p in encoder.encode(Frame(torch.rand(3, 48, 64), 3600 * n, TICK))]
    # As many bits as a large picture has: what is kept of a stream may go by its length.
    coded = [replace(packet, data=packet.data + bytes(16_000)) for packet in coded]
    muxer, memory = PacketMuxer([encoder.format]), list[int]()
    arguments = arguments_for(Address("-"), audio_codec=None)
    child = FFmpegChild(arguments, name="nut", hide=str, reads=True)
    try:
        for hours in range(2):
            for repeat in range(150):
                shift = 180_000 * (150 * hours + repeat)
                for packet in coded:
                    at = (packet.pts or 0) + shift
                    child.write(muxer.mux(0, replace(packet, pts=at, dts=at)), 10)
            memory.append(psutil.Process(child.pid).memory_info().rss // 1024)
    finally:
        child.kill()
        encoder.close()
    assert memory[1] - memory[0] < 512, memory


@contextmanager
def stream_command(source: Path, *arguments: str) -> Iterator[subprocess.Popen]:
    """`diffir-stream` with the identity model, killed when the block ends."""
    command = [sys.executable, "-m", "streams", str(source), *arguments, "--model", "identity"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def has_grown(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size > size

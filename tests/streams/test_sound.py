"""Sound on its way through a live stream: which of it each output holds, and when it begins."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import av
import pytest

import diffir_video as dv
from diffir_video.media import LiveInput, MediaPacket, TrackFormat
from streams import LiveConfig, LiveFilter, LiveSource, SinkConfig, SourceConfig
from streams.governor import GovernorConfig
from tests.streams.peers import SILENT, Received, clip, ffmpeg, free_port, publish, running, wait_until

UNHURRIED = LiveConfig(governor=GovernorConfig(latency_seconds=None))


def with_sound(path: Path, codec: str) -> Path:
    """Two seconds of numbered frames whose sound begins with the first of them."""
    tone = ["-f", "lavfi", "-i", "sine=d=2:r=48000", "-i", str(clip(2, audio=False))]
    subprocess.run(
        [ffmpeg(), "-v", "error", *tone, "-c:v", "copy", "-c:a", codec, "-ac", "2", str(path)], check=True
    )
    return path


@pytest.mark.parametrize(
    ("codec", "container", "held"),
    [
        pytest.param("pcm_s16le", "flv", "aac", id="pcm in FLV"),
        pytest.param("pcm_s16le", "nut", "aac", id="pcm in NUT"),
        pytest.param("mp2", "flv", "aac", id="MP2 in FLV"),
        pytest.param("libopus", "flv", "aac", id="Opus in FLV"),
        pytest.param("libopus", "mov", "aac", id="Opus in MOV"),
        pytest.param("libopus", "mp4", "opus", id="Opus in MP4"),
        pytest.param("ac3", "mp4", "aac", id="AC-3 in MP4"),
        pytest.param("eac3", "mp4", "aac", id="E-AC-3 in MP4"),
        pytest.param("ac3", "mov", "ac3", id="AC-3 in MOV"),
    ],
)
def test_a_recording_holds_all_pictures_and_the_sound_in_a_codec_that_it_knows(
    tmp_path: Path, codec: str, container: str, held: str
) -> None:
    source = with_sound(tmp_path / "source.nut", codec)
    restorer = dv.Restorer.from_pretrained("identity", device="cpu")
    live = LiveFilter(str(source), restorer, str(tmp_path / f"out.{container}"), UNHURRIED).start()
    assert live.wait(30)
    assert live.failure is None
    recordings = list(tmp_path.glob("out*"))
    assert [path.name for path in recordings] == [f"out.{container}"]
    with av.open(str(recordings[0])) as recording:
        assert [track.codec_context.codec.canonical_name for track in recording.streams.audio] == [held]
    received = Received(recordings[0])
    assert received.numbers == list(range(SILENT, SILENT + 50))
    assert received.audio_seconds[0] < 0.05


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("pictures", [{}, {"tune": "film", "bf": "2"}], ids=["in order", "reordered"])
def test_sound_that_begins_after_the_pictures_keeps_its_distance_in_a_recording(
    tmp_path: Path, container: str, pictures: dict[str, str]
) -> None:
    source, out = tmp_path / "source.mkv", tmp_path / f"out.{container}"
    tone = ["-itsoffset", "1.5", "-f", "lavfi", "-i", "sine=d=3:r=48000", "-i", str(clip(5, audio=False))]
    into = ["-c:v", "copy", "-c:a", "aac", "-copyts", "-output_ts_offset", "95000", str(source)]
    subprocess.run([ffmpeg(), "-v", "error", *tone, *into], check=True)
    config = replace(UNHURRIED, sink=SinkConfig(encoder_options=pictures))
    live = LiveFilter(str(source), dv.Restorer.from_pretrained("identity", device="cpu"), str(out), config)
    assert live.start().wait(30)
    assert live.failure is None
    sent, received = Received(source), Received(out)
    late = received.audio_seconds[0] - received.video_seconds[0]
    assert late == pytest.approx(sent.audio_seconds[0] - sent.video_seconds[0], abs=0.002)
    if container != "mkv":
        # As long as reordering takes, at most.
        assert 0 <= min(received.video_dts) <= 0.08


def test_sound_that_begins_late_in_a_file_of_mpeg_ts_is_recorded(tmp_path: Path) -> None:
    source, out = tmp_path / "source.ts", tmp_path / "out.mkv"
    tone = ["-itsoffset", "3", "-f", "lavfi", "-i", "sine=d=2:r=48000", "-i", str(clip(6, audio=False))]
    subprocess.run([ffmpeg(), "-v", "error", *tone, "-c:v", "copy", "-c:a", "aac", str(source)], check=True)
    live = LiveFilter(str(source), dv.Restorer.from_pretrained("identity", device="cpu"), str(out), UNHURRIED)
    assert live.start().wait(30)
    assert live.failure is None
    sent, received = Received(source), Received(out)
    assert len(received.audio_seconds) == len(sent.audio_seconds)
    late = received.audio_seconds[0] - received.video_seconds[0]
    assert late == pytest.approx(sent.audio_seconds[0] - sent.video_seconds[0], abs=0.002)


_SOUND, _PICTURES, _TAG_HEADER = 8, 9, 11


def tags(flv: bytes) -> Iterator[tuple[int, float, bytes]]:
    """Kind, time in seconds and bytes of each tag of an FLV."""
    at = 13
    while at < len(flv):
        size = int.from_bytes(flv[at + 1 : at + 4], "big")
        end = at + _TAG_HEADER + size + 4
        yield flv[at], int.from_bytes(flv[at + 4 : at + 7], "big") / 1000, flv[at:end]
        at = end


@contextmanager
def served_with_sound_from(seconds: float) -> Iterator[str]:
    """A server of one FLV in real time, joined where it is, whose sound begins after `seconds`."""
    flv = clip(12).read_bytes()
    listener = socket.create_server(("127.0.0.1", 0))
    began, has_ended = time.monotonic(), threading.Event()

    def feed(visitor: socket.socket) -> None:
        joined = time.monotonic() - began
        # That there is sound is said nowhere.
        visitor.sendall(b"FLV\1\1" + flv[5:13])
        for kind, at, tag in tags(flv):
            is_header = tag[_TAG_HEADER + 1] == 0 and at == 0 and kind in (_SOUND, _PICTURES)
            if kind == _SOUND and (at < seconds if not is_header else joined < seconds):
                continue
            if kind in (_SOUND, _PICTURES) and (is_header or at >= joined):
                has_ended.wait(max(began + at - time.monotonic(), 0))
                visitor.sendall(tag)

    def serve() -> None:
        while not has_ended.is_set():
            with suppress(OSError):
                visitor, _ = listener.accept()
                with visitor:
                    feed(visitor)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        has_ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


@pytest.mark.slow
def test_sound_that_a_live_publisher_begins_later_than_its_pictures_is_taken_up(tmp_path: Path) -> None:
    restorer = dv.Restorer.from_pretrained("identity", device="cpu")
    config = LiveConfig(governor=UNHURRIED.governor, source=SourceConfig(format="flv"))
    with served_with_sound_from(3) as address:
        live = LiveFilter(address, restorer, str(tmp_path / "out.mkv"), config).start()
        assert wait_until((tmp_path / "out-2.mkv").exists, 10), live.stats.events()
        assert wait_until(lambda: live.stats.count("in") > 200, 10), live.stats.events()
        live.stop()
    assert any("its sound has begun" in event.text for event in live.stats.events())
    assert live.stats.sample("diffir_reconnects_total", end="source") == 1
    received = Received(tmp_path / "out-2.mkv")
    assert len(received.audio_seconds) > 50
    assert received.beep_offsets
    assert max(map(abs, received.beep_offsets)) < 0.03


@pytest.mark.parametrize(
    ("first", "second"), [("aac", "mp2"), ("mp2", "aac"), ("ac3", "mp2"), ("mp2", "mp3"), ("aac", "aac")]
)
def test_sound_of_another_codec_in_the_same_track_is_not_passed_on_as_that_of_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, first: str, second: str
) -> None:
    encoders = {"mp3": "libmp3lame"}
    senders = [
        with_sound(tmp_path / f"{number}.ts", encoders.get(codec, codec))
        for number, codec in enumerate((first, second))
    ]
    joined = BytesIO(b"".join(path.read_bytes() for path in senders))
    with LiveInput(joined, name="joined", format="mpegts") as connection:
        count = sum(1 for item in connection if isinstance(item, MediaPacket))
        missed = connection.missed_sound
    whole = [sum(1 for _ in packets_of(path)) for path in senders]
    if first == second:
        assert (count, missed) == (sum(whole), None)
        return
    # What FFmpeg makes of the packet between them is not for us to say.
    assert whole[0] - 1 <= count <= whole[0]
    assert missed == "its sound is in another codec now"
    assert len([r for r in caplog.records if f"was {first} and is {second} now" in r.message]) == 1


@pytest.mark.slow
def test_sound_whose_codec_changes_twice_is_taken_up_each_time(tmp_path: Path) -> None:
    class Listener:
        def __init__(self) -> None:
            self.codecs = list[str]()
            self.packets = 0

        def expect_audio(self, format: TrackFormat) -> None:
            self.codecs.append(format.codec)

        def write_audio(self, packet: MediaPacket) -> None:
            self.packets += 1

    listener, address = Listener(), f"udp://127.0.0.1:{free_port()}"
    sent = {codec: with_sound(tmp_path / f"{codec}.ts", codec) for codec in ("aac", "mp2")}
    source = LiveSource(address, audio=listener)
    frames = iter(source)
    reader = threading.Thread(target=lambda: deque(frames, maxlen=0))
    reader.start()
    try:
        for number, codec in enumerate(("aac", "mp2", "aac"), start=1):
            with running(publish(sent[codec], "-f", "mpegts", f"{address}?pkt_size=1316", loop=True)):
                assert wait_until(lambda: len(listener.codecs) == number, 8), source.stats.events()  # noqa: B023
                before = listener.packets
                assert wait_until(lambda: listener.packets > before + 40), number  # noqa: B023
    finally:
        source.close()
        reader.join()
    assert listener.codecs == ["aac", "mp2", "aac"]


def packets_of(path: Path) -> Iterator[av.Packet]:
    with av.open(str(path)) as container:
        yield from (packet for packet in container.demux(audio=0) if packet.size)

"""Sources out of the ordinary: restarted as something else, without times, with few frames or odd sound."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

import diffir_video as dv
from diffir_video.media import Deinterlace
from streams import LiveConfig, LiveFilter, LiveSource, SourceConfig
from streams.governor import GovernorConfig
from tests.media_samples import sample
from tests.streams.peers import Received, clip, ffmpeg, free_port, publish, running, wait_until
from tests.streams.servers import rtmp_server

UNHURRIED = GovernorConfig(latency_seconds=None)


def filter_of(source: str | Path, sink: Path, **source_settings) -> LiveFilter:
    config = LiveConfig(governor=UNHURRIED, source=SourceConfig(**source_settings))
    return LiveFilter(str(source), dv.Restorer.from_pretrained("identity", device="cpu"), str(sink), config)


def made(path: Path, *arguments: str, source: Sequence[str]) -> Path:
    subprocess.run([ffmpeg(), "-v", "error", *source, *arguments, str(path)], check=True)
    return path


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(("-mpegts_start_pid", "0x200", "-mpegts_pmt_start_pid", "0x1200"), id="pids"),
        pytest.param(("-c:v", "mpeg2video"), id="codec"),
    ],
)
def test_a_sender_that_restarts_as_something_else_is_connected_to_anew(
    tmp_path: Path, other: tuple[str, ...]
) -> None:
    source = f"udp://127.0.0.1:{free_port()}"
    target = ("-f", "mpegts", f"{source}?pkt_size=1316")
    quiet = clip(2, audio=False)
    with filter_of(source, tmp_path / "out.mkv", stall_seconds=0.7) as live:
        with running(publish(quiet, *target, loop=True)):
            assert wait_until(lambda: live.stats.count("in") > 12)
        with running(publish(quiet, *other, *target, loop=True)):
            assert wait_until(lambda: live.stats.sample("diffir_reconnects_total", end="source") >= 1, 6)
            before = live.stats.count("in")
            assert wait_until(lambda: live.stats.count("in") > before + 12, 6), live.stats.events()


@pytest.mark.parametrize(
    ("first", "second", "sounds"),
    [
        pytest.param(
            (),
            ("-c:a", "aac", "-ar", "44100", "-ac", "1"),
            [("aac", 44100, 1)],
            id="same",
            marks=pytest.mark.slow,
        ),
        pytest.param((), ("-c:a", "aac", "-ar", "48000", "-ac", "2"), [("aac", 48000, 2)], id="rate"),
        pytest.param(("-an",), (), [("aac", 44100, 1)], id="none-before", marks=pytest.mark.slow),
        pytest.param(
            (), ("-c:a", "libmp3lame"), [("mp3float", 44100, 1)], id="codec", marks=pytest.mark.slow
        ),
    ],
)
def test_the_sound_of_a_publisher_that_takes_over_is_coded_as_it_says(
    tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...], sounds: list[tuple[str, int, int]]
) -> None:
    with (
        rtmp_server(tmp_path) as (server, _),
        filter_of(f"{server}/in", tmp_path / "out.mkv") as live,
    ):
        with running(publish(clip(8), *first, "-f", "flv", f"{server}/in")):
            assert wait_until(lambda: live.stats.count("in") > 25)
        before = live.stats.count("in")
        with running(publish(clip(8), *second, "-f", "flv", f"{server}/in")):
            assert wait_until(lambda: live.stats.count("in") > before + 80), live.stats.events()
    recordings = sorted(tmp_path.glob("out*.mkv"), key=lambda path: len(path.name))
    assert len(recordings) == (1 if not first and sounds == [("aac", 44100, 1)] else 2)
    with av.open(str(recordings[-1])) as container:
        found = [(each.codec_context.name, each.rate, each.channels) for each in container.streams.audio]
    assert found == sounds
    assert len(Received(recordings[-1]).audio_seconds) > 20


@pytest.mark.slow
def test_sound_that_another_sender_of_datagrams_brings_is_found_then_sought_once_in_vain(
    tmp_path: Path,
) -> None:
    source = f"udp://127.0.0.1:{free_port()}"
    target = ("-f", "mpegts", f"{source}?pkt_size=1316")
    with filter_of(source, tmp_path / "out.mkv") as live:
        for silenced in (("-an",), (), ("-an",), ("-an",)):
            before = live.stats.count("in")
            with running(publish(clip(6), *silenced, *target)):
                assert wait_until(lambda: live.stats.count("in") > before + 70), live.stats.events()  # noqa: B023
        # For the second sender, whose sound is found, and for the third; not for the fourth soon after it.
        assert live.stats.sample("diffir_reconnects_total", end="source") == 2
    assert len(Received(tmp_path / "out-2.mkv").audio_seconds) > 20


@pytest.mark.parametrize("given", [{"field_order": "tff"}, {"deinterlace": "off", "field_order": "top"}])
def test_an_order_of_fields_that_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(dv.UsageError, match="field_order"):
        SourceConfig(**given)


@pytest.mark.parametrize(("how", "said"), [("auto", 1), ("off", 0), ("auto-fields", 1)])
def test_an_interlaced_source_is_made_progressive_unless_told_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: Deinterlace, said: int
) -> None:
    interlaced = sample("interlaced.ts")
    with caplog.at_level("INFO"):
        live = filter_of(interlaced, tmp_path / "out.mkv", deinterlace=how).start()
        assert live.wait(20)
    assert live.failure is None
    assert len([r for r in caplog.records if "interlaced;" in r.message]) == said
    with av.open(str(tmp_path / "out.mkv")) as restored, av.open(str(interlaced)) as source:
        times = [frame.time for frame in restored.decode(video=0)]
        each = 2 if how == "auto-fields" else 1
        assert len(times) == each * len(list(source.decode(video=0)))
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert steps == pytest.approx([1 / 25 / each] * len(steps), abs=0.0015)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"), [("aac", "mp2"), ("mp2", "aac"), ("mp2", "mp3"), ("mp2", "ac3")]
)
def test_the_sound_of_another_sender_of_datagrams_goes_out_as_what_it_is_coded_in(
    tmp_path: Path, first: str, second: str
) -> None:
    encoders = {"mp3": "libmp3lame"}
    source = f"udp://127.0.0.1:{free_port()}"
    target = ("-f", "mpegts", f"{source}?pkt_size=1316")
    with filter_of(source, tmp_path / "out.ts") as live:
        for codec in (first, second):
            before = live.stats.count("in")
            with running(publish(clip(6), "-c:a", encoders.get(codec, codec), *target)):
                assert wait_until(lambda: live.stats.count("in") > before + 70), live.stats.events()  # noqa: B023
        assert live.stats.sample("diffir_reconnects_total", end="source") == 1
    assert any("another codec" in event.text for event in live.stats.events())
    for name, codec in (("out.ts", first), ("out-2.ts", second)):
        with av.open(str(tmp_path / name)) as recording:
            (track,) = recording.streams.audio
            assert track.codec_context.codec.canonical_name == codec
            packets = [bytes(packet) for packet in recording.demux(track) if packet.size]
        assert len(packets) > 20
        known = {"mp2": b"\xff\xfd", "mp3": b"\xff\xfb", "ac3": b"\x0b\x77"}
        assert {packet[:2] == known.get(codec) for packet in packets} == {codec in known}


def test_a_file_without_times_is_placed_by_its_frame_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = made(tmp_path / "raw.h264", "-c", "copy", source=["-i", str(clip(2, audio=False))])
    live = filter_of(raw, tmp_path / "out.mkv").start()
    assert live.wait(20)
    assert live.failure is None
    received = Received(tmp_path / "out.mkv")
    assert len(received.numbers) == 50
    assert received.video_seconds == pytest.approx([index / 25 for index in range(50)], abs=0.002)
    warnings = [record.message for record in caplog.records if "no times" in record.message]
    assert len(warnings) == 1
    assert "25 frames a second" in warnings[0]


def test_a_live_stream_without_times_is_placed_by_the_wall_clock(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        running(publish(clip(6, audio=False), "-f", "h264", f"{address}?listen=1")),
        filter_of(address, tmp_path / "out.mkv") as live,
    ):
        assert wait_until(lambda: live.stats.count("out") > 25, 10), live.stats.events()
    seconds = Received(tmp_path / "out.mkv").video_seconds
    assert seconds[-1] - seconds[0] == pytest.approx(len(seconds) / 25, abs=0.4)
    assert len([record for record in caplog.records if "no times" in record.message]) == 1


def test_sound_that_no_output_can_hold_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tone = ["-f", "lavfi", "-i", "sine=d=2:r=48000", "-i", str(clip(2, audio=False))]
    arguments = ("-c:v", "copy", "-c:a", "s302m", "-ac", "2", "-strict", "-2")
    source = made(tmp_path / "broadcast.ts", *arguments, source=tone)
    live = filter_of(source, tmp_path / "out.mkv").start()
    assert live.wait(20)
    assert live.failure is None
    received = Received(tmp_path / "out.mkv")
    assert len(received.numbers) == 50
    assert received.audio_seconds == []
    assert [record.message for record in caplog.records if "s302m" in record.message] == [
        f"{source}: its sound, s302m, can't be passed on and is left out"
    ]


def test_a_source_of_few_frames_is_not_taken_for_a_silent_one(tmp_path: Path) -> None:
    arguments = ("-c:v", "libx264", "-tune", "zerolatency")
    pattern = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=2:d=3,format=yuv420p"]
    slow = made(tmp_path / "slow.flv", *arguments, source=pattern)
    source = LiveSource(str(slow), SourceConfig(realtime=True, reconnect=True, outage_seconds=0.2))
    frames = iter(source)
    try:
        shown = [next(frames) for _ in range(5)]
    finally:
        source.close()
    assert source.stats.count("bridge") == 0
    assert len({frame.pts for frame in shown}) == 5


def test_a_listener_whom_nobody_calls_says_so_in_its_own_words(capfd: pytest.CaptureFixture[str]) -> None:
    config = SourceConfig(open_seconds=0.3, reconnect=False)
    source = LiveSource(f"srt://127.0.0.1:{free_port()}?mode=listener", config)
    with pytest.raises(dv.LiveInputError, match="nothing arrived in time") as failure:
        next(iter(source))
    source.close()
    assert failure.value.reason == "silent"
    assert "Traceback" not in capfd.readouterr().err


def test_a_port_that_is_taken_is_no_source_that_sends_the_wrong_thing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        source = LiveSource(f"udp://127.0.0.1:{taken.getsockname()[1]}", SourceConfig(reconnect=False))
        with pytest.raises(dv.LiveInputError, match="Error opening input") as failure:
            next(iter(source))
        source.close()
    assert failure.value.reason == "absent"


def test_a_caller_that_freezes_is_given_up_after_the_stall_not_after_the_time_for_opening(
    tmp_path: Path,
) -> None:
    listener = f"srt://127.0.0.1:{free_port()}?mode=listener"
    with (
        filter_of(listener, tmp_path / "out.mkv", stall_seconds=0.7, open_seconds=20.0) as live,
        running(publish(clip(6), "-f", "mpegts", listener.replace("listener", "caller"))) as caller,
    ):
        assert wait_until(lambda: live.stats.count("in") > 12, 10)
        os.kill(caller.pid, signal.SIGSTOP)
        try:
            assert wait_until(lambda: live.stats.sample("diffir_reconnects_total", end="source") >= 1, 3)
        finally:
            os.kill(caller.pid, signal.SIGCONT)

"""What the ends of a stream hold afterwards: nothing overwritten, nothing missing, no false success."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
import yaml

import diffir_video as dv
from diffir_video import EncoderError, OutputError, StreamInfo
from diffir_video.media import MediaPacket, TrackFormat
from diffir_video.media.captions import captions_of
from streams import LiveConfig, LiveFilter, SinkConfig, SourceConfig
from streams.frames import TICK, LiveFrame
from streams.governor import GovernorConfig
from streams.sinks import LiveSink
from streams.sources import LiveSource
from tests.streams.peers import Received, clip, free_port, wait_until

ROOT = Path(__file__).parents[2]
SECRET = "s3cr3t-k3y"
UNHURRIED = LiveConfig(governor=GovernorConfig(latency_seconds=None))
SMALL, LARGE = (64, 48), (96, 64)
EARLIER = b"an earlier recording"


def finished(source: Path, *sinks: str) -> LiveFilter:
    """A filter whose source has ended by itself."""
    live = LiveFilter(str(source), dv.Restorer.from_pretrained("identity", device="cpu"), sinks, UNHURRIED)
    assert live.start().wait(30)
    return live


def write(
    sink: LiveSink,
    size: tuple[int, int],
    frames: range,
    *,
    pixels: Fraction | None = None,
    has_captions=False,
    pixel_format="yuv420p",
) -> None:
    """Grey frames, 25 a second."""
    width, height = size
    info = StreamInfo(
        width=width,
        height=height,
        time_base=TICK,
        pixel_format=pixel_format,
        sample_aspect_ratio=pixels,
        average_rate=Fraction(25),
    )
    for number in frames:
        grey = torch.full((3, height, width), 0.5)
        captions = caption(number) if has_captions else None
        frame = LiveFrame(grey, 3600 * number, TICK, captions=captions, stream=info, arrived=0.0, epoch=0)
        sink.write(frame)


def caption(number: int) -> bytes:
    return bytes((0xFC, number | 0x80, 0x80))


def test_a_recording_takes_the_next_free_number_and_says_which(tmp_path: Path) -> None:
    for name in ("out.mkv", "out-2.mkv"):
        (tmp_path / name).write_bytes(EARLIER)
    live = finished(clip(2), str(tmp_path / "out.mkv"))
    assert live.failure is None
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "out-2.mkv").read_bytes() == EARLIER
    assert Received(tmp_path / "out-3.mkv").numbers == list(range(50))
    assert any("out-3.mkv" in event.text for event in live.stats.events())


def test_a_recording_that_begins_again_at_a_new_size_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "out-2.ts").write_bytes(EARLIER)
    sink = LiveSink([str(tmp_path / "out.ts")])
    sink.open(waits=True)
    write(sink, SMALL, range(10))
    write(sink, LARGE, range(10, 20))
    sink.close()
    assert (tmp_path / "out-2.ts").read_bytes() == EARLIER
    assert Received(tmp_path / "out.ts").sizes == {SMALL}
    assert Received(tmp_path / "out-3.ts").sizes == {LARGE}


@pytest.mark.parametrize(("policy", "shapes"), [("follow", ["16:15", "64:45"]), ("fit", ["16:15"])])
def test_pixels_of_another_shape_are_followed_or_fitted(tmp_path: Path, policy, shapes: list[str]) -> None:
    sink = LiveSink([str(tmp_path / "out.ts")], SinkConfig(size_change=policy))
    sink.open(waits=True)
    write(sink, SMALL, range(10), pixels=Fraction(16, 15))
    write(sink, SMALL, range(10, 20), pixels=Fraction(64, 45))
    sink.close()
    recordings = sorted(tmp_path.glob("out*.ts"), key=lambda path: len(path.name))
    assert [shape_of_pixels(path) for path in recordings] == shapes
    *_, last = av.open(str(recordings[-1])).decode(video=0)
    # Shown at 16:9, a picture has bars above and below it where all is shown at 4:3.
    has_bars = last.to_ndarray(format="gray")[:4].mean() < 40
    assert has_bars == (policy == "fit")


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("libx264", {"tune": "film"}),
        ("libx264", {"tune": "film", "bf": "3"}),
        ("libsvtav1", {"preset": "12"}),
    ],
)
def test_what_an_encoder_that_looks_ahead_still_holds_is_sent(tmp_path: Path, encoder: str, options) -> None:
    out = tmp_path / "out.mkv"
    sink = LiveSink([str(out)], SinkConfig(encoder=encoder, encoder_options=options))
    sink.open(waits=True)
    write(sink, SMALL, range(10, 60), has_captions=encoder == "libx264")
    write(sink, LARGE, range(60, 100), has_captions=encoder == "libx264")
    sink.close()
    pictures = [picture for path in (out, tmp_path / "out-2.mkv") for picture in av.open(str(path)).decode()]
    assert [round(picture.time * 25) for picture in pictures] == list(range(10, 100))
    if encoder == "libx264":
        assert [captions_of(picture) for picture in pictures] == [
            caption(number) for number in range(10, 100)
        ]


def test_pictures_for_webrtc_are_what_its_peers_can_decode_whatever_the_source_has(tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    sink = LiveSink([f"whip://127.0.0.1:{free_port()}/x", str(out)])
    sink.open(waits=True)
    write(sink, SMALL, range(10), pixel_format="yuv444p10le")
    sink.stop()
    sink.close()
    assert next(av.open(str(out)).decode(video=0)).format.name == "yuv420p"


@pytest.mark.parametrize(
    ("sink", "encoder", "source", "encoded"),
    [
        pytest.param("rtmp://127.0.0.1:{port}/live/x", "libx264", "yuv422p10le", "yuv420p", id="RTMP"),
        pytest.param("{folder}/live.m3u8", "libx264", "yuv444p", "yuv420p", id="HLS"),
        pytest.param("{folder}/live.m3u8", "libx264", "gray", "yuv420p", id="grey"),
        pytest.param("{folder}/live.m3u8", "libx264", "bgr0", "yuv420p", id="a screen"),
        pytest.param("{folder}/live.m3u8", "libx265", "yuv422p10le", "yuv420p10le", id="HEVC, 10 bits"),
        pytest.param("{folder}/copy.ts", "libx264", "yuv422p10le", "yuv422p10le", id="no player"),
    ],
)
def test_pictures_for_players_are_what_they_can_decode_and_who_watches_the_log_hears_of_it(
    tmp_path: Path, sink: str, encoder: str, source: str, encoded: str, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out.mkv"
    address = sink.format(port=free_port(), folder=tmp_path)
    written = LiveSink([address, str(out)], SinkConfig(encoder=encoder))
    written.open(waits=True)
    write(written, SMALL, range(10), pixel_format=source)
    written.stop()
    written.close()
    picture = next(av.open(str(out)).decode(video=0))
    # Its decoder calls full range, as grey has it, yuvj420p.
    assert picture.format.name.replace("yuvj", "yuv") == encoded
    assert picture.to_ndarray(format="rgb24").mean() == pytest.approx(127.5, abs=2)
    told = [record.message for record in caplog.records if "becomes" in record.message]
    assert [f"becomes {encoded}" in text for text in told] == ([] if source == encoded else [True])


def test_whoever_knows_the_player_names_the_pixel_format(tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    config = SinkConfig(pixel_format="yuv422p10le")
    sink = LiveSink([f"rtmp://127.0.0.1:{free_port()}/live/x", str(out)], config)
    sink.open(waits=True)
    write(sink, SMALL, range(10), pixel_format="yuv422p10le")
    sink.stop()
    sink.close()
    assert next(av.open(str(out)).decode(video=0)).format.name == "yuv422p10le"


def test_a_pixel_format_that_the_encoder_does_not_have_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="encoder libx264 has no pixel format yuv42p"):
        LiveSink([str(tmp_path / "out.mkv")], SinkConfig(pixel_format="yuv42p"))


def test_pictures_of_an_odd_size_are_made_even_for_players_and_stay_as_they_are_for_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    players = [f"whip://127.0.0.1:{free_port()}/x", str(tmp_path / "even.mkv")]
    for sinks in (players, [str(tmp_path / "odd.mkv")]):
        sink = LiveSink(sinks)
        sink.open(waits=True)
        write(sink, (65, 49), range(10))
        sink.stop()
        sink.close()
    assert Received(tmp_path / "even.mkv").sizes == {(66, 50)}
    assert Received(tmp_path / "odd.mkv").sizes == {(65, 49)}
    assert any("65x49 becomes 66x50" in record.message for record in caplog.records)


def shape_of_pixels(path: Path) -> str:
    with av.open(str(path)) as container:
        shape = container.streams.video[0].codec_context.sample_aspect_ratio
        assert shape is not None
        return f"{shape.numerator}:{shape.denominator}"


def test_a_recorder_that_can_write_nothing_leaves_no_empty_files(tmp_path: Path) -> None:
    def full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    out = tmp_path / "out.ts"
    with command(clip(30), str(out), "--realtime", stderr=subprocess.PIPE, preexec_fn=full_disk) as process:
        assert process.stderr is not None
        failures = (line for line in process.stderr if b"next attempt" in line)
        assert [next(failures) for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sink", ["/proc/out.ts", "rtmp://127.0.0.1:{port}/live/{secret}"])
def test_a_sink_that_got_nothing_is_a_failure_when_the_source_has_ended(tmp_path: Path, sink: str) -> None:
    recording = tmp_path / "out.mkv"
    live = finished(clip(2), sink.format(port=free_port(), secret=SECRET), str(recording))
    assert isinstance(live.failure, OutputError)
    assert live.failure.exit_code == 4
    assert len(Received(recording).numbers) == 50
    said = [str(live.failure), *(event.text for event in live.stats.events())]
    assert not any(SECRET in text for text in said)


def test_large_pictures_that_a_peer_never_took_count_as_nothing_delivered() -> None:
    sink = LiveSink([f"rtmp://127.0.0.1:{free_port()}/live/x"], SinkConfig(encoder_options={"crf": "1"}))
    sink.open(waits=True)
    write_noise(sink, range(20))
    with pytest.raises(OutputError, match="Connection refused"):
        sink.close()


def test_a_peer_has_the_time_for_connecting_however_large_the_pictures_are() -> None:
    config = SinkConfig(encoder_options={"crf": "1"}, open_seconds=1.5, stall_seconds=0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = LiveSink([f"rtmp://127.0.0.1:{silent.getsockname()[1]}/live/x"], config)
        sink.open()
        write_noise(sink, range(20))
        assert wait_until(sink.stats.events, 5)
        assert "took nothing for 1.5 s" in sink.stats.events()[0].text
        sink.abort()


def write_noise(sink: LiveSink, frames: range) -> None:
    """Frames that an encoder can't make small: each is larger than what waits between it and a peer."""
    info = StreamInfo(width=640, height=360, time_base=TICK, pixel_format="yuv420p")
    for number in frames:
        noise = torch.rand(3, 360, 640)
        sink.write(LiveFrame(noise, 3600 * number, TICK, stream=info, arrived=0.0, epoch=0))


def test_a_playlist_goes_on_at_a_new_size_and_ends_once(tmp_path: Path) -> None:
    playlist = tmp_path / "live.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:70\n#EXTINF:2.0,\nearlier70.ts\n#EXT-X-ENDLIST\n")
    sink = LiveSink([str(playlist)], SinkConfig(gop_seconds=0.4))
    sink.open(waits=True)
    write(sink, SMALL, range(120))
    write(sink, LARGE, range(120, 240))
    assert wait_until(lambda: "#EXT-X-DISCONTINUITY" in playlist.read_text())
    assert "#EXT-X-ENDLIST" not in playlist.read_text()
    sink.close()
    lines = playlist.read_text().splitlines()
    segments = [line for line in lines if not line.startswith("#")]
    assert "#EXT-X-MEDIA-SEQUENCE:0" in lines
    assert lines.count("#EXT-X-DISCONTINUITY") == 1
    assert lines[-1] == "#EXT-X-ENDLIST"
    assert len(segments) == len(set(segments)) == 6
    sizes = [Received(tmp_path / segment).sizes for segment in segments]
    assert sizes == [{SMALL}] * 3 + [{LARGE}] * 3


def test_playlists_in_one_folder_share_no_segment(tmp_path: Path) -> None:
    playlists = [tmp_path / name for name in ("cam.m3u8", "cam1.m3u8", "cam_1.m3u8", "50%d.m3u8")]
    sink = LiveSink(list(map(str, playlists)), SinkConfig(gop_seconds=0.4))
    sink.open(waits=True)
    write(sink, SMALL, range(25 * 2 * 12))
    sink.close()
    lines = [line for path in playlists for line in path.read_text().splitlines()]
    listed = [line for line in lines if not line.startswith("#")]
    assert len(listed) == len(set(listed)) == 24
    assert all((tmp_path / name).stat().st_size for name in listed)


def test_names_may_hold_a_colon_as_times_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = Path("camera-10:00:00.flv")
    source.write_bytes(clip(2).read_bytes())
    live = finished(source, "restored-10:00:00.mkv")
    assert live.failure is None
    assert len(Received(tmp_path / "restored-10:00:00.mkv").numbers) == 50


@pytest.mark.slow
def test_a_source_that_can_wait_waits_for_the_reader_of_a_pipe(tmp_path: Path) -> None:
    settings = {"input": {"stall_seconds": 0.5}, "output": {"queue_packets": 8, "stall_seconds": 0.2}}
    path, out = tmp_path / "live.yaml", tmp_path / "out.nut"
    path.write_text(yaml.safe_dump(settings))
    source = clip(8, noise=60)
    with command(source, "-", "--config", str(path), stdout=subprocess.PIPE) as process:
        time.sleep(4)
        out.write_bytes(process.communicate(timeout=30)[0])
        assert process.returncode == 0
    received, sent = Received(out), Received(source)
    assert received.numbers == sent.numbers
    assert len(received.audio_seconds) >= len(sent.audio_seconds) - 2


def test_a_source_that_can_wait_is_not_taken_for_silent_when_it_had_to() -> None:
    class SlowListener:
        packets = 0

        def expect_audio(self, format: TrackFormat) -> None:
            pass

        def write_audio(self, packet: MediaPacket) -> None:
            self.packets += 1
            if self.packets < 10:
                time.sleep(0.3)

    source = LiveSource(str(clip(2)), SourceConfig(stall_seconds=0.2), audio=SlowListener())
    assert len(list(source)) == 50
    source.close()


def test_sigterm_while_nobody_reads_the_pipe_ends_in_five_seconds() -> None:
    with command(clip(8, noise=60), "-", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        time.sleep(2)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - asked <= 5.0


@pytest.mark.parametrize("others", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_pipe_whose_reader_left_is_given_up_and_the_stream_with_its_last_sink(
    tmp_path: Path, others: int
) -> None:
    source, recording = clip(8 - 4 * others), tmp_path / "out.mkv"
    tee = ["--tee", str(recording)] * others
    with command(source, "-", *tee, "--realtime", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(2000)
        process.stdout.close()
        log = process.stderr.read().decode()
        assert process.wait(10) == 4
    assert "next attempt" not in log
    assert log.count("WARNING -: nobody reads it") == 1
    if others:
        assert len(Received(recording).numbers) >= 95


def test_each_instance_of_the_service_has_a_folder_of_its_own() -> None:
    unit = (ROOT / "deploy/diffir-stream.service").read_text().splitlines()
    assert "StateDirectory=diffir-stream/%i" in unit
    assert "WorkingDirectory=%S/diffir-stream/%i" in unit
    assert "RestartPreventExitStatus=2" in unit


@contextmanager
def command(source: Path, *arguments: str, **options) -> Iterator[subprocess.Popen]:
    """`diffir-stream` with the identity model, killed when the block ends."""
    program = [sys.executable, "-B", "-m", "streams", str(source), *arguments, "--model", "identity"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(program, env=environment, stdin=subprocess.DEVNULL, **options) as process:
        try:
            yield process
        finally:
            process.kill()

"""What a source is told, and what it says where that makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

import diffir_video as dv
from diffir_video import LiveInputError, UsageError
from streams import LiveFilter, LiveSource, SourceConfig
from streams.cli import main
from tests.streams.peers import free_port


def source(address: str, **options: str) -> LiveSource:
    return LiveSource(address, SourceConfig(options=tuple(options.items()), reconnect=False))


def test_a_misspelt_option_ends_the_command_before_anything_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "live.yaml"
    path.write_text("input: {options: {rtsp_transprot: udp}}\n")
    assert main(["rtsp://camera/1", str(tmp_path / "out.mkv"), "--config", str(path)]) == 2
    assert "no input option 'rtsp_transprot'; did you mean rtsp_transport?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["skip_frame", "movflags", "udp", "tpc"])
def test_options_of_decoders_and_outputs_and_values_are_no_options_of_an_input(name: str) -> None:
    with pytest.raises(UsageError, match=f"no input option '{name}'"):
        source("rtmp://server/live/key", **{name: "1"})


@pytest.mark.parametrize(
    ("address", "name"),
    [
        pytest.param("rtsp://camera/1", "rtsp_transport", id="of a demuxer"),
        pytest.param("rtmp://server/live/key", "rtmp_buffer", id="of a protocol"),
        pytest.param("rtmps://server/live/key", "tls_verify", id="of the protocol below it"),
        pytest.param("https://host/live.m3u8", "fflags", id="of all formats"),
        pytest.param("udp://0.0.0.0:9", "fifo_size", id="of the program that reads it"),
        pytest.param("-", "framerate", id="of raw streams"),
        pytest.param("/dev/video0", "video_size", id="of devices"),
    ],
)
def test_an_option_that_ffmpeg_knows_is_taken(address: str, name: str) -> None:
    assert source(address, **{name: "1"}).config.options == ((name, "1"),)


def test_options_of_srt_belong_into_its_address() -> None:
    with pytest.raises(UsageError, match=r"'passphrase'.* written in its address"):
        source("srt://host:9000", passphrase="0123456789")


def test_a_value_that_ffmpeg_refuses_is_named_as_the_reason() -> None:
    refused = source(f"rtsp://127.0.0.1:{free_port()}/1", rtsp_transport="tpc")
    with pytest.raises(LiveInputError, match="FFmpeg refuses the address, or the value of an option"):
        next(iter(refused))
    refused.close()


@pytest.mark.parametrize("address", ["rtps://camera/1", "rtsp:/camera/1"])
def test_a_filter_is_not_made_for_an_address_that_nothing_can_come_from(tmp_path: Path, address: str) -> None:
    restorer = dv.Restorer.from_pretrained("identity", device="cpu")
    with pytest.raises(UsageError, match="no source for"):
        LiveFilter(address, restorer, str(tmp_path / "out.mkv"))


def test_whep_without_aiortc_is_refused_at_once_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.whep.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'diffir-video\[webrtc\]'"):
        source("whep://host/path")

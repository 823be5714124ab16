"""Addresses are named in logs, metrics and errors; what they hide stays hidden."""

from __future__ import annotations

import logging

import pytest

from diffir_video.errors import UsageError
from streams.addresses import Address, told_apart
from streams.backoff import Backoff
from streams.connecting import check_source
from streams.logs import set_up_logs
from streams.publishing import check_sink

SECRET = "s3cr3t-k3y"
SHAPES = [
    f"rtsp://user:{SECRET}@camera/stream",
    f"rtsp://user:{SECRET}@camera:8554/stream?channel=1",
    f"rtsp://user:p@{SECRET}@camera/stream",
    f"rtsp://user:a/{SECRET}@camera/stream",
    f"rtsp://user:a?{SECRET}@camera/stream",
    f"rtsp://{SECRET}@camera/stream",
    f"rtsp://camera/user=admin&password={SECRET}&channel=1",
    f"rtsp://camera/{SECRET}",
    f"rtsps://user:{SECRET}@[::1]:322/stream",
    f"rtmp://server/live/{SECRET}",
    f"rtmps://user:{SECRET}@server:443/app/instance/stream",
    f"rtmp://server/live/stream?key={SECRET}",
    f"rtmp://server/live/{SECRET}?bandwidth=1",
    f"srt://host:9000?mode=caller&passphrase={SECRET}",
    f"srt://host:9000?streamid=publish:{SECRET}",
    f"srt://host:9000?streamid=%23!::u=me,r={SECRET}",
    f"http://user:{SECRET}@host/live.m3u8",
    f"https://host/{SECRET}/live.m3u8?token={SECRET}",
    f"whips://host/whip?token={SECRET}",
    f"https://host/live.m3u8#{SECRET}",
    f"udp://host:1234?localaddr=1.2.3.4&key={SECRET}",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_shows_its_secret(shape: str) -> None:
    address = Address(shape)
    for shown in (str(address), repr(address), f"{address}", address.redacted):
        assert SECRET not in shown
    assert str(address).startswith(shape.split("://", maxsplit=1)[0] + "://")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("format", ["text", "json"])
def test_no_log_line_shows_a_secret(shape: str, format, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:]
    try:
        set_up_logs([Address(shape)], format=format, level="debug")
        log = logging.getLogger("streams.test")
        log.info("Error opening output %s: Connection refused", shape)
        log.info("the server said: unknown key %s", SECRET)
        try:
            raise OSError(f"can't open {shape}")
        except OSError:
            log.exception("failed")
    finally:
        root.handlers[:] = before
    assert SECRET not in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        f"rtsp:/user:{SECRET}@camera/stream",
        f"user:{SECRET}@camera",
        f"rtsp:user:{SECRET}@camera/{SECRET}",
        f"rtmp:/camera.example.com/live2/{SECRET}",
        f"rtmps:camera:443/live/{SECRET}",
        f"RTMP//camera/live/{SECRET}",
        f"srt:/camera:9000?passphrase={SECRET}",
        f"whip:/camera/{SECRET}",
    ],
)
def test_an_address_without_its_slashes_shows_no_secret_either(text: str) -> None:
    address = Address(text)
    assert SECRET not in str(address)
    assert SECRET not in address.hide_in(f"can't open {text}")
    with pytest.raises(UsageError) as failure:
        check_sink(address)
    assert SECRET not in str(failure.value)
    assert "camera" in str(failure.value)
    with pytest.raises(UsageError) as failure:
        check_source(address)
    assert SECRET not in str(failure.value)
    assert "camera" in str(failure.value)


def test_files_and_pipes_are_shown_as_they_are() -> None:
    assert str(Address("-")) == "-"
    assert str(Address("/data/in@home.mp4")) == "/data/in@home.mp4"
    assert str(Address("rtmp/recording.flv")) == "rtmp/recording.flv"
    assert str(Address("take:2.mp4")) == "take:2.mp4"


def test_an_address_without_secrets_is_shown_whole_in_the_log() -> None:
    address = Address("udp://127.0.0.1:1234")
    assert address.hide_in(f"{address}: 320x180 arrives") == "udp://127.0.0.1:1234: 320x180 arrives"


def test_waits_double_up_to_a_cap_with_some_chance_and_begin_again_after_success() -> None:
    backoff = Backoff(first_seconds=0.25, cap_seconds=3.0)
    waits = [backoff.next_seconds() for _ in range(1000)]
    assert 0.125 <= waits[0] <= 0.25
    assert max(waits) <= 3.0
    assert min(waits[10:]) >= 1.5
    assert len(set(waits[10:])) > 900
    # An hour of attempts, and how often two is doubled is beyond any float.
    assert max(backoff.next_seconds() for _ in range(200)) <= 3.0
    backoff.reset()
    assert backoff.next_seconds() <= 0.25


def test_addresses_that_differ_in_their_secrets_alone_are_told_apart_without_them() -> None:
    sinks = [
        f"rtmp://server/live/{SECRET}-1",
        "out.mkv",
        f"rtmp://server/live/{SECRET}-2",
        "rtmp://other/live/x",
    ]
    assert told_apart(list(map(Address, sinks))) == [
        "rtmp://server/***",
        "out.mkv",
        "rtmp://server/*** (2)",
        "rtmp://other/***",
    ]

"""The command, its settings file, its page and its metrics."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import yaml

import diffir_video as dv
from diffir_video import InputError, UsageError
from streams import LiveConfig, LiveFilter, SourceConfig
from streams.cli import main
from streams.config import read_service
from streams.governor import GovernorConfig
from streams.settings import seconds
from streams.web import StatusServer
from tests.streams.peers import clip, free_port, wait_until

ROOT = Path(__file__).parents[2]
SECRET = "s3cr3t-k3y"


@contextmanager
def served(tmp_path: Path, **options) -> Iterator[tuple[LiveFilter, str]]:
    config = LiveConfig(source=SourceConfig(realtime=True))
    restorer = dv.Restorer.from_pretrained("identity", device="cpu")
    live = LiveFilter(str(clip(20)), restorer, str(tmp_path / "out.mkv"), config)
    with StatusServer(live, "127.0.0.1:0", **options) as server:
        yield live, server.url


def get(url: str, *, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_page_its_figures_and_its_picture_follow_the_stream(tmp_path: Path) -> None:
    with served(tmp_path) as (live, url):
        assert get(f"{url}healthz")[0] == 503
        assert get(f"{url}preview.jpg")[0] == 503
        with live:
            assert wait_until(lambda: get(f"{url}readyz")[0] == 200)
            assert get(f"{url}healthz")[0] == 200
            assert get(f"{url}readyz", method="HEAD") == (200, b"")
            assert b"<canvas" in get(url)[1]
            assert get(f"{url}preview.jpg")[1].startswith(b"\xff\xd8")
            assert wait_until(lambda: json.loads(get(f"{url}stats.json")[1])["frames"]["out"] > 25)
            text = get(f"{url}metrics")[1].decode()
        assert get(f"{url}nothing")[0] == 404
    for name in (
        'diffir_frames_total{stage="in"}',
        'diffir_frames_total{stage="out"}',
        'diffir_latency_seconds_bucket{le="0.3",stage="glass_to_glass"}',
        "diffir_ladder_level ",
        "diffir_prior_age_frames ",
    ):
        assert name in text


def test_a_request_that_makes_no_sense_is_answered_and_leaves_no_trace_in_the_log(
    tmp_path: Path, capfd
) -> None:
    with served(tmp_path) as (_, url), socket.create_connection(("127.0.0.1", urlsplit(url).port)) as visitor:
        visitor.sendall(b"GET http://[ HTTP/1.0\r\n\r\n")
        assert b" 400 " in visitor.recv(100)
    assert capfd.readouterr().err == ""


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


def test_visitors_need_the_token_but_health_does_not(tmp_path: Path) -> None:
    with served(tmp_path, token=SECRET) as (_, url):
        assert get(url)[0] == 401
        assert get(f"{url}metrics")[0] == 401
        assert get(f"{url}?token=wrong")[0] == 401
        assert get(f"{url}?token={SECRET}")[0] == 200
        assert get(f"{url}metrics", Authorization=f"Bearer {SECRET}")[0] == 200
        assert get(f"{url}healthz")[0] == 503


def test_the_page_is_served_on_the_loopback_address_of_ipv6(tmp_path: Path) -> None:
    live = LiveFilter(str(clip(2)), dv.Restorer.from_pretrained("identity"), str(tmp_path / "out.mkv"))
    with StatusServer(live, "[::1]:0") as server:
        assert server.url.startswith("http://[::1]:")
        assert get(f"{server.url}healthz")[0] == 503


@pytest.mark.parametrize("address", ["0.0.0.0:8080", ":8080", "192.0.2.1:80", "8080", "127.0.0.1:http"])
def test_a_page_for_everyone_needs_a_token_and_an_address_needs_a_port(tmp_path: Path, address: str) -> None:
    live = LiveFilter(str(clip(2)), dv.Restorer.from_pretrained("identity"), str(tmp_path / "out.mkv"))
    with pytest.raises(UsageError):
        StatusServer(live, address)


def test_settings_are_read_from_yaml_with_secrets_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "live.yaml"
    path.write_text(
        "source: rtsp://camera/1\nsinks: ['rtmp://server/live/${KEY}']\nlatency: 250ms\n"
        "input: {stall_seconds: 500ms, options: {rtsp_transport: udp}}\n"
        "output: {encoder_options: {crf: 23}}\n"
    )
    settings = read_service(path, {"KEY": SECRET})
    assert settings["sinks"] == (f"rtmp://server/live/{SECRET}",)
    live = settings["live"]
    assert live.governor.latency_seconds == 0.25
    assert live.source.stall_seconds == 0.5
    assert live.source.options == (("rtsp_transport", "udp"),)
    assert live.sink.encoder_options == {"crf": "23"}


@pytest.mark.parametrize(
    ("text", "error", "what"),
    [
        ("sauce: x", UsageError, "sauce"),
        ("input: {stall: 1}", UsageError, "stall"),
        ("latency: soon", UsageError, "soon"),
        ("source: ${NOT_SET}", UsageError, "NOT_SET"),
        ("source: [a", UsageError, "YAML"),
        ("governor: 3", UsageError, "governor"),
        ("throttle: fast", UsageError, "throttle.*'fast'"),
        ("throttle: .nan", UsageError, "throttle"),
        ("throttle: 0.5", UsageError, "throttle"),
        ("sinks: 5", UsageError, "sinks"),
        ("model: 5", UsageError, "model.*5"),
        ("http: 8080", UsageError, "http.*8080"),
        ("reuse: sometimes", UsageError, "reuse.*off or prior or statistics.*'sometimes'"),
        ("device: gpu", UsageError, "device.*auto, cpu, cuda"),
        ("1: 2", UsageError, "unknown 1"),
        ("source: 2024-13-45", UsageError, "YAML"),
        ("input: {1: 2}", UsageError, "input: unknown 1"),
        ("input: {outage: freeze}", UsageError, "outage.*hold or slate or pause.*'freeze'"),
        ("input: {realtime: 'no'}", UsageError, "realtime.*true or false"),
        ("input: {mailbox: 2.5}", UsageError, "mailbox.*whole number"),
        ("input: {open_seconds: off}", UsageError, "open_seconds.*a time"),
        ("input: {options: [a]}", UsageError, "options"),
        ("output: {size_change: stretch}", UsageError, "size_change.*follow or fit.*'stretch'"),
        ("output: {queue_packets: many}", UsageError, "queue_packets.*'many'"),
        ("output: {encoder_options: [a]}", UsageError, "encoder_options"),
        ("output: {queue_packets: 0}", UsageError, "queue_packets.*1.*0"),
        ("output: {stall_seconds: 0}", UsageError, "stall_seconds.*0"),
        ("input: {open_seconds: 0s}", UsageError, "open_seconds.*0"),
        ("input: {mailbox: 0}", UsageError, "mailbox.*1.*0"),
        (None, InputError, "No such file"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, text: str | None, error, what: str) -> None:
    path = tmp_path / "live.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=what):
        read_service(path, {})


@pytest.mark.parametrize(
    "text", ["http_token: 12345678", "sinks: [{rtmp: 12345678}]", "source: {a: 12345678}"]
)
def test_what_may_be_a_secret_is_not_shown_where_it_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "live.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=text.partition(":")[0]) as failure:
        read_service(path, {})
    assert "12345678" not in str(failure.value)


def test_settings_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "live.yaml"
    path.write_bytes(b"source: \xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        read_service(path, {})


def test_a_bare_off_which_yaml_reads_as_false_is_off(tmp_path: Path) -> None:
    path = tmp_path / "live.yaml"
    path.write_text("latency: off\nreuse: off\ninput: {stall_seconds: off}\n")
    settings = read_service(path, {})
    assert settings["reuse"] == "off"
    assert settings["live"].governor.latency_seconds is None
    assert settings["live"].source.stall_seconds is None


def test_numbers_may_come_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "live.yaml"
    path.write_text("throttle: ${N}\ninput: {mailbox: '${N}', options: {buffer_size: 9, nobuffer: yes}}")
    live = read_service(path, {"N": "3"})["live"]
    assert (live.throttle, live.source.mailbox) == (3.0, 3)
    assert live.source.options == (("buffer_size", "9"), ("nobuffer", "1"))


@pytest.mark.parametrize("path", sorted((ROOT / "configs/live").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_in_configs_can_be_read(path: Path) -> None:
    variables = {"CAMERA_URL": "rtsp://camera/1", "STREAM_KEY": "key", "SRT_PASSPHRASE": "0123456789"}
    settings = read_service(path, variables)
    assert settings["source"]
    assert settings["sinks"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("300ms", 0.3), ("1.5s", 1.5), ("2m", 120), (0.25, 0.25), ("off", None), (False, None)],
)
def test_durations(text, value: float | None) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["in.mp4"], 2),
        (["in.mp4", "gopher://x/y"], 2),
        (["gopher://x/y", "out.mkv"], 2),
        (["env:NOT_SET_AT_ALL", "out.mkv"], 2),
        (["in.mp4", "out.xyz"], 2),
        (["in.mp4", "out.mkv", "--model", "nothing"], 2),
        (["in.mp4", "live-10:00.m3u8", "--model", "identity"], 2),
        (["in.mp4", "missing-folder/out.mkv"], 4),
        (["in.mp4", "-", "--tee", "-", "--model", "identity"], 4),
        (["in.mp4", "live.m3u8", "--tee", "./live.m3u8", "--model", "identity"], 4),
        (["live.m3u8", "./live.m3u8", "--model", "identity"], 4),
        (["udp://127.0.0.1:9", "udp://127.0.0.1:9", "--model", "identity"], 4),
        (["--config", "missing.yaml"], 3),
    ],
)
def test_exit_codes(arguments: list[str], code: int, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    assert capsys.readouterr().err.count("\n") >= 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["missing.mp4", "out.mkv", "--model", "identity"], 3), (["in.mp4", "out.xyz"], 2)],
)
def test_where_the_log_is_json_so_is_the_last_line(
    arguments: list[str], code: int, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--log-format", "json"]) == code
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[-1]["level"] == "error"
    assert arguments[code == 2] in lines[-1]["message"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["in.mp4", "out.mkv", "--throttle", "fast"], "throttle.*fast"),
        (["in.mp4", "out.mkv", "--no-such-option"], "no-such-option"),
        (["in.mp4", "out.mkv", "rtmp://host/live/{key}"], "unrecognized arguments"),
        (["in.mp4", "out.mkv", "--log-level", "loud"], "loud"),
    ],
)
@pytest.mark.parametrize("format", [["--log-format", "json"], ["--log-format=json"]], ids=" ".join)
def test_where_the_log_is_json_so_is_a_usage_error(
    arguments: list[str], what: str, format: list[str], capsys
) -> None:
    assert main([argument.format(key=SECRET) for argument in arguments] + format) == 2
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert set(entry) == {"time", "level", "logger", "message"}
    assert entry["level"] == "error"
    assert re.search(what, entry["message"])
    assert SECRET not in line


@pytest.mark.parametrize("format", [[], ["--log-format", "text"], ["--log-format"], ["--log-format", "xml"]])
def test_a_usage_error_is_plain_text_for_all_others(format: list[str], capsys) -> None:
    assert main(["in.mp4", "out.mkv", "--no-such-option", *format]) == 2
    assert capsys.readouterr().err.startswith("usage: ")


@pytest.mark.parametrize(
    "misplaced",
    [
        pytest.param(["in.mp4", "out.mkv", "rtmp://host/live/{key}"], id="no --tee before it"),
        pytest.param(["in.mp4", "out.mkv", "--throttle", "rtmp://host/live/{key}"], id="no number"),
        pytest.param(["in.mp4", "out.mkv", "--device=rtmp://host/live/{key}"], id="no choice"),
        pytest.param(["in.mp4", "out.mkv", "--latency", "rtmp://host/live/{key}"], id="no time"),
        pytest.param(["in.mp4", "out.mkv", "--http", "rtmp://host/live/{key}"], id="no host"),
    ],
)
def test_an_address_where_none_belongs_keeps_its_key(misplaced: list[str], capsys) -> None:
    assert main([argument.format(key=SECRET) for argument in misplaced] + ["--model", "identity"]) in (
        2,
        3,
        4,
    )
    said = capsys.readouterr().err
    assert said
    assert SECRET not in said


@pytest.mark.parametrize("output", ["encoder: no-such-encoder", "encoder_options: {preset: no-such-preset}"])
def test_an_encoder_that_is_not_to_be_had_is_refused_before_the_source_is_there(
    output: str, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "live.yaml"
    path.write_text(f"model: identity\noutput: {{{output}}}\n")
    source, out = f"udp://127.0.0.1:{free_port()}", str(tmp_path / "out.mkv")
    assert main([source, out, "--config", str(path)]) == 4
    assert "no-such" in capsys.readouterr().err


def test_a_service_reads_its_thresholds_again_and_never_shows_its_key(tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "source": str(clip(30)),
        "sinks": [str(tmp_path / "out.mkv"), "rtmp://127.0.0.1:9/live/${KEY}"],
        "model": "identity",
        "http": f"127.0.0.1:{port}",
        "input": {"realtime": True},
        "latency": "300ms",
    }
    path = tmp_path / "live.yaml"
    path.write_text(yaml.safe_dump(settings))
    log = tmp_path / "log.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "KEY": SECRET}
    command = [sys.executable, "-m", "streams", "--config", str(path)]
    command += ["--log-format", "json", "--log-level", "debug"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env=environment, stderr=stderr)
    try:
        url = f"http://127.0.0.1:{port}/"
        assert wait_until(lambda: is_answered(f"{url}readyz"), 40), log.read_text()
        for wrong in (b"throttle: fast", b"sinks: 5", b"\xff"):
            before = log.read_text().count("stays as it was")
            path.write_bytes(wrong)
            process.send_signal(signal.SIGHUP)
            assert wait_until(lambda: log.read_text().count("stays as it was") > before), wrong  # noqa: B023
        path.write_text(yaml.safe_dump(settings | {"latency": "700ms"}))
        process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: json.loads(get(f"{url}stats.json")[1])["budget_ms"] == 700)
        assert wait_until(lambda: "next attempt" in log.read_text())
        shown = get(f"{url}metrics")[1] + get(f"{url}stats.json")[1] + log.read_bytes()
        assert SECRET.encode() not in shown
        service = psutil.Process(process.pid)
        for each in (service, *service.children()):
            # A child may have ended since.
            with suppress(psutil.NoSuchProcess):
                assert not any(SECRET in argument for argument in each.cmdline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    for line in log.read_text().splitlines():
        assert json.loads(line)["message"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_stream_has_begun_ends_it_as_one_after(tmp_path: Path, number: int) -> None:
    command = [
        sys.executable,
        "-m",
        "streams",
        str(clip(2)),
        str(tmp_path / "out.mkv"),
        "--model",
        "identity",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            assert wait_until(lambda: handles_hangups(process.pid))
            process.send_signal(signal.SIGHUP)
            process.send_signal(number)
            _, said = process.communicate(timeout=10)
        finally:
            process.kill()
    assert process.returncode == 0
    assert b"Traceback" not in said


def handles_hangups(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = status.partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (signal.SIGHUP - 1) & 1)


def test_a_source_that_can_wait_has_no_budget_whatever_it_is_told(tmp_path: Path) -> None:
    live = LiveFilter(str(clip(2)), dv.Restorer.from_pretrained("identity"), str(tmp_path / "out.mkv"))
    assert live.governor.config.latency_seconds is None
    live.configure(GovernorConfig(latency_seconds=0.3, calm_seconds=9))
    assert live.governor.config == GovernorConfig(latency_seconds=None, calm_seconds=9)


def is_answered(url: str) -> bool:
    try:
        return get(url)[0] == 200
    except OSError:
        time.sleep(0.2)
        return False

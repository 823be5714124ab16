"""The command: what it is told and how it ends, its log, and the signals that it gets."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from streams.__main__ import main as begin
from streams.cli import main
from tests.streams.peers import clip, free_port, get, is_answered, wait_until

SECRET = "s3cr3t-k3y"


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


def test_that_secrets_go_on_showing_is_said_in_the_log(tmp_path: Path, monkeypatch, capsys) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("streams.unseen.hide_own_arguments", refuse)
    monkeypatch.setattr(sys, "argv", ["diffir-stream", "missing.mp4", "out.mkv", "--log-format", "json"])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        assert begin() == 3
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    first, *_ = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert first["level"] == "warning"
    assert "the process list goes on showing the addresses" in first["message"]


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


def test_of_several_hangups_the_last_one_counts_whatever_the_file_was_meanwhile(tmp_path: Path) -> None:
    path, log = tmp_path / "live.yaml", tmp_path / "log.txt"
    settings = {
        # Nobody is there, so that it connects again and again.
        "source": f"tcp://127.0.0.1:{free_port()}",
        "sinks": [str(tmp_path / "out.mkv")],
        "model": "identity",
    }
    path.write_text(yaml.safe_dump(settings | {"latency": "300ms"}))
    command = [sys.executable, "-m", "streams", "--config", str(path)]

    def hang_up() -> None:
        process.send_signal(signal.SIGHUP)

    with log.open("wb") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        try:
            assert wait_until(lambda: "next attempt" in log.read_text(), 40), log.read_text()
            path.unlink()
            hang_up()
            assert wait_until(lambda: "No such file" in log.read_text()), log.read_text()
            os.mkfifo(path)
            hang_up()
            assert wait_until(lambda: "is no file" in log.read_text()), log.read_text()
            # Takes so long to read that the next one comes meanwhile.
            long = {"encoder_options": {f"option-{number}": "value" for number in range(15_000)}}
            replaced(path, settings | {"latency": "500ms", "output": long})
            hang_up()
            time.sleep(0.5)
            replaced(path, settings | {"latency": "700ms", "model": "denoise-live"})
            hang_up()
            assert wait_until(lambda: "latency_seconds is 0.7" in log.read_text(), 40), log.read_text()
            assert wait_until(lambda: "model can't change" in log.read_text()), log.read_text()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
    *_, last = (line for line in log.read_text().splitlines() if "latency_seconds" in line)
    assert "0.7" in last
    assert "Traceback" not in log.read_text()


def replaced(path: Path, settings: Mapping[str, object]) -> None:
    """Write a file as one that is read at any moment should be: whole."""
    beside = path.with_suffix(".new")
    beside.write_text(yaml.safe_dump(settings))
    beside.replace(path)


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

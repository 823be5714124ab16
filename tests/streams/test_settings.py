"""The settings file of the command: what it may hold, and what is said of what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffir_video import InputError, UsageError
from streams.config import read_service
from streams.settings import seconds

ROOT = Path(__file__).parents[2]
SECRET = "s3cr3t-k3y"


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


@pytest.mark.parametrize(("text", "models"), [("one", ("one",)), ("[one, ./two.pth]", ("one", "./two.pth"))])
def test_one_model_may_follow_another(tmp_path: Path, text: str, models: tuple[str, ...]) -> None:
    path = tmp_path / "live.yaml"
    path.write_text(f"model: {text}\n")
    assert read_service(path, {})["model"] == models


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
        ("model: [a, 5]", UsageError, "model.*5"),
        ("model: []", UsageError, "model.*list"),
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

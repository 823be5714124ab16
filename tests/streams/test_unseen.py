"""The process list shows no secret: neither of the command itself nor of any program it starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streams import children, unseen
from streams.addresses import Address
from streams.children import FFmpegChild
from tests.streams.peers import wait_until
from tests.streams.test_addresses import SECRET, SHAPES


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_program_gets_its_address_and_nobody_sees_it(shape: str) -> None:
    command = ["sh", "-c", 'echo "$0"; read line', shape]
    process = unseen.start(
        command, Address(shape).hide_in, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline().decode().strip() == shape
    shown = command_line(process.pid)
    process.communicate(b"\n", timeout=10)
    assert SECRET not in shown
    assert "***" in shown


def test_ffmpeg_is_told_all_and_its_messages_are_hidden() -> None:
    address, said = Address(f"http://user:{SECRET}@127.0.0.1:9/{SECRET}"), []

    def hide(text: str) -> str:
        said.append(text)
        return address.hide_in(text)

    child = FFmpegChild(["-v", "error", "-i", address.text], name="t", hide=hide, reads=False)
    assert wait_until(lambda: not child.is_running)
    child.kill()
    given = 1 + len(["-v", "error", "-i", address.text])
    assert any(address.text in text for text in said[given:]), said
    assert "refused" in child.last_words
    assert SECRET not in child.last_words


def test_a_program_sees_its_true_arguments_and_ends_as_it_would() -> None:
    command = [sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", f"a {SECRET}", "b", ""]
    process = unseen.start(command, lambda text: text.replace(SECRET, "***"), stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=10)
    assert out.decode().strip() == str([f"a {SECRET}", "b", ""])
    assert process.returncode == 7


def test_a_program_without_secrets_is_started_as_ever() -> None:
    process = unseen.start(["true"], str)
    assert process.wait(10) == 0


def test_where_the_system_refuses_the_program_starts_all_the_same_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unseen, "_LAUNCHER", "import os; os._exit(125)")
    children._warn_of_visible_secrets.cache_clear()
    for _ in range(2):
        child = FFmpegChild(
            ["-v", "error", "-i", f"http://127.0.0.1:9/{SECRET}"],
            name="t",
            hide=Address(f"http://127.0.0.1:9/{SECRET}").hide_in,
            reads=False,
        )
        assert wait_until(lambda: not child.is_running)  # noqa: B023
        child.kill()
        assert "refused" in child.last_words
    assert caplog.text.count("process list") == 1
    assert SECRET not in caplog.text


@pytest.mark.parametrize("how", ["{}", "--tee={}"])
def test_the_command_hides_what_it_was_given(tmp_path: Path, how: str) -> None:
    address = f"rtmp://127.0.0.1:9/live/{SECRET}"
    command = [sys.executable, "-m", "streams", "-", str(tmp_path / "out.mkv"), "--model", "identity"]
    if how == "{}":
        command[4] = address
    else:
        command.append(how.format(address))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert wait_until(lambda: "***" in command_line(process.pid), 20)
        shown = command_line(process.pid)
        process.kill()
    assert SECRET not in shown
    assert "rtmp://127.0.0.1:9/***" in shown

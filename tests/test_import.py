"""The package's public names, and what has to wait for torch."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import diffir_video

COMMANDS = ("diffir_video.cli", "streams.cli", "training.cli")


def test_every_public_name_is_there() -> None:
    assert len(diffir_video.__all__) > 30
    for name in diffir_video.__all__:
        assert getattr(diffir_video, name) is not None
    assert set(diffir_video.__all__) <= set(dir(diffir_video))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = diffir_video.no_such_name  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("arguments", [["--help"], ["--no-such-option"]])
@pytest.mark.parametrize("module", COMMANDS)
def test_help_and_usage_errors_do_not_wait_for_torch(module: str, arguments: list[str]) -> None:
    script = f"""
import sys
from {module} import main
try:
    main({arguments})
except SystemExit:
    pass
sys.exit("torch" in sys.modules or "av" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout + done.stderr


def test_an_interrupt_while_torch_is_imported_is_one_line(tmp_path: Path) -> None:
    script = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupts())
from diffir_video.cli import main
sys.exit(main(["info", sys.argv[1]]))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "clip.mp4")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, "diffir-video: interrupted\n")

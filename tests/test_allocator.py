"""What is freed among what is kept goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# In a process of its own: malloc is the process's, and others' holes would blur the figures.
_HOLES = """
from pathlib import Path
from diffir_video.allocator import LOOP_KEEPS_BYTES, give_back_freed, prepare_allocator

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

prepare_allocator(LOOP_KEEPS_BYTES)
blocks = [b"x" * 2**19 for _ in range(400)]
del blocks[::2]
before = resident()
give_back_freed()
print(before - resident(), set(blocks) == {b"x" * 2**19})
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told what to do")
def test_holes_between_what_is_in_use_are_given_back() -> None:
    command = [sys.executable, "-c", _HOLES]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    freed, are_others_intact = printed.split()
    assert float(freed) > 80
    assert are_others_intact == "True"

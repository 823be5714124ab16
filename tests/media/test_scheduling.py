"""An encoder shares the machine with all else that runs on it."""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from diffir_video.frame import Frame, StreamInfo
from diffir_video.media import VideoWriter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how threads are scheduled")


def policies() -> set[int]:
    """Those of all threads of this process."""
    return {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1"])
def test_no_thread_becomes_real_time_while_a_file_is_written(encoder: str, tmp_path: Path) -> None:
    before = policies()
    stream = StreamInfo(128, 96, time_base=Fraction(1, 25), pixel_format="yuv420p", average_rate=Fraction(25))
    with VideoWriter(tmp_path / "out.mkv", stream, encoder=encoder) as writer:
        for time in range(4):
            writer.write(Frame(torch.full((3, 96, 128), time / 4), time, stream.time_base))
            assert policies() == before
    assert policies() == before

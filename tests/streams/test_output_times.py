"""When the pictures of each output are, and from which of them it can be decoded."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
import torch

from diffir_video import StreamInfo
from streams import SinkConfig
from streams.frames import TICK, TICKS_PER_SECOND, LiveFrame
from streams.sinks import LiveSink

SIZE = 48, 64


def write(sink: LiveSink, seconds: list[float], *, told: int = 25) -> None:
    """Grey frames at these times, of a source that says it has `told` of them a second."""
    height, width = SIZE
    info = StreamInfo(
        width=width, height=height, time_base=TICK, pixel_format="yuv420p", average_rate=Fraction(told)
    )
    for at in seconds:
        grey = torch.full((3, *SIZE), 0.5)
        frame = LiveFrame(grey, round(at * TICKS_PER_SECOND), TICK, stream=info, arrived=0.0, epoch=0)
        sink.write(frame)


def keyframe_seconds(path: Path) -> list[float]:
    with av.open(str(path)) as recording:
        keyframes = [packet.pts for packet in recording.demux(video=0) if packet.is_keyframe]
        time_base = recording.streams.video[0].time_base
    assert time_base is not None
    return [float(pts * time_base) for pts in keyframes if pts is not None]


@pytest.mark.parametrize("told", [5, 25, 100])
def test_keyframes_come_in_time_however_many_frames_the_source_says_it_has(tmp_path: Path, told: int) -> None:
    out = tmp_path / "out.mkv"
    sink = LiveSink([str(out)], SinkConfig(gop_seconds=2))
    sink.open(waits=True)
    slow = [0.25 * n for n in range(40)]
    write(sink, slow + [10 + 0.04 * n for n in range(100)], told=told)
    sink.close()
    steps = [after - before for before, after in pairwise(keyframe_seconds(out))]
    assert max(steps) <= 2.001


def test_a_playlist_of_a_source_with_few_frames_has_segments_of_two_seconds(tmp_path: Path) -> None:
    playlist = tmp_path / "live.m3u8"
    sink = LiveSink([str(playlist)])
    sink.open(waits=True)
    write(sink, [0.5 * n for n in range(20)])
    sink.close()
    lengths = [line for line in playlist.read_text().splitlines() if line.startswith("#EXTINF")]
    assert lengths[:4] == ["#EXTINF:2.000000,"] * 4


@pytest.mark.parametrize("begins", [-5.0, 0.0, 95_000.0])
@pytest.mark.parametrize("options", [{}, {"tune": "film", "bf": "2"}], ids=["in order", "reordered"])
def test_an_mp4_begins_at_zero_whenever_its_source_began(
    tmp_path: Path, begins: float, options: dict[str, str]
) -> None:
    out = tmp_path / "out.mp4"
    sink = LiveSink([str(out)], SinkConfig(encoder_options=options))
    sink.open(waits=True)
    write(sink, [begins + 0.04 * n for n in range(50)])
    sink.close()
    with av.open(str(out)) as recording:
        times = [picture.time for picture in recording.decode(video=0)]
    assert len(times) == 50
    # As long as reordering takes, at most.
    assert -0.001 <= times[0] <= 0.081
    assert times[-1] - times[0] == pytest.approx(49 * 0.04, abs=0.001)

"""Sound on its way through a live stream: which of it each output holds, and when it begins."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import pytest

import diffir_video as dv
from streams import LiveConfig, LiveFilter
from streams.governor import GovernorConfig
from tests.streams.peers import SILENT, Received, clip, ffmpeg

UNHURRIED = LiveConfig(governor=GovernorConfig(latency_seconds=None))


def with_sound(path: Path, codec: str) -> Path:
    """Two seconds of numbered frames whose sound begins with the first of them."""
    tone = ["-f", "lavfi", "-i", "sine=d=2:r=48000", "-i", str(clip(2, audio=False))]
    subprocess.run(
        [ffmpeg(), "-v", "error", *tone, "-c:v", "copy", "-c:a", codec, "-ac", "2", str(path)], check=True
    )
    return path


@pytest.mark.parametrize(
    ("codec", "container", "held"),
    [
        pytest.param("pcm_s16le", "flv", "aac", id="pcm in FLV"),
        pytest.param("pcm_s16le", "nut", "aac", id="pcm in NUT"),
        pytest.param("mp2", "flv", "aac", id="MP2 in FLV"),
        pytest.param("libopus", "flv", "aac", id="Opus in FLV"),
        pytest.param("libopus", "mov", "aac", id="Opus in MOV"),
        pytest.param("libopus", "mp4", "opus", id="Opus in MP4"),
        pytest.param("ac3", "mp4", "aac", id="AC-3 in MP4"),
        pytest.param("eac3", "mp4", "aac", id="E-AC-3 in MP4"),
        pytest.param("ac3", "mov", "ac3", id="AC-3 in MOV"),
    ],
)
def test_a_recording_holds_all_pictures_and_the_sound_in_a_codec_that_it_knows(
    tmp_path: Path, codec: str, container: str, held: str
) -> None:
    source = with_sound(tmp_path / "source.nut", codec)
    restorer = dv.Restorer.from_pretrained("identity", device="cpu")
    live = LiveFilter(str(source), restorer, str(tmp_path / f"out.{container}"), UNHURRIED).start()
    assert live.wait(30)
    assert live.failure is None
    recordings = list(tmp_path.glob("out*"))
    assert [path.name for path in recordings] == [f"out.{container}"]
    with av.open(str(recordings[0])) as recording:
        assert [track.codec_context.codec.canonical_name for track in recording.streams.audio] == [held]
    received = Received(recordings[0])
    assert received.numbers == list(range(SILENT, SILENT + 50))
    assert received.audio_seconds[0] < 0.05

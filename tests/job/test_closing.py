"""Encoders finish a segment while the network is at the next; journal, errors and progress are as in turn."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from diffir_video import EncoderError, Frame, JobOptions, Restorer
from diffir_video.job import restore_file
from diffir_video.media import SegmentWriter
from diffir_video.restorer import RestorerStream
from diffir_video.run_report import Progress
from tests.media_samples import sample

SECONDS_TO_WAIT = 20
CLOSE = SegmentWriter.close


class Watched(Restorer):
    """The identity; tells when the frames of its second stream, a job's second segment, come."""

    def __init__(self) -> None:
        super().__init__(None)
        self.streams = 0
        self.second_begun = threading.Event()
        self.events: list[str] = []

    def open_stream(self) -> RestorerStream:
        restorer, self.streams = self, self.streams + 1

        class Stream(RestorerStream):
            def push(self, frames: Sequence[Frame]) -> list[Frame]:
                if restorer.streams == 2:
                    restorer.second_begun.set()
                restorer.events.append(f"push {restorer.streams}")
                return super().push(frames)

        return Stream(self)


def restore(output: Path, restorer: Restorer, told: list[Progress] | None = None) -> None:
    options = JobOptions(encoder_options={"preset": "ultrafast"}, segment_frames=10)
    progress = None if told is None else told.append
    restore_file(sample("bframes.mp4"), output, restorer=restorer, options=options, progress=progress)


def journal(output: Path) -> list[dict[str, object]]:
    path = output.with_name(f".{output.name}.diffir-job") / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_network_goes_on_while_an_encoder_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = Watched()

    def close(writer: SegmentWriter) -> None:
        assert restorer.second_begun.wait(SECONDS_TO_WAIT), "the second segment waits for the first"
        CLOSE(writer)

    monkeypatch.setattr(SegmentWriter, "close", close)
    restore(tmp_path / "out.mp4", restorer)
    assert (tmp_path / "out.mp4").exists()


def test_large_frames_wait_for_their_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two encoders of them would take too much memory."""
    restorer = Watched()
    monkeypatch.setattr("diffir_video.job.closing._LARGEST_CLOSED_LATER", 0)

    def close(writer: SegmentWriter) -> None:
        CLOSE(writer)
        restorer.events.append("closed")

    monkeypatch.setattr(SegmentWriter, "close", close)
    restore(tmp_path / "out.mp4", restorer)
    assert restorer.events.index("closed") < restorer.events.index("push 2")


def test_an_encoder_that_fails_at_a_segments_end_ends_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was noted before it stays, and the job goes on from there."""
    closed: list[SegmentWriter] = []

    def close(writer: SegmentWriter) -> None:
        closed.append(writer)
        if len(closed) == 2:
            writer.abort()
            raise EncoderError("the encoder has had enough")
        CLOSE(writer)

    output, whole = tmp_path / "out.mp4", tmp_path / "whole.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(SegmentWriter, "close", close)
        with pytest.raises(EncoderError, match="had enough"):
            restore(output, Watched())
    assert not output.exists()
    assert [segment["file"] for segment in journal(output)] == ["000000.segment"]
    restore(output, Watched())
    restore(whole, Watched())
    assert output.read_bytes() == whole.read_bytes()


def test_progress_never_goes_back_and_ends_with_all_frames(tmp_path: Path) -> None:
    told: list[Progress] = []
    restore(tmp_path / "out.mp4", Watched(), told)
    done = [progress.frames_done for progress in told]
    assert done == sorted(done)
    assert done[-1] == told[-1].frames_total

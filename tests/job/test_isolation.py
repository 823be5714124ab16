"""`--isolate`: the process that decodes may die at any time; the job ends as with a damaged input."""

from __future__ import annotations

import gc
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from diffir_video import JobOptions, MediaInputError, Restorer, restore_file
from diffir_video.media import IsolatedReader, VideoReader
from diffir_video.run_report import Progress
from tests.media_samples import decoded_bytes, sample, video_pts


def decoders() -> list[psutil.Process]:
    """The processes that decode for this one."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
            if any("media.isolated" in word for word in child.cmdline()):
                found.append(child)
    return found


def test_an_isolated_reader_gives_what_the_other_one_gives() -> None:
    with VideoReader(sample("vfr.mp4")) as plain, IsolatedReader(sample("vfr.mp4")) as isolated:
        assert isolated.info == plain.info
        for left, right in zip(plain, isolated, strict=True):
            assert (left.pts, left.duration, left.is_keyframe) == (
                right.pts,
                right.duration,
                right.is_keyframe,
            )
            assert torch.equal(left.data, right.data)
        assert isolated.losses == plain.losses
    assert decoders() == []


def test_frames_of_fields_come_from_another_process_too() -> None:
    how: dict[str, Any] = {"deinterlace": "bwdif-fields", "field_order": "bottom"}
    name = sample("bottom_first_untold.mkv")
    with IsolatedReader(name, **how) as isolated, VideoReader(name, **how) as plain:
        assert isolated.info == plain.info
        for left, right in zip(isolated, plain, strict=True):
            assert (left.pts, left.duration) == (right.pts, right.duration)
            assert torch.equal(left.data, right.data)


def test_what_is_noted_late_is_passed_on() -> None:
    with IsolatedReader(sample("interlaced_later.ts"), deinterlace="auto") as reader:
        assert reader.notes == ()
        for _ in reader:
            pass
        assert "made progressive" in reader.notes[0]


@pytest.mark.parametrize("sent", [signal.SIGSEGV, signal.SIGKILL])
def test_a_decoder_that_dies_half_way_leaves_the_restored_prefix(
    sent: signal.Signals, tmp_path: Path
) -> None:
    options = JobOptions(encoder="ffv1", segment_frames=20, isolate=True)

    def kill(progress: Progress) -> None:
        if progress.frames_done >= 60:
            for process in decoders():
                process.send_signal(sent)

    output = tmp_path / "out.mkv"
    report = restore_file(
        sample("short.mp4"), output, restorer=Restorer(None), options=options, progress=kill
    )
    assert report.exit_code == 5
    assert "the decoder crashed, what follows is missing" in report.lost()
    pts = video_pts(output)
    assert 60 <= len(pts) < 200
    assert pts == video_pts(sample("short.mp4"))[: len(pts)]
    whole = decoded_bytes(sample("short.mp4"), "yuv420p")
    assert decoded_bytes(output, "yuv420p") == whole[: len(pts) * 64 * 48 * 3 // 2]
    assert os.listdir(tmp_path) == ["out.mkv"]
    assert decoders() == []


def test_a_decoder_that_dies_before_the_first_frame_is_an_unreadable_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first words are waited for; it is killed meanwhile."""
    hear = IsolatedReader._hear

    def killed_first(reader: IsolatedReader) -> object:
        for process in decoders():
            process.send_signal(signal.SIGSEGV)
        return hear(reader)

    monkeypatch.setattr(IsolatedReader, "_hear", killed_first)
    with pytest.raises(MediaInputError, match=r"short.mp4.*decoder crashed \(SIGSEGV\)"):
        restore_file(
            sample("short.mp4"),
            tmp_path / "out.mkv",
            restorer=Restorer(None),
            options=JobOptions(isolate=True),
        )
    assert os.listdir(tmp_path) == []
    assert decoders() == []


def test_an_unreadable_input_is_told_as_without_isolation(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video" * 50)
    with pytest.raises(MediaInputError, match="no such format"):
        IsolatedReader(tmp_path / "text.mp4")


def test_a_reader_that_was_closed_has_no_more_frames() -> None:
    with IsolatedReader(sample("vfr.mp4")) as reader:
        pass
    assert list(reader) == []


def test_a_reader_that_is_left_half_way_leaves_no_descriptor_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in IsolatedReader(sample("vfr.mp4")):
        break
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_reader_that_is_closed_again_closes_nothing_of_anyone_else() -> None:
    reader = IsolatedReader(sample("vfr.mp4"))
    reader.close()
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(16)]
    try:
        reader.close()
        assert all(os.read(other, 1) == b"" for other in others)
    finally:
        for other in others:
            with suppress(OSError):
                os.close(other)

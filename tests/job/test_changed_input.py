"""An input that changes while it is restored: what comes out is of one file, or nothing does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from diffir_video import JobOptions, MediaInputError, Restorer, restore_file
from diffir_video.job import FileReport
from diffir_video.job.source import identity_of
from diffir_video.run_report import Progress
from tests.media_samples import packets, sample


def replace(path: Path) -> None:
    """Another take of the same name, as editors and sync programs write it."""
    shutil.copy(sample("index_at_end.mp4"), path.with_name("new"))
    path.with_name("new").replace(path)


def append(path: Path) -> None:
    """As a recorder that is still at work."""
    with path.open("ab") as file:
        file.write(sample("bframes.mp4").read_bytes())


def edit(path: Path) -> None:
    """In place, and as long as it was."""
    data = path.read_bytes()
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([data[-1] ^ 1]))


def restore_while(change: Callable[[Path], None], folder: Path) -> FileReport:
    source = folder / "in.mp4"
    shutil.copy(sample("bframes.mp4"), source)
    changed: list[int] = []

    def tell(progress: Progress) -> None:
        if progress.frames_done >= 10 and not changed:
            changed.append(progress.frames_done)
            change(source)

    options = JobOptions(encoder_options={"preset": "ultrafast"}, segment_frames=5)
    report = restore_file(source, folder / "out.mp4", restorer=Restorer(None), options=options, progress=tell)
    assert changed
    return report


@pytest.mark.parametrize("change", [replace, append, edit])
def test_the_sound_of_another_file_is_not_put_beside_the_pictures(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    with pytest.raises(MediaInputError, match=r"in.mp4' changed while it was restored; .*--restart"):
        restore_while(change, tmp_path)
    assert not (tmp_path / "out.mp4").exists()


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaInputError, match=r"can't read .*in.mp4' any more: No such file"):
        restore_while(Path.unlink, tmp_path)
    assert not (tmp_path / "out.mp4").exists()


def test_large_files_are_told_apart_to_their_last_byte(tmp_path: Path) -> None:
    path = tmp_path / "large.mkv"
    path.write_bytes(bytes(3 << 20))
    before = identity_of(path)
    edit(path)
    after = identity_of(path)
    assert after["input size"] == before["input size"]
    assert after["input digest"] != before["input digest"]


def test_another_time_of_the_same_file_is_no_change(tmp_path: Path) -> None:
    assert restore_while(lambda path: os.utime(path, (1, 1)), tmp_path).lost() == []
    assert len(packets(tmp_path / "out.mp4")[0]) == 50

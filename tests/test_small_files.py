"""What is written beside the work appears whole, where it was meant to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffir_video.errors import OutputError
from diffir_video.small_files import check_picture_name, is_same_file, write_whole


def test_a_file_takes_the_place_of_another_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("old")
    write_whole(tmp_path / "report.json", b"new")
    assert (tmp_path / "report.json").read_text() == "new"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_pipe_is_written_into() -> None:
    reading, writing = os.pipe()
    write_whole(f"/dev/fd/{writing}", b"figures")
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"figures"


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        write_whole(tmp_path / "none" / "report.json", b"")


def test_two_names_of_one_file_are_known(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    os.link(tmp_path / "a", tmp_path / "hard")
    (tmp_path / "soft").symlink_to("a")
    (tmp_path / "dangling").symlink_to("later")
    for other in ("hard", "soft", "./a"):
        assert is_same_file(tmp_path / "a", tmp_path / other)
    assert is_same_file(tmp_path / "dangling", tmp_path / "later")
    assert not is_same_file(tmp_path / "a", tmp_path / "later")


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.webp"])
def test_pictures_are_known_by_their_ending(name: str, tmp_path: Path) -> None:
    check_picture_name(tmp_path / name)
    with pytest.raises(OutputError, match="no picture of this kind"):
        check_picture_name(tmp_path / f"{name}.xyz")

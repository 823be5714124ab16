"""A folder goes in, the same tree comes out; one bad file doesn't stop the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from diffir_video.cli import main
from tests.media_samples import sample, video_pts


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / "in"
    (source / "deep" / "deeper").mkdir(parents=True)
    shutil.copy(sample("upright.mp4"), source / "a.mp4")
    shutil.copy(sample("upright.mp4"), source / "deep" / "deeper" / "B.MP4")
    (source / "deep" / "bad.mp4").write_text("no video\n" * 50)
    (source / ".b.mkv.diffir-job").mkdir()
    shutil.copy(sample("upright.mp4"), source / ".b.mkv.diffir-job" / "output.mp4")
    (source / "notes.txt").write_text("no video either")
    return source


def restore(source: Path, output: Path, *options: str) -> int:
    return main(["restore", str(source), str(output), "--model", "identity", *options])


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_tree_is_mirrored_and_a_bad_file_stops_nothing(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert restore(tree, output, "--report", str(tmp_path / "report.json")) == 3
    assert files(output) == ["a.mp4", "deep/deeper/B.MP4"]
    assert video_pts(output / "deep/deeper/B.MP4") == video_pts(sample("upright.mp4"))
    printed = capsys.readouterr()
    assert "bad.mp4: FAILED" in printed.out
    assert "1 of 3 files failed" in printed.err


def test_the_report_tells_of_every_file(tree: Path, tmp_path: Path) -> None:
    output, report = tmp_path / "out", tmp_path / "report.json"
    output.mkdir()
    (output / "a.mp4").write_text("precious")
    assert restore(tree, output, "--report", str(report)) == 3
    told = {Path(file["input"]).relative_to(tree): file for file in json.loads(report.read_text())["files"]}
    there, bad, done = (told[Path(name)] for name in ("a.mp4", "deep/bad.mp4", "deep/deeper/B.MP4"))
    assert (there["exit_code"], there["error"], there["was_there_already"]) == (0, None, True)
    assert there["output"] == str(output / "a.mp4")
    assert (bad["exit_code"], bad["was_there_already"]) == (3, False)
    assert "can't read" in bad["error"]
    assert bad["output"] == str(output / "deep" / "bad.mp4")
    assert (done["exit_code"], done["error"], done["was_there_already"]) == (0, None, False)
    assert done["verification"]["frames"] == 5


def test_two_videos_that_would_become_one_file_are_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "x.avi", "x.avi.mkv"):
        shutil.copy(sample("upright.mp4"), tmp_path / "in" / name)
    for overwrite in ([], ["--overwrite"]):
        assert restore(tmp_path / "in", tmp_path / "out", *overwrite) == 4
        assert "x.avi.mkv' would both become" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_what_is_finished_is_passed_by(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "deep" / "bad.mp4").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mp4").write_text("precious")
    assert restore(tree, tmp_path / "out") == 0
    assert "a.mp4: was there already" in capsys.readouterr().out
    assert (tmp_path / "out" / "a.mp4").read_text() == "precious"
    assert restore(tree, tmp_path / "out", "--overwrite") == 0
    assert video_pts(tmp_path / "out" / "a.mp4") == video_pts(sample("upright.mp4"))


def test_the_output_may_lie_inside_the_input(tree: Path) -> None:
    for _ in range(2):
        assert restore(tree, tree / "restored") == 3
    assert files(tree / "restored") == ["a.mp4", "deep/deeper/B.MP4"]


def test_the_output_inside_the_input_is_known_by_any_of_its_names(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    (tree / "link").symlink_to(tree / "restored")
    (tree / "restored").mkdir()
    for output in (tree / "restored", Path("../in/restored"), Path("link")):
        assert restore(Path("."), output) == 3
    assert files(tree / "restored") == ["a.mp4", "deep/deeper/B.MP4"]


def test_the_output_may_be_a_folder_around_the_input(tree: Path) -> None:
    assert restore(tree / "deep", tree) == 3
    assert video_pts(tree / "deeper" / "B.MP4") == video_pts(sample("upright.mp4"))


def test_a_folder_is_not_restored_into_itself(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(tree)
    for output in (tree, tree / "deep" / ".."):
        assert restore(tree, output, "--overwrite") == 4
        assert "is the input; choose another folder" in capsys.readouterr().err
    (tree / "deep" / "deep").mkdir()
    shutil.copy(sample("upright.mp4"), tree / "deep" / "deep" / "bad.mp4")
    assert restore(tree / "deep", tree, "--overwrite") == 4
    assert "deep/deep/bad.mp4' would become" in capsys.readouterr().err
    assert files(tree) == sorted([*before, "deep/deep/bad.mp4"])


def test_another_kind_of_file_gets_a_container_that_holds_its_times(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(sample("odd.mkv"), tmp_path / "in" / "a.avi")
    assert restore(tmp_path / "in", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["a.avi.mkv"]


@pytest.mark.parametrize(("make", "code", "message"), [("empty", 3, "no video in"), ("file", 4, "is a file")])
def test_a_folder_that_makes_no_sense_is_refused(
    make: str, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    if make == "file":
        (tmp_path / "out").write_text("precious")
    assert restore(tmp_path / "in", tmp_path / "out") == code
    assert message in capsys.readouterr().err

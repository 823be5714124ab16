"""The snippets of docs/python.md run as they stand there, one after the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import diffir_video as dv
from tests.media_samples import sample, video_pts
from tests.network.test_variants import tiny

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def snippets() -> list[str]:
    parts = PAGE.read_text(encoding="utf-8").split("```")[1::2]
    return [part.removeprefix("python") for part in parts if part.startswith("python")]


def test_the_page_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(sample("bframes.mp4"), "noisy.mp4")
    dv.save_checkpoint(dv.DiffIRS2(tiny()), "mine.safetensors")
    names: dict[str, object] = {}
    for snippet in snippets():
        exec(snippet, names)
    assert len(names["sink"].means) == 50  # pyright: ignore[reportAttributeAccessIssue]
    assert names["larger"].data.shape == (8, 3, 144, 192)  # pyright: ignore[reportAttributeAccessIssue]
    assert video_pts(Path("again.mkv")) == video_pts(sample("bframes.mp4"))
    assert len(video_pts(Path("clean.mkv"))) == len(video_pts(Path("gentle.mkv"))) == 25
    assert "first" in (printed := capsys.readouterr().out)
    assert "'missing.mp4'" in printed

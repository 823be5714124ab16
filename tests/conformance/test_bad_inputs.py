"""What people feed to such engines: each ends as documented, says one line, and leaves nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.bad_inputs import CASES, Case, run, table

DOCUMENT = Path(__file__).parents[2] / "docs" / "media.md"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_bad_input_ends_as_documented(case: Case, tmp_path: Path) -> None:
    outcome = run(case, tmp_path)
    assert outcome.code == case.code
    assert outcome.frames == case.frames
    assert outcome.changed == []
    assert len(outcome.new_files) == (case.frames is not None)
    if case.frames is None:
        (line,) = outcome.lines
        assert case.says in line


@pytest.mark.slow
def test_the_documented_table_is_true() -> None:
    assert table() in DOCUMENT.read_text(encoding="utf-8")

"""Bad inputs: each ends as documented, in one line, and leaves nothing but what could be restored."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.job.bad_inputs import BAD_INPUTS, BadInput, table

DOCUMENT = Path(__file__).parents[2] / "docs" / "media.md"


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: f"{bad.what} {bad.file}")
def test_a_bad_input_has_its_outcome(bad: BadInput, tmp_path: Path) -> None:
    outcome = bad.outcome(tmp_path)
    assert outcome.code == bad.code
    assert outcome.says(bad.said), outcome.lines
    assert outcome.left == (["out.mkv"] if bad.code in (0, 5) else [])


@pytest.mark.slow
def test_the_documented_outcomes_are_true() -> None:
    measured = table()
    assert "**" not in measured
    assert measured in DOCUMENT.read_text(encoding="utf-8")

"""The table in docs/media.md is what really happens to these inputs, and nothing in it is amiss."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.inputs import table

DOCUMENT = Path(__file__).parents[2] / "docs" / "media.md"


@pytest.mark.slow
def test_the_documented_table_is_true() -> None:
    measured = table()
    assert "**" not in measured
    assert measured in DOCUMENT.read_text(encoding="utf-8")

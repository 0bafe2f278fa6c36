"""The checklist as a whole."""

from __future__ import annotations

from pathlib import Path

from .conftest_conformance import LINES, marked_lines


def test_every_line_has_a_test() -> None:
    """Each line from C01 to C53 has a test here that needs no foreign server, and no mark names another line."""
    marked = set(marked_lines(Path(__file__).parent))
    assert sorted(set(LINES) - marked) == []
    assert sorted(marked - set(LINES)) == []

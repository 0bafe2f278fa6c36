"""Programs of users under mypy, strict: run by ``tox -e types``, where mypy is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

api = pytest.importorskip("mypy.api")

HERE = Path(__file__).parent


def complaints(program: str) -> dict[int, str]:
    """What mypy says of a program, by line."""
    out, err, _ = api.run(["--strict", "--no-error-summary", "--no-warn-unused-configs", str(HERE / program)])
    assert err == ""
    found: dict[int, str] = {}
    for line in out.splitlines():
        match = re.match(rf".*{re.escape(program)}:(\d+): error: (.*)", line)
        if match is not None:
            found[int(match[1])] = match[2]
    return found


def test_what_is_right_is_accepted() -> None:
    """Without a word, and each thing has the type that the documentation says."""
    assert complaints("accepted.py") == {}


def test_what_is_misspelt_is_refused() -> None:
    """Each line that is marked, and no other."""
    lines = (HERE / "refused.py").read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    assert len(wrong) > 15
    assert set(complaints("refused.py")) == wrong

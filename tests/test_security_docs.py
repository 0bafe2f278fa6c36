"""The threat model names its tests, and the tests are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_each_guarantee_names_its_test() -> None:
    """Every file of security tests stands behind a guarantee of docs/security.md, and every file named there exists."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([SR]\d) \| [^|]* \| `(tests/\S+?\.py)`[^|]* \|$", page, re.MULTILINE))
    assert sorted(rows) == ["R4", "S1", "S2", "S3", "S4", "S5", "S6"]
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("test_security_[sr]*.py")}
    assert set(rows.values()) == there
    for name, file in rows.items():
        assert f"def test_{name.lower()}_" in (ROOT / file).read_text(encoding="utf-8")

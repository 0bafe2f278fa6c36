"""The library of docs/client-libraries.md passes its own tests as they are printed."""

from __future__ import annotations

from pathlib import Path

from .pytest_runs import run_pytest
from .test_docs import DOCS, PATIENCE, read_page
from .test_testing_plugin import by_name

PAGE = DOCS / "client-libraries.md"


def test_the_suite_of_the_page_passes(tmp_path: Path) -> None:
    """The library and its tests, in a pytest of their own in which a warning is an error."""
    for name, content in read_page(PAGE).files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    done = run_pytest(tmp_path, *by_name(), interpreter=("-W", "error"), timeout=PATIENCE)
    assert "3 passed" in done.stdout, done.stdout + done.stderr

"""The page about tests is a test suite, which passes as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import requests_cc_token.testing

from .pytest_runs import run_pytest
from .test_docs import DOCS, PATIENCE, read_page
from .test_testing_plugin import by_name

PAGE = DOCS / "testing-your-worker.md"


def test_the_suite_of_the_page_passes(tmp_path: Path) -> None:
    """Its modules, its conftest.py and its tests, in a pytest of their own in which a warning is an error."""
    files = read_page(PAGE).files
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    done = run_pytest(tmp_path, *by_name(), interpreter=("-W", "error"), timeout=PATIENCE)
    tests = sum(content.count("\ndef test_") for content in files.values())
    assert tests == 11
    assert f"{tests} passed" in done.stdout, done.stdout + done.stderr


def test_what_the_page_names_is_there() -> None:
    """Each member that its tables name is one of the fakes, and of their public members none is left out."""
    page = PAGE.read_text(encoding="utf-8")
    tables = page[page.index("## What the fixtures have") :].partition("`token_clock`")[0].partition("`fake_api`, a")
    for table, kind in zip(tables[::2], (_token_service(), _fake_api()), strict=True):
        rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
        named = {name for row in rows for name in re.findall(r"`(\w+)", row)}
        assert named <= kind
        missing = kind - named - EXPLAINED_ELSEWHERE
        assert missing == set()


#: Of use to the kit itself, or said in the text around the tables.
EXPLAINED_ELSEWHERE = set(
    """clock close connections fail_always find_token gate hold leave origin port revocation_endpoint
    wait_for_requests""".split()
)


def _token_service() -> set[str]:
    with requests_cc_token.testing.FakeTokenService() as service:
        return {name for name in dir(service) if not name.startswith("_")}


def _fake_api() -> set[str]:
    with requests_cc_token.testing.FakeTokenService() as service, requests_cc_token.testing.FakeApi(service) as api:
        return {name for name in dir(api) if not name.startswith("_")}

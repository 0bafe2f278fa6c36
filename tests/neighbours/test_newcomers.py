"""Suites of a newcomer, who mocks as each library's documentation has it and has never heard of this package.

They are in ``newcomer/``, beside the worker that they test, and run in a pytest of their own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import PATIENCE, ROOT, Services, needed
from .worker import SECRET

pytestmark = pytest.mark.neighbours

SUITES = Path(__file__).parent / "newcomer"


def run(folder: Path, suite: str, *options: str, **environment: str) -> None:
    """All tests of the suite pass."""
    shutil.copytree(SUITES, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, f"{suite}.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    tests = (folder / f"{suite}.py").read_text().count("def test_")
    assert f"{tests} passed" in done.stdout, done.stdout[-6000:]


@pytest.mark.parametrize("library", ["responses", "requests-mock", "httpretty", "mocket"])
def test_a_suite_that_mocks(library: str, tmp_path: Path) -> None:
    """Nobody is there; what the mock does not answer fails."""
    needed(library, urllib3_below=(2, 3) if library == "httpretty" else None)
    where = {}
    if library == "httpretty":
        where = {"LOGIN_URL": "http://127.0.0.1:8001/connect/token", "API_URL": "http://127.0.0.1:8002/api/"}
    run(tmp_path, f"with_{library.replace('-', '_')}", **where)


@pytest.mark.xfail(reason="its global mocker replaces all adapters, ours too", strict=True)
def test_requests_mock_sees_the_token(tmp_path: Path) -> None:
    """What a session of ours sends under a global mocker carries the token. An auth object's does already."""
    needed("requests-mock")
    run(tmp_path, "headers_with_requests_mock")


@pytest.mark.parametrize(
    ("library", "options"),
    [("vcrpy", []), ("pytest-recording", ["--record-mode=once"]), ("betamax", [])],
)
def test_a_suite_that_records(library: str, options: list[str], services: Services, tmp_path: Path) -> None:
    """It records once and passes again when nobody is there any more."""
    needed(library)
    suite = f"with_{library.replace('-', '_')}"
    where = {
        "LOGIN_URL": services.tokens.token_endpoint,
        "API_URL": services.api.base_url,
        "WORKER_SECRET": SECRET,
    }
    run(tmp_path, suite, *options, **where)
    services.close()
    run(tmp_path, suite, *(["--block-network"] if options else []), **where)


def test_no_line_is_for_us() -> None:
    """The suites name neither this package nor anything of it; the worker alone does."""
    suites = sorted(SUITES.glob("*with_*.py"))
    assert len(suites) == 8
    for suite in suites:
        assert not re.search(r"cc_token|AccessToken|ClientCred|backchannel|inner=", suite.read_text())

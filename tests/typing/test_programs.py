"""Programs of users under mypy and pyright, both strict: run by ``tox -e types``, where they are."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

#: Seconds after which a checker is taken to hang.
PATIENCE = 300


def by_mypy(program: str) -> dict[int, str]:
    """What mypy says of a program, by line."""
    api = pytest.importorskip("mypy.api")
    out, err, _ = api.run(["--strict", "--no-error-summary", "--no-warn-unused-configs", str(HERE / program)])
    assert err == ""
    found: dict[int, str] = {}
    for line in out.splitlines():
        match = re.match(rf".*{re.escape(program)}:(\d+): error: (.*)", line)
        if match is not None:
            found[int(match[1])] = match[2]
    return found


def by_pyright(program: str) -> dict[int, str]:
    """What pyright says of a program, by line."""
    return {
        said["range"]["start"]["line"] + 1: said["message"]
        for said in pyright_says()
        if Path(said["file"]).name == program
    }


@cache
def pyright_says() -> list[dict[str, Any]]:
    """What pyright says of both programs; skips the test where there is none, or none of its programs can be had."""
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed here")
    pyright = [sys.executable, "-m", "pyright"]
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    # It is a program for Node, which the package looks for, and else gets.
    ready = subprocess.run(
        [*pyright, "--version"], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if ready.returncode != 0:
        pytest.skip(f"pyright cannot be had here: {(ready.stderr or ready.stdout)[-200:]!r}")
    done = subprocess.run(
        [*pyright, "--project", str(HERE / "pyrightconfig.json"), "--pythonpath", sys.executable, "--outputjson"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    said = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] == 2, done.stdout
    found: list[dict[str, Any]] = said["generalDiagnostics"]
    return found


Checker = Callable[[str], dict[int, str]]
checkers = pytest.mark.parametrize("complaints", [by_mypy, by_pyright])


@checkers
def test_what_is_right_is_accepted(complaints: Checker) -> None:
    """Without a word, and each thing has the type that the documentation says."""
    assert complaints("accepted.py") == {}


@checkers
def test_what_is_misspelt_is_refused(complaints: Checker) -> None:
    """Each line that is marked, and no other."""
    lines = (HERE / "refused.py").read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    assert len(wrong) > 15
    assert set(complaints("refused.py")) == wrong

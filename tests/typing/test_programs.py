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
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "client-libraries.md"

#: Seconds after which a checker is taken to hang.
PATIENCE = 300


def by_mypy(program: str) -> dict[int, str]:
    """What mypy says of a program, by line."""
    found: dict[int, str] = {}
    for line in mypy_says([HERE / program]).splitlines():
        match = re.match(rf".*{re.escape(program)}:(\d+): error: (.*)", line)
        if match is not None:
            found[int(match[1])] = match[2]
    return found


def mypy_says(programs: list[Path]) -> str:
    """What mypy says of programs; skips the test where there is none."""
    api = pytest.importorskip("mypy.api")
    out, err, _ = api.run(["--strict", "--no-error-summary", "--no-warn-unused-configs", *map(str, programs)])
    assert err == ""
    return str(out)


def by_pyright(program: str) -> dict[int, str]:
    """What pyright says of a program, by line."""
    return {
        said["range"]["start"]["line"] + 1: said["message"]
        for said in pyright_says(HERE / "pyrightconfig.json")
        if Path(said["file"]).name == program
    }


@cache
def pyright_says(project: Path) -> list[dict[str, Any]]:
    """What pyright says of the two programs of a project; skips the test where pyright or its Node cannot be had."""
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
        [*pyright, "--project", str(project), "--pythonpath", sys.executable, "--outputjson"],
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


def library(folder: Path) -> list[Path]:
    """The library that docs/client-libraries.md prints, and its tests, with a project for pyright."""
    fence = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    blocks = fence.findall(PAGE.read_text(encoding="utf-8"))
    for name, program in blocks:
        (folder / name).write_text(program, encoding="utf-8")
    (folder / "pyrightconfig.json").write_text(
        json.dumps({"include": ["."], "extraPaths": [str(ROOT)], "typeCheckingMode": "strict"})
    )
    return [folder / name for name, _ in blocks]


def test_the_library_of_the_docs_is_accepted_by_mypy(tmp_path: Path) -> None:
    """A library that is written as its page shows passes mypy's strict mode, and so do its tests."""
    assert mypy_says(library(tmp_path)) == ""


def test_the_library_of_the_docs_is_accepted_by_pyright(tmp_path: Path) -> None:
    """A library that is written as its page shows passes pyright's strict mode, and so do its tests."""
    assert len(library(tmp_path)) == 2
    assert pyright_says(tmp_path / "pyrightconfig.json") == []


@checkers
def test_what_is_misspelt_is_refused(complaints: Checker) -> None:
    """Each line that is marked, and no other."""
    lines = (HERE / "refused.py").read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    assert len(wrong) > 15
    assert set(complaints("refused.py")) == wrong

"""What docs/migrating.md says of other libraries runs with them: what you have, and what to write instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_docs import DOCS, World, read_page, run

pytestmark = pytest.mark.hosts

PAGE = DOCS / "migrating.md"
LIBRARIES = sorted(set(re.findall(r"<!-- executed with: (\w+) -->", PAGE.read_text(encoding="utf-8"))))


def test_the_way_from_other_libraries_runs_as_printed(tmp_path: Path) -> None:
    """The whole page, with the parts that want libraries which nothing else here needs."""
    assert LIBRARIES
    for library in LIBRARIES:
        pytest.importorskip(library)
    program = tmp_path / "migrating.py"
    program.write_text(read_page(PAGE).program, encoding="utf-8")
    for library in LIBRARIES:
        assert library in program.read_text(encoding="utf-8")
    world = World(tmp_path)
    try:
        done = run([str(program)], tmp_path, world.environment(tmp_path))
    finally:
        world.close()
    assert done.returncode == 0, f"(the line numbers are the page's):\n{done.stdout}{done.stderr}"

"""The summary of ``pytest -m conformance``: which lines of the checklist this run has shown."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

#: The lines of the checklist.
LINES = tuple(f"C{number:02}" for number in range(1, 54))

#: Under this name a report carries the lines that its test shows, also from another process of pytest-xdist.
_PROPERTY = "conformance"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse marks that name no line of the checklist, and have each report say which lines its test shows."""
    for item in items:
        for mark in item.iter_markers("conformance"):
            if len(mark.args) != 1 or mark.args[0] not in LINES:
                raise pytest.UsageError(f"{item.nodeid}: conformance{mark.args} names no line from C01 to C53")
            item.user_properties.append((_PROPERTY, mark.args[0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """List the lines with the number of tests that passed, failed or were skipped."""
    if "conformance" not in (config.option.markexpr or ""):
        return
    counts: dict[str, dict[str, int]] = {line: defaultdict(int) for line in LINES}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            for line in {value for name, value in getattr(report, "user_properties", ()) if name == _PROPERTY}:
                counts[line][outcome] += 1
    shown = [line for line in LINES if counts[line]["passed"] and not counts[line]["failed"] + counts[line]["error"]]
    terminalreporter.section(f"conformance: {len(shown)} of {len(LINES)} lines shown")
    row: list[str] = []
    for line in LINES:
        told = ", ".join(f"{number} {outcome}" for outcome, number in counts[line].items() if number)
        row.append(f"{line} {told or 'NO TEST':<22}")
        if len(row) == 4 or line == LINES[-1]:
            terminalreporter.write_line("  ".join(row).rstrip())
            row = []


def marked_lines(folder: Path) -> Iterator[str]:
    """The lines that tests outside of ``interop`` are marked with, as the sources say."""
    for path in folder.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "conformance"
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                yield str(node.args[0].value)

"""The comparison with other libraries: what README shows is what the command measures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import compare, peers

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COMPARED = README.partition("<!-- compared -->")[2].partition("<!-- /compared -->")[0]


def shown(question: str) -> dict[str, list[str]]:
    """The rows of README's table of a question."""
    (lines,) = re.findall(rf"^\| {question} \|.*\n((?:\|.*\n)+)", COMPARED, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines.splitlines()[1:]]
    return {name: cells for name, *cells in rows}


@pytest.mark.parametrize("question", compare.TABLES)
def test_readme_has_each_system_in_each_situation(question: str) -> None:
    """No cell is empty, no system is missing, and what was not measured is a link to where it was read."""
    rows = shown(question)
    assert compare.table(question, rows) in COMPARED
    assert list(rows) == [*compare.MAKERS, compare.DUENDE]
    assert all(all(cells) for cells in rows.values())
    assert rows[compare.DUENDE] == compare.read(question)


def test_ten_situations() -> None:
    """As the text says."""
    assert sum(map(len, compare.TABLES.values())) == 10


@pytest.mark.parametrize(
    ("question", "what"),
    [
        ("token requests, when", f"it was revoked, {compare.THREADS} threads call"),
        ("a call, when", "the API says 401, the token was revoked"),
        ("a call, when", "the API redirects to another path of its host"),
    ],
)
def test_what_readme_says_of_this_package_is_measured(question: str, what: str) -> None:
    """Those that take no long time are measured once more."""
    (place,) = [place for place, each in enumerate(compare.TABLES[question]) if each.what == what]
    situation = compare.TABLES[question][place]
    measured = compare.cell(peers.requests_cc_token, situation.lifetime, situation.measure)
    assert shown(question)["requests_cc_token"][place] == measured

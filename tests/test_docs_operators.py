"""The operators' page says what the command does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from requests_cc_token.cli import app
from requests_cc_token.cli.outcome import Exit

from .failures import FAILURES, blocks

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_each_command_has_a_row() -> None:
    """And no other is there."""
    assert {name.split()[0] for name in re.findall(r"^\| `([^`]+)`", section("Commands"), re.MULTILINE)} == set(
        app.commands.commands
    )


def test_each_exit_code_has_a_row() -> None:
    """And no other is there."""
    assert list(map(int, re.findall(r"^\| (\d) \|", section("Exit codes"), re.MULTILINE))) == sorted(map(int, Exit))


@pytest.mark.parametrize("text", re.findall(r"^\| `([^`]+)` \|", section("What `check --live` says"), re.MULTILINE))
def test_what_check_live_says_is_said(text: str) -> None:
    """Each text of the table is one of the command's own."""
    folder = ROOT / "requests_cc_token" / "cli"
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    assert text in sources


@pytest.mark.parametrize(("title", "printed"), blocks(PAGE), ids=[title for title, _ in blocks(PAGE)])
def test_what_the_page_prints_is_what_the_command_prints(title: str, printed: str, tmp_path: Path) -> None:
    """Each failure of the page is made, and output and exit code are as printed but for ports and times.

    ``python -m tests.failures`` writes them anew.
    """
    (failure,) = [failure for failure in FAILURES if failure.title == title]
    with failure.scene(tmp_path) as scene:
        assert printed == scene.session()
    assert f"\n{failure.exit_code}\n" in printed


def test_the_page_walks_through_eleven_failures() -> None:
    """Each under its heading, with what the command prints."""
    titles = [title for title, _ in blocks(PAGE)]
    assert len(titles) == len(set(titles)) == 11
    assert titles == re.findall(r"^### (.+)$", section("Eleven failures"), re.MULTILINE)

"""The operators' page says what the command does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from requests_cc_token.cli import app
from requests_cc_token.cli.outcome import Exit

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

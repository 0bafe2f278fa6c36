"""Every error text leads to a heading of docs/when-it-says.md, and every heading is about a text that there is."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from requests_cc_token.events import EventKind

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "requests_cc_token"
PAGE = ROOT / "docs" / "when-it-says.md"

#: What an error's text is given to.
KINDS = frozenset(
    "TokenRequestError TokenEndpointConnectionError TokenEndpointError InvalidTokenResponseError TokenRequestTimeout "
    "UnknownClientError TokenCacheError ConfigurationError _Refused _Unwanted UnusableFileError".split()
)


def text_of(node: ast.expr) -> str:
    """The text of an expression, with … for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) if isinstance(value, ast.Constant) else "…" for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return "…"


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] not in ("demo", "testing", "testing.py"):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def error_texts() -> dict[str, str]:
    """The text of each error that the package makes, and where."""
    found: dict[str, str] = {}
    for path, tree in trees():
        for node in ast.walk(tree):
            texts: list[ast.expr] = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
                texts = [
                    each
                    for arg in node.args[:1]
                    for each in ([arg.body, arg.orelse] if isinstance(arg, ast.IfExp) else [arg])
                ]
            elif isinstance(node, ast.FunctionDef) and node.name == "_reason" and path.name == "failures.py":
                texts = [
                    each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value is not None
                ]
            for text in map(text_of, texts):
                # Texts that are put together of others are those others.
                if re.search("[a-z]{4}", text.replace("token client", "")):
                    found.setdefault(text, f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}")
    return found


@functools.cache
def said() -> frozenset[str]:
    """Every text of the package."""
    kinds = (ast.JoinedStr, ast.Constant, ast.BinOp)
    return frozenset(text_of(node) for _, tree in trees() for node in ast.walk(tree) if isinstance(node, kinds))


@functools.cache
def fragments() -> list[str]:
    """The pieces of texts that the headings quote."""
    headings = re.findall(r"^### (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [fragment for heading in headings for fragment in re.findall("`([^`]+)`", heading)]


def pattern(fragment: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, fragment.split("…"))), re.DOTALL)


@pytest.mark.parametrize(("text", "where"), error_texts().items(), ids=lambda value: value[:60])
def test_every_error_text_leads_to_a_heading(text: str, where: str) -> None:
    """Who searches the page for what an error says finds what it means."""
    assert any(pattern(fragment).search(text) for fragment in fragments()), f"{where}: {text!r} is under no heading"


@pytest.mark.parametrize("fragment", fragments())
def test_every_heading_is_about_a_text_that_there_is(fragment: str) -> None:
    """What is quoted is said somewhere in the package."""
    assert any(pattern(fragment).search(text) for text in said())


def log_lines() -> list[str]:
    """What the table of log lines quotes."""
    table = PAGE.read_text(encoding="utf-8").partition("\n## In the log only\n")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    return [text for row in rows for text in re.findall("`([^`]+)`", row)]


def test_each_log_line_is_one_that_there_is() -> None:
    """What is quoted is said somewhere in the package, or is a kind of event, all of which are quoted."""
    kinds = {kind.replace("_", " ") for kind in get_args(EventKind)}
    quoted = set(log_lines())
    assert kinds <= quoted
    unknown = [text for text in quoted - kinds if not any(pattern(text).search(said_here) for said_here in said())]
    assert unknown == []


def test_the_walk_sees_what_is_there() -> None:
    """Errors of all parts of the package are among the texts."""
    texts = error_texts()
    assert len(texts) > 120
    assert {where.partition("/")[0] for where in texts.values() if "/" in where} >= {
        "authentication",
        "caches",
        "endpoint",
    }

"""Findings: one verdict a line, with what to do, or JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Literal

import click

from requests_cc_token.demo.worker import printable

from .outcome import Exit

Verdict = Literal["ok", "note", "warning", "problem"]

_COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "red"}


@dataclass(frozen=True)
class Finding:
    """One verdict."""

    verdict: Verdict
    #: What it is about, such as ``client erp``.
    about: str
    text: str
    #: What to do, where something is to be done.
    advice: str | None = None
    #: How long the step took, where it was one.
    seconds: float | None = None
    exit_code: Exit = Exit.FINE

    def line(self) -> str:
        """The finding on one line, fit for a terminal."""
        took = "" if self.seconds is None else f" ({self.seconds * 1000:.0f} ms)"
        advice = "" if self.advice is None else f"; {self.advice}"
        return printable(f"{self.about}: {self.text}{took}{advice}")


@dataclass
class Report:
    """What a command found, told as it goes or, as JSON, at the end."""

    as_json: bool = False
    #: Whether only warnings and problems are told.
    quiet: bool = False
    findings: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> Finding:
        """Keep it, and tell it."""
        self.findings.append(finding)
        if not self.as_json and not (self.quiet and finding.verdict in ("ok", "note")):
            click.secho(f"{finding.verdict:<7}", fg=_COLOURS[finding.verdict], nl=False, color=_colour())
            click.echo(f"  {finding.line()}")
        return finding

    @property
    def worst(self) -> Exit:
        """The exit code, which is that of the first problem."""
        return next((finding.exit_code for finding in self.findings if finding.verdict == "problem"), Exit.FINE)

    def end(self) -> Exit:
        """Tell the rest; the exit code."""
        code = self.worst
        if self.as_json:
            click.echo(json_of({"exit_code": int(code), "findings": list(map(asdict, self.findings))}))
        return code


def json_of(value: object) -> str:
    """JSON on several lines; null for numbers that Python reads where JSON has none: NaN, and what is too large."""
    try:
        return json.dumps(value, indent=2, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(value), parse_constant=lambda _: None), indent=2)


def _colour() -> bool | None:
    """False where none are asked for, or the terminal has none; else click looks whether it writes to a terminal."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None

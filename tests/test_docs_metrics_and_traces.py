"""The page on metrics and traces tells each kind of event, each field of events, records and figures, and no other."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path
from typing import get_args

import pytest

from requests_cc_token import Challenge, ClientStats, TokenEndpointError, TokenEvent
from requests_cc_token.events import EventKind, Events, Reason, Source
from requests_cc_token.stats import STATUSES

PAGE = (Path(__file__).parents[1] / "docs" / "metrics-and-traces.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table(title: str, header: str) -> list[list[str]]:
    """The rows of the table of a section whose header begins so."""
    rows = section(title).partition(f"| {header} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def code(text: str) -> list[str]:
    return re.findall(r"`(\w+)`", text)


def test_each_kind_of_event_has_a_row(caplog: pytest.LogCaptureFixture) -> None:
    """With the level at which it is logged."""
    rows = {code(kind)[0]: level for kind, _, level in table("Events", "`kind`")}
    assert set(rows) == set(get_args(EventKind))
    with caplog.at_level(logging.DEBUG, "requests_cc_token"):
        for kind in get_args(EventKind):
            Events().emit(TokenEvent(kind, "a"))
    assert {vars(r)["event"]: r.levelname.lower() for r in caplog.records} == rows


def test_each_field_of_an_event_has_a_row() -> None:
    """And each word that it may hold is told."""
    rows = {code(row[0])[0]: row for row in table("Events", "field")}
    assert set(rows) == {field.name for field in dataclasses.fields(TokenEvent)} - {"kind"}
    assert set(code(rows["reason"][-1])) >= set(get_args(Reason))
    assert all(f"`{source}`" in rows["source"][-1] for source in get_args(Source))
    kinds = {kind for row in rows.values() for kind in code(row[2])}
    assert kinds == set(get_args(EventKind))


def test_each_field_of_a_record_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Those that any event brings about, beside what each record of ``logging`` has."""
    everything = TokenEvent(
        "failed",
        "a",
        scope="b",
        expires_in=1.0,
        error=TokenEndpointError("no", 400, "invalid_scope"),
        wait=1.0,
        waited=1.0,
        attempt=1,
        duration=1.0,
        reason="cold",
        source="service",
        attempts=1,
        repeated=True,
        challenge=Challenge("bearer", {"error": "invalid_token", "scope": "c"}),
    )
    assert all(getattr(everything, field.name) is not None for field in dataclasses.fields(everything))
    Events().emit(everything)
    (record,) = caplog.records
    fields = set(vars(record)) - set(vars(logging.makeLogRecord({}))) - {"message"}
    text = section("Structured logs").partition("A formatter of your own")[0]
    assert set(code(text)) - {"requests_cc_token", "invalid_client"} == fields


def test_each_figure_has_a_row() -> None:
    """Those of a client's figures, and what a client can be."""
    rows = table("Figures", "field")
    assert [name for row in rows for name in code(row[0])] == [field.name for field in dataclasses.fields(ClientStats)]
    (status,) = (row for row in rows if row[0] == "`status`")
    assert code(status[-1]) == list(STATUSES)

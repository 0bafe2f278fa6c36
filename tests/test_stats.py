"""What is counted of token clients, as values."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from types import SimpleNamespace
from typing import Any, cast

import pytest

from requests_cc_token import ClientStats, FailureCount, TokenEndpointError, TokenRequestError
from requests_cc_token.stats import MAX_CAUSES, STATUSES, Asked, Asking, Counts, counted_together, labels


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ({}, Asked("w")),
        ({"scope": ("a", "b")}, Asked("w", "a b")),
        ({"resource": ("r", "s")}, Asked("w", None, ("r", "s"))),
        ({"audience": "x"}, Asked("w", None, (), "x")),
        ({"audience": ("x", "y")}, Asked("w", None, (), "x y")),
        ({"audience": ()}, Asked("w")),
        ({"audience": ""}, Asked("w")),
    ],
)
def test_what_was_asked_for(source: dict[str, Any], asked: Asked) -> None:
    """Scopes and audiences are told as one text each; what there is none of is None."""
    given = {"name": "w", "scope": (), "resource": (), "audience": None, **source}
    assert Asked.of(cast("Asking", SimpleNamespace(**given))) == asked


def test_labels_say_what_was_asked_for() -> None:
    """A metric has each label each time."""
    full = ClientStats(client="w", scope="a b", resource=("r", "s"), audience="x")
    assert labels(full) == {"client": "w", "scope": "a b", "resource": "r s", "audience": "x"}
    assert labels(ClientStats(client="w")) == {"client": "w", "scope": "", "resource": "", "audience": ""}


def test_what_nothing_was_counted_of() -> None:
    """Zeros, and fine; nobody changes what was told."""
    nothing = ClientStats(client="w")
    assert asdict(nothing) == {
        "client": "w",
        "scope": None,
        "resource": (),
        "audience": None,
        "hits": 0,
        "requests": 0,
        "fetches": 0,
        "fetch_seconds": 0.0,
        "in_flight": 0,
        "timeouts": 0,
        "rejections": 0,
        "failures": (),
        "last_error": None,
        "status": "fine",
        "seconds_to_expiry": None,
        "seconds_to_next_try": 0.0,
    }
    assert STATUSES == ("fine", "degraded", "failing")
    for value, name in ((nothing, "hits"), (FailureCount(error="A", count=1), "count")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, 2)


OLDER = ClientStats(
    client="w",
    scope="s",
    hits=1,
    requests=2,
    fetches=4,
    fetch_seconds=8.0,
    in_flight=16,
    timeouts=32,
    rejections=64,
    failures=(FailureCount(error="A", code="x", count=1), FailureCount(error="B", count=2)),
    last_error="older",
    status="failing",
    seconds_to_expiry=1.0,
    seconds_to_next_try=2.0,
)
LATEST = ClientStats(
    client="w",
    scope="s",
    hits=100,
    requests=200,
    fetches=400,
    fetch_seconds=800.0,
    in_flight=1600,
    timeouts=3200,
    rejections=6400,
    failures=(FailureCount(error="B", count=20), FailureCount(error="A", code="y", count=10)),
    last_error=None,
    status="fine",
    seconds_to_expiry=10.0,
    seconds_to_next_try=0.0,
)


def test_figures_of_two_tokens_are_added() -> None:
    """How it stands is the latest one's; of the errors, the last that there was."""
    together = counted_together(OLDER, LATEST)
    assert together == ClientStats(
        client="w",
        scope="s",
        hits=101,
        requests=202,
        fetches=404,
        fetch_seconds=808.0,
        in_flight=1616,
        timeouts=3232,
        rejections=6464,
        failures=(
            FailureCount(error="A", code="x", count=1),
            FailureCount(error="B", count=22),
            FailureCount(error="A", code="y", count=10),
        ),
        last_error="older",
        status="fine",
        seconds_to_expiry=10.0,
        seconds_to_next_try=0.0,
    )
    assert counted_together(LATEST, OLDER).last_error == "older"
    assert counted_together(OLDER, ClientStats(client="w", last_error="latest")).last_error == "latest"


def test_what_is_counted_is_told() -> None:
    """Each figure as it stands, and what only the slot knows."""
    counts = Counts()
    assert counts.told(Asked("w")) == ClientStats(client="w")
    counts.requests, counts.fetches, counts.fetch_seconds, counts.rejections, counts.timeouts = 1, 2, 3.0, 4, 5
    counts.failed(TokenRequestError("first"))
    counts.failed(TokenEndpointError("second", 400, "invalid_client"))
    told = counts.told(Asked("w", "s", ("r",), "a"), hits=6, in_flight=7, status=STATUSES[1], seconds_to_expiry=8.0)
    assert told == ClientStats(
        client="w",
        scope="s",
        resource=("r",),
        audience="a",
        hits=6,
        requests=1,
        fetches=2,
        fetch_seconds=3.0,
        in_flight=7,
        timeouts=5,
        rejections=4,
        failures=(
            FailureCount(error="TokenRequestError", count=1),
            FailureCount(error="TokenEndpointError", code="invalid_client", count=1),
        ),
        last_error="second",
        status="degraded",
        seconds_to_expiry=8.0,
    )


def test_causes_are_bounded_and_still_counted() -> None:
    """As many as there may be are told apart; what comes after them is counted with its class, and known ones go on."""
    counts = Counts()
    for number in range(MAX_CAUSES + 2):
        counts.failed(TokenEndpointError("no", 400, f"code{number}"))
    counts.failed(TokenEndpointError("no", 400, "code0"))
    counts.failed(TokenRequestError("no"))
    failures = counts.told(Asked("w")).failures
    assert [each.count for each in failures] == [2] + [1] * (MAX_CAUSES - 1) + [2, 1]
    assert [each.code for each in failures[-3:]] == [f"code{MAX_CAUSES - 1}", None, None]
    assert [each.error for each in failures[-2:]] == ["TokenEndpointError", "TokenRequestError"]

"""Which slot belongs to what is asked for, also where another thread changes the table in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest

from requests_cc_token import AccessToken, ClientCredentialsClient, TokenRequestError, TokenRequestParameters
from requests_cc_token.demand import Demand
from requests_cc_token.locking import Guard
from requests_cc_token.slot_table import SlotTable
from requests_cc_token.slots import Slot

_T = TypeVar("_T")

CLIENT = ClientCredentialsClient(
    "w", token_endpoint="https://as.example.com/token", client_id="m", client_secret="T41NT"
)


def demand(scope: str) -> Demand:
    return Demand.of(CLIENT, TokenRequestParameters(scope=scope))


class LateGuard(Guard):
    """A guard that another thread gets first, once, with the step that the test says."""

    meanwhile: Callable[[], object] | None = None

    def do(self, step: Callable[[], _T]) -> _T:
        first, self.meanwhile = self.meanwhile, None
        if first is not None:
            first()
        return super().do(step)


@pytest.fixture
def guard() -> LateGuard:
    return LateGuard()


@pytest.fixture
def table(guard: LateGuard) -> SlotTable:
    return SlotTable(guard)


def slot_of(table: SlotTable, demanded: Demand) -> Slot:
    return table.slot_for(demanded, "w", lambda: True)


def test_a_demand_that_is_pushed_out_while_it_is_looked_up(
    guard: LateGuard, table: SlotTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its slot, by its own key: it is found by its token, and no other demand in the same place gets it."""
    monkeypatch.setattr("requests_cc_token.slot_table.MAX_RECENT", 1)
    slots = []
    for scope in ("one", "two"):
        slot_of(table, demand(scope))
        guard.meanwhile = lambda: slot_of(table, demand("another"))
        slots.append(slot_of(table, demand(scope)))
    assert [slot.key for slot in slots] == [demand("one").cache_key, demand("two").cache_key]
    assert [slot.asked.scope for slot in slots] == ["one", "two"]
    for slot in slots:
        assert table.slot_of(AccessToken("t", expires_at=0.0, key=slot.key)) is slot


def test_the_least_recently_used_demand_goes_first(table: SlotTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Used again it is the last to go, and its slot is still the same; so is that of one which asks for the same."""
    monkeypatch.setattr("requests_cc_token.slot_table.MAX_RECENT", 2)
    one = slot_of(table, demand("one"))
    slot_of(table, demand("two"))
    assert slot_of(table, demand("one")) is one
    slot_of(table, demand("three"))
    assert [table.known(demand(scope)) is not None for scope in ("one", "two", "three")] == [True, False, True]
    twin = Demand.of(replace(CLIENT, name="twin"), TokenRequestParameters(scope="one"))
    assert slot_of(table, twin) is one


@pytest.mark.parametrize(
    ("parameters", "is_fixed", "is_registered", "noted"),
    [
        (None, True, True, True),
        (TokenRequestParameters(), True, True, False),
        (None, False, True, False),
        (None, True, False, False),
    ],
)
def test_which_slots_are_found_by_name(
    table: SlotTable, parameters: TokenRequestParameters | None, is_fixed: bool, is_registered: bool, noted: bool
) -> None:
    """That of a registered client without overrides, whose key and certificate are not in files."""
    client = CLIENT if is_fixed else replace(CLIENT, cert=cast("Any", "cert.pem"))
    assert client.is_fixed is is_fixed
    slot = table.slot_for(Demand(client, parameters, None, None), "w", lambda: is_registered)
    assert table.by_name == ({"w": slot} if noted else {})
    table.clear()
    assert (table.by_name, table.known(Demand(client, parameters, None, None))) == ({}, None)


def test_which_tokens_are_held(table: SlotTable) -> None:
    """Those that may be used at this moment, once each, with what they were asked for by."""
    tokens = {}
    for scope, hard in (("dead", 9.0), ("at its end", 10.0), ("alive", 10.1)):
        slot = slot_of(table, demand(scope))
        slot.token = tokens[scope] = AccessToken(scope, expires_at=0.0, soft_expiry=hard, hard_expiry=hard)
    slot_of(table, demand("none"))
    twin = Demand.of(replace(CLIENT, name="twin"), TokenRequestParameters(scope="alive"))
    slot_of(table, twin)
    assert table.held_tokens(10.0) == [(twin, tokens["alive"])]


def test_the_order_of_the_figures(table: SlotTable) -> None:
    """By client, each with what it is registered for first, used or not; then what was asked for otherwise."""
    other = replace(CLIENT, name="a", scope=("z",), client_id="other")
    used = [slot_of(table, Demand.of(client, TokenRequestParameters(scope="b"))) for client in (other, CLIENT)]
    used.append(slot_of(table, Demand.of(CLIENT, TokenRequestParameters(scope="a"))))
    assert len(set(map(id, used))) == 3
    figures = table.figures(0.0, [CLIENT, other])
    assert [(line.client, line.scope) for line in figures] == [
        ("a", "z"),
        ("a", "b"),
        ("w", None),
        ("w", "a"),
        ("w", "b"),
    ]


def test_how_it_stands_is_told_of_all_that_share_a_token(table: SlotTable) -> None:
    """What is counted stands at the one that came first; that there is no token, why, and until when, at each."""
    twin = replace(CLIENT, name="twin")
    slot = slot_of(table, Demand.of(CLIENT))
    slot_of(table, Demand.of(twin))
    flight = slot.step(0.0).start
    assert flight is not None
    slot.begin(flight)
    slot.land(flight, TokenRequestError("no", retry_after=900.0), 0.0)
    first, second = table.figures(100.0, [CLIENT, twin])
    assert (first.client, first.fetches, second.client, second.fetches) == ("twin", 0, "w", 1)
    for line in (first, second):
        assert (line.status, line.last_error, line.seconds_to_next_try) == ("failing", "no", 800.0)
        assert line.seconds_to_expiry is None
    slot.failure = None
    slot.token = AccessToken("t", expires_at=0.0, soft_expiry=150.0, hard_expiry=150.0)
    figures = table.figures(100.0, [CLIENT, twin])
    assert [(line.status, line.seconds_to_expiry) for line in figures] == [("fine", 50.0)] * 2

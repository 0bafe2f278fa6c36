"""Which slot belongs to what is asked for, also where another thread changes the table in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from requests_cc_token import AccessToken, ClientCredentialsClient, TokenRequestParameters
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

"""Singer SDK: a tap whose streams have an authenticator."""

from __future__ import annotations

import json
from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import Api, check_tokens, recipe

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


def orders(environ: Any) -> tuple[str, bytes]:
    """Two records."""
    return "application/json", json.dumps([{"id": 1}, {"id": 2}]).encode()


def test_streams_of_a_tap(services: Services, clock: ManualClock, management: AccessTokenManagement) -> None:
    """Two streams share one token, though each asks its authenticator twice for each request."""
    needed("singer-sdk")
    import singer_sdk
    from singer_sdk import typing as th

    class Orders(recipe("Singer SDK")["OrdersStream"]):  # type: ignore[misc]
        name = "orders"
        path = "/orders"
        schema = th.PropertiesList(th.Property("id", th.IntegerType)).to_dict()

        @property
        def url_base(self) -> str:
            return api.origin

    class Lines(Orders):
        name = "lines"

    Orders.management = management

    class Tap(singer_sdk.Tap):  # type: ignore[misc]
        name = "tap-orders"
        config_jsonschema = th.PropertiesList().to_dict()

        def discover_streams(self) -> list[Any]:
            return [Orders(self), Lines(self)]

    with Api(services.tokens, orders) as api:
        management.add_session("orders", base_url=api.origin + "/", client="worker")
        streams = Tap(config={}).discover_streams()

        def sync() -> None:
            for stream in streams:
                assert [record["id"] for record in stream.get_records(None)] == [1, 2]

        check_tokens(sync, services, clock, api)

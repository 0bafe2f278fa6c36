"""dlt: a REST client that takes ``session=`` and ``auth=``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import Api, check_tokens

pytestmark = pytest.mark.hosts


def pages(environ: Any) -> tuple[str, bytes]:
    """Two pages, the second one linked by the first."""
    second = environ["QUERY_STRING"] == "page=2"
    following = None if second else f"http://{environ['HTTP_HOST']}/orders?page=2"
    return "application/json", json.dumps({"orders": [{"id": 2 if second else 1}], "next": following}).encode()


@pytest.mark.parametrize("way", ["session", "auth"])
def test_pages_of_a_rest_client(
    services: Services, clock: ManualClock, management: AccessTokenManagement, way: str
) -> None:
    """Every page carries the token, also the one between whose neighbours it is renewed."""
    needed("dlt")
    from dlt.sources.helpers.rest_client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator

    with Api(services.tokens, pages) as api:
        management.add_session("orders", base_url=api.origin + "/", client="worker")
        given: dict[str, Any] = (
            {"session": management.make_session("orders")}
            if way == "session"
            else {"auth": management.make_auth("orders")}
        )
        client = RESTClient(api.origin, paginator=JSONLinkPaginator("next"), data_selector="orders", **given)

        def load() -> None:
            assert [order["id"] for page in client.paginate("orders") for order in page] == [1, 2]

        check_tokens(load, services, clock, api)

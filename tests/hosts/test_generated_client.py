"""Clients as openapi-generator makes them: urllib3, and a header that is asked for at each request."""

from __future__ import annotations

import pytest
import urllib3

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services

from .conftest import Api, check_tokens, recipe

pytestmark = pytest.mark.hosts


def test_a_configuration_whose_token_is_asked_for(
    services: Services, clock: ManualClock, management: AccessTokenManagement
) -> None:
    """It is asked for at each call; after a refusal the call is made again with a new token."""
    configuration_of = recipe("Generated clients")["TokenConfiguration"]
    with Api(services.tokens, lambda _: ("text/plain", b"fine")) as api, urllib3.PoolManager() as pool:
        configuration = configuration_of(management.service, "worker")

        def status() -> int:
            headers = {"Authorization": f"Bearer {configuration.access_token}"}
            return pool.request("GET", api.origin + "/", headers=headers).status

        def call() -> None:
            if status() == 401:
                configuration.refused()
                assert status() == 200

        check_tokens(call, services, clock, api)

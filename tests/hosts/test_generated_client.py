"""Clients as openapi-generator makes them: urllib3, and a header that is asked for at each request."""

from __future__ import annotations

import pytest
import urllib3

from tests.neighbours.conftest import Services

from .conftest import Api, recipe

pytestmark = pytest.mark.hosts


def test_a_configuration_whose_token_is_asked_for(services: Services) -> None:
    """One token request for several calls; after a refusal the next call has a new token."""
    configuration_of = recipe("Generated clients")["TokenConfiguration"]
    with Api(services.tokens, lambda _: ("text/plain", b"fine")) as api, services.place.management() as management:
        configuration, pool = configuration_of(management.service, "worker"), urllib3.PoolManager()

        def call() -> int:
            headers = {"Authorization": f"Bearer {configuration.access_token}"}
            return pool.request("GET", api.origin + "/", headers=headers).status

        assert [call() for _ in range(3)] == [200] * 3
        services.tokens.revoke_all()
        assert call() == 401
        configuration.refused()
        assert call() == 200
        pool.clear()
    assert len(services.tokens.requests) == 2

"""azure-core: a ``TokenCredential`` for clients of the Azure SDK."""

from __future__ import annotations

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import Api, check_tokens, recipe

pytestmark = pytest.mark.hosts


def test_a_token_credential(services: Services, clock: ManualClock, management: AccessTokenManagement) -> None:
    """A pipeline under the bearer policy asks for the token at each request; a refused one is renewed."""
    needed("azure-core")
    from azure.core.pipeline import Pipeline
    from azure.core.pipeline.transport import HttpRequest, RequestsTransport

    names = recipe("Azure SDK")
    with Api(services.tokens, lambda _: ("text/plain", b"fine")) as api:
        policy = names["RenewingPolicy"](names["ServiceCredential"](management.service, "worker"), "api")

        def call() -> None:
            with Pipeline(RequestsTransport(), [policy]) as pipeline:
                answered = pipeline.run(HttpRequest("GET", api.origin + "/"), enforce_https=False)
                assert answered.http_response.status_code == 200

        check_tokens(call, services, clock, api)

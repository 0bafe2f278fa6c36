"""azure-core: a ``TokenCredential`` for clients of the Azure SDK."""

from __future__ import annotations

import pytest

from tests.neighbours.conftest import Services, needed

from .conftest import Api, recipe

pytestmark = pytest.mark.hosts


def test_a_token_credential(services: Services) -> None:
    """A pipeline under the bearer policy asks for the token at each request: one token request until it is gone."""
    needed("azure-core")
    from azure.core.pipeline import Pipeline
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy
    from azure.core.pipeline.transport import HttpRequest, RequestsTransport

    credential_of = recipe("Azure SDK")["ServiceCredential"]
    with Api(services.tokens, lambda _: ("text/plain", b"fine")) as api, services.place.management() as management:
        policy = BearerTokenCredentialPolicy(credential_of(management.service, "worker"), "api")
        with Pipeline(RequestsTransport(), [policy]) as pipeline:
            request = HttpRequest("GET", api.origin + "/")
            assert [pipeline.run(request, enforce_https=False).http_response.status_code for _ in range(3)] == [200] * 3
        assert [good for _, good in api.requests] == [True] * 3
        assert len(services.tokens.requests) == 1
        management.service.delete_access_token("worker")
        with Pipeline(RequestsTransport(), [policy]) as pipeline:
            answered = pipeline.run(HttpRequest("GET", api.origin + "/"), enforce_https=False)
            assert answered.http_response.status_code == 200
    assert len(services.tokens.requests) == 2

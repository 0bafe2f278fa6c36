"""google-auth: ``Credentials`` for clients of Google's libraries."""

from __future__ import annotations

import pytest

from tests.neighbours.conftest import Services, needed

from .conftest import Api, recipe

pytestmark = pytest.mark.hosts


def test_credentials(services: Services) -> None:
    """An ``AuthorizedSession``: one token request for several calls; a token that the API refuses is renewed."""
    needed("google-auth")
    from google.auth.transport.requests import AuthorizedSession

    credentials_of = recipe("Google's libraries")["ServiceCredentials"]
    with Api(services.tokens, lambda _: ("text/plain", b"fine")) as api, services.place.management() as management:
        with AuthorizedSession(credentials_of(management.service, "worker")) as session:
            assert [session.get(api.origin + "/").status_code for _ in range(3)] == [200] * 3
            assert len(services.tokens.requests) == 1
            services.tokens.revoke_all()
            assert session.get(api.origin + "/").status_code == 200
        assert [good for _, good in api.requests] == [True, True, True, False, True]
    assert len(services.tokens.requests) == 2

"""google-auth: ``Credentials`` for clients of Google's libraries."""

from __future__ import annotations

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.testing import ManualClock
from tests.neighbours.conftest import Services, needed

from .conftest import Api, check_tokens, recipe

pytestmark = pytest.mark.hosts


def test_credentials(services: Services, clock: ManualClock, management: AccessTokenManagement) -> None:
    """An ``AuthorizedSession``: one token request for several calls; a token that the API refuses is renewed."""
    needed("google-auth")
    from google.auth.transport.requests import AuthorizedSession

    credentials_of = recipe("Google's libraries")["ServiceCredentials"]
    with (
        Api(services.tokens, lambda _: ("text/plain", b"fine")) as api,
        AuthorizedSession(credentials_of(management.service, "worker")) as session,
    ):
        check_tokens(lambda: session.get(api.origin + "/").raise_for_status(), services, clock, api)

"""Resource indicators, audience and rich authorization requests."""

from __future__ import annotations

import pytest

from requests_cc_token import TokenEndpointError, TokenRequestParameters

from .api import ProtectedApi
from .registrations import OPAQUE_RESOURCE, RESOURCE, Identity
from .servers import RunningServer
from .worker import working

pytestmark = pytest.mark.interop

only_oidc_provider = pytest.mark.parametrize("server", ["oidc-provider"], indirect=True)
only_keycloak = pytest.mark.parametrize("server", ["Keycloak"], indirect=True)

PAYMENT = [{"type": "payment", "actions": ["pay"], "locations": ["https://bank.example/"]}]


@pytest.mark.conformance("C11")
@pytest.mark.conformance("C21")
def test_a_resource_is_the_audience(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """The resource asked for is the audience of the token, and a refresh token beside it is not kept."""
    with working(server, api, "resource", client_secret=identity.secret, scope="read", resource=RESOURCE) as worker:
        assert worker.session.get("jwt/").status_code == 200
        audience = api.seen[-1].claims["aud"]
        assert RESOURCE in ([audience] if isinstance(audience, str) else audience)
        assert "refresh_token" not in worker.token().extra


@only_oidc_provider
@pytest.mark.conformance("C11")
def test_each_resource_has_its_own_token(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """One client's tokens for two resources are two, an opaque one and a JWT, and each stays in the cache."""
    opaque, structured = TokenRequestParameters(resource=OPAQUE_RESOURCE), TokenRequestParameters(resource=RESOURCE)
    with working(server, api, "basic", client_secret=identity.secret, scope="read") as worker:
        for _ in range(2):
            assert worker.session.get("introspected/", auth=opaque).status_code == 200
            assert api.seen[-1].claims["aud"] == OPAQUE_RESOURCE
            assert worker.session.get("jwt/", auth=structured).status_code == 200
            assert api.seen[-1].claims["aud"] == RESOURCE
        assert worker.token_requests == 2


@pytest.mark.parametrize(
    ("resource", "error"),
    [
        (["https://nobody.example/"], {"oidc-provider": "invalid_target", "Keycloak": "invalid_target"}),
        # Both want one resource for this grant and say so differently.
        ([RESOURCE, OPAQUE_RESOURCE], {"oidc-provider": "invalid_target", "Keycloak": "invalid_request"}),
    ],
    ids=["unknown", "two"],
)
@pytest.mark.conformance("C11")
@pytest.mark.conformance("C24")
def test_a_resource_that_is_refused(
    server: RunningServer, api: ProtectedApi, identity: Identity, resource: list[str], error: dict[str, str]
) -> None:
    """A resource that the server refuses is a permanent error by its name: asked once, not again."""
    with working(server, api, "resource", client_secret=identity.secret, resource=resource) as worker:
        for _ in range(2):
            with pytest.raises(TokenEndpointError) as refused:
                worker.token()
            assert (refused.value.status_code, refused.value.error) == (400, error[server.name])
            assert not refused.value.transient
        assert worker.token_requests == 1


@pytest.mark.conformance("C13")
def test_an_audience_parameter_does_no_harm(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """Both servers ignore `audience`, a parameter of other vendors, and give a token."""
    with working(server, api, "basic", client_secret=identity.secret, audience="https://api.example/") as worker:
        assert worker.session.get("introspected/").status_code == 200


@only_oidc_provider
@pytest.mark.conformance("C12")
def test_rich_authorization(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """What authorization_details asked for is what was granted, in the answer and in the introspection."""
    with working(
        server, api, "basic", client_secret=identity.secret, resource=OPAQUE_RESOURCE, authorization_details=PAYMENT
    ) as worker:
        assert worker.session.get("introspected/").status_code == 200
        assert api.seen[-1].claims["authorization_details"] == PAYMENT
        assert worker.token().extra["authorization_details"] == PAYMENT


@only_oidc_provider
@pytest.mark.conformance("C12")
def test_rich_authorization_that_is_refused(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """A type that the server does not know is a permanent error by its name."""
    details = [{"type": "unheard-of"}]
    with (
        working(
            server, api, "basic", client_secret=identity.secret, resource=OPAQUE_RESOURCE, authorization_details=details
        ) as worker,
        pytest.raises(TokenEndpointError) as refused,
    ):
        worker.token()
    assert (refused.value.status_code, refused.value.error) == (400, "invalid_authorization_details")
    assert not refused.value.transient


@only_keycloak
def test_rich_authorization_that_is_ignored(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """Keycloak ignores authorization_details: the token is there, and shows that nothing of it was granted."""
    with working(server, api, "basic", client_secret=identity.secret, authorization_details=PAYMENT) as worker:
        assert worker.session.get("introspected/").status_code == 200
        assert "authorization_details" not in worker.token().extra

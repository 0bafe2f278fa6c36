"""client_secret_basic and client_secret_post, and what every method shares: calls, renewal, revocation, scopes."""

from __future__ import annotations

import pytest
import requests

from requests_cc_token import (
    ClientSecretBasic,
    InvalidTokenResponseError,
    TokenEndpointError,
    TokenRequestParameters,
)

from .api import ProtectedApi
from .registrations import RESOURCE, SHORT_LIFETIME, SPECIAL, Identity
from .servers import RunningServer
from .worker import working

pytestmark = pytest.mark.interop

#: What each server says to a wrong secret, with its status. RFC 6749 section 5.2 has invalid_client for it.
WRONG_SECRET = {"oidc-provider": (401, "invalid_client"), "Keycloak": (401, "unauthorized_client")}
#: What each says to an Authorization header whose parts are not form-encoded though they have to be.
NOT_ENCODED = {"oidc-provider": (400, "invalid_request"), "Keycloak": (400, "unauthorized_client")}


def revoke(server: RunningServer, identity: Identity, client_id: str, token: str) -> None:
    """Revoke a token behind the package's back (RFC 7009)."""
    answer = requests.post(
        server.metadata["revocation_endpoint"],
        data={"token": token, "client_id": client_id, "client_secret": identity.secret},
        verify=server.ca,
        timeout=10,
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("path", ["introspected/", "jwt/"])
@pytest.mark.parametrize(
    ("auth", "client_id"),
    [
        ("client_secret_basic", "basic"),
        ("client_secret_basic", "basic " + SPECIAL),
        ("client_secret_post", "post"),
        ("client_secret_post", "post " + SPECIAL),
    ],
    ids=["basic", "basic-special-id", "post", "post-special-id"],
)
@pytest.mark.conformance("C02")
@pytest.mark.conformance("C03")
def test_a_call_with_a_secret_full_of_special_characters(
    server: RunningServer, api: ProtectedApi, identity: Identity, auth: str, client_id: str, path: str
) -> None:
    """An id and a secret with every special character get a token that the API takes, opaque or JWT."""
    # Keycloak's access tokens are JWT anyway; oidc-provider's are where the resource server wants them so.
    resource = RESOURCE if path == "jwt/" and server.name == "oidc-provider" else None
    with working(
        server, api, client_id, client_secret=identity.secret, auth=auth, scope="read", resource=resource
    ) as worker:
        answer = worker.session.get(path)
        again = worker.session.post(path, data=b"0123456789")
        assert (answer.status_code, again.status_code) == (200, 200), answer.text
        assert answer.json()["client"] == client_id
        assert again.json()["received"] == 10
        assert worker.token_requests == 1
        assert worker.token().value.count(".") == (2 if path == "jwt/" or server.name == "Keycloak" else 0)


def test_the_servers_decode_what_basic_carries(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """Both servers take Basic form-encoded only: the raw switch is refused, with a named error, and not retried."""
    auth = ClientSecretBasic(encoding="raw")
    with working(server, api, "basic", client_secret=identity.secret, auth=auth) as worker:
        with pytest.raises(TokenEndpointError) as refused:
            worker.session.get("introspected/")
        assert (refused.value.status_code, refused.value.error) == NOT_ENCODED[server.name]
        assert worker.token_requests == 1
    assert not api.seen


@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post"])
@pytest.mark.conformance("C23")
@pytest.mark.conformance("C24")
def test_a_wrong_secret(server: RunningServer, api: ProtectedApi, identity: Identity, auth: str) -> None:
    """A wrong secret is a permanent error that names the server's own code and not the secret; nothing is sent."""
    wrong = identity.secret[:-1]
    with working(server, api, "basic", client_secret=wrong, auth=auth) as worker:
        with pytest.raises(TokenEndpointError) as refused:
            worker.session.get("introspected/")
        assert (refused.value.status_code, refused.value.error) == WRONG_SECRET[server.name]
        assert wrong not in str(refused.value)
        assert worker.token_requests == 1
    assert not api.seen


def test_a_secret_replaced_at_that_moment(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """When the server refuses a secret and there is another one by then, the new one is tried at once (T13)."""
    secrets = iter(["the old secret"])
    with working(server, api, "basic", client_secret=lambda: next(secrets, identity.secret)) as worker:
        assert worker.session.get("introspected/").status_code == 200


def test_renewal_by_hand(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """Deleting the token, or force_renewal, brings another one, which the API takes."""
    with working(server, api, "basic", client_secret=identity.secret) as worker:
        first = worker.token().value
        worker.management.service.delete_access_token("worker")
        assert worker.session.get("introspected/").status_code == 200
        second = worker.token().value
        assert worker.session.get("introspected/", auth=TokenRequestParameters(force_renewal=True)).status_code == 200
        assert len({first, second, worker.token().value}) == 3
        assert worker.token_requests == 3


@pytest.mark.conformance("C17")
def test_a_short_lifetime(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """A token of ten seconds costs one request while it lives, and another one after it."""
    with working(server, api, "short", client_secret=identity.secret) as worker:
        assert [worker.session.get("introspected/").status_code for _ in range(3)] == [200] * 3
        assert worker.token_requests == 1
        first = worker.token()
        assert 0 < first.expires_at - worker.clock.time() <= SHORT_LIFETIME
        worker.clock.step(SHORT_LIFETIME)
        assert worker.session.get("introspected/").status_code == 200
        assert worker.token_requests == 2
        assert worker.token().value != first.value


@pytest.mark.conformance("C18")
@pytest.mark.conformance("C33")
def test_a_revoked_token(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """A token revoked at the server is replaced after the API's 401, and the call, body included, goes through."""
    with working(server, api, "basic", client_secret=identity.secret) as worker:
        assert worker.session.get("introspected/").status_code == 200
        revoke(server, identity, "basic", worker.token().value)
        answer = worker.session.post("introspected/", data=b"0123456789")
        assert (answer.status_code, answer.json()["received"]) == (200, 10)
        assert [seen.status for seen in api.seen] == [200, 401, 200]
        assert worker.token_requests == 2


@pytest.mark.conformance("C19")
def test_scopes(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """Each scope asked for has its own token, and the scope that the server granted is what the token says."""
    with working(server, api, "basic", client_secret=identity.secret, scope="read") as worker:
        read, write = worker.token(), worker.token(TokenRequestParameters(scope=["read", "write"]))
        assert read.value != write.value
        assert {"read"} == {"read", "write"} & set((read.scope or "").split())
        assert {"read", "write"} <= set((write.scope or "").split())
        assert worker.session.get("introspected/", auth=TokenRequestParameters(scope="write read")).status_code == 200
        assert {"read", "write"} <= set(api.seen[-1].claims["scope"].split())
        assert worker.token_requests == 2


@pytest.mark.conformance("C19")
@pytest.mark.conformance("C24")
def test_a_scope_that_nobody_knows(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """An unknown scope is an error by its name where the server says so; strict_scope makes silence one too."""
    with working(
        server, api, "basic", client_secret=identity.secret, scope="nonsense", resource=None, strict_scope=True
    ) as worker:
        if server.name == "Keycloak":
            with pytest.raises(TokenEndpointError) as refused:
                worker.token()
            assert (refused.value.status_code, refused.value.error) == (400, "invalid_scope")
        else:
            # oidc-provider leaves the scope out of its answer; RFC 6749 section 5.1 reads that as "as asked for".
            assert worker.token().scope == "nonsense"
    if server.name == "oidc-provider":
        with (
            working(
                server, api, "basic", client_secret=identity.secret, scope="read nonsense", strict_scope=True
            ) as worker,
            pytest.raises(InvalidTokenResponseError),
        ):
            worker.token()

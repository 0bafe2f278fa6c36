"""Revocation (RFC 7009) and introspection (RFC 7662) by the package."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from requests_cc_token import PrivateKeyJwt, TlsClientAuth

from .api import ProtectedApi
from .registrations import RESOURCE, Identity
from .servers import RunningServer
from .worker import working

pytestmark = pytest.mark.interop

only_oidc_provider = pytest.mark.parametrize("server", ["oidc-provider"], indirect=True)


def registration(identity: Identity, method: str) -> dict[str, Any]:
    """A client, and how it proves who it is."""
    key = identity.keys["p256"]
    known: dict[str, dict[str, Any]] = {
        "client_secret_basic": {"client_id": "basic", "client_secret": identity.secret},
        "client_secret_jwt": {"client_id": "secret-jwt", "client_secret": identity.secret, "auth": "client_secret_jwt"},
        "private_key_jwt": {"client_id": "private-key", "auth": PrivateKeyJwt(key.pem, "ES256", key.key_id)},
        "tls_client_auth": {"client_id": "tls-subject", "auth": TlsClientAuth(*identity.by_subject.pair)},
    }
    return known[method]


METHODS = ["client_secret_basic", "client_secret_jwt", "private_key_jwt", "tls_client_auth"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.conformance("C36")
def test_close_revokes(server: RunningServer, api: ProtectedApi, identity: Identity, method: str) -> None:
    """With revoke_on_close the token is worth nothing after the management was closed; without it, it still is."""
    client = registration(identity, method)
    for revoked in (False, True):
        with working(server, api, **client, issuer=server.issuer, revoke_on_close=revoked) as worker:
            token = worker.token().value
            assert api.introspect(token)["active"]
        assert api.introspect(token)["active"] is not revoked


@only_oidc_provider
@pytest.mark.conformance("C36")
def test_a_token_that_cannot_be_revoked(
    server: RunningServer, api: ProtectedApi, identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    """oidc-provider revokes no JWT: closing says so in the log, and no more."""
    client = registration(identity, "client_secret_basic")
    with (
        caplog.at_level(logging.WARNING, "requests_cc_token"),
        working(server, api, **client, issuer=server.issuer, resource=RESOURCE, revoke_on_close=True) as worker,
    ):
        token = worker.token().value
    assert "unsupported_token_type" in caplog.text
    assert token not in caplog.text
    assert api.verify(token)["active"]


@pytest.mark.parametrize("method", METHODS)
def test_introspection(server: RunningServer, api: ProtectedApi, identity: Identity, method: str) -> None:
    """A client may ask what its token is worth; Keycloak answers that to those in the token's audience only."""
    with working(server, api, **registration(identity, method), issuer=server.issuer) as worker:
        assert worker.management.introspect("worker")["active"] is (server.name == "oidc-provider")
    with working(server, api, "the-api", client_secret=identity.secret, scope="read", issuer=server.issuer) as worker:
        said = worker.management.introspect("worker")
        assert said["active"]
        assert said["client_id"] == "the-api"
        assert "read" in said["scope"].split()

"""Grants beside the client's own credentials: a JWT that the worker signs, a token that is exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from requests_cc_token import JwtBearerGrant, TokenEndpointError, TokenExchangeGrant, TokenRequestParameters

from .api import ProtectedApi
from .registrations import ASSERTION_ISSUER, WORKER_ACCOUNT, Identity
from .servers import RunningServer
from .worker import Worker, working

# oidc-provider offers neither.
pytestmark = [pytest.mark.interop, pytest.mark.parametrize("server", ["Keycloak"], indirect=True)]


def bearer(identity: Identity, key: str = "p256", **options: Any) -> JwtBearerGrant:
    signing = identity.keys[key]
    options = {"issuer": ASSERTION_ISSUER, "subject": WORKER_ACCOUNT, **options}
    return JwtBearerGrant(signing.pem, key_id=signing.key_id, **options)


@contextmanager
def chained(
    server: RunningServer, api: ProtectedApi, identity: Identity, grant: TokenExchangeGrant, **registration: Any
) -> Iterator[tuple[Worker, requests.Session]]:
    """A worker whose client exchanges the token of another one, ``first``, and its session."""
    registration = {"client_secret": identity.secret, "grant": grant, **registration}
    with working(server, api, "exchange", **registration) as worker:
        management = worker.management
        management.add_client(
            "first", token_endpoint=server.token_endpoint, client_id="exchanged", client_secret=identity.secret
        )
        management.add_session("chained", base_url=api.base_url, client="worker")
        with management.make_session("chained") as session:
            session.verify = server.ca
            yield worker, session


@pytest.mark.parametrize("known", ["issuer", "token_endpoint"])
def test_an_assertion_gets_a_token(
    server: RunningServer, api: ProtectedApi, identity: Identity, known: str
) -> None:
    """Whichever the server is known by; each assertion is taken once, and each request has a new one."""
    where: dict[str, Any] = {"issuer": server.issuer} if known == "issuer" else {}
    with working(
        server, api, "bearer", client_secret=identity.secret, grant=bearer(identity), scope="read", **where
    ) as worker:
        assert worker.session.get("introspected/").json()["client"] == "bearer"
        assert api.seen[-1].claims["username"] == WORKER_ACCOUNT
        worker.management.service.delete_access_token()
        assert worker.session.get("jwt/").status_code == 200
        assert worker.token_requests == 2


@pytest.mark.parametrize(
    "options",
    [
        {"key": "p384"},
        {"issuer": "https://somebody.example"},
        {"subject": "somebody"},
        {"audience": "https://somebody.example"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_an_assertion_that_is_refused(
    server: RunningServer, api: ProtectedApi, identity: Identity, options: dict[str, Any]
) -> None:
    """Is a permanent error with what to check; what the assertion held is not in it."""
    grant = bearer(identity, **options)
    with (
        working(server, api, "bearer", client_secret=identity.secret, grant=grant) as worker,
        pytest.raises(TokenEndpointError, match="check issuer, subject, audience and key of the grant") as refused,
    ):
        worker.token()
    assert (refused.value.status_code, refused.value.error) == (400, "invalid_grant")
    assert not refused.value.transient


def test_a_client_that_may_not(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """One whose settings lack the grant is told so."""
    with (
        working(server, api, "basic", client_secret=identity.secret, grant=bearer(identity)) as worker,
        pytest.raises(TokenEndpointError, match="that it allows this grant for the client") as refused,
    ):
        worker.token()
    assert (refused.value.status_code, refused.value.error) == (400, "invalid_grant")


def test_the_token_of_another_client_is_exchanged(
    server: RunningServer, api: ProtectedApi, identity: Identity
) -> None:
    """One request for each of the two; the API sees the client that exchanged, and the first one's account."""
    grant = TokenExchangeGrant({"client": "first"}, "access_token", requested_token_type="access_token")
    with chained(server, api, identity, grant, scope="read") as (worker, session):
        for _ in range(2):
            assert session.get("introspected/").json()["client"] == "exchange"
        assert api.seen[-1].claims["username"] == "service-account-exchanged"
        token = worker.management.service.get_access_token("worker")
        assert token.extra["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
        assert worker.token_requests == 2


def test_a_subject_that_was_revoked_is_renewed(
    server: RunningServer, api: ProtectedApi, identity: Identity
) -> None:
    """The refusal of the exchange has the first client's token renewed, and the exchange tried once more."""
    grant = TokenExchangeGrant({"client": "first"}, "access_token")
    with chained(server, api, identity, grant) as (worker, _):
        management = worker.management
        kept = management.service.get_access_token("first")
        management.service.get_access_token("worker")
        management.service.delete_access_token("worker")
        # Revoked behind the back of the management.
        form = {"token": kept.value, "client_id": "exchanged", "client_secret": identity.secret}
        revoked = requests.post(server.metadata["revocation_endpoint"], form, verify=server.ca, timeout=10)
        assert revoked.status_code == 200
        management.service.get_access_token("worker")
        assert management.service.get_access_token("first").value != kept.value


@pytest.mark.parametrize(
    ("subject", "kind", "error"),
    [("not.a.token", "access_token", "invalid_request"), ("not.a.token", "jwt", "invalid_request")],
)
def test_a_subject_that_is_refused(
    server: RunningServer, api: ProtectedApi, identity: Identity, subject: str, kind: str, error: str
) -> None:
    """Is a permanent error with what to check."""
    grant = TokenExchangeGrant(lambda: subject, kind)
    with (
        working(server, api, "exchange", client_secret=identity.secret, grant=grant) as worker,
        pytest.raises(TokenEndpointError, match="the subject or actor token may have expired") as refused,
    ):
        worker.token()
    assert (refused.value.status_code, refused.value.error) == (400, error)
    assert not refused.value.transient
    assert subject not in str(refused.value)


def test_an_audience_narrows_the_token(server: RunningServer, api: ProtectedApi, identity: Identity) -> None:
    """Keycloak leaves in the token what was asked for of the audiences that it would have, and refuses others."""
    grant = TokenExchangeGrant({"client": "first"}, "access_token")
    with chained(server, api, identity, grant, audience="the-api") as (worker, session):
        service = worker.management.service
        assert session.get("jwt/").status_code == 200
        assert api.seen[-1].claims["aud"] == "the-api"
        with pytest.raises(TokenEndpointError) as refused:
            service.get_access_token("worker", TokenRequestParameters(audience="nobody"))
        assert (refused.value.status_code, refused.value.error) == (400, "invalid_client")

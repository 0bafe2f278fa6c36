"""Revocation when a management is closed, and introspection for debugging."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import (
    AccessTokenManagement,
    ClientSecretPost,
    ConfigurationError,
    DPoPKey,
    FileTokenCache,
    InvalidTokenResponseError,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestError,
    TokenRequestParameters,
    UnknownClientError,
)
from requests_cc_token.demo.token_service import TokenService

from .conftest import SECRET
from .scripted_server import Action, ScriptedServer, answer, reset, token_answer
from .skipping_clock import SkippingClock


@pytest.fixture
def revoking(token_service: TokenService, clock: SkippingClock) -> Iterator[AccessTokenManagement]:
    """A management that revokes, with two clients of the embedded service."""
    with AccessTokenManagement(clock=clock, revoke_on_close=True) as management:
        for name, auth in (("basic", "client_secret_basic"), ("post", ClientSecretPost())):
            management.add_client(
                name, issuer=token_service.issuer, client_id="worker", client_secret=SECRET, auth=auth
            )
        yield management


def test_tokens_are_revoked_on_close(token_service: TokenService, revoking: AccessTokenManagement) -> None:
    """Every token of every client, those of per-request parameters too, authenticated as the token request was."""
    values = [
        revoking.service.get_access_token("basic").value,
        revoking.service.get_access_token("basic", TokenRequestParameters(scope="reports")).value,
        revoking.service.get_access_token("post").value,
    ]
    assert all(token_service.find_token(value) for value in values)
    revoking.close()
    assert len(token_service.tokens) == 3
    assert not any(token_service.find_token(value) for value in values)


def test_not_unless_asked_for(token_service: TokenService, management: AccessTokenManagement) -> None:
    """By default tokens stay valid until they expire."""
    value = management.service.get_access_token("worker").value
    management.close()
    assert token_service.find_token(value)


def test_nothing_to_revoke_nothing_sent(revoking: AccessTokenManagement, token_service: TokenService) -> None:
    """Without tokens the token service is left alone, and closing twice revokes once."""
    revoking.close()
    revoking.close()
    assert token_service.connections == 0


def test_a_child_leaves_the_parents_tokens_alone(token_service: TokenService, revoking: AccessTokenManagement) -> None:
    """A forked child that closes its copy revokes nothing."""
    value = revoking.service.get_access_token("basic").value
    child = os.fork()
    if child == 0:
        try:
            revoking.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert token_service.find_token(value)
    assert revoking.service.get_access_token("basic").value == value


def test_not_with_a_shared_cache(tmp_path: Path) -> None:
    """Tokens that other processes use are not this one's to revoke."""
    with pytest.raises(ConfigurationError, match="would revoke tokens that other processes share"):
        AccessTokenManagement(cache=FileTokenCache(tmp_path), revoke_on_close=True)


@pytest.mark.parametrize("given", [1, "yes", None])
def test_the_option_is_a_flag(given: Any) -> None:
    """True or false."""
    with pytest.raises(ConfigurationError, match="revoke_on_close must be true or false"):
        AccessTokenManagement(revoke_on_close=given)


def closed(server: ScriptedServer, *script: Action, clock: Any = None, **options: Any) -> None:
    server.script.extend([token_answer("T41NT-token"), *script])
    with AccessTokenManagement(clock=clock, revoke_on_close=True) as management:
        management.add_client(
            "w", token_endpoint=server.token_endpoint, client_id="id", client_secret="T41NT-s3cret", **options
        )
        management.service.get_access_token("w")


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (answer(503), "answered 503"),
        (answer(400, {"error": "unsupported_token_type"}), "answered 400 unsupported_token_type"),
        (answer(401, {"error": "invalid_client", "error_description": "T41NT-token, T41NT-s3cret"}), r"(***, ***)"),
        (reset, "the connection broke"),
    ],
)
def test_a_revocation_that_fails_is_logged(trouble: Action, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """The token stays valid, the log says so with the endpoint, and closing goes on."""
    with ScriptedServer() as server, caplog.at_level(logging.WARNING):
        closed(server, trouble, revocation_endpoint=server.url + "revoke")
    assert said in caplog.text
    assert f"token client 'w': the revocation endpoint {server.url}revoke" in caplog.text
    assert "the token stays valid until it expires" in caplog.text
    assert server.requests[1].form == {"token": ["T41NT-token"], "token_type_hint": ["access_token"]}
    assert server.requests[1].headers["authorization"] == server.requests[0].headers["authorization"]


def test_an_endpoint_that_nobody_knows(caplog: pytest.LogCaptureFixture) -> None:
    """Neither given nor found out: logged, nothing sent."""
    with ScriptedServer() as server, caplog.at_level(logging.WARNING):
        closed(server)
    assert "neither its revocation_endpoint nor its issuer is known" in caplog.text
    assert len(server.requests) == 1


def test_closing_takes_no_longer_than_it_may(clock: SkippingClock, caplog: pytest.LogCaptureFixture) -> None:
    """Many tokens and a slow endpoint: what is over the time is left to expire."""
    with ScriptedServer() as server, AccessTokenManagement(clock=clock, revoke_on_close=True) as management:
        server.default = token_answer("T41NT-token")
        management.add_client(
            "w",
            token_endpoint=server.token_endpoint,
            client_id="id",
            client_secret="T41NT-s3cret",
            revocation_endpoint=server.url + "revoke",
        )
        for scope in "abc":
            management.service.get_access_token("w", TokenRequestParameters(scope=scope))

        def slow(connection: Any) -> bool:
            clock.now += 60
            return answer(200)(connection)

        server.script.append(slow)
        with caplog.at_level(logging.WARNING):
            management.close()
    assert len(server.requests) == 4
    assert "no time to revoke all tokens" in caplog.text


# Introspection


def test_an_active_token(revoking: AccessTokenManagement, token_service: TokenService) -> None:
    """What the service says of the current token, and it is the token that calls get."""
    told = revoking.introspect("basic")
    assert told["active"] is True
    assert told["client_id"] == "worker"
    assert set(told["scope"].split()) == {"api", "reports"}
    narrower = revoking.introspect("basic", TokenRequestParameters(scope="reports"))
    assert narrower["scope"] == "reports"
    assert len(token_service.tokens) == 2


def test_a_token_that_is_not_active(revoking: AccessTokenManagement, token_service: TokenService) -> None:
    """A revoked token is told to be inactive, and nothing else happens to it."""
    value = revoking.service.get_access_token("basic").value
    token_service.revoke_all()
    assert revoking.introspect("basic") == {"active": False}
    assert revoking.service.get_access_token("basic").value == value


def introspected(*script: Action, **options: Any) -> Any:
    script = (token_answer("T41NT-token", **options), *script)
    with ScriptedServer(*script) as server, AccessTokenManagement() as management:
        management.add_client(
            "w",
            token_endpoint=server.token_endpoint,
            client_id="id",
            client_secret="T41NT-s3cret",
            introspection_endpoint=server.url + "introspect",
            dpop=DPoPKey.generate() if options else None,
        )
        return management.introspect("w")


@pytest.mark.parametrize(
    ("trouble", "kind", "said"),
    [
        (answer(403, b"<html>"), TokenEndpointError, "answered 403"),
        (answer(302), TokenEndpointError, "answered 302; redirects are not followed"),
        (answer(200, b"<html>"), InvalidTokenResponseError, "but not whether the token is active"),
        (answer(200, b"[" * 100_000), InvalidTokenResponseError, "but not whether the token is active"),
        (answer(200, {"active": "true"}), InvalidTokenResponseError, "but not whether the token is active"),
        (reset, TokenEndpointConnectionError, "the connection broke"),
    ],
)
def test_introspection_that_fails(trouble: Action, kind: type[TokenRequestError], said: str) -> None:
    """An error by name that shows neither token nor secret."""
    with pytest.raises(kind) as failed:
        introspected(trouble)
    assert said in str(failed.value)
    assert str(failed.value).startswith("token client 'w': the introspection endpoint ")
    assert "T41NT" not in repr(failed.value)


def test_a_bound_token_may_be_looked_up(caplog: pytest.LogCaptureFixture) -> None:
    """Introspection needs no proof of the key."""
    assert introspected(answer(200, {"active": True, "token_type": "DPoP"}), token_type="DPoP")["active"]
    assert not caplog.records


def test_a_client_that_nobody_registered(revoking: AccessTokenManagement) -> None:
    """The error lists the names there are."""
    with pytest.raises(UnknownClientError, match="registered are 'basic', 'post'"):
        revoking.introspect("nobody")

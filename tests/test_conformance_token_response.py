"""C14 to C27: what the token endpoint answers, and what is tried again."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from requests_cc_token import (
    AccessToken,
    AccessTokenManagement,
    ConfigurationError,
    InvalidTokenResponseError,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestError,
)
from requests_cc_token.endpoint.excerpt import MAX_RESPONSE_TEXT
from requests_cc_token.endpoint.http_exchange import MAX_ANSWER
from requests_cc_token.expiry import EXPIRY_MARGIN

from .scripted_server import Action, ScriptedServer, answer, error_answer, half_a_body, hang, reset, token_answer
from .skipping_clock import SkippingClock

TOKEN = "T41NT-token"


@pytest.fixture
def management(server: ScriptedServer, clock: SkippingClock) -> Iterator[AccessTokenManagement]:
    with AccessTokenManagement(clock=clock) as management:
        clock.skip_waits_of(management)
        add(management, server)
        yield management


def add(management: AccessTokenManagement, server: ScriptedServer, name: str = "w", **options: Any) -> None:
    management.add_client(
        name, token_endpoint=server.token_endpoint, client_id="id", client_secret="T41NT-s3cret", **options
    )


def fetched(management: AccessTokenManagement, server: ScriptedServer, *script: Action, name: str = "w") -> AccessToken:
    """The token that follows from these answers, and no further ones."""
    server.script.extend(script)
    management.configure_backchannel(max_tries=max(len(script), 1))
    token = management.service.get_access_token(name)
    assert not server.script
    return token


def refused(
    management: AccessTokenManagement, server: ScriptedServer, *script: Action, name: str = "w"
) -> TokenRequestError:
    """The error that follows from these answers; nothing is cached then."""
    with pytest.raises(TokenRequestError) as failure:
        fetched(management, server, *script, name=name)
    assert not server.script
    count = len(server.requests)
    server.script.append(token_answer(TOKEN + "-after"))
    management.service.retry_at_once()
    assert management.service.get_access_token(name).value == TOKEN + "-after"
    assert len(server.requests) == count + 1
    return failure.value


@pytest.mark.conformance("C15")
@pytest.mark.parametrize("written", ["mac", "N_A", "", "Bearer ", "bea\x1brer"])
def test_types_that_nobody_can_use(management: AccessTokenManagement, server: ScriptedServer, written: str) -> None:
    """A token of an unknown type is not used."""
    error = refused(management, server, token_answer(TOKEN, token_type=written))
    assert "is none this package can use" in str(error)
    assert "\x1b" not in str(error)


@pytest.mark.conformance("C16")
def test_the_default_is_an_option(
    management: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock
) -> None:
    """``default_lifetime`` of the registration counts where the answer says nothing."""
    add(management, server, "short", default_lifetime=60)
    token = fetched(management, server, token_answer(TOKEN, expires_in=None), name="short")
    assert token.expires_at - clock.time() == pytest.approx(60)
    with pytest.raises(ConfigurationError, match="default_lifetime"):
        add(management, server, "never", default_lifetime=0)


@pytest.mark.conformance("C17")
def test_the_lifetime_counts_from_before_the_request(
    management: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock
) -> None:
    """A slow answer does not make a token live longer, and a stepped wall clock does not either."""
    sent = clock.monotonic(), clock.time()

    def slow(connection: Any) -> bool:
        clock.now += 20
        return token_answer(TOKEN, 1000)(connection)

    token = fetched(management, server, slow)
    assert token.expires_at == sent[1] + 1000
    assert token.hard_expiry == sent[0] + 1000 - EXPIRY_MARGIN
    clock.now = sent[0] + 1000 - EXPIRY_MARGIN
    server.script.append(token_answer(TOKEN + "-2"))
    assert management.service.get_access_token("w").value == TOKEN + "-2"


@pytest.mark.conformance("C18")
@pytest.mark.conformance("C33")
def test_a_token_may_end_before_its_time(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """A 401 of the API within the lifetime makes for a new token, and the call goes through."""
    server.script.extend([token_answer(TOKEN), token_answer(TOKEN + "-2")])
    with ScriptedServer(answer(401), default=answer(200)) as api:
        management.add_session("api", base_url=api.url)
        with management.make_session("api") as session:
            assert session.get("x").status_code == 200
        sent = [request.headers["authorization"] for request in api.requests]
    assert sent == [f"Bearer {TOKEN}", f"Bearer {TOKEN}-2"]


@pytest.mark.conformance("C20")
def test_unknown_members_and_large_tokens(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """Unknown members are kept beside, but for nested ones; and 64 KiB of token pass."""
    token = fetched(management, server, token_answer(TOKEN + "x" * 65_536, unknown="a", nested={"a": [1]}))
    assert len(token.value) == 65_536 + len(TOKEN)
    assert token.extra == {"unknown": "a", "expires_in": 3600}


@pytest.mark.conformance("C20")
def test_the_body_is_capped(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """An answer over 1 MiB is not read to its end."""
    error = refused(management, server, answer(200, b'{"x": "' + b"x" * MAX_ANSWER + b'"}'))
    assert isinstance(error, TokenEndpointConnectionError)
    assert "larger than 1024 KiB" in str(error)


@pytest.mark.conformance("C21")
def test_a_refresh_token_is_ignored(
    management: AccessTokenManagement, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is on no token, in no record and in no log line, and not used for the renewal."""
    with caplog.at_level(logging.DEBUG):
        token = fetched(management, server, token_answer(TOKEN, refresh_token="T41NT-refresh"))
    assert "refresh_token" not in token.extra
    assert "T41NT-refresh" not in json.dumps(token.to_record())
    management.service.delete_access_token("w")
    fetched(management, server, token_answer(TOKEN))
    assert all(request.form["grant_type"] == ["client_credentials"] for request in server.requests)
    assert all("refresh_token" not in request.form for request in server.requests)


@pytest.mark.conformance("C22")
@pytest.mark.parametrize(
    "value", ["", " ", "a b", "a ", "a\r\nX-Injected: y", "a\tb", "a\x00b", "é", "a\x7f", "a\u2028b"]
)
def test_tokens_that_no_header_can_carry(
    management: AccessTokenManagement, server: ScriptedServer, value: str
) -> None:
    """Only visible ASCII characters are used (RFC 6749 appendix A.12); nothing else reaches a header."""
    error = refused(management, server, token_answer(value))
    assert isinstance(error, InvalidTokenResponseError)
    assert "\r" not in str(error)


@pytest.mark.conformance("C23")
@pytest.mark.parametrize("status", [400, 401])
def test_the_members_of_an_error(management: AccessTokenManagement, server: ScriptedServer, status: int) -> None:
    """Status, code, description and URI are on the exception, made fit for a terminal and bounded."""
    body = {
        "error": "invalid_request",
        "error_description": "no\r\n\x1b[31mred\u202e" + "x" * 5000,
        "error_uri": "https://example.com/\x07" + "y" * 5000,
    }
    error = refused(management, server, *[answer(status, body)])
    assert isinstance(error, TokenEndpointError)
    assert (error.status_code, error.error) == (status, "invalid_request")
    assert error.error_description is not None
    assert error.error_description.startswith("no???[31mred?xxx")
    assert error.error_uri is not None
    for text in (error.error_description, error.error_uri):
        assert len(text) <= MAX_RESPONSE_TEXT + 1
        assert text.isprintable()
    assert str(error).isprintable()


@pytest.mark.conformance("C23")
def test_an_error_with_status_200(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """``error`` makes it an error, even beside a token."""
    body = {"error": "invalid_scope", "access_token": TOKEN, "token_type": "Bearer"}
    error = refused(management, server, answer(200, body))
    assert isinstance(error, TokenEndpointError)
    assert (error.status_code, error.error) == (200, "invalid_scope")


@pytest.mark.conformance("C23")
@pytest.mark.parametrize(
    "body", [b"<html>Bad Gateway</html>", b"", b"\xff\xfe", b'{"error": {"a": 1}}', b'{"error": ""}']
)
def test_a_body_does_not_mask_the_status(
    management: AccessTokenManagement, server: ScriptedServer, body: bytes
) -> None:
    """The page of a proxy is a 502, not a parse error."""
    error = refused(management, server, answer(502, body, [("Content-Type", "text/html")]))
    assert isinstance(error, TokenEndpointError)
    assert (error.status_code, error.error, error.transient) == (502, None, True)
    assert "answered 502" in str(error)


@pytest.mark.conformance("C24")
@pytest.mark.parametrize(
    "code",
    ["invalid_client", "unauthorized_client", "invalid_scope", "unsupported_grant_type", "invalid_request", "made_up"],
)
def test_permanent_errors(management: AccessTokenManagement, server: ScriptedServer, code: str) -> None:
    """They are not tried again, and the next call is held off."""
    server.script.extend([error_answer(400, code)])
    for _ in range(2):
        with pytest.raises(TokenEndpointError, match=code) as error:
            management.service.get_access_token("w")
        assert error.value.transient is False
    assert len(server.requests) == 1


@pytest.mark.conformance("C24")
@pytest.mark.parametrize(
    "trouble",
    [
        *map(answer, (408, 429, 500, 503, 599)),
        reset,
        error_answer(400, "temporarily_unavailable"),
        error_answer(400, "server_error"),
    ],
)
def test_transient_errors(management: AccessTokenManagement, server: ScriptedServer, trouble: Action) -> None:
    """What may pass is tried again within the fetch."""
    assert fetched(management, server, trouble, trouble, token_answer(TOKEN)).value == TOKEN
    assert len(server.requests) == 3


@pytest.mark.conformance("C25")
def test_no_http_cache_in_between(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """Answers that a cache might keep are not kept."""
    cacheable = [("Cache-Control", "max-age=3600"), ("ETag", '"a"'), ("Set-Cookie", "a=b")]
    body = {"access_token": TOKEN, "token_type": "Bearer"}
    fetched(management, server, answer(200, body, cacheable))
    management.service.delete_access_token("w")
    assert fetched(management, server, answer(200, {**body, "access_token": TOKEN + "-2"}, cacheable)).value != TOKEN
    assert {"if-none-match", "cookie"}.isdisjoint(server.requests[1].headers)


@pytest.mark.conformance("C26")
def test_never_earlier_than_told(
    management: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock
) -> None:
    """``Retry-After`` goes before a shorter wait of ours, within a fetch and after it."""
    management.configure_backchannel(wait=[1], max_time=100)
    server.script.extend([answer(503, b"", [("Retry-After", "20")]), answer(429, b"", [("Retry-After", "3000")])])
    with pytest.raises(TokenEndpointError) as error:
        management.service.get_access_token("w")
    assert clock.waits == [20.0]
    assert error.value.retry_after == 3000.0
    clock.now += 2990
    with pytest.raises(TokenEndpointError):
        management.service.get_access_token("w")
    assert len(server.requests) == 2
    clock.now += 10
    server.script.append(token_answer(TOKEN))
    assert management.service.get_access_token("w").value == TOKEN


@pytest.mark.conformance("C27")
def test_one_layer_of_retries(management: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock) -> None:
    """A broken connection is tried as often as the options say: nothing below multiplies it."""
    server.default = reset
    management.configure_backchannel(wait=[1, 2])
    with pytest.raises(TokenEndpointConnectionError):
        management.service.get_access_token("w")
    assert clock.waits == [1.0, 2.0]
    assert len(server.requests) == 3


@pytest.mark.conformance("C27")
@pytest.mark.parametrize("trouble", [hang, half_a_body(TOKEN)], ids=["no answer", "half an answer"])
def test_the_post_is_tried_again_after_any_loss(
    management: AccessTokenManagement, server: ScriptedServer, trouble: Action
) -> None:
    """Issuing a second token harms nobody, so an answer that was lost is asked for again."""
    # What is waited for where no answer comes, and more than enough for one that does.
    management.configure_backchannel(timeout=1.5)
    assert fetched(management, server, trouble, token_answer(TOKEN)).value == TOKEN


@pytest.mark.conformance("C25")
def test_a_session_of_the_users_keeps_nothing_either(
    management: AccessTokenManagement, server: ScriptedServer
) -> None:
    """Cookies of the token service do not stay on it."""
    session = requests.Session()
    management.configure_backchannel(session=session)
    body = {"access_token": TOKEN, "token_type": "Bearer"}
    fetched(management, server, answer(200, body, [("Set-Cookie", "a=T41NT-cookie")]))
    assert not session.cookies

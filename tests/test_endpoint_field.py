"""Situations of the field: answers with a token in them, and refusals that have to tell something.

Rows F1 to F27 of what public bug reports say, each with further values of its kind. The reader is tried on values, what
is sent over sockets.
"""

from __future__ import annotations

import base64
import gc
import importlib.util
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus

import pytest
import requests
import urllib3
from requests.structures import CaseInsensitiveDict

from requests_cc_token import (
    AccessToken,
    AccessTokenManagement,
    ClientCredentialsClient,
    ClientSecretBasic,
    DPoPKey,
    InvalidTokenResponseError,
    PrivateKeyJwt,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestError,
)
from requests_cc_token.authentication.client_secret import form_encode
from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.authentication.signing_key import generated
from requests_cc_token.demand import Demand
from requests_cc_token.endpoint.answer import Answer
from requests_cc_token.endpoint.deadline import Deadline, OverdueError, by_deadline
from requests_cc_token.endpoint.excerpt import MAX_RESPONSE_TEXT, never_repeated
from requests_cc_token.endpoint.token_answer import MAX_EXTRA, read_token_answer
from requests_cc_token.exceptions import MAX_TEXT
from requests_cc_token.expiry import Moment
from requests_cc_token.slots import Slot
from requests_cc_token.stats import Asked
from requests_cc_token.testing import ManualClock

from .fetch_threads import started
from .internet import certificates
from .scripted_server import Action, ScriptedServer, answer, broken_off, error_answer, hang, reset, token_answer
from .skipping_clock import SkippingClock

ENDPOINT = "https://login.example.com/token"
SECRET = "T41NT-s3cret/with+signs"
NOW = 1_700_000_000.0


def answered(
    body: Any, status: int = 200, headers: dict[str, str] | None = None, request: TokenRequest | None = None
) -> Answer:
    if request is None:
        request = TokenRequest(ENDPOINT)
        request.note_secret(SECRET)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(request, Moment(500.0, NOW), status, CaseInsensitiveDict(headers or {}), data)


def demand(**options: Any) -> Demand:
    if "auth" not in options:
        options["client_secret"] = SECRET
    return Demand.of(ClientCredentialsClient("a", token_endpoint=ENDPOINT, client_id="m2m", **options))


def token(members: Any, *, headers: dict[str, str] | None = None, status: int = 200, **options: Any) -> AccessToken:
    if isinstance(members, dict):
        members = {"access_token": "t", "token_type": "Bearer", **members}
    return read_token_answer(answered(members, status, headers), demand(**options))


def refusal(body: Any, status: int = 400, headers: dict[str, str] | None = None, **options: Any) -> TokenEndpointError:
    with pytest.raises(TokenEndpointError) as refused:
        read_token_answer(answered(body, status, headers), demand(**options))
    return refused.value


# Answers with a token in them


@pytest.mark.parametrize("value", ["00D!AR8.q", "v^1.1#i^1", "a:b", "T1RL**", '"quoted"', "a,b;c=d", "{}", "~" * 5000])
def test_f01_tokens_of_any_visible_character(value: str) -> None:
    """Whatever a header carries as it is, is a token."""
    assert token({"access_token": value}).authorization == f"Bearer {value}"


@pytest.mark.parametrize("token_type", [None, "", "BearerToken", "Application Access Token", "oauth", "mac", 7])
def test_f02_types_of_the_vendors_own(token_type: Any) -> None:
    """Refused by default, naming the option that takes the vendor's word; never where DPoP was asked for."""
    with pytest.raises(InvalidTokenResponseError, match='token_type="Bearer" takes it for a bearer token') as refused:
        token({"token_type": token_type})
    assert not refused.value.transient
    assert token({"token_type": token_type}, token_type="Bearer").authorization == "Bearer t"
    with pytest.raises(InvalidTokenResponseError):
        token({"token_type": token_type}, dpop=DPoPKey.generate())


def test_f02_a_bound_token_is_never_a_bearer_token() -> None:
    """What names itself DPoP is not taken for something else."""
    with pytest.raises(InvalidTokenResponseError, match="the client has none"):
        token({"token_type": "DPoP"}, token_type="Bearer")


@pytest.mark.parametrize(
    ("scope", "read"), [(["a", "b"], "a b"), ([], ""), (["a b", "c"], "a b c"), ("a b", "a b"), (None, "x")]
)
def test_f03_scopes_as_an_array(scope: Any, read: str) -> None:
    """Read as several scopes, strict mode included."""
    assert token({"scope": scope}, scope="x").scope == read
    if scope:
        assert token({"scope": scope}, scope="a b", strict_scope=True).scope == read


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 299])
def test_f04_any_success(status: int) -> None:
    """A good token comes with any 2xx."""
    assert token({}, status=status).value == "t"


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("application/json; charset=iso-8859-1", "iso-8859-1"),
        ('application/json;charset="windows-1252"', "windows-1252"),
        ("application/json", "iso-8859-1"),
        ("application/json; charset=unheard-of", "iso-8859-1"),
        ("application/json; charset=idna", "iso-8859-1"),
        ("application/json; charset=utf-8", "iso-8859-1"),
        ("application/json; charset=utf-16", "utf-16"),
        ("application/json", "utf-32"),
        ("application/json; charset=iso-8859-1", "utf-8"),
    ],
)
def test_f05_other_encodings(declared: str, encoding: str) -> None:
    """Decoded as declared, else with replacement, in a token's answer and in a refusal; the token is as it was."""
    headers = {"Content-Type": declared}
    body = '{"access_token": "t", "token_type": "Bearer", "owner": "Jérôme"}'.encode(encoding)
    assert token(body, headers=headers).value == "t"
    said = '{"error": "invalid_client", "error_description": "client désactivé"}'.encode(encoding)
    error = refusal(said, 401, headers)
    assert error.error == "invalid_client"
    assert error.error_description in (
        "client désactivé",
        "client d\N{REPLACEMENT CHARACTER}sactiv\N{REPLACEMENT CHARACTER}",
    )


@pytest.mark.parametrize("error", ["", False, 0, None, [], {}])
def test_f06_errors_that_are_none(error: Any) -> None:
    """An empty error beside a token is no error."""
    assert token({"error": error}).value == "t"


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        ("3599.0", 3599),
        (" 3599 ", 3599),
        ("3599.5", 3599.5),
        ("", 300),
        ("  ", 300),
        ("0003", 3),
        (12.5, 12.5),
        (None, 300),
    ],
)
def test_f07_lifetimes_as_text(expires_in: Any, lifetime: float) -> None:
    """A number in any of these forms; empty is missing."""
    assert token({"expires_in": expires_in}).expires_at == NOW + lifetime


@pytest.mark.parametrize(
    ("members", "headers", "lifetime"),
    [
        ({"expires_on": "1700003599"}, {}, 3599),
        ({"expires_on": 1700003599}, {}, 3599),
        ({"expires_at": 1700000060.5}, {}, 60.5),
        ({"expires_on": "1700003599", "expires_in": "100"}, {}, 100),
        ({"expires_on": "1700003599", "expires_in": ""}, {}, 3599),
        # Our clock is an hour behind that of the service, which says what time it is.
        ({"expires_on": "1700007199"}, {"Date": "Tue, 14 Nov 2023 23:13:20 GMT"}, 3599),
        ({"expires_on": "1700007199"}, {"Date": "Tue Nov 14 23:13:20 2023"}, 3599),
        ({"expires_on": "1700003599"}, {"Date": "now"}, 3599),
    ],
)
def test_f08_the_moment_of_expiry(members: dict[str, Any], headers: dict[str, str], lifetime: float) -> None:
    """Read where no lifetime is told, by the clock of the token service."""
    assert token(members, headers=headers).expires_at == NOW + lifetime


def test_f08_a_moment_in_the_past() -> None:
    """A token that is over is none."""
    with pytest.raises(InvalidTokenResponseError, match="had expired when it was issued"):
        token({"expires_on": "1699999999"})


@pytest.mark.parametrize(
    "declared", ["application/x-www-form-urlencoded", "Application/X-WWW-Form-URLencoded;charset=x"]
)
def test_f09_a_form(declared: str) -> None:
    """Read where the answer says that it is one, and only there."""
    body = b"access_token=a%21b&token_type=bearer&expires_in=60&scope=a+b"
    read = token(body, headers={"Content-Type": declared})
    assert (read.value, read.scope, read.expires_at) == ("a!b", "a b", NOW + 60)
    with pytest.raises(InvalidTokenResponseError, match="no JSON object"):
        token(body)
    with pytest.raises(InvalidTokenResponseError, match="names a member twice"):
        token(body + b"&access_token=c", headers={"Content-Type": declared})
    with pytest.raises(InvalidTokenResponseError, match="names a member twice"):
        token(body + b"&expires_in=", headers={"Content-Type": declared})


@pytest.fixture
def management(server: ScriptedServer, clock: SkippingClock) -> Iterator[AccessTokenManagement]:
    with AccessTokenManagement(clock=clock) as management:
        clock.skip_waits_of(management)
        yield management


def add(management: AccessTokenManagement, server: ScriptedServer, name: str = "w", **options: Any) -> None:
    if "auth" not in options:
        options["client_secret"] = SECRET
    options.setdefault("token_endpoint", server.token_endpoint)
    management.add_client(name, client_id="m2m", **options)


def as_json(prepared: requests.PreparedRequest) -> None:
    """The form as JSON, and a key of the gateway's."""
    form = {name: values[0] for name, values in parse_qs(str(prepared.body)).items()}
    del prepared.headers["Content-Type"]
    prepared.prepare_body(data=None, files=None, json=form)
    prepared.headers["X-Api-Key"] = "T41NT-gateway"


def test_f10_what_is_sent_and_read_may_be_changed(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """Before each try the request, after it the answer; a token may be nested, in camelCase."""
    add(
        management,
        server,
        parameters={"client_id": "m2m"},
        customize_request=as_json,
        read_answer=lambda response: {
            "access_token": response.json()["data"]["accessToken"],
            "token_type": response.headers["X-Type"],
        },
    )
    server.script.append(answer(503))
    server.script.append(answer(200, {"data": {"accessToken": "nested"}}, [("X-Type", "Bearer")]))
    assert management.service.get_access_token("w").value == "nested"
    for request in server.requests:
        assert json.loads(request.body) == {"grant_type": "client_credentials", "client_id": "m2m"}
        assert request.headers["content-type"] == "application/json"
        assert request.headers["content-length"] == str(len(request.body))
        assert request.headers["x-api-key"] == "T41NT-gateway"


def test_f10_another_request_may_be_returned(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """What the callable returns is sent, where that is a request."""

    def copied(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        copy = prepared.copy()
        copy.headers["X-Copy"] = "yes"
        return copy

    add(management, server, customize_request=copied)
    server.script.append(token_answer("t"))
    management.service.get_access_token("w")
    assert server.requests[0].headers["x-copy"] == "yes"


@pytest.mark.parametrize("option", ["customize_request", "read_answer"])
def test_f10_a_callable_that_fails(
    management: AccessTokenManagement, server: ScriptedServer, option: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The error names the option and the kind, the log the place; neither has what the callable said."""

    def broken(_: Any) -> Any:
        raise KeyError(SECRET)

    options: dict[str, Any] = {option: broken}
    add(management, server, **options)
    server.default = token_answer("t")
    with pytest.raises(
        TokenRequestError, match=rf"^token client 'w': {option} failed unexpectedly \(KeyError\)"
    ) as failed:
        management.service.get_access_token("w")
    assert not failed.value.transient
    assert f"KeyError at {__file__}:" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("read", [None, 5, [1], "text"])
def test_f10_what_is_no_mapping(read: Any) -> None:
    """A callable that returns no mapping has failed."""
    with pytest.raises(TokenRequestError, match="read_answer failed unexpectedly"):
        token({}, read_answer=lambda _: read)


def test_f11_headers_of_a_gateway(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """They go with the client's own token requests, and with no other's."""
    add(management, server, headers={"Ocp-Apim-Subscription-Key": "T41NT-key", "User-Agent": "worker/1"})
    add(management, server, "other", scope="x")
    server.default = token_answer("t")
    management.service.get_access_token("w")
    management.service.get_access_token("other")
    first, second = (request.headers for request in server.requests)
    assert (first["ocp-apim-subscription-key"], first["user-agent"]) == ("T41NT-key", "worker/1")
    assert "ocp-apim-subscription-key" not in second
    assert second["user-agent"].startswith("python-requests")


def test_f12_grants_of_vendors(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """The name of the grant is an option, with further parameters beside."""
    add(management, server, grant_type="account_credentials", parameters={"account_id": "7"})
    server.script.append(token_answer("t"))
    management.service.get_access_token("w")
    assert server.requests[0].form == {"grant_type": ["account_credentials"], "account_id": ["7"]}


def test_f13_a_resource_that_is_no_uri(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """Sent with the option that says so, which the refusal of one names."""
    add(management, server, resource="00000002-0000", allow_any_resource=True)
    server.script.append(token_answer("t"))
    management.service.get_access_token("w")
    assert server.requests[0].form["resource"] == ["00000002-0000"]
    for code in ("invalid_target", "invalid_resource"):
        assert "allow_any_resource=True" in str(refusal({"error": code}))


def test_f15_refused_assertions_name_the_older_forms() -> None:
    """A signed assertion that is refused may be of a form that the server does not know."""
    error = refusal({"error": "invalid_client"}, 401, auth=PrivateKeyJwt(generated("ES256", "a test"), "ES256"))
    assert 'header_type="JWT"' in str(error)
    assert 'audience="token_endpoint"' in str(error)
    assert "header_type" not in str(refusal({"error": "invalid_client"}, 401))


def test_f16_a_blank(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """It goes as ``%20``, which every server decodes."""
    assert form_encode("a b+c") == "a%20b%2Bc"
    management.add_client(
        "w", token_endpoint=server.token_endpoint, client_id="m 2", client_secret="a b", auth=ClientSecretBasic()
    )
    server.script.append(token_answer("t"))
    management.service.get_access_token("w")
    sent = server.requests[0].headers["authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent) == b"m%202:a%20b"


# Refusals


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        ({"errorCode": "E1", "errorSummary": "no such app"}, {}, "no such app"),
        ({"message": "down\x1b[31m"}, {}, "down"),
        (b"<html><head><title>Sign &amp; in\n</title></head><body>b</body></html>", {}, "(Sign & in)"),
        (b"<fault><code>1</code><text>no &lt;app&gt;</text></fault>", {}, "(1 no <app>)"),
        (b"plain\n\ttext", {}, "(plain text)"),
        (b"[1, 2]", {}, "([1, 2])"),
        (b'"text"', {}, '("text")'),
        (b"", {"WWW-Authenticate": 'Bearer error_description="gone"'}, "(gone)"),
        ({"error": {"message": "inside"}}, {}, "inside"),
    ],
)
def test_f20_what_was_said(body: Any, headers: dict[str, str], said: str) -> None:
    """One bounded, printable excerpt, whatever its form."""
    error = refusal(body, 400, headers)
    assert said in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize("body", [b"", b"<html><body>secrets of the page</body></html>", b"   "])
def test_f20_nothing_to_say(body: bytes) -> None:
    """A page without a title and an empty answer say nothing."""
    assert str(refusal(body, 400)).endswith("answered 400")


def test_f20_the_text_is_on_the_exception() -> None:
    """As much as 4 KiB of it; what was cut is marked."""
    error = refusal({"errorSummary": "x" * 10_000}, 400)
    assert error.response_text is not None
    assert len(error.response_text) == MAX_RESPONSE_TEXT + 1
    assert len(str(error)) < MAX_TEXT + 200
    assert refusal(b"", 400).response_text is None


def deep(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {"message": "bottom"}
    for _ in range(levels):
        document = {"inner": [document]}
    return document


def test_f20_large_documents() -> None:
    """Neither depth nor breadth makes for more than an excerpt."""
    assert "…" in str(refusal(deep(20)))
    assert "bottom" in str(refusal(deep(1)))
    wide = refusal({f"m{number}": number for number in range(1_000)}, 400)
    assert wide.response_text is not None
    assert '"m49": 49' in wide.response_text
    assert "m50" not in wide.response_text


def echoes() -> list[str]:
    """Forms in which a server may repeat a secret."""
    secret = SECRET
    return [
        secret,
        quote_plus(secret),
        quote(secret, safe=""),
        base64.b64encode(f"m2m:{quote_plus(secret)}".encode()).decode(),
    ]


@pytest.mark.parametrize("status", [400, 401, 500])
@pytest.mark.parametrize("shape", ["description", "code", "summary", "text", "html", "challenge", "uri"])
def test_f20_echoes_of_the_secret(status: int, shape: str) -> None:
    """A service that repeats the credentials does not get them into message or exception, in whatever form."""
    request = TokenRequest(ENDPOINT)
    request.note_secret(SECRET)
    request.headers["Authorization"] = f"Basic {echoes()[3]}"
    for echo in echoes():
        body: Any = {
            "description": {"error": "invalid_client", "error_description": f"not {echo}!"},
            "code": {"error": f"x-{echo}"},
            "summary": {"errorSummary": f"not {echo}!", "nested": [echo]},
            "text": f"not {echo}!".encode(),
            "html": f"<html><title>{echo}</title>".encode(),
            "challenge": b"",
            "uri": {"error": "e", "error_uri": f"https://e.test/{echo}"},
        }[shape]
        headers = {"WWW-Authenticate": f'Basic error_description="{echo}"'} if shape == "challenge" else {}
        with pytest.raises(TokenEndpointError) as refused:
            read_token_answer(answered(body, status, headers, request), demand())
        assert echo not in f"{refused.value!r} {refused.value} {vars(refused.value)}"
        assert "***" in f"{refused.value} {refused.value.response_text}"


def test_f20_echoes_of_assertion_and_proof(
    management: AccessTokenManagement, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither they nor a part of them are repeated, nor is a gateway's key or the key in the endpoint's query."""
    key = generated("ES256", "a test")
    add(
        management,
        server,
        auth=PrivateKeyJwt(key, "ES256"),
        dpop=DPoPKey(key),
        headers={"X-Api-Key": "T41NT-gateway-key"},
        token_endpoint=server.token_endpoint + "?code=T41NT-query-key",
        customize_request=lambda prepared: prepared.headers.update({"X-Late": "T41NT-late-key"}),
    )

    def echo(request: Any) -> Action:
        parts = request.form["client_assertion"][0].split(".") + request.headers["dpop"].split(".")
        said = [*parts, request.form["client_assertion"][0], request.headers["dpop"], request.target]
        said += [request.headers["x-api-key"], request.headers["x-late"]]
        return answer(400, {"error": "invalid_client", "error_description": " ".join(said), "got": said})

    server.respond = echo
    with pytest.raises(TokenEndpointError) as refused:
        management.service.get_access_token("w")
    text = f"{refused.value} {vars(refused.value)} {caplog.text}"
    form, headers = server.requests[0].form, server.requests[0].headers
    for secret in (*form["client_assertion"][0].split("."), *headers["dpop"].split(".")):
        assert secret not in text
    assert "T41NT" not in text


@pytest.mark.parametrize(
    ("body", "gone"),
    [
        ({"message": "no", "access_token": "abcdef"}, "abcdef"),
        ({"message": "no", "data": {"clientSecret": "abcdef"}}, "abcdef"),
        (b"error=no&access_token=abcdef", "abcdef"),
        (b'{"id_token": "abcdef", ', "abcdef"),
        (b"got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln, sorry", "c2ln"),
        ({"error": "e", "access_token": "abcdef", "error_description": "abcdef is not for you"}, "abcdef"),
    ],
)
def test_f20_other_tokens(body: Any, gone: str) -> None:
    """What looks like a token or is named like one is not repeated, whosever it is."""
    error = refusal(body, 400)
    assert gone not in f"{error} {vars(error)}"


@pytest.mark.parametrize("said", ["client_secret is invalid", "the access token expired", "invalid_token: try again"])
def test_f20_words_about_secrets_are_none(said: str) -> None:
    """Talk of secrets is advice, and stays."""
    assert said in str(refusal({"error_description": said}, 400))


@pytest.mark.parametrize(
    ("body", "headers", "outline"),
    [
        (
            {"data": {"token": "hyMNv", "n": 1, "b": True, "l": [1]}},
            {},
            '{"data": {"token": "text of 5 characters", "n": "number", "b": "true or false", "l": "list"}}',
        ),
        ({"z": None, "f": 1.5}, {}, '{"z": "null", "f": "number"}'),
        (b"hyMNv", {"Content-Type": "text/plain"}, "5 bytes of text/plain"),
        (b"<html><title>Log in</title>hyMNv", {"Content-Type": "text/html"}, "32 bytes of text/html: Log in"),
        (b"", {}, "0 bytes of no type"),
    ],
)
def test_f20_of_a_success_only_names_and_types(body: Any, headers: dict[str, str], outline: str) -> None:
    """It may hold a token under any name, so no value of it is repeated."""
    with pytest.raises(InvalidTokenResponseError) as refused:
        token(body if isinstance(body, bytes) else json.dumps(body).encode(), headers=headers)
    assert refused.value.response_text == outline
    assert "hyMNv" not in str(refused.value)


def test_f21_long_descriptions() -> None:
    """The message cuts at 500 characters, the exception has it all."""
    advice = "The client supports 'client_secret_basic'. " * 9 + "You must configure it. " * 5
    error = refusal({"error": "invalid_client", "error_description": advice.strip()}, 401)
    assert error.error_description == advice.strip()
    assert f"({advice[:MAX_TEXT]}…)" in str(error)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://new.example.com/oauth/token?key=T41NT", "it points to https://new.example.com/oauth/token"),
        ("/elsewhere", "it points to https://login.example.com/elsewhere"),
        ("https://user:T41NT@new.example.com/", "it points to https://***@new.example.com/"),
        ("http://[broken", None),
        ("", None),
    ],
)
def test_f22_a_redirect_says_where_to(location: str, shown: str | None) -> None:
    """Origin and path; no query, no user."""
    error = refusal(b"", 302, {"Location": location})
    assert "redirects are not followed" in str(error)
    assert (shown or "it points") in str(error) if shown else "it points" not in str(error)
    assert "T41NT" not in str(error)


GATEWAYS = [
    (404, b""),
    (403, b"<title>Forbidden</title>"),
    (410, b"gone"),
    (405, b"{}"),
    (401, b'{"message": "no route"}'),
]


@pytest.mark.parametrize(("status", "body"), GATEWAYS)
def test_f32_a_refusal_without_a_code_may_pass(status: int, body: bytes) -> None:
    """What a gateway says while the token service is replaced is tried again within a second."""
    refused = refusal(body, status)
    assert refused.transient
    slot = Slot("k", Asked("w"))
    flight = slot.step(0.0).start
    assert flight is not None
    assert slot.begin(flight)
    slot.land(flight, refused, 0.0)
    slot.end(flight)
    assert slot.failure is not None
    assert slot.failure.until <= 1.0
    assert slot.step(1.0).start is not None
    assert not refusal({"error": "unauthorized_client"}, status).transient


def test_f32_the_token_service_is_replaced(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """A call in that moment has its token from the next try."""
    add(management, server)
    server.script.extend([answer(*GATEWAYS[0]), answer(*GATEWAYS[1])])
    server.default = token_answer("new")
    assert management.service.get_access_token().value == "new"
    assert len(server.requests) == 3


def failed(management: AccessTokenManagement, kind: type[TokenRequestError] = TokenEndpointConnectionError) -> Any:
    with pytest.raises(kind) as failure:
        management.service.get_access_token("w")
    assert SECRET not in str(failure.value)
    return failure.value


def test_f23_a_missing_ca_file(management: AccessTokenManagement, server: ScriptedServer, tmp_path: Path) -> None:
    """Requests' own sentence with the path; tried once, since a file does not come by itself."""
    session = requests.Session()
    session.verify = str(tmp_path / "gone.pem")
    management.configure_backchannel(session=session, wait=(1, 1))
    add(management, server, token_endpoint="https://127.0.0.1:1/token")
    error = failed(management)
    assert f"invalid path: {tmp_path / 'gone.pem'}" in str(error)
    assert not error.transient
    assert "tried" not in str(error)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("said", [answer(407), broken_off(b"HTTP/1.1 407\r\n\r\n")])
def test_f23_a_proxy_that_wants_credentials(
    management: AccessTokenManagement, server: ScriptedServer, said: Action
) -> None:
    """Which proxy, without its password, and what it said, with a word or by its number alone; tried once."""
    add(management, server, token_endpoint="https://login.example.com/token")
    server.default = said
    proxy = f"http://user:T41NT-pass@127.0.0.1:{server.port}"
    management.configure_backchannel(proxies={"https": proxy}, wait=(1, 1))
    error = failed(management)
    assert f"the proxy http://***@127.0.0.1:{server.port} failed" in str(error)
    assert "407" in str(error)
    assert "T41NT" not in str(error)
    assert not error.transient
    assert len(server.requests) == 1
    # http.client before Python 3.12 leaves a proxy's refusal open; it goes here, and not in a later test.
    del error
    gc.collect()


@pytest.mark.skipif(importlib.util.find_spec("socks") is not None, reason="PySocks is installed here")
def test_f23_a_proxy_of_a_kind_that_is_not_installed(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """SOCKS without its extra: the sentence says so, once."""
    management.configure_backchannel(proxies={"https": "socks5://127.0.0.1:1"}, wait=(1, 1))
    add(management, server, token_endpoint="https://login.example.com/token")
    error = failed(management)
    assert "Missing dependencies for SOCKS support" in str(error)
    assert not error.transient


def test_f23_a_mock_that_explains_itself(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """What the sender says in a paragraph is in the message, bounded and without what it must not hold."""

    class Explaining(requests.adapters.HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            raise requests.ConnectionError(
                f"Connection refused by a mock:\n- {request.method} {request.url}\n- {request.headers['Authorization']}"
            )

    session = requests.Session()
    session.mount("http://", Explaining())
    management.configure_backchannel(session=session, wait=())
    add(management, server, token_endpoint=server.token_endpoint + "?code=T41NT-query")
    error = failed(management)
    assert "(Connection refused by a mock: - POST" in str(error)
    assert "T41NT" not in str(error)
    assert base64.b64encode(b"m2m:").decode()[:6] not in str(error)


def test_f24_an_authority_that_nobody_trusts(management: AccessTokenManagement) -> None:
    """Tried once."""
    with ScriptedServer(tls=certificates()[0]) as server:
        management.configure_backchannel(wait=(1, 1))
        add(management, server)
        error = failed(management)
    assert "certificate verify failed" in str(error)
    assert not error.transient
    assert "tried" not in str(error)


def test_f24_how_often_and_how_long(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """Several tries are told; a single one is not."""
    add(management, server)
    server.default = answer(503)
    management.configure_backchannel(wait=(2, 3))
    assert str(failed(management, TokenEndpointError)).endswith("; tried 3 times in 5.0 s")
    management.configure_backchannel(wait=())
    assert "tried" not in str(failed(management, TokenEndpointError))


def test_f25_the_limit_that_was_reached(server: ScriptedServer) -> None:
    """Between two bytes, to connect, or for the whole fetch: the option that changes it is the one that is named."""
    clock = ManualClock()

    def hang_too_long(connection: socket.socket) -> bool:
        clock.advance(0.2)
        return hang(connection)

    server.script.extend([hang, hang_too_long])
    with AccessTokenManagement(clock=clock) as management:
        add(management, server)
        management.configure_backchannel(wait=(), timeout=0.05)
        error = str(failed(management))
        assert error.endswith("did not answer in time; 0.05 s are over; configure_backchannel(timeout=...) allows more")
        management.configure_backchannel(timeout=30, max_time=0.2)
        error = str(failed(management))
        assert error.endswith(
            "did not answer in time; the 0.2 s of a fetch are over; configure_backchannel(max_time=...) allows more"
        )


@pytest.mark.parametrize(
    ("body", "status", "advice"),
    [
        ({"error": "invalid_grant"}, 400, "check grant_type=..."),
        (b"", 401, "check client_id, the secret or key"),
        (b"", 403, "headers=... sends what it wants"),
        (b"", 404, "check token_endpoint=..."),
        (b"", 405, "takes no POST"),
        (b"", 406, "customize_request=..."),
        (b"", 407, "the proxy wants credentials"),
        (b"", 415, "customize_request=..."),
        (b"", 418, None),
    ],
)
def test_f26_advice(body: Any, status: int, advice: str | None) -> None:
    """What to do about codes and about statuses without one."""
    message = str(refusal(body, status))
    assert message.endswith(f"answered {status}") if advice is None else advice in message


@pytest.mark.parametrize(("value", "seconds"), [("30000", "3600"), ("7", "7"), ("0", None), ("soon", None)])
def test_f27_for_how_long_no_request_is_made(value: str, seconds: str | None) -> None:
    """The message says it, as it is obeyed."""
    message = str(refusal(b"", 429, {"Retry-After": value}))
    said = f"no request is made for {seconds} s"
    assert said in message if seconds else "no request is made" not in message


# What an attacker would want


def test_a4_no_message_shows_the_query(
    management: AccessTokenManagement, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An endpoint with a key in its query: the key is in no error, repr or log line, whatever goes wrong."""
    key = "T41NT-in-the-query"
    add(management, server, token_endpoint=f"{server.token_endpoint}?code={key}&api_key={quote(key)}")
    management.configure_backchannel(wait=(), timeout=0.05)
    troubles: list[Action] = [
        reset,
        hang,
        answer(200, b"x"),
        answer(200, {"access_token": "a b", "token_type": "Bearer"}),
        answer(302, b"", [("Location", f"/x?code={key}")]),
        answer(404, f"no /token?code={key}".encode()),
        error_answer(400, "invalid_client"),
        error_answer(503, "server_error"),
    ]
    shown = [repr(management), repr(management.clients["w"]), repr(TokenRequest(f"{ENDPOINT}?code={key}"))]
    for trouble in troubles:
        server.script.append(trouble)
        error = failed(management, TokenRequestError)
        shown += [str(error), repr(error), str(vars(error)), str(management.stats())]
        management.service.retry_at_once()
    with pytest.raises(TokenRequestError) as timeout:
        management.service.get_access_token("w", timeout=0.0)
    shown.append(str(timeout.value))
    management.close()
    with pytest.raises(TokenRequestError) as closed:
        management.service.get_access_token("w")
    shown.append(str(closed.value))
    assert key not in " ".join([*shown, caplog.text])


@pytest.mark.parametrize("way", ["own session", "proxy", "own session through a proxy", "secret", "customize_request"])
def test_a31_max_time_holds_on_every_way(way: str) -> None:
    """A session of the user's, a proxy, and code of the user's alike: the fetch ends when its time is over."""
    gate, clock = threading.Event(), ManualClock()

    def held(*_: Any) -> str:
        clock.advance(0.3)
        gate.wait(60)
        return SECRET

    def dripping(connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        clock.advance(0.3)
        while not gate.wait(0.02):
            connection.sendall(b"X-Drip: y\r\n")
        return False

    with ScriptedServer(default=dripping) as server, AccessTokenManagement(clock=clock) as management:
        options: dict[str, Any] = {}
        if "own session" in way:
            session = requests.Session()
            if "proxy" in way:
                session.proxies = {"http": server.url}
            management.configure_backchannel(session=session)
        elif way == "proxy":
            management.configure_backchannel(proxies={"http": server.url})
        elif way == "customize_request":
            options["customize_request"] = held
        management.configure_backchannel(wait=(), max_time=0.3, timeout=30)
        secret: Any = held if way == "secret" else SECRET
        management.add_client(
            "w", token_endpoint=server.token_endpoint, client_id="m2m", client_secret=secret, **options
        )
        try:
            error = failed(management, TokenRequestError)
        finally:
            gate.set()
    assert isinstance(error, TokenEndpointConnectionError)
    late = "its credentials were not there in time (its secret is from a callable)"
    said = late if way == "secret" else "did not answer in time"
    assert f"{said}; the 0.3 s of a fetch are over; configure_backchannel(max_time=...) allows more" in str(error)


def test_a31_tries_that_hang_are_bounded_in_number(server: ScriptedServer) -> None:
    """Each that was given up may hold a thread; beyond sixteen of them no more are begun until one ends."""
    gate, clock = threading.Event(), ManualClock()

    def held(prepared: requests.PreparedRequest) -> None:
        clock.advance(0.2)
        gate.wait(60)

    server.default = token_answer("t")
    with AccessTokenManagement(clock=clock) as management:
        management.configure_backchannel(wait=(), max_time=0.2)
        add(management, server, customize_request=held)
        failed(management)
        unfinished = management._backchannel.servers.of(server.token_endpoint).unfinished
        assert len(unfinished) == 1
        others = {object() for _ in range(15)}
        unfinished |= others
        management.service.retry_at_once()
        assert "16 tries that were given up have not ended yet" in str(failed(management))
        gate.set()
        while len(unfinished) == 16:
            threading.Event().wait(0.001)
        management.configure_backchannel(max_time=30)
        assert management.service.get_access_token("w").value == "t"
        assert unfinished == others


def test_a43_of_an_answer_a_bounded_flat_part_is_kept() -> None:
    """Lists and objects are not kept beside the token, but for the grant's details; nor is more than 16 KiB."""
    kept = token(
        {
            "flat": "x",
            "number": 1,
            "none": None,
            "list": [[]] * 100_000,
            "object": {"a": 1},
            "authorization_details": [{"type": "a"}],
            "large": "y" * MAX_EXTRA,
            "after": True,
            **{f"member {number}": "z" * 100 for number in range(10_000)},
        }
    ).extra
    assert {"flat", "number", "none", "authorization_details", "after"} <= set(kept)
    assert {"list", "object", "large"}.isdisjoint(kept)
    assert len(json.dumps(dict(kept))) < 2 * MAX_EXTRA
    unstorable = token(
        {},
        read_answer=lambda _: (
            {
                "access_token": "t",
                "token_type": "Bearer",
                "authorization_details": {1, 2},
                "expires_in": float("nan") or 1,
            }
            | {"expires_in": 1}
        ),
    ).extra
    assert dict(unstorable) == {"expires_in": 1}


def test_where_no_lifetime_is_told_one_line_says_what_was_assumed(
    management: AccessTokenManagement, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Once per client, with the option (F8)."""
    add(management, server, default_lifetime=120)
    add(management, server, "told", scope="x")
    server.default = token_answer("t", expires_in=None)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            management.service.get_access_token("w")
            management.service.delete_access_token("w")
        server.default = token_answer("t")
        management.service.get_access_token("told")
    lines = [record.getMessage() for record in caplog.records if "are assumed" in record.getMessage()]
    assert lines == [
        "token client 'w': the answer does not say how long the token lives; 120 s are assumed (default_lifetime=...)"
    ]


def test_what_is_never_repeated_is_longest_first() -> None:
    """So that no part of a longer credential stays behind."""
    request = TokenRequest(f"{ENDPOINT}?a=1&key=abcd")
    request.note_secret("abcd")
    request.secrets.append("abcdefgh")
    texts = never_repeated(request)
    assert list(texts) == sorted(texts, key=len, reverse=True)
    assert {"abcd", "abcdefgh", "a=1&key=abcd"} <= set(texts)
    assert "1" not in texts
    assert "" not in texts


def test_the_answer_of_a_patched_session(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """F42: where ``Session.send`` is patched, its answer is the token service's, and nothing reaches the network."""

    def send(self: requests.Session, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        response._content = b'{"access_token": "patched", "token_type": "Bearer"}'
        return response

    add(management, server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "send", send)
        assert management.service.get_access_token("w").value == "patched"
    assert server.requests == []


def test_a_patched_session_that_answers_too_much(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """The bound holds there, too."""
    response = requests.Response()
    response.status_code = 200
    response._content = b" " * 2_000_000
    add(management, server)
    management.configure_backchannel(wait=())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "request", lambda *_, **__: response)
        assert "larger than 1024 KiB" in str(failed(management))


@pytest.mark.parametrize("library", ["responses", "requests_mock"])
def test_f42_mocks_of_requests(management: AccessTokenManagement, server: ScriptedServer, library: str) -> None:
    """The token request is one that they answer."""
    mock = pytest.importorskip(library)
    add(management, server)
    body = {"access_token": "mocked", "token_type": "Bearer"}
    if library == "responses":
        with mock.RequestsMock() as mocked:
            mocked.post(server.token_endpoint, json=body)
            assert management.service.get_access_token("w").value == "mocked"
    else:
        with mock.Mocker() as mocked:
            mocked.post(server.token_endpoint, json=body)
            assert management.service.get_access_token("w").value == "mocked"
    assert server.requests == []


def test_caches_keep_neither_secret_nor_token(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """The token request forbids it (RFC 9111 section 5.2.1.5)."""
    add(management, server)
    server.script.append(token_answer("t"))
    assert management.service.get_access_token("w").value == "t"
    assert server.requests[0].headers["cache-control"] == "no-store"


def test_whoever_sees_the_answer_finds_what_an_adapter_gives(
    management: AccessTokenManagement, server: ScriptedServer
) -> None:
    """Its ``raw`` is urllib3's, so that recorders and caches can read it as any other."""
    seen: list[requests.Response] = []

    class Seeing(requests.Session):
        def send(self, *args: Any, **kwargs: Any) -> requests.Response:
            seen.append(super().send(*args, **kwargs))
            return seen[-1]

    management.configure_backchannel(session=Seeing())
    add(management, server)
    server.script.append(token_answer("t"))
    assert management.service.get_access_token("w").value == "t"
    (response,) = seen
    assert isinstance(response.raw, urllib3.HTTPResponse)
    assert response.raw.status == 200
    assert response.json()["access_token"] == "t"


def test_an_adapter_of_another_make(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """A response whose body is a plain file is read as well as urllib3's."""
    import io

    class Plain(requests.adapters.BaseAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
            response = requests.Response()
            response.status_code = 200
            response.raw = io.BytesIO(b'{"access_token": "plain", "token_type": "Bearer"}')
            response.request = request
            return response

        def close(self) -> None:
            pass

    session = requests.Session()
    session.mount("http://", Plain())
    management.configure_backchannel(session=session)
    add(management, server)
    assert management.service.get_access_token("w").value == "plain"


def test_the_system_has_no_thread(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """The try is made in the caller's own thread then."""
    add(management, server)
    server.script.append(token_answer("t"))

    def none(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("requests_cc_token.endpoint.deadline.start_thread", none)
        assert management.service.get_access_token("w").value == "t"


def test_tls_errors_that_may_pass(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """A handshake that breaks off is not a certificate that nobody trusts."""
    management.configure_backchannel(wait=())
    add(management, server, token_endpoint=server.token_endpoint.replace("http:", "https:"))
    error = failed(management)
    assert error.transient
    assert ssl.OPENSSL_VERSION


@pytest.mark.parametrize(
    ("alert", "is_ours"),
    [
        *((number, True) for number in (42, 43, 44, 45, 46, 48, 49)),
        *((number, False) for number in (40, 70, 80)),  # no cipher, no version in common; an error of the server's
    ],
)
def test_what_a_tls_alert_means(management: AccessTokenManagement, alert: int, is_ours: bool) -> None:
    """One about a certificate is about the client's (RFC 8446 section 6.2), and will come again; others may pass."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(16_384)
                connection.sendall(bytes([21, 3, 3, 0, 2, 2, alert]))

        over = started(refuse)
        address = f"https://127.0.0.1:{listening.getsockname()[1]}/token"
        management.add_client("w", token_endpoint=address, client_id="m2m", client_secret=SECRET)
        management.configure_backchannel(wait=())
        error = failed(management)
        assert over.wait(30)
    assert ("the server refused the TLS connection" in str(error)) is is_ours
    assert ("check the client certificate" in str(error)) is is_ours
    assert error.transient is not is_ours


def test_work_that_ends_as_it_is_given_up() -> None:
    """It does not count as unfinished, though nobody waited for it any more."""

    class Late:
        """A clock on which every wait is over, after what was waited for."""

        def monotonic(self) -> float:
            return 0.0

        def time(self) -> float:
            return 0.0

        def wait(self, event: Any, timeout: float | None) -> bool:
            assert event.wait(30)
            return False

    unfinished: set[object] = set()
    with pytest.raises(OverdueError):
        by_deadline(lambda: None, Late(), Deadline(1.0, "a limit"), unfinished)
    assert not unfinished


def test_work_whose_thread_never_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory ran out as it started: it is not unfinished for ever. A thread that comes late begins nothing."""
    late: list[Callable[[], object]] = []
    monkeypatch.setattr("requests_cc_token.endpoint.deadline.start_thread", lambda work, name: late.append(work))
    unfinished: set[object] = set()
    done: list[str] = []
    with pytest.raises(OverdueError):
        by_deadline(lambda: done.append("x"), SkippingClock(), Deadline(0.0, "a limit"), unfinished)
    assert unfinished == set()
    [run] = late
    run()
    assert (done, unfinished) == ([], set())


def test_an_error_that_names_its_client_is_left_alone(
    management: AccessTokenManagement, server: ScriptedServer
) -> None:
    """What another client's fetch failed with, in code of this one, keeps that client's name."""

    def other(_: Any) -> None:
        raise TokenRequestError("token client 'other': no", client="other", transient=False)

    add(management, server, customize_request=other)
    error = failed(management, TokenRequestError)
    assert (str(error), error.client) == ("token client 'other': no", "other")


def test_error_answers_that_are_no_json() -> None:
    """Numbers that JSON does not have and members that come twice are no members, and no reason to fail."""
    assert refusal(b'{"error": NaN}').error is None
    assert refusal(b'{"error": "a", "error": "b"}').error is None
    assert refusal(b"", 401, {"WWW-Authenticate": 'Negotiate, Basic realm="x"'}).error is None


@pytest.mark.parametrize("source", ["file", "env"])
def test_f24_a_secret_that_is_not_there(
    management: AccessTokenManagement,
    server: ScriptedServer,
    clock: SkippingClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
) -> None:
    """Tried once, with nothing waited for; as soon as it is there it is used."""
    secret: Any = {"file": {"file": tmp_path / "secret"}, "env": {"env": "M2M_SECRET_THAT_COMES"}}[source]
    management.add_client("w", token_endpoint=server.token_endpoint, client_id="m2m", client_secret=secret)
    server.default = token_answer("t")
    error = failed(management, TokenRequestError)
    assert not error.transient
    assert "tried" not in str(error)
    assert clock.waits == []
    if source == "file":
        (tmp_path / "secret").write_text("T41NT-new")
    else:
        monkeypatch.setenv("M2M_SECRET_THAT_COMES", "T41NT-new")
    assert management.service.get_access_token("w").value == "t"

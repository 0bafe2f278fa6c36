"""C01 to C13: the token request."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
import trustme
from hypothesis import given
from hypothesis import strategies as st

from requests_cc_token import (
    AccessTokenManagement,
    ClientCredentialsClient,
    ClientSecretBasic,
    ConfigurationError,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestParameters,
)
from requests_cc_token.authentication.client_secret import form_encode
from requests_cc_token.demand import Demand

from .scripted_server import Request, ScriptedServer, answer, error_answer, token_answer
from .strict_service import Authority

SECRET = "T41NT-s3cret"
ENDPOINT = "https://login.example.com/token"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(default=token_answer("T41NT-token")) as server:
        yield server


@pytest.fixture
def management() -> Iterator[AccessTokenManagement]:
    with AccessTokenManagement() as management:
        yield management


def asked(management: AccessTokenManagement, server: ScriptedServer, **options: Any) -> Request:
    """The token request of a client with these options."""
    name = f"client {len(management.clients)}"
    options = {"client_id": "id", "client_secret": SECRET, "token_endpoint": server.token_endpoint, **options}
    management.add_client(name, **options)
    management.service.get_access_token(name)
    return server.requests[-1]


def key(**options: Any) -> str:
    made = ClientCredentialsClient(
        "a", **{"token_endpoint": ENDPOINT, "client_id": "id", "client_secret": SECRET, **options}
    )
    return Demand.of(made).cache_key


@pytest.mark.conformance("C01")
def test_the_request_line_and_its_parameters(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """POST, with the query of the endpoint kept and no parameter twice or empty."""
    request = asked(
        management,
        server,
        token_endpoint=server.token_endpoint + "?tenant=a%20b&x=",
        scope="",
        audience="",
        resource=[],
        parameters={"vendor": "", "other": ["", "v"]},
    )
    assert (request.method, request.target) == ("POST", "/token?tenant=a%20b&x=")
    assert parse_qsl(request.body.decode(), keep_blank_values=True) == [
        ("grant_type", "client_credentials"),
        ("other", "v"),
    ]


@pytest.mark.conformance("C01")
@pytest.mark.parametrize("fragment", ["#", "#x"])
def test_an_endpoint_with_a_fragment(fragment: str) -> None:
    """It is refused, an empty fragment too."""
    with pytest.raises(ConfigurationError, match="must not have a fragment"):
        key(token_endpoint=ENDPOINT + fragment)


@pytest.mark.conformance("C01")
@pytest.mark.conformance("C13")
@pytest.mark.parametrize(
    "name",
    ["grant_type", "client_secret", "client_assertion", "client_assertion_type", "scope", "resource"],
)
def test_parameters_with_an_option_of_their_own(name: str) -> None:
    """Further parameters cannot override the grant, the client or its authentication, nor repeat an option."""
    with pytest.raises(ConfigurationError, match=f"the parameter '{name}' is set by its own option"):
        key(parameters={name: "x"})
    with pytest.raises(ConfigurationError, match=f"the parameter '{name}' is set by its own option"):
        TokenRequestParameters(parameters={name: "x"})


@pytest.mark.conformance("C01")
def test_a_parameter_given_twice() -> None:
    """RFC 6749 section 3.2 forbids it, so it is refused rather than sent."""
    with pytest.raises(ConfigurationError, match="'vendor' is given twice"):
        key(parameters={"vendor": ["a", "b"]})


@pytest.mark.conformance("C02")
@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post"])
def test_the_body_is_form_encoded_utf_8(
    management: AccessTokenManagement, server: ScriptedServer, auth: str
) -> None:
    """Text of any script makes the round trip; content type and accepted type are said."""
    secret = SECRET + "пароль 密码 é&=+%"
    request = asked(management, server, client_id="клиент", client_secret=secret, auth=auth, parameters={"p": "ü & +"})
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["accept"] == "application/json"
    assert request.body.isascii()
    assert request.form["grant_type"] == ["client_credentials"]
    assert request.form["p"] == ["ü & +"]
    if auth == "client_secret_post":
        assert (request.form["client_id"], request.form["client_secret"]) == (["клиент"], [secret])


@pytest.mark.conformance("C03")
@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        (":", "%3A"),
        ("%", "%25"),
        ("+", "%2B"),
        ("/", "%2F"),
        ("=", "%3D"),
        ("&", "%26"),
        (" ", "%20"),
        ("é", "%C3%A9"),
        ("~", "%7E"),
        ("*", "*"),
        ("(", "%28"),
        (")", "%29"),
        ("-._", "-._"),
        ("aZ9", "aZ9"),
    ],
)
def test_form_encoding_before_basic(
    management: AccessTokenManagement, server: ScriptedServer, text: str, encoded: str
) -> None:
    """Id and secret are form-encoded first, as appendix B says, each of the characters that differ between servers."""
    request = asked(management, server, client_id="i" + text, client_secret=SECRET + text)
    pair = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode("ascii")
    assert pair == f"i{encoded}:{SECRET}{encoded}"


@pytest.mark.conformance("C03")
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_form_encoding_is_undone_by_form_decoding(text: str) -> None:
    """Any text comes back from a form decoder as it was."""
    assert parse_qsl("x=" + form_encode(text), keep_blank_values=True, strict_parsing=True) == [("x", text)]


@pytest.mark.conformance("C03")
def test_the_raw_form_is_a_switch(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """Raw Basic when it was asked for; a refusal of one form never makes us try the other."""
    secret = SECRET + ":%+/=& é~*()"
    raw = asked(management, server, client_secret=secret, auth=ClientSecretBasic(encoding="raw"))
    pair = base64.b64decode(raw.headers["authorization"].removeprefix("Basic ")).decode()
    assert pair == "id:" + secret
    server.script.append(error_answer(401, "invalid_client"))
    count = len(server.requests)
    with pytest.raises(TokenEndpointError):
        asked(management, server, client_secret=secret, scope="another")
    assert len(server.requests) == count + 1
    with pytest.raises(ConfigurationError, match="a client_id with a colon cannot be sent raw"):
        key(client_id="a:b", auth=ClientSecretBasic(encoding="raw"))


@pytest.mark.conformance("C04")
@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post"])
def test_credentials_are_never_in_the_uri(
    management: AccessTokenManagement, server: ScriptedServer, auth: str
) -> None:
    """Neither id nor secret is; and the body has them only when that was chosen."""
    request = asked(management, server, client_id="an-id", auth=auth)
    assert request.target == "/token"
    assert {b"an-id" in request.body, b"T41NT" in request.body} == {auth == "client_secret_post"}
    with pytest.raises(ConfigurationError, match="must not hold a user name or password"):
        key(token_endpoint="https://id:T41NT@login.example.com/token")


@pytest.mark.conformance("C05")
@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post"])
def test_one_authentication_per_request(
    management: AccessTokenManagement,
    server: ScriptedServer,
    auth: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No second one comes from netrc, from the session's auth, or from its headers."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password T41NT-netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))
    session = requests.Session()
    session.auth = ("somebody", "T41NT-auth")
    session.headers["Authorization"] = "Basic T41NT"
    for backchannel in (None, session):
        management.configure_backchannel(session=backchannel)
        request = asked(management, server, auth=auth)
        methods = {"authorization" in request.headers, "client_secret" in request.form}
        assert methods == {True, False}
        if auth == "client_secret_basic":
            pair = base64.b64decode(request.headers["authorization"].removeprefix("Basic "))
            assert pair == b"id:" + SECRET.encode()
            assert "client_id" not in request.form


@pytest.mark.conformance("C05")
@pytest.mark.parametrize("auth", ["tls_client_auth", "self_signed_tls_client_auth"])
def test_a_secret_beside_another_method(auth: str) -> None:
    """A registration with two credentials is refused."""
    with pytest.raises(ConfigurationError, match="uses no client_secret; leave it out"):
        key(auth=auth, cert="cert.pem")


@pytest.mark.conformance("C06")
@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post", "client_secret_jwt"])
def test_a_client_without_a_credential(auth: str) -> None:
    """This grant is for confidential clients only."""
    with pytest.raises(ConfigurationError, match="for confidential clients only"):
        key(client_secret=None, auth=auth)
    with pytest.raises(ConfigurationError, match="is empty"):
        key(client_secret="", auth=auth)
    with pytest.raises(ConfigurationError, match="client_id must be printable text"):
        key(client_id="", auth=auth)


@pytest.mark.conformance("C07")
def test_scopes_are_sets_of_tokens(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """Joined by one space, as text or iterable; order and repetition make no other token, case does."""
    assert asked(management, server, scope="read  write ").form["scope"] == ["read write"]
    assert asked(management, server, scope=("b", "a", "b")).form["scope"] == ["b a"]
    assert key(scope="read write") == key(scope=["write", "read", "write"])
    assert key(scope="read") != key(scope="Read")


@pytest.mark.conformance("C07")
@pytest.mark.parametrize("scope", ['a"b', "a\\b", "é", "a\tb", "a\x7fb", "a\nb", ["a b"]])
def test_characters_that_no_scope_has(scope: Any) -> None:
    """RFC 6749 section 3.3 says which there are."""
    with pytest.raises(ConfigurationError, match=r"scope holds a character that RFC 6749 section 3.3 forbids"):
        key(scope=scope)


@pytest.mark.conformance("C08")
def test_no_union_of_scopes(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """Each scope and resource has a token of its own that asks for no more than that."""
    management.add_client(
        "w", token_endpoint=server.token_endpoint, client_id="id", client_secret=SECRET, scope="a"
    )
    for parameters in (
        None,
        TokenRequestParameters("b"),
        TokenRequestParameters("a", resource="https://x.example/"),
        TokenRequestParameters("a"),
    ):
        management.service.get_access_token("w", parameters)
    asked_for = [(r.form["scope"][0], r.form.get("resource")) for r in server.requests]
    assert asked_for == [("a", None), ("b", None), ("a", ["https://x.example/"])]


@pytest.mark.conformance("C09")
@pytest.mark.parametrize("url", ["http://login.example.com/token", "http://127.0.0.1.example.com/token"])
def test_plain_http_is_refused(url: str) -> None:
    """Off this machine the secret goes over TLS, unless somebody says otherwise by name."""
    with pytest.raises(ConfigurationError, match="is plain http, so everybody on the way could read the secret"):
        key(token_endpoint=url)
    assert key(token_endpoint=url, allow_http=True)
    assert key(token_endpoint="http://127.0.0.1/token")


@pytest.mark.conformance("C09")
def test_the_certificate_is_verified(management: AccessTokenManagement, tmp_path: Path) -> None:
    """Neither an unknown authority nor another host's certificate is spoken to."""
    authority = Authority(tmp_path)
    elsewhere = trustme.CA()
    context = authority.server_context()
    with ScriptedServer(default=token_answer("T41NT-token"), tls=context) as server:
        with pytest.raises(TokenEndpointConnectionError, match="check its certificate and your CA settings"):
            asked(management, server)
        management.configure_backchannel(verify=authority.file, max_tries=1)
        assert asked(management, server).method == "POST"
    elsewhere.issue_cert("another.example").configure_cert(context)
    elsewhere.cert_pem.write_to_path(str(tmp_path / "elsewhere.pem"))
    management.configure_backchannel(verify=str(tmp_path / "elsewhere.pem"))
    with (
        ScriptedServer(tls=context) as server,
        pytest.raises(TokenEndpointConnectionError, match="the TLS connection failed"),
    ):
        asked(management, server)
    assert not server.requests


@pytest.mark.conformance("C10")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    management: AccessTokenManagement, server: ScriptedServer, status: int
) -> None:
    """The credentials would travel; the answer is an error that says what to register."""
    server.script.append(answer(status, b"", [("Location", server.url + "elsewhere")]))
    with pytest.raises(TokenEndpointError, match="redirects are not followed") as refused:
        asked(management, server)
    assert refused.value.status_code == status
    assert len(server.requests) == 1


@pytest.mark.conformance("C11")
def test_resource_indicators(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """Several, each a parameter of its own; a part of the cache key as a set; a wrong one is a permanent error."""
    resources = ["https://a.example/api", "urn:example:b"]
    assert asked(management, server, resource=resources).form["resource"] == resources
    assert asked(management, server, resource=resources[0]).form["resource"] == resources[:1]
    assert key(resource=resources) == key(resource=resources[::-1]) != key(resource=resources[:1])
    server.script.extend([error_answer(400, "invalid_target")] * 2)
    with pytest.raises(TokenEndpointError, match="check resource=") as refused:
        asked(management, server, resource="https://c.example/")
    assert refused.value.transient is False
    assert len(server.script) == 1


@pytest.mark.conformance("C11")
@pytest.mark.parametrize("code", ["invalid_target", "invalid_resource"])
def test_a_scope_that_names_the_api(management: AccessTokenManagement, server: ScriptedServer, code: str) -> None:
    """Where no resource was sent, the message says to check the scope, which names the API at Entra."""
    server.script.append(error_answer(400, code))
    with pytest.raises(TokenEndpointError, match="nothing names the API but scope="):
        asked(management, server, scope="api://orders/.default")


@pytest.mark.conformance("C11")
@pytest.mark.parametrize(
    "resource", ["api", "/api", "https://a.example/#x", "https://a.example/#", "https://é.example", ""]
)
def test_what_is_no_resource_indicator(resource: str) -> None:
    """RFC 8707 section 2: an absolute URI without a fragment."""
    with pytest.raises(ConfigurationError, match="resource"):
        key(resource=resource)


@pytest.mark.conformance("C12")
def test_rich_authorization_requests(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """The array is sent as JSON, canonical in the cache key, and what was granted is on the token."""
    details = [{"type": "payment", "actions": ["read"], "limit": {"currency": "EUR", "amount": 1}}]
    granted = [{"type": "payment", "actions": []}]
    server.script.append(token_answer("T41NT-token", authorization_details=granted))
    request = asked(management, server, authorization_details=details)
    assert json.loads(request.form["authorization_details"][0]) == details
    assert management.service.get_access_token("client 0").extra["authorization_details"] == granted
    same = json.dumps([{"limit": {"amount": 1, "currency": "EUR"}, "actions": ["read"], "type": "payment"}])
    assert key(authorization_details=details) == key(authorization_details=same) != key()
    assert key(authorization_details=details[0]) == key(authorization_details=details)
    server.script.append(error_answer(400, "invalid_authorization_details"))
    with pytest.raises(TokenEndpointError, match="check authorization_details=") as refused:
        asked(management, server, authorization_details=[{"type": "other"}])
    assert refused.value.transient is False


@pytest.mark.conformance("C12")
@pytest.mark.parametrize(
    "details", ["{", "[]", [], [{}], [{"type": 7}], ["payment"], 7, [{"type": "a", "x": float("nan")}]]
)
def test_what_is_no_rich_request(details: Any) -> None:
    """RFC 9396 section 2: an array of objects, each with a type."""
    with pytest.raises(ConfigurationError, match="authorization_details must be a JSON array of objects"):
        key(authorization_details=details)


@pytest.mark.conformance("C13")
def test_vendor_parameters(management: AccessTokenManagement, server: ScriptedServer) -> None:
    """``audience`` and others pass through, each with a token of its own."""
    request = asked(management, server, audience="https://api.example/", parameters={"organization": "o"})
    assert request.form["audience"] == ["https://api.example/"]
    assert request.form["organization"] == ["o"]
    assert len({key(), key(audience="a"), key(parameters={"a": "b"}), key(parameters={"a": "c"})}) == 4


@pytest.mark.conformance("C11")
@pytest.mark.conformance("C12")
@pytest.mark.conformance("C13")
def test_asking_for_more_per_session_and_per_request(
    management: AccessTokenManagement, server: ScriptedServer
) -> None:
    """A session asks for its own resource, audience and details; a request's own go before, the others stay."""
    management.add_client("w", token_endpoint=server.token_endpoint, client_id="id", client_secret=SECRET, scope="a")
    with ScriptedServer(default=answer(200)) as api:
        management.add_session("plain", base_url=api.url, client="w")
        management.add_session(
            "more",
            base_url=api.url,
            client="w",
            token_parameters=TokenRequestParameters(
                resource="https://x.example/", audience="x", authorization_details=[{"type": "t"}]
            ),
        )
        with management.make_session("plain") as plain, management.make_session("more") as more:
            for _ in range(2):
                plain.get("x")
                more.get("x")
                more.get("x", auth=TokenRequestParameters(audience="y", parameters={"p": "q"}))
    names = ("scope", "resource", "audience", "authorization_details", "p")
    assert [{n: r.form[n][0] for n in names if n in r.form} for r in server.requests] == [
        {"scope": "a"},
        {"scope": "a", "resource": "https://x.example/", "audience": "x", "authorization_details": '[{"type":"t"}]'},
        {
            "scope": "a",
            "resource": "https://x.example/",
            "audience": "y",
            "authorization_details": '[{"type":"t"}]',
            "p": "q",
        },
    ]
    with pytest.raises(ConfigurationError, match="parameters must be TokenRequestParameters"):
        management.add_session("wrong", base_url=api.url, token_parameters={"scope": "x"})  # type: ignore[arg-type]

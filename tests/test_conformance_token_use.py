"""C28 to C36: the token on its way to the API."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from requests_cc_token import NO_TOKEN, AccessTokenManagement, ConfigurationError
from requests_cc_token.www_authenticate import parse_challenges

from .scripted_server import Action, Request, ScriptedServer, answer, reset, token_answer
from .skipping_clock import SkippingClock
from .strict_service import Authority

TOKEN = "T41NT-token"
INVALID = ("WWW-Authenticate", 'Bearer error="invalid_token"')


@pytest.fixture
def tokens() -> Iterator[ScriptedServer]:
    """A token service whose tokens are numbered."""
    with ScriptedServer() as server:
        server.respond = lambda _: token_answer(f"{TOKEN}-{len(server.requests) + 1}")
        yield server


@pytest.fixture
def api() -> Iterator[ScriptedServer]:
    with ScriptedServer(default=answer(200, b"done")) as api:
        yield api


@pytest.fixture
def management(
    tokens: ScriptedServer, api: ScriptedServer, clock: SkippingClock
) -> Iterator[AccessTokenManagement]:
    with AccessTokenManagement(clock=clock) as management:
        management.add_client(
            "w", token_endpoint=tokens.token_endpoint, client_id="id", client_secret="T41NT-s3cret"
        )
        management.add_session("api", base_url=api.url + "v1/")
        yield management


@pytest.fixture
def session(management: AccessTokenManagement) -> Iterator[requests.Session]:
    with management.make_session("api") as session:
        yield session


def bearers(api: ScriptedServer) -> list[str | None]:
    """What each request of the API carried."""
    return [request.headers.get("authorization") for request in api.requests]


def bearer(number: int) -> str:
    return f"Bearer {TOKEN}-{number}"


def shown(request: Request) -> str:
    return f"{request.target} {request.body!r} {({n: v for n, v in request.headers.items() if n != 'authorization'})}"


@pytest.mark.conformance("C28")
@pytest.mark.conformance("C29")
def test_the_token_is_in_the_header_only(session: requests.Session, api: ScriptedServer) -> None:
    """Once, and in no URL, body, cookie or other header; and not on the caller's request."""
    response = session.post("x", params={"a": "b"}, data={"c": "d"}, cookies={"e": "f"})
    (request,) = api.requests
    assert request.headers["authorization"] == bearer(1)
    assert "T41NT" not in shown(request)
    assert "Authorization" not in response.request.headers
    assert "T41NT" not in repr(session.cookies)


@pytest.mark.conformance("C28")
@pytest.mark.conformance("C31")
def test_never_two_methods(management: AccessTokenManagement, session: requests.Session, api: ScriptedServer) -> None:
    """A caller's own header, of any scheme, is kept and stands alone; by option it is overwritten."""
    for own in ("Basic b3duZXI=", "Bearer owner"):
        session.get("x", headers={"authorization": own})
    session.get("x", auth=("owner", "secret"))
    assert bearers(api) == ["Basic b3duZXI=", "Bearer owner", "Basic b3duZXI6c2VjcmV0"]
    management.add_session("ours", base_url=api.url, keep_authorization=False)
    with management.make_session("ours") as ours:
        ours.get("x", headers={"authorization": "Bearer owner"})
    assert bearers(api)[3:] == [bearer(1)]


@pytest.mark.conformance("C31")
def test_netrc_does_not_win(
    management: AccessTokenManagement, api: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry for the API's host is not used, on a session of ours or on one that existed."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password T41NT-netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with management.make_session("api") as ours, requests.Session() as theirs:
        management.mount(theirs, api.url)
        ours.get("x")
        theirs.get(api.url + "x")
    assert bearers(api) == [bearer(1)] * 2


@pytest.mark.conformance("C29")
@pytest.mark.parametrize("url", ["http://api.example.com/", "http://localhost.example.com/"])
def test_plain_http_is_refused(management: AccessTokenManagement, url: str) -> None:
    """A token goes over TLS unless somebody says otherwise by name."""
    with pytest.raises(ConfigurationError, match="is plain http"):
        management.add_session("plain", base_url=url)
    with pytest.raises(ConfigurationError, match="is plain http"):
        management.mount(requests.Session(), url)
    management.add_session("plain", base_url=url, allow_http=True)


@pytest.mark.conformance("C29")
def test_the_apis_certificate_is_verified(management: AccessTokenManagement, tmp_path: Path) -> None:
    """An API of an unknown authority does not see the token."""
    authority = Authority(tmp_path)
    with ScriptedServer(default=answer(200), tls=authority.server_context()) as api:
        management.add_session("tls", base_url=api.url)
        with management.make_session("tls") as session:
            with pytest.raises(requests.exceptions.SSLError):
                session.get("x")
            assert not api.requests
            assert session.get("x", verify=authority.file).status_code == 200
        assert bearers(api) == [bearer(1)]


@pytest.mark.conformance("C30")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_elsewhere_goes_without_the_token(
    session: requests.Session, api: ScriptedServer, status: int
) -> None:
    """Another origin, another path of the same one, or a path that only looks mounted: no token."""
    with ScriptedServer(default=answer(200)) as other:
        for place in (other.url, other.url + "v1/", api.url + "admin", api.url + "v1/%2e%2e/admin"):
            api.script.append(answer(status, b"", [("Location", place)]))
            assert session.get("x").status_code == 200
        assert bearers(other) == [None, None]
    assert bearers(api) == [bearer(1), bearer(1), bearer(1), None, bearer(1), None]


@pytest.mark.conformance("C30")
def test_a_redirect_within_the_mount_keeps_it(session: requests.Session, api: ScriptedServer) -> None:
    """There the adapter is asked again and puts it on."""
    api.script.append(answer(302, b"", [("Location", "/v1/there")]))
    assert session.get("x").status_code == 200
    assert bearers(api) == [bearer(1)] * 2


@pytest.mark.conformance("C32")
def test_challenges_in_every_form() -> None:
    """Several lines, several challenges in one, escapes, token68, names without case; a repeated name drops one."""
    lines = [
        r'Basic realm="a, \"b\" \\", NEGOTIATE dG9rZW4=, Bearer Error="invalid_token", scope=x',
        "DPoP error=use_dpop_nonce, algs=ES256",
        "Bearer error=a, ERROR=b, Digest realm=c",
    ]
    assert [(c.scheme, dict(c.parameters), c.token68) for c in parse_challenges(lines)] == [
        ("basic", {"realm": 'a, "b" \\'}, None),
        ("negotiate", {}, "dG9rZW4="),
        ("bearer", {"error": "invalid_token", "scope": "x"}, None),
        ("dpop", {"error": "use_dpop_nonce", "algs": "ES256"}, None),
        ("digest", {"realm": "c"}, None),
    ]


@pytest.mark.conformance("C32")
@pytest.mark.conformance("C33")
@pytest.mark.parametrize(
    ("refusal", "requests_sent"),
    [
        (answer(401, b"", [INVALID]), 2),
        (answer(401), 2),
        (answer(401, b"", [("WWW-Authenticate", 'Bearer realm="a"')]), 2),
        (answer(401, b"", [("WWW-Authenticate", 'bEARER eRROR="invalid_token"')]), 2),
        (answer(401, b"", [("WWW-Authenticate", "Basic realm=a"), INVALID]), 2),
        (answer(401, b"", [("WWW-Authenticate", 'Bearer error="insufficient_scope"')]), 1),
        (answer(401, b"", [("WWW-Authenticate", 'Bearer error="invalid_request"')]), 1),
        (answer(403, b"", [("WWW-Authenticate", 'Bearer error="insufficient_scope"')]), 1),
        (answer(403, b"", [INVALID]), 1),
        (answer(400, b"", [("WWW-Authenticate", 'Bearer error="invalid_request"')]), 1),
        (answer(500), 1),
    ],
)
def test_what_is_renewed(
    session: requests.Session, api: ScriptedServer, tokens: ScriptedServer, refusal: Action, requests_sent: int
) -> None:
    """A 401 that a new token may help is sent once more with one; nothing else is."""
    api.script.append(refusal)
    response = session.get("x")
    assert bearers(api) == [bearer(number + 1) for number in range(requests_sent)]
    assert len(response.history) == requests_sent - 1
    session.get("x")
    assert len(tokens.requests) == requests_sent


@pytest.mark.conformance("C33")
def test_renewal_can_be_turned_off(
    management: AccessTokenManagement, api: ScriptedServer, tokens: ScriptedServer
) -> None:
    """By option a 401 is the caller's at once."""
    management.add_session("off", base_url=api.url, renew_on=())
    api.script.append(answer(401, b"", [INVALID]))
    with management.make_session("off") as session:
        assert session.get("x").status_code == 401
    assert len(tokens.requests) == 1


@pytest.mark.conformance("C34")
def test_the_second_401_is_the_callers(session: requests.Session, api: ScriptedServer, tokens: ScriptedServer) -> None:
    """Neither a loop nor an exception: the response, with its body and the first one in its history."""
    api.default = answer(401, b"no", [INVALID])
    response = session.get("x")
    assert (response.status_code, response.text) == (401, "no")
    assert [old.status_code for old in response.history] == [401]
    assert len(api.requests) == len(tokens.requests) == 2
    assert [session.get("x").status_code for _ in range(3)] == [401] * 3
    assert len(tokens.requests) <= 3


@pytest.mark.conformance("C35")
@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b"bytes", b"bytes"),
        ("text", b"text"),
        ({"a": "b"}, b"a=b"),
        (None, b""),
    ],
)
def test_a_body_is_sent_again(session: requests.Session, api: ScriptedServer, body: Any, sent: bytes) -> None:
    """The same bytes, over the same connection: the refusal was read to its end."""
    api.script.append(answer(401, b"x" * 10_000, [INVALID]))
    assert session.post("x", data=body).status_code == 200
    assert [request.body for request in api.requests] == [sent] * 2
    assert api.connections == 1


@pytest.mark.conformance("C35")
def test_a_file_is_rewound_to_where_it_was(
    session: requests.Session, api: ScriptedServer, tmp_path: Path, clock: SkippingClock
) -> None:
    """Files, in memory or on disk, from their position on; uploads of several parts too."""
    path = tmp_path / "file"
    path.write_bytes(b"skipped|sent")
    for file in (io.BytesIO(b"skipped|sent"), path.open("rb")):
        with file:
            file.seek(8)
            clock.now += 60  # a token that worked for a while was revoked
            api.script.append(answer(401, b"", [INVALID]))
            assert session.post("x", data=file).status_code == 200
    assert [request.body for request in api.requests] == [b"sent"] * 4
    clock.now += 60
    api.script.append(answer(401, b"", [INVALID]))
    assert session.post("x", files={"f": ("n", io.BytesIO(b"part"))}).status_code == 200
    assert api.requests[-1].body == api.requests[-2].body != b""


@pytest.mark.conformance("C35")
def test_what_cannot_be_sent_again_is_not(
    session: requests.Session, api: ScriptedServer, tokens: ScriptedServer
) -> None:
    """A generator's refusal is the answer, nothing empty is sent, and the next call has a new token."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    for body in (iter([b"a", b"b"]), Pipe(b"ab")):
        api.script.append(answer(401, b"no", [INVALID]))
        response = session.post("x", data=body)
        assert (response.status_code, response.text) == (401, "no")
    assert [request.body for request in api.requests] == [b"ab"] * 2
    session.get("x")
    assert bearers(api)[-1] == bearer(len(tokens.requests))
    assert len(tokens.requests) > 1


@pytest.mark.conformance("C36")
def test_tokens_are_not_looked_up(session: requests.Session, tokens: ScriptedServer) -> None:
    """Nothing but token requests goes to the token service in normal use, and nothing at the end."""
    session.get("x")
    session.close()
    assert [request.form["grant_type"] for request in tokens.requests] == [["client_credentials"]]


@pytest.mark.conformance("C36")
@pytest.mark.parametrize(
    ("said", "warned"), [(answer(200), False), (answer(503), True), (answer(400), True), (reset, True)]
)
def test_revocation_at_the_end(
    tokens: ScriptedServer, said: Action, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """If asked for: a POST, authenticated; after a 200 the token is not valid any more, after a 503 it still is."""
    with AccessTokenManagement(revoke_on_close=True) as management, caplog.at_level(logging.WARNING):
        management.add_client(
            "w",
            token_endpoint=tokens.token_endpoint,
            client_id="id",
            client_secret="T41NT-s3cret",
            revocation_endpoint=tokens.url + "revoke",
        )
        management.service.get_access_token("w")
        tokens.respond = None
        tokens.script.append(said)
    request = tokens.requests[-1]
    assert (request.method, request.target) == ("POST", "/revoke")
    assert request.form == {"token": [f"{TOKEN}-1"], "token_type_hint": ["access_token"]}
    assert request.headers["authorization"].startswith("Basic ")
    assert ("the token stays valid until it expires" in caplog.text) is warned


@pytest.mark.conformance("C28")
def test_one_request_without_a_token(session: requests.Session, api: ScriptedServer) -> None:
    """``NO_TOKEN`` is the way to send none."""
    session.get("x", auth=NO_TOKEN)
    assert bearers(api) == [None]

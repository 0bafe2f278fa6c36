"""``check --live``: what an operator is told of what goes wrong between a client, its token service and an API.

One run over real sockets for each, which must give the right line and the right exit code.
"""

from __future__ import annotations

import datetime
import json
import select
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme

from requests_cc_token.cli.app import run
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .redis_server import free_port
from .scripted_server import Action, ScriptedServer, answer, error_answer, reset, token_answer

SECRET = "T41NT-secret"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def describe(config: Path, endpoint: str, more: str = "", *, secret: str = SECRET, client: str = "") -> None:
    """Write a configuration of the client ``erp``."""
    (config.parent / "secret").touch(0o600)
    (config.parent / "secret").write_text(secret)
    config.write_text(
        f"""
        [clients.erp]
        token_endpoint = "{endpoint}"
        client_id = "worker"
        client_secret = {{ file = "secret" }}
        {client}
        {more}
        """
    )


def live(config: Path, *arguments: str) -> int:
    return run(["check", "--live", "--config", str(config), *arguments])


def problem(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that is a problem; nothing may hold the secret or a token."""
    out = capsys.readouterr().out
    assert "T41NT" not in out
    (line,) = [line for line in out.splitlines() if line.startswith("problem")]
    return line


def answers(server: ScriptedServer, action: Action) -> None:
    """Have token requests answered so, and anything else with 405."""
    server.respond = lambda request: action if request.method == "POST" else answer(405)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        answers(server, token_answer("T41NT-token"))
        yield server


@pytest.fixture
def tokens() -> Iterator[TokenService]:
    with TokenService() as service:
        service.add_client("worker", SECRET, scopes="api reports")
        yield service


@pytest.fixture
def api(tokens: TokenService) -> Iterator[ProtectedApi]:
    with ProtectedApi(tokens) as api:
        yield api


@pytest.mark.parametrize("given", [(), ("erp",)])
def test_all_is_well(
    config: Path, tokens: TokenService, api: ProtectedApi, capsys: pytest.CaptureFixture[str], given: tuple[str, ...]
) -> None:
    """Each step has its line; one token request, one call of the API."""
    describe(
        config,
        tokens.token_endpoint,
        f'[sessions.main]\nbase_url = "{api.base_url}"\n[cache]\nurl = "file:{config.parent}/tokens"',
        client='scope = "api"',
    )
    assert live(config, *given, "--session", "main", "--path", "test") == 0
    lines = capsys.readouterr().out.splitlines()
    for text in ("127.0.0.1 is 127.0.0.1", "connected to", "a token came", "Bearer token, usable for", "scope api"):
        assert any(text in line for line in lines)
    assert any("session main: the API answers 200" in line for line in lines)
    assert any(line.startswith("ok       cache:") for line in lines)
    assert (len(tokens.requests), len(api.requests)) == (1, 1)


def test_json_has_the_same(config: Path, tokens: TokenService, capsys: pytest.CaptureFixture[str]) -> None:
    """--json gives the findings and the exit code, and nothing else."""
    describe(config, tokens.token_endpoint)
    assert live(config, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 0
    assert set(told["findings"][0]) == {"verdict", "about", "text", "advice", "seconds", "exit_code"}
    assert any(finding["seconds"] is not None for finding in told["findings"])


def test_quiet_tells_problems_only(config: Path, tokens: TokenService, capsys: pytest.CaptureFixture[str]) -> None:
    """With -q what is well has no line."""
    describe(config, tokens.token_endpoint)
    assert run(["-q", "check", "--live", "--config", str(config)]) == 0
    assert capsys.readouterr().out == ""


def test_a_wrong_secret(config: Path, tokens: TokenService, capsys: pytest.CaptureFixture[str]) -> None:
    """The token service refuses the client."""
    describe(config, tokens.token_endpoint, secret="T41NT-wrong")
    assert live(config) == 3
    line = problem(capsys)
    assert "invalid_client" in line
    assert "check client_id, the secret" in line


def test_a_wrong_scope(config: Path, tokens: TokenService, capsys: pytest.CaptureFixture[str]) -> None:
    """The token service does not grant the scope."""
    describe(config, tokens.token_endpoint, client='scope = "nothing"')
    assert live(config) == 3
    line = problem(capsys)
    assert "invalid_scope" in line
    assert "check scope" in line


def test_less_scope_than_asked_for(config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """A token for less is a warning that names what is missing."""
    answers(server, token_answer("T41NT-token", scope="read"))
    describe(config, server.token_endpoint, client='scope = "read write"')
    assert live(config) == 0
    assert "granted less than was asked for: write is missing" in capsys.readouterr().out


def test_a_wrong_host(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens there."""
    port = free_port()
    describe(config, f"http://127.0.0.1:{port}/token")
    assert live(config) == 4
    line = problem(capsys)
    assert f"127.0.0.1 port {port} cannot be connected to (Connection refused)" in line
    assert "check host and port" in line


def test_a_name_that_does_not_resolve(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that no DNS has."""
    describe(config, "https://token-service.invalid/token")
    assert live(config) == 4
    line = problem(capsys)
    assert "the name token-service.invalid does not resolve" in line
    assert "check the host in the URL" in line


def tls_server(config: Path, **issued: Any) -> tuple[ssl.SSLContext, str]:
    """A server's TLS context, and the TOML that trusts its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(issued.pop("host", "127.0.0.1"), **issued).configure_cert(context)
    authority.cert_pem.write_to_path(str(config.parent / "ca.pem"))
    return context, '[backchannel]\nverify = "ca.pem"'


def test_a_server_with_tls(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The version and how long the certificate is good."""
    context, trusting = tls_server(config)
    with ScriptedServer(tls=context) as server:
        answers(server, token_answer("T41NT-token"))
        describe(config, server.token_endpoint, trusting)
        assert live(config) == 0
    assert "TLSv1.3, certificate good for" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_server_that_nobody_verifies(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With verify = false nothing is known of the certificate, and nothing said."""
    context, _ = tls_server(config)
    with ScriptedServer(tls=context) as server:
        answers(server, token_answer("T41NT-token"))
        describe(config, server.token_endpoint, "[backchannel]\nverify = false")
        assert live(config) == 0
    out = capsys.readouterr().out
    assert "TLSv1.3 (" in out
    assert "certificates are not verified" in out


def test_a_proxy_that_leads_there(
    config: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is a step of its own, and TLS is spoken with the server behind it."""
    context, trusting = tls_server(config)
    with ScriptedServer(tls=context) as behind:
        answers(behind, token_answer("T41NT-token"))

        def lead(connection: socket.socket) -> bool:
            with socket.create_connection(("127.0.0.1", behind.port)) as further:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                other = {connection: further, further: connection}
                while True:
                    for ready in select.select(list(other), [], [])[0]:
                        piece = ready.recv(65_536)
                        if not piece:
                            return False
                        other[ready].sendall(piece)

        server.respond = None
        server.default = lead
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")
        describe(config, behind.token_endpoint, trusting)
        assert live(config) == 0
    out = capsys.readouterr().out
    assert f"connected to the proxy 127.0.0.1 port {server.port}" in out
    assert "the proxy leads to 127.0.0.1" in out
    assert {request.method for request in server.requests} == {"CONNECT"}


def test_a_proxy_that_breaks_the_connection(
    config: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is told as such."""
    server.respond = None
    server.default = reset
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")
    describe(config, "https://login.example.com/token")
    assert live(config) == 4
    assert "the proxy broke the connection (Connection reset by peer)" in problem(capsys)


def test_an_expired_certificate(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The server's certificate is over."""
    now = datetime.datetime.now(datetime.timezone.utc)
    context, trusting = tls_server(
        config, not_before=now - datetime.timedelta(days=9), not_after=now - datetime.timedelta(days=1)
    )
    with ScriptedServer(tls=context) as server:
        describe(config, server.token_endpoint, trusting)
        assert live(config) == 4
    line = problem(capsys)
    assert "certificate has expired" in line
    assert "the server's operator has to renew it" in line


def test_a_certificate_that_ends_soon(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate with ten days left is said to have that only."""
    now = datetime.datetime.now(datetime.timezone.utc)
    context, trusting = tls_server(
        config, not_before=now - datetime.timedelta(days=9), not_after=now + datetime.timedelta(days=10.2)
    )
    with ScriptedServer(tls=context) as server:
        answers(server, token_answer("T41NT-token"))
        describe(config, server.token_endpoint, trusting)
        assert live(config) == 0
    assert "certificate good for 10 days ONLY" in capsys.readouterr().out


def test_an_unknown_authority(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The certificate's authority is not trusted; the line says how to trust it."""
    context, _ = tls_server(config)
    with ScriptedServer(tls=context) as server:
        describe(config, server.token_endpoint)
        assert live(config) == 4
    line = problem(capsys)
    assert "is not accepted: unable to get local issuer certificate" in line
    assert 'verify = "/path/ca.pem"' in line


def test_a_certificate_of_another_host(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The certificate is for another name."""
    context, trusting = tls_server(config, host="other.example.com")
    with ScriptedServer(tls=context) as server:
        describe(config, server.token_endpoint, trusting)
        assert live(config) == 4
    assert "it belongs to another host" in problem(capsys)


def test_a_port_without_tls(config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that speaks something else than TLS."""
    describe(config, server.token_endpoint.replace("http:", "https:"))
    assert live(config) == 4
    assert "check that the port speaks TLS" in problem(capsys)


@pytest.mark.parametrize(
    ("status", "userinfo", "said", "advice"),
    [
        (403, "", "refuses to lead to login.example.com port 443 (403 Scripted)", "NO_PROXY"),
        (407, "", "asks for a password (407)", "give a user and password"),
        (407, "T41NT-user:T41NT-password@", "asks for a password (407)", "give another user and password"),
    ],
)
def test_a_proxy_that_does_not_lead_there(
    config: Path,
    server: ScriptedServer,
    status: int,
    userinfo: str,
    said: str,
    advice: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A proxy that refuses, and one that asks for a password or for another one."""
    server.default = answer(status)
    server.respond = None
    monkeypatch.setenv("HTTPS_PROXY", f"http://{userinfo}127.0.0.1:{server.port}")
    describe(config, "https://login.example.com/token")
    assert live(config) == 4
    line = problem(capsys)
    assert said in line
    assert advice in line


def test_a_proxy_that_hangs_up(
    config: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A proxy that closes without a word refuses too."""
    server.respond = None
    server.default = lambda connection: False
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.port}")
    describe(config, "https://login.example.com/token")
    assert live(config) == 4
    assert "the proxy " in problem(capsys)


@pytest.mark.parametrize(("ahead", "side"), [(600, "behind"), (-600, "ahead of")])
def test_a_clock_ten_minutes_off(
    config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str], ahead: int, side: str
) -> None:
    """By the Date of the token service this machine's clock is wrong: a warning, since the token came all the same."""
    dated = answer(405, headers=[("Date", formatdate(time.time() + ahead, usegmt=True))])
    server.respond = lambda request: token_answer("T41NT-token") if request.method == "POST" else dated
    describe(config, server.token_endpoint)
    assert live(config) == 0
    out = capsys.readouterr().out
    assert f" s {side} the token service's; set it, by NTP" in out


def api_answering(config: Path, server: ScriptedServer, action: Action) -> None:
    server.respond = lambda request: (
        token_answer("T41NT-token") if request.target == "/token" and request.method == "POST" else action
    )
    describe(config, f"{server.url}token", f'[sessions.main]\nbase_url = "{server.url}api/"')


@pytest.mark.parametrize(
    ("status", "challenge", "said", "advice", "code"),
    [
        (403, "", "the API answers 403", "check what this client may do there", 5),
        (401, 'Bearer error="invalid_token", error_description="old"', "401 invalid_token (old)", "whom it is for", 5),
        (401, 'Bearer error="invalid_token"', "401 invalid_token", "whom it is for", 5),
        (403, 'Bearer error="insufficient_scope", scope="pay"', "403 insufficient_scope", 'with scope = "pay"', 5),
        (403, 'Bearer error="insufficient_scope"', "403 insufficient_scope", "ask for more, and have", 5),
        (500, "", "the API answers 500", "", 1),
    ],
)
def test_what_the_api_says(
    config: Path,
    server: ScriptedServer,
    status: int,
    challenge: str,
    said: str,
    advice: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status and challenge of the API, and what they mean."""
    api_answering(config, server, answer(status, headers=[("WWW-Authenticate", challenge)] if challenge else ()))
    assert live(config, "--session", "main", "--path", "x") == code
    line = problem(capsys)
    assert said in line
    assert advice in line


def test_an_api_that_is_gone(config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """An API that cannot be reached is the call's own failure."""
    describe(config, server.token_endpoint, f'[sessions.main]\nbase_url = "http://127.0.0.1:{free_port()}/"')
    assert live(config, "--session", "main") == 1
    assert "session main:" in problem(capsys)


def test_a_redirecting_token_endpoint(config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Redirects are not followed, and the line says so."""
    server.respond = lambda request: answer(302, headers=[("Location", "https://login.example.com/v2/token")])
    describe(config, server.token_endpoint)
    assert live(config) == 3
    line = problem(capsys)
    assert " 302" in line
    assert "register the final URL" in line or "login.example.com" in line


def test_html_in_the_place_of_json(config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """A page for people is no token."""
    answers(server, answer(200, b"<html><title>Sign in</title></html>", [("Content-Type", "text/html")]))
    describe(config, server.token_endpoint)
    assert live(config) == 3
    assert "check token_endpoint: it answers, but not with a usable token" in problem(capsys)


def test_a_token_type_of_the_vendors(config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the type, and the option that takes it."""
    answers(server, answer(200, {"access_token": "T41NT-token", "token_type": "BearerToken", "expires_in": 60}))
    describe(config, server.token_endpoint)
    assert live(config) == 3
    line = problem(capsys)
    assert "BearerToken" in line
    assert "token_type" in line


def test_a_store_that_is_down(config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The store has an exit code of its own; the token service is asked all the same."""
    describe(config, server.token_endpoint, f'[cache]\nurl = "redis://127.0.0.1:{free_port()}"')
    assert live(config) == 6
    line = problem(capsys)
    assert line.startswith("problem  cache: ")
    assert "without it meanwhile" in line


def test_the_error_of_an_unavailable_service(
    config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is asked once, since somebody waits."""
    answers(server, error_answer(503, "temporarily_unavailable"))
    describe(config, server.token_endpoint)
    assert live(config) == 3
    assert "503 temporarily_unavailable" in problem(capsys)
    assert len([request for request in server.requests if request.method == "POST"]) == 1


def jwt_of(claims: object) -> str:
    import base64

    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"T41NT.{payload}.T41NT"


@pytest.mark.parametrize(
    ("claims", "said"),
    [({"iss": "me", "aud": ["a"], "x": 1}, "it says of itself: iss me, aud ['a']"), ({}, "nothing of interest")],
)
def test_what_a_jwt_says_of_itself(
    config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str], claims: Any, said: str
) -> None:
    """Issuer, audience, expiry and scope of a JWT are shown; the token is not."""
    token = jwt_of(claims)
    answers(server, token_answer(token))
    describe(config, server.token_endpoint)
    assert live(config) == 0
    out = capsys.readouterr().out
    assert said in out
    assert token not in out


class TestAnIssuer:
    def describe(self, config: Path, server: ScriptedServer, more: str = "", **metadata: Any) -> None:
        document = {"issuer": server.url.rstrip("/"), "token_endpoint": f"{server.url}token", **metadata}
        server.respond = lambda request: (
            token_answer("T41NT-token")
            if request.method == "POST"
            else answer(200, document)
            if request.target == "/.well-known/oauth-authorization-server" and metadata is not None
            else answer(404)
        )
        config.write_text(
            f'[clients.erp]\nissuer = "{server.url.rstrip("/")}"\nclient_id = "worker"\n'
            f'client_secret = "{SECRET}"\n{more}'
        )

    def test_metadata_that_fits(self, config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
        """Where the metadata is; scopes that it does not list are told."""
        self.describe(config, server, 'scope = "x"', scopes_supported=["y"])
        assert live(config) == 0
        out = capsys.readouterr().out
        assert "metadata of http://127.0.0.1" in out
        assert "it does not list the scope x" in out

    def test_a_method_that_is_not_listed(
        self, config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The method against the metadata."""
        self.describe(config, server, token_endpoint_auth_methods_supported=["private_key_jwt"])
        assert live(config) == 2
        out = capsys.readouterr().out
        assert "it does not list client_secret_basic; it lists private_key_jwt" in out

    def test_no_metadata(self, config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
        """An issuer without metadata: nothing else is tried."""
        self.describe(config, server)
        server.respond = lambda request: answer(404)
        assert live(config) == 2
        assert "check issuer, or give token_endpoint instead" in problem(capsys)

    def test_an_issuer_that_is_gone(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The way to the issuer is gone first."""
        config.write_text(
            f'[clients.erp]\nissuer = "http://127.0.0.1:{free_port()}"\nclient_id = "worker"\n'
            f'client_secret = "{SECRET}"\n'
        )
        assert live(config) == 4
        assert "cannot be connected to" in problem(capsys)

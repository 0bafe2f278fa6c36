"""``check --live``: what an operator is told of what goes wrong between a client, its token service and an API.

One run over real sockets for each, which must give the right line and the right exit code.
"""

from __future__ import annotations

import datetime
import json
import os
import select
import socket
import ssl
import tempfile
import time
import uuid
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme
from joserfc.jwk import ECKey

from requests_cc_token.cli.app import run
from requests_cc_token.cli.connection import Way, steps
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .conftest import SECRET
from .failures import FAILURES, Failure
from .forked import in_child
from .redis_server import RedisServer, clients_end_with_their_test, collect_clients, free_port  # noqa: F401 - each test has it
from .scripted_server import Action, ScriptedServer, answer, error_answer, reset, token_answer


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def describe(config: Path, endpoint: str, more: str = "", *, client: str = "", proof: str | None = None) -> None:
    """Write a configuration of the client ``erp``."""
    (config.parent / "secret").touch(0o600)
    (config.parent / "secret").write_text(SECRET, encoding="utf-8")
    proof = 'client_secret = { file = "secret" }' if proof is None else proof
    config.write_text(
        f"""
        [clients.erp]
        token_endpoint = "{endpoint}"
        client_id = "worker"
        {proof}
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
def server(server: ScriptedServer) -> ScriptedServer:
    """A token service that answers with a token, and anything else with 405."""
    answers(server, token_answer("T41NT-token"))
    return server


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.title)
def test_each_failure_is_told_in_one_run(failure: Failure, tmp_path: Path) -> None:
    """What is wrong, where, and what to do: the first problem's line says so, and the exit code is of its kind."""
    with failure.scene(tmp_path) as scene:
        code, out = scene.run()
        out = scene.shown(out)
    line = next(line for line in out.splitlines() if line.startswith("problem"))
    assert line.startswith(f"problem  {failure.about}: ")
    assert failure.said in line
    assert failure.advice in line
    assert code == failure.exit_code
    assert "T41NT" not in out


def test_a_store_that_is_down_stops_nobody(tmp_path: Path) -> None:
    """The token service is asked all the same, and it is the one problem."""
    (failure,) = [failure for failure in FAILURES if failure.title == "A store that is down"]
    with failure.scene(tmp_path) as scene:
        _, out = scene.run()
    assert "client erp: a token came" in out
    assert out.count("problem") == 1


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder that another user may be given: the way to ``tmp_path`` is open to this one only."""
    with tempfile.TemporaryDirectory(prefix="requests_cc_token-") as folder:
        yield Path(folder)


@pytest.mark.skipif(os.name != "posix", reason="modes and users of POSIX")
def test_a_folder_that_cannot_be_written(
    own_folder: Path, token_service: TokenService, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token folder of this user, without the right to write, is a problem of the store, with the system's reason."""
    config, tokens = own_folder / "config.toml", own_folder / "tokens"
    describe(config, token_service.token_endpoint, f'[cache]\nurl = "file:{tokens}"\ntimeout = 30')
    # What is imported late is imported here: the user of the child may not be able to read it.
    assert live(config) == 0
    assert list(tokens.iterdir()) == []
    capsys.readouterr()
    tokens.chmod(0o500)

    def check() -> None:
        if os.geteuid() == 0:
            for path in (own_folder, *own_folder.rglob("*")):
                os.chown(path, 65534, 65534)
            os.setgid(65534)
            os.setuid(65534)
        assert live(config) == 6
        line = problem(capsys)
        assert line.startswith("problem  cache: it can be read, but not written: the token folder ")
        assert "tokens: PermissionError: Permission denied" in line
        assert "a folder has to be this user's, with mode 0700" in line
        assert list(tokens.iterdir()) == []

    in_child(check)


class TestRedis:
    """A real one."""

    @pytest.fixture(autouse=True)
    def _clients_end_here(self) -> Iterator[None]:
        yield
        collect_clients()

    def describe(self, config: Path, token_service: TokenService, redis: RedisServer, user: str = "") -> None:
        url = redis.url.replace("//", f"//{user}")
        describe(
            config,
            token_service.token_endpoint,
            f'[cache]\nurl = "{url}"\ntimeout = 30\nprefix = "{uuid.uuid4()}:"',
        )

    def test_it_is_left_as_it_was(
        self, config: Path, token_service: TokenService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A Redis that takes turns and tokens is fine, and nothing of the check stays in it."""
        with RedisServer() as redis:
            self.describe(config, token_service, redis)
            assert live(config) == 0
            assert redis.client().dbsize() == 0
        assert "> can be read and written (" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--replicaof", "127.0.0.1", "1"], "You can't write against a read only replica"),
            (["--maxmemory", "1", "--maxmemory-policy", "noeviction"], "command not allowed when used memory"),
        ],
        ids=["a replica", "full"],
    )
    def test_it_cannot_be_written(
        self,
        config: Path,
        token_service: TokenService,
        capsys: pytest.CaptureFixture[str],
        options: list[str],
        said: str,
    ) -> None:
        """One that answers what it is asked and takes nothing is a problem of the store, with its own reason."""
        with RedisServer(*options) as redis:
            self.describe(config, token_service, redis)
            assert live(config) == 6
        line = problem(capsys)
        assert "cache: it can be read, but not written: the token store with prefix" in line
        assert said in line
        assert "and a Redis the master, with rights to write" in line

    def test_a_user_who_may_only_read(
        self, config: Path, token_service: TokenService, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """That a right is missing is told, in the words of Redis."""
        with RedisServer() as redis:
            redis.client().execute_command("ACL SETUSER", "reader", "on", ">T41NT", "~*", "+@read", "+eval")
            self.describe(config, token_service, redis, "reader:T41NT@")
            assert live(config) == 6
        line = problem(capsys)
        assert "cache: it can be read, but not written: the token store with prefix" in line
        assert "can't run this command" in line or "no permissions to run" in line


def test_memory_is_no_store(config: Path, token_service: TokenService, capsys: pytest.CaptureFixture[str]) -> None:
    """A cache in memory is there for as long as the process: it has nothing to be tried."""
    describe(config, token_service.token_endpoint, '[cache]\nurl = "memory:"')
    assert live(config) == 0
    assert " answers (" in capsys.readouterr().out


@pytest.mark.parametrize("given", [(), ("erp",)])
def test_all_is_well(
    config: Path,
    token_service: TokenService,
    api: ProtectedApi,
    capsys: pytest.CaptureFixture[str],
    given: tuple[str, ...],
) -> None:
    """Each step has its line; one token request, one call of the API."""
    describe(
        config,
        token_service.token_endpoint,
        f'[sessions.main]\nbase_url = "{api.base_url}"\n[cache]\nurl = "file:{config.parent}/tokens"\ntimeout = 30',
        client='scope = "api"',
    )
    assert live(config, *given, "--session", "main", "--path", "test") == 0
    lines = capsys.readouterr().out.splitlines()
    for text in ("127.0.0.1 is 127.0.0.1", "connected to", "a token came", "Bearer token, usable for", "scope api"):
        assert any(text in line for line in lines)
    assert any("session main: the API answers 200" in line for line in lines)
    assert any(line.startswith("ok       cache:") for line in lines)
    assert (len(token_service.requests), len(api.requests)) == (1, 1)


def test_json_has_the_same(config: Path, token_service: TokenService, capsys: pytest.CaptureFixture[str]) -> None:
    """--json gives the findings and the exit code, and nothing else."""
    describe(config, token_service.token_endpoint)
    assert live(config, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 0
    assert set(told["findings"][0]) == {"verdict", "about", "text", "advice", "seconds", "exit_code"}
    assert any(finding["seconds"] is not None for finding in told["findings"])


def test_quiet_tells_problems_only(
    config: Path, token_service: TokenService, capsys: pytest.CaptureFixture[str]
) -> None:
    """With -q what is well has no line."""
    describe(config, token_service.token_endpoint)
    assert run(["-q", "check", "--live", "--config", str(config)]) == 0
    assert capsys.readouterr().out == ""


def test_less_scope_than_asked_for(config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """A token for less is a warning that names what is missing."""
    answers(server, token_answer("T41NT-token", scope="read"))
    describe(config, server.token_endpoint, client='scope = "read write"')
    assert live(config) == 0
    assert "granted less than was asked for: write is missing" in capsys.readouterr().out


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


@pytest.mark.parametrize("scheme", ["socks5h", "https"])
def test_a_proxy_of_another_kind(scheme: str, server: ScriptedServer) -> None:
    """Is connected to and not spoken to: it would not understand, and be told as broken although it works."""
    way = Way("https://login.example.com/token", {"https": f"{scheme}://127.0.0.1:{server.port}"})
    last = list(steps(way))[-1]
    assert (last.text, last.failed) == (f"connected to the proxy 127.0.0.1 port {server.port}", False)
    assert server.requests == []


def test_a_proxy_on_the_way_to_an_address(server: ScriptedServer) -> None:
    """An IPv6 address is in brackets, as in a URL: the proxy would take its end for a port."""
    server.default = answer(403)
    list(steps(Way("https://[2001:db8::1]/", {"https": f"http://127.0.0.1:{server.port}"})))
    assert [request.target for request in server.requests] == ["[2001:db8::1]:443"]


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


def test_a_proxy_that_wants_another_password(
    config: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that does not take the password that it got; the line does not show it."""
    server.default = answer(407)
    server.respond = None
    monkeypatch.setenv("HTTPS_PROXY", f"http://T41NT-user:T41NT-password@127.0.0.1:{server.port}")
    describe(config, "https://login.example.com/token")
    assert live(config) == 4
    line = problem(capsys)
    assert "asks for a password (407)" in line
    assert f"give another user and password: HTTPS_PROXY=http://user:password@127.0.0.1:{server.port}" in line


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


SIGNING = {
    "private_key_jwt": 'auth = { method = "private_key_jwt", key = { file = "key.pem" } }',
    "dpop": 'client_secret = "T41NT-secret"\ndpop = { key = { file = "key.pem" } }',
}


@pytest.mark.parametrize(
    ("ahead", "side", "signing", "verdict", "code"),
    [
        (600, "behind", None, "warning", 0),
        (-600, "ahead of", None, "warning", 0),
        (120, "behind", "private_key_jwt", "warning", 0),
        (600, "behind", "private_key_jwt", "problem", 2),
        (-600, "ahead of", "dpop", "problem", 2),
    ],
)
def test_a_clock_that_is_off(
    config: Path,
    server: ScriptedServer,
    capsys: pytest.CaptureFixture[str],
    ahead: int,
    side: str,
    signing: str | None,
    verdict: str,
    code: int,
) -> None:
    """By the Date of the token service this machine's clock is wrong.

    A warning, since the token came all the same; a problem of this machine where what the client signs is further off
    than is made up for, whatever this token service says to it today.
    """
    dated = answer(405, headers=[("Date", formatdate(time.time() + ahead, usegmt=True))])
    kind = "DPoP" if signing == "dpop" else "Bearer"
    token = token_answer("T41NT-token", token_type=kind)
    server.respond = lambda request: token if request.method == "POST" else dated
    (config.parent / "key.pem").touch(0o600)
    (config.parent / "key.pem").write_bytes(ECKey.generate_key("P-256").as_pem(private=True))
    describe(config, server.token_endpoint, proof=None if signing is None else SIGNING[signing])
    assert live(config) == code
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "this machine's clock" in line]
    assert line.startswith(verdict)
    assert f" s {side} the token service's; set it, by NTP" in line
    assert "client erp: a token came" in out


def test_a_clock_that_cannot_be_compared(
    config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token endpoint that hangs up where nobody shows credentials is no problem; the token request tells more."""
    server.respond = lambda request: token_answer("T41NT-token") if request.method == "POST" else reset
    describe(config, server.token_endpoint)
    assert live(config) == 0
    out = capsys.readouterr().out
    assert "a token came" in out
    assert "this machine's clock" not in out


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


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([], "it does not say why, so it may be that a gateway before the API answers; asked for another token"),
        ([("Age", "55")], "this is a cache's answer, as its Age header says, not the API's: look for it"),
    ],
)
def test_a_401_of_something_before_the_api(
    config: Path,
    server: ScriptedServer,
    headers: list[tuple[str, str]],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A gateway that gives no reason, and a cache that gives an old answer, are what to look for."""
    api_answering(config, server, answer(401, headers=headers))
    assert live(config, "--session", "main", "--path", "x") == 5
    assert said in problem(capsys)


@pytest.mark.parametrize(("status", "advice"), [(401, "whom it is for"), (419, "the API answers 419")])
def test_a_token_service_that_gives_the_refused_token_again(
    config: Path, server: ScriptedServer, status: int, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is told beside the rest: a new token is a new one only where nothing on the way keeps the answer."""
    server.respond = lambda request: (
        token_answer("T41NT-token") if request.target == "/token" and request.method == "POST" else answer(status)
    )
    session = f'[sessions.main]\nbase_url = "{server.url}api/"\nrenew_on = [401, 419]'
    describe(config, f"{server.url}token", session)
    live(config, "--session", "main", "--path", "x")
    line = problem(capsys)
    assert advice in line
    assert line.endswith("; asked for another token, the token service gave the same: a cache may be on the way to it")


def test_a_session_that_there_is_not(
    config: Path, token_service: TokenService, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is told before anything is sent, whether or not clients are named."""
    describe(config, token_service.token_endpoint, '[sessions.main]\nbase_url = "http://127.0.0.1/"')
    for clients in ([], ["erp"]):
        assert live(config, *clients, "--session", "nobody", "--json") == 2
        assert "'main'" in capsys.readouterr().err
    assert token_service.requests == []


def test_an_api_that_is_gone(config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """An API that cannot be reached is the call's own failure."""
    describe(config, server.token_endpoint, f'[sessions.main]\nbase_url = "http://127.0.0.1:{free_port()}/"')
    assert live(config, "--session", "main") == 1
    assert "session main:" in problem(capsys)


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
        """Where the metadata is; scopes and a grant that it does not list are told."""
        grants = ["implicit", "password"]
        self.describe(config, server, 'scope = "x"', scopes_supported=["y"], grant_types_supported=grants)
        assert live(config) == 0
        out = capsys.readouterr().out
        assert "metadata of http://127.0.0.1" in out
        assert "it does not list the scope x" in out
        assert "it does not list the grant client_credentials; it lists implicit, password" in out

    def test_a_client_that_does_not_authenticate(
        self, config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        """Is nothing that metadata would list: what a grant brings proves enough."""
        (tmp_path / "token").write_text("T41NT-subject")
        token = f'{{ file = "{tmp_path / "token"}" }}'
        grant = f'grant = {{ type = "token_exchange", subject_token = {token}, subject_token_type = "jwt" }}\n'
        self.describe(config, server, grant, token_endpoint_auth_methods_supported=["private_key_jwt"])
        config.write_text(config.read_text().replace(f'client_secret = "{SECRET}"\n', ""))
        assert live(config) == 0
        assert "does not list" not in capsys.readouterr().out

    def test_an_assertion_of_a_platform(
        self, config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        """Is a method that metadata list under no name of their own, so its absence is no warning."""
        (tmp_path / "token").write_text(jwt_of({"sub": "worker"}))
        (tmp_path / "token").chmod(0o600)
        self.describe(config, server, token_endpoint_auth_methods_supported=["private_key_jwt"])
        method = f'auth = "client_assertion"\nassertion = {{ file = "{tmp_path / "token"}" }}\n'
        config.write_text(config.read_text().replace(f'client_secret = "{SECRET}"\n', method))
        assert live(config) == 0
        assert "does not list" not in capsys.readouterr().out

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

"""Sixteen failures that an operator meets, each made over real sockets, and what `check --live` says of it.

tests/test_cli_live.py wants each to be told in one run, by its line and exit code. docs/operators.md walks through some
of them; what it shows is the command's own output::

    python -m tests.failures            # writes the output into the page anew
"""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import re
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any
from unittest import mock

import trustme
from joserfc.jwk import ECKey

from requests_cc_token.cli.app import run
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .redis_server import free_port
from .scripted_server import Action, ScriptedServer, answer, error_answer, token_answer

PAGE = Path(__file__).parents[1] / "docs" / "operators.md"
SECRET = "T41NT-secret"

#: Ports as the page shows them: of the token service, the API, a proxy, a store.
TOKENS, API, PROXY, STORE = 8080, 8000, 3128, 6379


class Scene:
    """A folder with ``worker.toml``, servers that end with the block, and what an operator types."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.arguments = ["--config", "worker.toml", "check", "--live"]
        #: What was exported before.
        self.environment: dict[str, str] = {}
        self._stack = stack
        self._shown: dict[int, int] = {}

    def describe(self, endpoint: str, more: str = "", *, client: str = "", secret: str = SECRET) -> None:
        """Write the configuration of the client ``erp``, who has a secret unless ``client`` says how it signs."""
        (self.folder / "secret").touch(0o600)
        (self.folder / "secret").write_text(secret, encoding="utf-8")
        proof = client if "auth" in client else f'client_secret = {{ file = "secret" }}\n{client}'
        text = f'[clients.erp]\ntoken_endpoint = "{endpoint}"\nclient_id = "worker"\n{proof}\n{more}\n'
        (self.folder / "worker.toml").write_text(text, encoding="utf-8")

    def token_service(self) -> TokenService:
        """The embedded token service, with the client ``worker``."""
        service = self._stack.enter_context(TokenService())
        service.add_client("worker", SECRET, scopes="orders reports")
        self._shown[service.port] = TOKENS
        return service

    def api(self, tokens: TokenService) -> ProtectedApi:
        """The embedded API, which is called too."""
        api = self._stack.enter_context(ProtectedApi(tokens))
        self._shown[api.port] = API
        sessions = f'[sessions.erp]\nbase_url = "{api.base_url}"'
        self.describe(tokens.token_endpoint, sessions, client='scope = "orders"')
        self.arguments += ["--session", "erp", "--path", "test"]
        return api

    def server(self, action: Action, *, shown: int = TOKENS, tls: ssl.SSLContext | None = None) -> ScriptedServer:
        """A server that does this with token requests, and answers anything else with 405."""
        server = self._stack.enter_context(ScriptedServer(tls=tls))
        server.respond = lambda request: answer(405) if request.method == "GET" else action
        self._shown[server.port] = shown
        return server

    def nobody(self, shown: int) -> int:
        """A port on which nobody listens."""
        port = free_port()
        self._shown[port] = shown
        return port

    def authority(self, **issued: Any) -> ssl.SSLContext:
        """A server's TLS context, under an authority whose certificate is in ``ca.pem``."""
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", **issued).configure_cert(context)
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        return context

    def proxy(self, status: int) -> None:
        """A proxy that answers so, and a token service behind it."""
        proxy = self.server(answer(status), shown=PROXY)
        self.environment["HTTPS_PROXY"] = f"http://127.0.0.1:{proxy.port}"
        self.describe("https://login.example.com/token")

    def run(self) -> tuple[int, str]:
        """Exit code and output of the command, run in the folder."""
        settings = ("_proxy", "_ca_bundle", "requests_cc_token_config")
        kept = {name: text for name, text in os.environ.items() if not name.lower().endswith(settings)}
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            environment = {**kept, "NETRC": os.devnull, **self.environment}
            with mock.patch.dict(os.environ, environment, clear=True), contextlib.redirect_stdout(io.StringIO()) as out:
                code = run(self.arguments)
        finally:
            os.chdir(before)
        return code, out.getvalue()

    def shown(self, text: str) -> str:
        """The text as the page has it: usual ports, one time for each step, one system's words for a missing name."""
        for port, shown in self._shown.items():
            text = re.sub(rf"(?<=[: ]){port}\b", str(shown), text)
        text = re.sub(r"\(\d+ ms\)", "(2 ms)", text)
        text = re.sub(r"usable for \d+ s", "usable for 3600 s", text)
        text = re.sub(r"clock is (-?)\d+ s", r"clock is \g<1>600 s", text)
        return re.sub(r"(?<=does not resolve )\([^)]*\)", "(Name or service not known)", text)

    def session(self) -> str:
        """What the operator types and sees, as the page has it."""
        code, out = self.run()
        lines = [f"$ export {name}={value}" for name, value in self.environment.items()]
        lines += [f"$ requests-cc-token {' '.join(self.arguments)}", *out.splitlines(), "$ echo $?", str(int(code))]
        return self.shown("\n".join(lines)) + "\n"


def wrong_secret(scene: Scene) -> None:
    scene.describe(scene.token_service().token_endpoint, secret="T41NT-wrong")


def wrong_scope(scene: Scene) -> None:
    scene.describe(scene.token_service().token_endpoint, client='scope = "invoices"')


def wrong_host(scene: Scene) -> None:
    scene.describe(f"http://127.0.0.1:{scene.nobody(TOKENS)}/connect/token")


def unknown_name(scene: Scene) -> None:
    scene.describe("https://login.example.invalid/token")


def expired_certificate(scene: Scene) -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    days = datetime.timedelta(days=1)
    server = scene.server(answer(500), tls=scene.authority(not_before=now - 9 * days, not_after=now - days))
    scene.describe(server.token_endpoint, '[backchannel]\nverify = "ca.pem"')


def unknown_authority(scene: Scene) -> None:
    scene.describe(scene.server(answer(500), tls=scene.authority()).token_endpoint)


def refusing_proxy(scene: Scene) -> None:
    scene.proxy(403)


def proxy_with_a_password(scene: Scene) -> None:
    scene.proxy(407)


def wrong_clock(scene: Scene) -> None:
    key = scene.folder / "key.pem"
    key.touch(0o600)
    key.write_bytes(ECKey.generate_key("P-256").as_pem(private=True))
    # As a server judges an assertion that is to begin in ten minutes: by its own clock, which its answers tell.
    dates = [("Date", formatdate(time.time() - 600, usegmt=True))]
    server = scene.server(error_answer(401, "invalid_client", dates))
    refuse = server.respond
    assert refuse is not None
    server.respond = lambda request: answer(405, headers=dates) if request.method == "GET" else refuse(request)
    scene.describe(server.token_endpoint, client='auth = { method = "private_key_jwt", key = { file = "key.pem" } }')


def refused_by_the_api(scene: Scene) -> None:
    scene.api(scene.token_service()).fail_always(403)


def refused_token(scene: Scene) -> None:
    scene.api(scene.token_service()).fail_always(401)


def insufficient_scope(scene: Scene) -> None:
    scene.api(scene.token_service())
    scene.arguments[-1] = "scope/reports"


def redirecting_endpoint(scene: Scene) -> None:
    scene.describe(scene.server(answer(302, headers=[("Location", "https://login.example.com/v2")])).token_endpoint)


def html(scene: Scene) -> None:
    page = b"<!doctype html><html><title>Sign in</title></html>"
    scene.describe(scene.server(answer(200, page, [("Content-Type", "text/html")])).token_endpoint)


def token_type(scene: Scene) -> None:
    scene.describe(scene.server(token_answer("T41NT-token", token_type="BearerToken")).token_endpoint)


def store_that_is_down(scene: Scene) -> None:
    endpoint = scene.token_service().token_endpoint
    scene.describe(endpoint, f'[cache]\nurl = "redis://127.0.0.1:{scene.nobody(STORE)}"')


@dataclass(frozen=True)
class Failure:
    """What is wrong, and what is to be said of it."""

    title: str
    prepare: Callable[[Scene], None]
    exit_code: int
    #: What the first line that is a problem is about, says, and advises.
    about: str
    said: str
    advice: str

    @contextlib.contextmanager
    def scene(self, folder: Path) -> Iterator[Scene]:
        """The failure, for as long as the block."""
        with contextlib.ExitStack() as stack:
            scene = Scene(folder, stack)
            self.prepare(scene)
            yield scene


ERP, SESSION = "client erp", "session erp"

FAILURES = (
    Failure("A wrong secret", wrong_secret, 3, ERP, "401 invalid_client", "check client_id, the secret"),
    Failure("A wrong scope", wrong_scope, 3, ERP, "400 invalid_scope", "check scope"),
    Failure(
        "A wrong host", wrong_host, 4, ERP, "8080 cannot be connected to (Connection refused)", "check host and port"
    ),
    Failure(
        "A name that does not resolve",
        unknown_name,
        4,
        ERP,
        "the name login.example.invalid does not resolve",
        "check the host in the URL",
    ),
    Failure(
        "An expired server certificate",
        expired_certificate,
        4,
        ERP,
        "is not accepted: certificate has expired",
        "the server's operator has to renew it",
    ),
    Failure(
        "An unknown certificate authority",
        unknown_authority,
        4,
        ERP,
        "is not accepted: unable to get local issuer certificate",
        'verify = "/path/ca.pem"',
    ),
    Failure(
        "A proxy that refuses",
        refusing_proxy,
        4,
        ERP,
        "the proxy refuses to lead to login.example.com port 443 (403 Scripted)",
        "NO_PROXY",
    ),
    Failure(
        "A proxy that asks for a password",
        proxy_with_a_password,
        4,
        ERP,
        "the proxy asks for a password (407)",
        "give a user and password",
    ),
    Failure(
        "A clock that is ten minutes off",
        wrong_clock,
        2,
        ERP,
        "this machine's clock is 600 s ahead of the token service's",
        "set it, by NTP: this client signs with the time",
    ),
    Failure(
        "An API that refuses", refused_by_the_api, 5, SESSION, "the API answers 403", "check what this client may do"
    ),
    Failure(
        "An API that wants another scope",
        insufficient_scope,
        5,
        SESSION,
        "the API answers 403 insufficient_scope",
        "ask for more",
    ),
    Failure(
        "An API that refuses every token",
        refused_token,
        5,
        SESSION,
        "the API answers 401",
        "check whom it is for (audience, resource) and who issued it",
    ),
    Failure("A token endpoint that redirects", redirecting_endpoint, 3, ERP, " 302", "register the final URL"),
    Failure(
        "A web page instead of a token",
        html,
        3,
        ERP,
        "its body is no JSON object",
        "it answers, but not with a usable token",
    ),
    Failure("A token type of the vendor's own", token_type, 3, ERP, "'BearerToken'", 'token_type="Bearer"'),
    Failure("A store that is down", store_that_is_down, 6, "cache", "the token store", "without it meanwhile"),
)


_BLOCK = re.compile(r"(^### (.+)\n(?:(?!#|```).*\n)*```console\n)((?:(?!```).*\n)*)(?=```$)", re.MULTILINE)


def blocks(page: str) -> list[tuple[str, str]]:
    """The title and the printed session of each failure that the page has."""
    return [(block[2], block[3]) for block in _BLOCK.finditer(page)]


def rewritten(page: str) -> str:
    """The page with what the command says now."""
    by_title = {failure.title: failure for failure in FAILURES}

    def session(block: re.Match[str]) -> str:
        with tempfile.TemporaryDirectory() as folder, by_title[block[2]].scene(Path(folder)) as scene:
            return f"{block[1]}{scene.session()}"

    return _BLOCK.sub(session, page)


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

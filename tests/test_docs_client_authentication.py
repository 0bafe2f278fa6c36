"""The pages about client authentication run as printed, against a token service and an API that check."""

from __future__ import annotations

import base64
import copy
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from joserfc.jwk import ECKey, RSAKey

from requests_cc_token.authentication.signing_key import signed, thumbprint_of_pem
from requests_cc_token.cli.app import run as command

from .cloud_platforms import GOOGLE_HOSTS, ROLE, Aws, Google
from .scripted_server import Action, Request, ScriptedServer, answer
from .strict_service import Authority, ClientFiles, StrictApi, StrictTokenService
from .test_docs import DOCS, FENCE, _anchors, _Proxy, _Tunnel, read_page, run

PAGES = sorted((DOCS / "client-authentication").glob("*.md"))
SECRET = "T41NT-a+secret%of=more than&thirty-two octets"
LOGIN, API, VAULT = "login.example.com", "api.example.com", "vault.example.com"
ENTRA, GRAPH = "login.microsoftonline.com", "graph.microsoft.com"
#: The ids of the page about Entra.
TENANT, APPLICATION = "00000000-0000-0000-0000-000000000000", "11111111-1111-1111-1111-111111111111"

#: What a token request of each page looks like: a field of its form, or a header.
SHOWN = {
    "assertions": "client_assertion",
    "client-secret-basic": "authorization",
    "client-secret-jwt": "client_assertion",
    "client-secret-post": "client_secret",
    "dpop": "dpop",
    "entra": "client_assertion",
    "mutual-tls": "certificate",
    "private-key-jwt": "client_assertion",
}


class _ByHost(_Proxy):
    """A proxy for which each host is a port of its own."""

    def __init__(self, ports: dict[str, int]) -> None:
        super().__init__(0)
        self.RequestHandlerClass = _ByHostTunnel
        self.ports = ports


class _ByHostTunnel(_Tunnel):
    def handle(self) -> None:
        assert isinstance(self.server, _ByHost)
        peeked = b""
        while b"\r\n" not in peeked:
            peeked = self.connection.recv(4096, socket.MSG_PEEK)
        host = peeked.split()[1].decode().rpartition(":")[0]
        # A copy for this connection: others go elsewhere at the same time.
        server = copy.copy(self.server)
        server.port = self.server.ports[host]
        self.server = server
        super().handle()


class Vault(ScriptedServer):
    """A vault's key-value store of version 2, for who has the token in ``vault-token``."""

    token = "T41NT-vault"

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(tls=tls)
        self.respond = self._respond

    def _respond(self, request: Request) -> Action:
        if request.headers.get("x-vault-token") != self.token:
            return answer(403, {"errors": ["permission denied"]})
        if request.target != "/v1/secret/data/worker":
            return answer(404, {"errors": []})
        data = {"data": {"client_secret": SECRET}, "metadata": {"version": 3, "destroyed": False}}
        return answer(200, {"request_id": "1", "lease_id": "", "renewable": False, "data": data})


@dataclass
class World:
    service: StrictTokenService
    api: StrictApi
    environment: dict[str, str]


@dataclass
class CloudWorld(World):
    aws: Aws
    google: Google


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CloudWorld]:
    """The hosts of the pages, and the files that their readers have: a secret, a key, a certificate, an assertion."""
    authority = Authority(tmp_path)
    files, key = _files_of_a_reader(authority, tmp_path)
    context = _server_context(authority)
    with (
        StrictTokenService(tls=context) as service,
        StrictApi(service, tls=context) as api,
        Vault(context) as vault,
        Aws(SECRET) as aws,
        Google(SECRET, context) as google,
    ):
        service.origin, api.origin = f"https://{LOGIN}", f"https://{API}"
        service.keys["worker"] = key
        service.keys[APPLICATION] = _registered_at_entra(tmp_path)
        service.keys[ROLE] = aws.key.as_dict(private=False)
        service.certificates["worker"] = files.thumbprint
        service.secret = SECRET
        service.documents["/.well-known/oauth-authorization-server"] = {
            "issuer": f"https://{LOGIN}",
            "token_endpoint": f"https://{LOGIN}/token",
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_jwt", "tls_client_auth"],
        }
        service.documents[f"/{TENANT}/v2.0/.well-known/openid-configuration"] = {
            "issuer": f"https://{ENTRA}/{TENANT}/v2.0",
            "token_endpoint": f"https://{ENTRA}/{TENANT}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        }
        ports = {LOGIN: service.port, API: api.port, VAULT: vault.port, ENTRA: service.port, GRAPH: api.port}
        ports.update(dict.fromkeys(GOOGLE_HOSTS, google.port))
        proxy = _ByHost(ports)
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        kept = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
        yield CloudWorld(
            service,
            api,
            {
                **kept,
                "HOME": str(tmp_path),
                "HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_address[1]}",
                "REQUESTS_CA_BUNDLE": authority.file,
                "PYTHONPATH": str(DOCS.parent),
                **aws.environment,
                **google.write_credentials(tmp_path / "service-account.json"),
            },
            aws,
            google,
        )
        proxy.shutdown()
        proxy.server_close()


def _server_context(authority: Authority) -> ssl.SSLContext:
    context = authority.server_context()
    issued: trustme.LeafCert = authority.ca.issue_cert(LOGIN, API, VAULT, ENTRA, GRAPH, *GOOGLE_HOSTS)
    issued.configure_cert(context)
    return context


def _files_of_a_reader(authority: Authority, folder: Path) -> tuple[ClientFiles, dict[str, object]]:
    key = ECKey.generate_key("P-256")
    (folder / "worker.key").write_bytes(key.as_pem(private=True))
    (folder / "secret").write_text(SECRET + "\n")
    (folder / "vault-token").write_text(Vault.token + "\n")
    files = authority.issue("tls")
    (folder / "worker.crt").write_bytes(files.cert_pem)
    (folder / "worker-tls.key").write_bytes(files.key_pem)
    (folder / "projected-token").write_text(signed(key, {"alg": "ES256"}, {"sub": "worker", "jti": "kubelet"}))
    return files, dict(key.as_dict(private=False))


def _registered_at_entra(folder: Path) -> dict[str, object]:
    """The public key of ``worker.pem``, which is made as the page says."""
    path = folder / "worker.pem"
    assert command(["keys", "new", str(path), "--kind", "RSA", "--certificate", "worker"]) == 0
    return dict(RSAKey.import_key(path.read_bytes()).as_dict(private=False))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_code_of_a_page_runs_as_printed(path: Path, world: World, tmp_path: Path) -> None:
    """The blocks of a page, in order, get tokens by the page's method and use them."""
    check_page(path, world, tmp_path)


def run_page(path: Path, world: World, tmp_path: Path) -> None:
    """Run the blocks of a page, in order; they call the API."""
    page = read_page(path)
    for name, content in page.files.items():
        (tmp_path / name).write_text(content)
    program = tmp_path / "page.py"
    program.write_text(page.program)

    done = run([str(program)], tmp_path, world.environment)

    assert done.returncode == 0, f"{path.name} (the line numbers are the page's):\n{done.stdout}{done.stderr}"
    assert world.api.requests


def check_page(path: Path, world: World, tmp_path: Path) -> None:
    if path.stem == "client-secret-jwt":
        world.service.keys["worker"] = {"kty": "oct", "k": _base64(SECRET)}
    if path.stem == "assertions":
        world.service.takes_assertions_again = True

    run_page(path, world, tmp_path)

    token_requests = [request for request in world.service.requests if request.method == "POST"]
    assert token_requests
    for number, request in enumerate(token_requests):
        shown = {*request.form, *request.headers}
        if world.service.issued[number].certificate:
            shown.add("certificate")
        assert SHOWN[path.stem] in shown


def test_entra_gets_what_microsoft_documents(world: World, tmp_path: Path) -> None:
    """The assertions of its page: PS256, typ JWT, the certificate's thumbprint, the token endpoint as audience."""
    run_page(DOCS / "client-authentication" / "entra.md", world, tmp_path)
    thumbprint = thumbprint_of_pem((tmp_path / "worker.pem").read_bytes())
    assert [header for header, _ in world.service.assertions] == [
        {"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}
    ] * 2
    assert {claims["aud"] for _, claims in world.service.assertions} == {
        f"https://{ENTRA}/{TENANT}/oauth2/v2.0/token"
    }
    sent = [request.form["scope"] for request in world.service.requests if request.method == "POST"]
    assert sent == [["https://graph.microsoft.com/.default"]] * 2


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def test_every_method_has_a_page() -> None:
    """Each page is about one method and linked from the overview."""
    assert {path.stem for path in PAGES} == set(SHOWN)
    overview = (DOCS / "client-authentication.md").read_text()
    assert all(f"client-authentication/{path.name}" in overview for path in PAGES)


def test_links_lead_somewhere() -> None:
    """Every relative link of the pages is a file, and its anchor a heading."""
    dead = []
    for path in PAGES:
        prose = FENCE.sub("", path.read_text())
        for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", prose):
            name, _, anchor = target.partition("#")
            linked = (path.parent / name).resolve() if name else path
            if not linked.exists() or (anchor and anchor not in _anchors(linked)):
                dead.append(f"{path.name}: {target}")
    assert dead == []

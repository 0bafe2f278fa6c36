"""A small protected API on TLS, which asks the foreign server, or its published keys, what a token is worth."""

from __future__ import annotations

import hashlib
import json
import secrets
import ssl
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import requests
from joserfc import jwk, jwt
from joserfc.errors import JoseError

from .registrations import Identity
from .servers import RunningServer

#: Seconds by which a DPoP proof's ``iat`` may be off; both ends run on one machine.
PROOF_WINDOW = 60
#: What proofs and access tokens may be signed with here.
ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"]


class RefusedError(Exception):
    """The request gets a 401 with this challenge (RFC 6750 section 3, RFC 9449 section 7.1)."""

    def __init__(self, scheme: str, error: str, description: str) -> None:
        super().__init__(description)
        self.challenge = f'{scheme} error="{error}", error_description="{description}"'


def _sha256(data: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    scheme: str
    status: int
    claims: dict[str, Any]
    #: Of the DPoP proof, and of the client certificate of the connection.
    proof: dict[str, Any] = field(default_factory=dict)
    certificate: str | None = None


class ProtectedApi:
    """What a test knows of the API; ``seen`` lists the requests that arrived, in order."""

    def __init__(self, server: RunningServer, identity: Identity) -> None:
        self.server = server
        self.base_url = ""
        self.seen: list[Seen] = []
        #: The nonce that a DPoP proof must hold; a test may change it.
        self.nonce = secrets.token_urlsafe(16)
        self._secret = identity.secret
        self._proofs: set[str] = set()
        self._backchannel = requests.Session()
        self._backchannel.trust_env = False
        self._backchannel.verify = server.ca
        self._keys: jwk.KeySet | None = None

    def close(self) -> None:
        self._backchannel.close()

    def introspect(self, token: str) -> dict[str, Any]:
        """What the server says of the token (RFC 7662), asked by the API's own client."""
        response = self._backchannel.post(
            self.server.metadata["introspection_endpoint"],
            data={"token": token, "client_id": "the-api", "client_secret": self._secret},
            timeout=10,
        )
        response.raise_for_status()
        claims: dict[str, Any] = response.json()
        return claims

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a JWT access token (RFC 9068), checked with the keys that the server publishes."""
        if self._keys is None:
            self._keys = jwk.KeySet.import_key_set(
                self._backchannel.get(self.server.metadata["jwks_uri"], timeout=10).json()
            )
        try:
            claims = jwt.decode(token, self._keys, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError) as error:
            return {"active": False, "why": str(error)}
        good = claims.get("iss") == self.server.issuer and claims.get("exp", 0) > time.time()
        return {**claims, "active": good}

    def authorize(self, handler: BaseHTTPRequestHandler, seen: Seen) -> None:
        """Raise ``RefusedError`` unless the request's token is good for it."""
        scheme, _, token = (handler.headers.get("Authorization") or "").partition(" ")
        seen.scheme = scheme
        if scheme not in ("Bearer", "DPoP") or not token:
            raise RefusedError("Bearer", "invalid_token", "there is no token")
        seen.claims = self.verify(token) if urlsplit(handler.path).path.startswith("/jwt/") else self.introspect(token)
        if not seen.claims.get("active"):
            raise RefusedError(scheme, "invalid_token", "the token is not active")
        bound = seen.claims.get("cnf") or {}
        if bound.get("x5t#S256", seen.certificate) != seen.certificate:
            raise RefusedError(scheme, "invalid_token", "the token is bound to another certificate")
        if (expected := bound.get("jkt")) or scheme == "DPoP":
            if scheme != "DPoP":
                raise RefusedError("DPoP", "invalid_token", "the token is bound to a key and came as Bearer")
            self._check_proof(handler, seen, token, expected)

    def _check_proof(self, handler: BaseHTTPRequestHandler, seen: Seen, token: str, thumbprint: str | None) -> None:
        """RFC 9449 section 4.3."""
        proofs = handler.headers.get_all("DPoP") or []
        if len(proofs) != 1:
            raise RefusedError("DPoP", "invalid_dpop_proof", f"{len(proofs)} proofs")
        try:
            header = jwt.decode(proofs[0], lambda item: jwk.import_key(item.headers()["jwk"]), algorithms=ALGORITHMS)
        except (JoseError, KeyError, ValueError) as error:
            raise RefusedError("DPoP", "invalid_dpop_proof", type(error).__name__) from error
        seen.proof = claims = header.claims
        public = header.header["jwk"]
        wanted = {
            "typ": (header.header.get("typ"), "dpop+jwt"),
            "jwk": ({"d", "k"} & set(public), set()),
            "htm": (claims.get("htm"), handler.command),
            "htu": (claims.get("htu"), self.base_url.rstrip("/") + urlsplit(handler.path).path),
            "ath": (claims.get("ath"), _sha256(token.encode("ascii"))),
            "jkt": (jwk.import_key(public).thumbprint(), thumbprint),
            "iat": (abs(claims.get("iat", 0) - time.time()) <= PROOF_WINDOW, True),
            "jti": (claims.get("jti") in self._proofs, False),
        }
        for name, (got, expected) in wanted.items():
            if got != expected:
                raise RefusedError("DPoP", "invalid_dpop_proof", f"{name} is wrong")
        self._proofs.add(claims["jti"])
        if claims.get("nonce") != self.nonce:
            raise RefusedError("DPoP", "use_dpop_nonce", "another nonce is wanted")


def _handler(api: ProtectedApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            assert isinstance(self.connection, ssl.SSLSocket)
            certificate = self.connection.getpeercert(binary_form=True)
            seen = Seen(self.path, "", 0, {}, certificate=_sha256(certificate) if certificate else None)
            headers = {"DPoP-Nonce": api.nonce}
            try:
                api.authorize(self, seen)
            except RefusedError as refused:
                seen.status = 401
                headers["WWW-Authenticate"] = refused.challenge
                answer: dict[str, Any] = {"refused": str(refused)}
            else:
                seen.status = 200
                answer = {"client": seen.claims.get("client_id") or seen.claims.get("azp"), "received": len(body)}
            api.seen.append(seen)
            data = json.dumps(answer).encode()
            self.send_response(seen.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler], identity: Identity) -> Iterator[str]:
    """The address of a TLS server of loopback that lives until the block ends; client certificates are optional."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*identity.server.pair)
    tls.verify_mode = ssl.CERT_OPTIONAL
    tls.load_verify_locations(identity.authority.file)
    tls.load_verify_locations(identity.self_signed.cert_file)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Nothing: a client that goes away in a handshake is part of some tests."""

    with Server(("127.0.0.1", 0), handler) as http:
        # The handshake belongs to the connection's own thread, which has a timeout.
        http.socket = tls.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"https://localhost:{http.server_address[1]}/"
        finally:
            http.shutdown()
            thread.join(10)


@contextmanager
def protected_api(server: RunningServer, identity: Identity) -> Iterator[ProtectedApi]:
    """The API, served by threads until the block ends."""
    api = ProtectedApi(server, identity)
    with listening(_handler(api), identity) as api.base_url:
        try:
            yield api
        finally:
            api.close()

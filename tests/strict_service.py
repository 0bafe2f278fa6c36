"""A token service and an API that check what the RFCs let them check, on raw sockets.

Signatures are verified by joserfc from the registered public keys; what arrived is kept for the tests to look at.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlsplit

import trustme
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from .scripted_server import Action, Request, ScriptedServer, answer

_KINDS: Mapping[str, Any] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey, "oct": OctKey}


class _AnyAlgorithm(jws.JWSRegistry):
    """All algorithms, RSA keys in the header too; joserfc's own default allows three and 512 bytes."""

    max_header_length = 4096

    def get_alg(self, name: str) -> Any:
        assert name != "none"
        return self.algorithms[name]


def unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT by the look of it."""
    header, claims, _ = token.split(".")
    return json.loads(_decoded(header)), json.loads(_decoded(claims))


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verified(token: str, jwk: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT whose signature is that of the key; an error otherwise."""
    key = _KINDS[jwk["kty"]].import_key(dict(jwk))
    signed = jws.deserialize_compact(token.encode(), key, registry=_AnyAlgorithm())
    assert signed.payload is not None
    return dict(signed.headers()), json.loads(signed.payload)


def hash_of(data: bytes) -> str:
    """SHA-256 in base64url without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


class RefusedError(Exception):
    """Why a request is refused: status, error code, headers."""

    def __init__(self, status: int, error: str, *headers: tuple[str, str]) -> None:
        super().__init__(error)
        self.status, self.error, self.headers = status, error, headers


@dataclass
class Proof:
    """A DPoP proof that was verified."""

    header: dict[str, Any]
    claims: dict[str, Any]
    thumbprint: str


class Proofs:
    """The DPoP proofs that a server took."""

    def __init__(self) -> None:
        self.taken: list[Proof] = []
        #: The nonce that proofs must hold, or None.
        self.nonce: str | None = None

    def check(self, request: Request, url: str, token: str | None = None) -> Proof:
        """RFC 9449 section 4.3."""
        header, _ = unverified(request.headers["dpop"])
        jwk = header["jwk"]
        header, claims = verified(request.headers["dpop"], jwk)
        assert header["typ"] == "dpop+jwt"
        assert header["alg"] not in ("none", "HS256", "HS384", "HS512")
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & jwk.keys()
        assert claims["htm"] == request.method
        assert claims["htu"] == url + request.target.partition("?")[0]
        assert claims["jti"] not in {proof.claims["jti"] for proof in self.taken}
        assert (claims.get("ath") == hash_of(token.encode())) if token else ("ath" not in claims)
        proof = Proof(header, claims, _KINDS[jwk["kty"]].import_key(dict(jwk)).thumbprint())
        self.taken.append(proof)
        if self.nonce is not None and claims.get("nonce") != self.nonce:
            raise RefusedError(400, "use_dpop_nonce", ("DPoP-Nonce", self.nonce))
        return proof


@dataclass
class Issued:
    """A token and what it is bound to."""

    value: str
    thumbprint: str | None
    certificate: str | None
    form: Mapping[str, list[str]] = field(repr=False)


class StrictTokenService(ScriptedServer):
    """Issues ``T41NT-token-1``, ``T41NT-token-2`` … to whoever proves to be a registered client.

    ``keys`` are public keys or secrets as JWKs, by client id; ``certificates`` thumbprints of client certificates. What
    is in ``script`` goes first.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, lifetime: int = 3600) -> None:
        super().__init__(tls=tls)
        self.keys: dict[str, Mapping[str, Any]] = {}
        self.certificates: dict[str, str] = {}
        #: The secret of every client, or None where any will do.
        self.secret: str | None = None
        #: Whether an assertion may come a second time, as Kubernetes' do.
        self.takes_assertions_again = False
        self.audience: str | None = None
        self.lifetime = lifetime
        self.proofs = Proofs()
        #: Header and claims of each assertion that was verified.
        self.assertions: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.issued: list[Issued] = []
        self.headers: tuple[tuple[str, str], ...] = ()
        self.documents: dict[str, Mapping[str, Any]] = {}
        #: Under which scheme and host clients know it.
        self.origin = self.url[:-1]
        self.respond = self._respond

    def _respond(self, request: Request) -> Action | None:
        if self.script:
            return None
        path = request.target.partition("?")[0]
        if request.method == "GET":
            return answer(200, self.documents[path]) if path in self.documents else answer(404)
        return self._issue(request)

    def _issue(self, request: Request) -> Action:
        def act(connection: socket.socket) -> bool:
            certificate = _certificate_of(connection)
            try:
                client_id = self._client(request, certificate)
                granted = self._granted(request, client_id)
                thumbprint = None
                if "dpop" in request.headers:
                    thumbprint = self.proofs.check(request, self.origin).thumbprint
            except RefusedError as refused:
                return answer(refused.status, {"error": refused.error}, refused.headers)(connection)
            value = f"T41NT-token-{len(self.issued) + 1}"
            self.issued.append(Issued(value, thumbprint, certificate, request.form))
            kind = "DPoP" if thumbprint else "Bearer"
            body = {"access_token": value, "token_type": kind, "expires_in": self.lifetime, "client": client_id}
            return answer(200, {**body, **granted}, self.headers)(connection)

        return act

    def _granted(self, request: Request, client_id: str) -> Mapping[str, Any]:
        """What else the answer says; an error where the grant is no good."""
        return {}

    def _check_secret(self, *readings: str) -> None:
        if self.secret is not None and self.secret not in readings:
            raise RefusedError(401, "invalid_client")

    def _client(self, request: Request, certificate: str | None) -> str:
        form = request.form
        if "client_assertion" in form:
            (assertion,) = form["client_assertion"]
            _, claims = unverified(assertion)
            client_id = str(claims["sub"])
            try:
                header, claims = verified(assertion, self.keys[client_id])
            except Exception:
                raise RefusedError(401, "invalid_client") from None
            assert form.get("client_id", [client_id]) == [client_id]
            if not self.takes_assertions_again:
                assert claims["jti"] not in {earlier["jti"] for _, earlier in self.assertions}
            self.assertions.append((header, claims))
            if self.audience is not None and claims["aud"] != self.audience:
                raise RefusedError(401, "invalid_client")
            return client_id
        if "authorization" in request.headers:
            pair = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
            client_id, _, secret = pair.partition(":")
            self._check_secret(secret, unquote_plus(secret))
            return client_id
        (client_id,) = form["client_id"]
        if "client_secret" in form:
            self._check_secret(*form["client_secret"])
            return client_id
        if self.certificates.get(client_id) != certificate or certificate is None:
            raise RefusedError(401, "invalid_client")
        return client_id


class StrictApi(ScriptedServer):
    """An API that takes the tokens of a ``StrictTokenService`` as they are bound. What is in ``script`` goes first."""

    def __init__(self, service: StrictTokenService, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self.service = service
        self.proofs = Proofs()
        self.origin = self.url[:-1]
        self.headers: tuple[tuple[str, str], ...] = ()
        #: The client certificate of each request.
        self.certificates: list[str | None] = []
        self.revoked: set[str] = set()
        self.respond = self._respond

    def _respond(self, request: Request) -> Action | None:
        return None if self.script else self._checked(request)

    def _checked(self, request: Request) -> Action:
        def act(connection: socket.socket) -> bool:
            certificate = _certificate_of(connection)
            self.certificates.append(certificate)
            scheme, _, value = request.headers.get("authorization", "").partition(" ")
            try:
                self._check(request, scheme, value, certificate)
            except RefusedError as refused:
                challenge = ("WWW-Authenticate", f'{scheme or "Bearer"} error="{refused.error}"')
                return answer(401, b"", (challenge, *refused.headers))(connection)
            return answer(200, {"token": value.removeprefix("T41NT-")}, self.headers)(connection)

        return act

    def _check(self, request: Request, scheme: str, value: str, certificate: str | None) -> None:
        issued = {token.value: token for token in self.service.issued}.get(value)
        if issued is None or value in self.revoked:
            raise RefusedError(401, "invalid_token")
        if issued.certificate != certificate:
            raise RefusedError(401, "invalid_token")
        if issued.thumbprint is None:
            assert scheme == "Bearer"
            return
        assert scheme == "DPoP"
        if self.proofs.check(request, self.origin, value).thumbprint != issued.thumbprint:
            raise RefusedError(401, "invalid_token")


def _certificate_of(connection: socket.socket) -> str | None:
    der = connection.getpeercert(True) if isinstance(connection, ssl.SSLSocket) else None
    return None if der is None else hash_of(der)


class Authority:
    """A CA for servers and clients of loopback, and what it issued, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.file = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.file)

    def server_context(self) -> ssl.SSLContext:
        """For a server that takes client certificates of this authority but needs none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        self.ca.configure_trust(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def issue(self, name: str, write: Callable[[Path, bytes], object] = Path.write_bytes) -> ClientFiles:
        """A client certificate with its key, in two files of that name; a second time they are replaced."""
        issued = self.ca.issue_cert(f"{name}.example")
        files = ClientFiles(self.folder / f"{name}.pem", self.folder / f"{name}.key", issued)
        write(files.cert, files.cert_pem)
        write(files.key, files.key_pem)
        return files


@dataclass
class ClientFiles:
    """A client certificate in files."""

    cert: Path
    key: Path
    issued: trustme.LeafCert

    @property
    def cert_pem(self) -> bytes:
        return b"".join(blob.bytes() for blob in self.issued.cert_chain_pems)

    @property
    def key_pem(self) -> bytes:
        return self.issued.private_key_pem.bytes()

    @property
    def thumbprint(self) -> str:
        return hash_of(ssl.PEM_cert_to_DER_cert(self.issued.cert_chain_pems[0].bytes().decode()))


def url_with(url: str, path: str) -> str:
    """The URL with another path."""
    return urlsplit(url)._replace(path=path, query="").geturl()

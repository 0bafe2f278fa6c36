"""Client authentication by mutual TLS (RFC 8705 section 2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable

from requests_cc_token.exceptions import ConfigurationError
from requests_cc_token.secret_source import SecretLike, fingerprint
from requests_cc_token.tracebacks import sealed

from .certificate import ClientCertificate
from .method import Applicant, ClientAuthentication, TokenRequest


class TlsClientAuth(ClientAuthentication):
    """The client's TLS certificate proves who it is (RFC 8705 section 2).

    ``cert`` is the path of a PEM file with the certificate and its chain, ``key`` that of the private key where it is
    in a file of its own; both are read again once they change. ``password`` is for an encrypted key, given as a
    secret is. ``self_signed=True`` is ``self_signed_tls_client_auth``: the server knows the certificate itself.

    Tokens that the server binds to the certificate are sent to the API over connections with the same one.
    Without ``cert`` the token client's own ``cert=`` is meant. Raises ``ConfigurationError``.
    """

    @sealed
    def __init__(
        self,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        *,
        password: SecretLike | None = None,
        self_signed: bool = False,
    ) -> None:
        if cert is None and (key is not None or password is not None):
            raise ConfigurationError("TlsClientAuth: key and password are of no use without cert")
        #: The certificate, or None for that of the token client.
        self.certificate = None if cert is None else ClientCertificate(cert, key, password=password)
        self.method = "self_signed_tls_client_auth" if self_signed else "tls_client_auth"  # type: ignore[misc]

    def authenticate(self, request: TokenRequest, client: Applicant) -> None:
        """Say who the certificate belongs to (RFC 8705 section 2); the connection does the rest."""
        request.form["client_id"] = client.client_id
        assert request.cert is not None, "check() has refused a client without"
        request.credential = fingerprint(request.cert.thumbprint)

    def identity(self, client: Applicant) -> tuple[str, ...]:
        """The method; tokens are told apart by the certificate itself, which has to match its key to be loaded."""
        return (self.method,)

    def proof(self, client: Applicant, hashed: Callable[[str], str]) -> tuple[str, ...]:
        """The same."""
        return (self.method,)

    def stamp(self) -> Hashable:
        """That of the files."""
        return None if self.certificate is None else self.certificate.stamp()

    def check(self, client: Applicant) -> None:
        """Also refuse a client without a certificate."""
        super().check(client)
        if client.cert is None:
            raise ConfigurationError(
                f"token client {client.name!r}: {self.method} needs a certificate: auth=TlsClientAuth(cert, key), "
                "or cert=..."
            )

    def __repr__(self) -> str:
        return f"TlsClientAuth({self.certificate!r}, method={self.method!r})"

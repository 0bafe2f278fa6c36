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
    """Authenticates by a TLS client certificate: ``tls_client_auth`` or ``self_signed_tls_client_auth`` (RFC 8705).

    - ``cert``: the path of a PEM file with the certificate and its chain; by default the ``cert`` of the token client
    - ``key``: the path of the private key, if it is not in the same file
    - ``password``: for an encrypted key, given as a ``client_secret`` is
    - ``self_signed``: True for ``self_signed_tls_client_auth``, where the token service knows the certificate itself
      rather than its CA (RFC 8705 section 2.2)

    The files are read again when they change. Requests to the API use the same certificate, since the token service may
    bind tokens to it (RFC 8705 section 3). Raises ``ConfigurationError``.
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
        """Add ``client_id`` (RFC 8705 section 2); the certificate itself is sent by the connection."""
        request.form["client_id"] = client.client_id
        assert request.cert is not None, "check() has refused a client without"
        request.credential = fingerprint(request.cert.thumbprint)

    def identity(self, client: Applicant) -> tuple[str, ...]:
        """The method. The certificate is part of the cache key in any case."""
        return (self.method,)

    def proof(self, client: Applicant, hashed: Callable[[str], str]) -> tuple[str, ...]:
        """As ``identity``."""
        return (self.method,)

    def stamp(self) -> Hashable:
        """Changes when the certificate or key file changes."""
        return None if self.certificate is None else self.certificate.stamp()

    def check(self, client: Applicant) -> None:
        """Raise ``ConfigurationError`` for a client with a secret or without a certificate."""
        super().check(client)
        if client.cert is None:
            raise ConfigurationError(
                f"token client {client.name!r}: {self.method} needs a certificate: auth=TlsClientAuth(cert, key), "
                "or cert=..."
            )

    def __repr__(self) -> str:
        return f"TlsClientAuth({self.certificate!r}, method={self.method!r})"

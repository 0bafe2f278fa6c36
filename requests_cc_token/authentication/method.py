"""How a client proves who it is to the token endpoint (RFC 6749 section 2.3).

Exactly one method is used for a request. The names are those of the IANA registry "OAuth Token Endpoint
Authentication Methods".
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, ClassVar, Literal, Union
from urllib.parse import quote_plus

from requests_cc_token.exceptions import ConfigurationError
from requests_cc_token.secret_source import SecretSource

if TYPE_CHECKING:
    from requests_cc_token.clients import ClientCredentialsClient

    from .certificate import LoadedCertificate

#: Salts the fingerprints by which two reads of a credential are compared; new in each process.
_FINGERPRINT_KEY = os.urandom(32)


class TokenRequest:
    """One token request while it is built. Only its address is shown: everything else may be a secret."""

    def __init__(
        self,
        url: str,
        form: dict[str, str | tuple[str, ...]] | None = None,
        *,
        cert: LoadedCertificate | None = None,
        audience: str = "",
        now: float = 0.0,
    ) -> None:
        self.url = url
        self.form = {} if form is None else form
        self.headers: dict[str, str] = {}
        #: The client certificate, for mutual TLS.
        self.cert = cert
        #: A salted hash of the credential used, to see whether a rotated one is there after ``invalid_client``.
        self.credential = b""
        #: Texts that no message may repeat, should the server echo them.
        self.secrets: list[str] = []
        #: What a client assertion is addressed to: the issuer where it is known, else the token endpoint.
        self.audience = audience
        #: Seconds since the epoch, of the injected clock, for ``iat`` and ``exp``.
        self.now = now

    def __repr__(self) -> str:
        return f"<TokenRequest to {self.url!r}>"

    def note_secret(self, secret: str) -> None:
        """Remember the credential for comparison, and to keep it out of messages."""
        self.credential = fingerprint(secret)
        self.secrets.append(secret)


def fingerprint(secret: str | bytes) -> bytes:
    """A salted hash, comparable within this process only."""
    data = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    return hashlib.blake2b(data, key=_FINGERPRINT_KEY, digest_size=16).digest()


class ClientAuthentication:
    """What every method has in common; derive from it for a method of your own."""

    #: The method's IANA name.
    method: ClassVar[str]
    #: Whether the client needs a ``client_secret``.
    needs_secret: ClassVar[bool] = False
    #: Whether the proof holds the time, so that a wrong clock makes it invalid.
    makes_dated_proofs: ClassVar[bool] = False
    #: The JWS algorithm of the proof, where it has one.
    algorithm: str | None = None

    def authenticate(self, request: TokenRequest, client: ClientCredentialsClient) -> None:
        """Put the proof into the request; called for each try, since some proofs may be used once only."""
        raise NotImplementedError

    def identity(self) -> tuple[str, ...]:
        """What of this method shapes the token: part of the cache key, never a secret."""
        return (self.method,)

    def stamp(self) -> Hashable:
        """Something that differs once a key or file is known to have changed; costs no more than a stat."""
        return None

    def check(self, client: ClientCredentialsClient) -> None:
        """Raise ``ConfigurationError`` where the client lacks what this method needs."""
        if self.needs_secret and client.client_secret is None:
            raise ConfigurationError(
                f"token client {client.name!r}: {self.method} needs a client_secret; "
                "this grant is for confidential clients only (RFC 6749 section 4.4)"
            )
        if not self.needs_secret and client.client_secret is not None:
            raise ConfigurationError(
                f"token client {client.name!r}: {self.method} uses no client_secret; leave it out, "
                "a request carries one client authentication only (RFC 6749 section 2.3)"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ClientSecretBasic(ClientAuthentication):
    """The secret in the ``Authorization`` header (RFC 6749 section 2.3.1).

    ``encoding="form"`` form-encodes id and secret first, as the RFC says; ``"raw"`` does not, for servers that
    take the header literally. Which one a server wants is never tried out: a wrong try counts as a failed login.
    """

    method = "client_secret_basic"
    needs_secret = True

    def __init__(self, encoding: Literal["form", "raw"] = "form") -> None:
        if encoding not in ("form", "raw"):
            raise ConfigurationError(f'ClientSecretBasic(encoding={encoding!r}): must be "form" or "raw"')
        self.encoding = encoding

    def authenticate(self, request: TokenRequest, client: ClientCredentialsClient) -> None:
        """Set the header."""
        secret = secret_of(client).read()
        request.note_secret(secret)
        pair = [client.client_id, secret]
        if self.encoding == "form":
            pair = [form_encode(part) for part in pair]
        request.headers["Authorization"] = "Basic " + base64.b64encode(":".join(pair).encode()).decode("ascii")

    def check(self, client: ClientCredentialsClient) -> None:
        """Also refuse an id that the raw form cannot carry."""
        super().check(client)
        if self.encoding == "raw" and ":" in client.client_id:
            raise ConfigurationError(
                f"token client {client.name!r}: a client_id with a colon cannot be sent raw; "
                'use ClientSecretBasic(encoding="form") or ClientSecretPost()'
            )

    def __repr__(self) -> str:
        return f"ClientSecretBasic(encoding={self.encoding!r})"


class ClientSecretPost(ClientAuthentication):
    """The secret in the request body (RFC 6749 section 2.3.1: for clients that cannot use the header)."""

    method = "client_secret_post"
    needs_secret = True

    def authenticate(self, request: TokenRequest, client: ClientCredentialsClient) -> None:
        """Add the form fields."""
        secret = secret_of(client).read()
        request.note_secret(secret)
        request.form["client_id"] = client.client_id
        request.form["client_secret"] = secret


def form_encode(text: str) -> str:
    """``application/x-www-form-urlencoded`` of one value, UTF-8 (RFC 6749 appendix B)."""
    # quote_plus leaves "~" alone, the HTML form encoding does not, and spares "*".
    return quote_plus(text, safe="*").replace("~", "%7E")


def secret_of(client: ClientCredentialsClient) -> SecretSource:
    """The secret of a client whose method needs one."""
    secret = client.client_secret
    assert secret is not None, "check() has refused this client"
    return secret


#: What ``auth=`` may be given as.
ClientAuthLike = Union[str, ClientAuthentication]



def _client_secret_jwt() -> ClientAuthentication:
    from .assertions import ClientSecretJwt

    return ClientSecretJwt()


def _tls_client_auth() -> ClientAuthentication:
    from .mutual_tls import TlsClientAuth

    return TlsClientAuth()


def _self_signed_tls_client_auth() -> ClientAuthentication:
    from .mutual_tls import TlsClientAuth

    return TlsClientAuth(self_signed=True)


_BY_NAME: dict[str, Callable[[], ClientAuthentication]] = {
    "client_secret_basic": ClientSecretBasic,
    "client_secret_post": ClientSecretPost,
    "client_secret_jwt": _client_secret_jwt,
    "tls_client_auth": _tls_client_auth,
    "self_signed_tls_client_auth": _self_signed_tls_client_auth,
}


def client_authentication(given: object, client: str) -> ClientAuthentication:
    """The method that a caller means by its IANA name or an object. Raises ``ConfigurationError``."""
    if isinstance(given, ClientAuthentication):
        return given
    if isinstance(given, str) and given in _BY_NAME:
        return _BY_NAME[given]()
    if given == "private_key_jwt":
        raise ConfigurationError(f"token client {client!r}: private_key_jwt needs a key: auth=PrivateKeyJwt(key, ...)")
    known = ", ".join(sorted(_BY_NAME))
    named = repr(given) if isinstance(given, str) else type(given).__name__
    raise ConfigurationError(
        f"token client {client!r}: auth={named} is no known method; one of {known}, or an object such as "
        "PrivateKeyJwt(...), ClientAssertion(...), TlsClientAuth(...)"
    )

"""How a client proves who it is to the token endpoint (RFC 6749 section 2.3).

Exactly one method is used for a request. The names are those of the IANA registry "OAuth Token Endpoint
Authentication Methods".
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from requests_cc_token.exceptions import ConfigurationError
from requests_cc_token.secret_source import SecretSource, fingerprint, own_mark
from requests_cc_token.tokens import AccessToken
from requests_cc_token.urls import shown_url

if TYPE_CHECKING:
    from requests import PreparedRequest

    from .certificate import ClientCertificate, LoadedCertificate


class Applicant(Protocol):
    """The client that authenticates: what a method may know of it."""

    @property
    def name(self) -> str:
        """The name it is registered by, for messages."""

    @property
    def client_id(self) -> str:
        """Its id at the token service."""

    @property
    def client_secret(self) -> SecretSource | None:
        """Its secret, where it has one."""

    @property
    def cert(self) -> ClientCertificate | None:
        """Its certificate, where it has one."""


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
        clock_offset: float = 0.0,
        customize: Callable[[PreparedRequest], object] | None = None,
    ) -> None:
        self.url = url
        self.form = {} if form is None else form
        self.headers: dict[str, str] = {}
        #: The client certificate, for mutual TLS.
        self.cert = cert
        #: A salted hash of the credential used, to see whether a rotated one is there after ``invalid_client``.
        self.credential = b""
        #: The same of what the grant brings, and the tokens of other clients that are among it.
        self.granted = b""
        self.borrowed: list[AccessToken] = []
        #: Texts that no message may repeat, should the server echo them.
        self.secrets: list[str] = []
        #: What a client assertion is addressed to: the issuer where it is known, else the token endpoint.
        self.audience = audience
        #: Seconds since the epoch by the server's clock as far as that is known, for ``iat``.
        self.now = now
        #: By how many of them that is ahead of our own clock.
        self.clock_offset = clock_offset
        #: Called with the request as it is about to be sent; it may change it, or return another one.
        self.customize = customize

    @property
    def valid_from(self) -> float:
        """From when on a lifetime counts: never longer than that by our own clock, whatever the server's says."""
        return min(self.now, self.now - self.clock_offset)

    def __repr__(self) -> str:
        return f"<TokenRequest to {shown_url(self.url)!r}>"

    def note_secret(self, secret: str) -> None:
        """Remember the credential for comparison, and to keep it out of messages."""
        self.credential = fingerprint(secret)
        self.secrets.append(secret)

    def note_headers(self, headers: Mapping[str, str | bytes]) -> None:
        """Keep what others put into the headers out of messages, too."""
        self.secrets.extend(confidential_values(headers))


#: Header fields that hold nothing of anybody's.
_HARMLESS = frozenset({"accept", "accept-encoding", "connection", "content-length", "content-type", "user-agent"})


def confidential_values(headers: Mapping[str, str | bytes]) -> set[str]:
    """The values of header fields that no message may repeat, credentials also without their scheme."""
    values = {
        value if isinstance(value, str) else value.decode("latin-1")
        for name, value in headers.items()
        if name.lower() not in _HARMLESS
    }
    return values | {value.partition(" ")[2] for value in values} - {""}


class ClientAuthentication:
    """The base class of client authentication methods; derive from it for a method of your own.

    A subclass sets ``method``, its IANA name, and implements ``authenticate``. It sets ``needs_secret`` if it uses the
    client's ``client_secret``, and otherwise overrides ``identity`` and ``proof``. See RFC 6749 section 2.3.
    """

    #: The method's IANA name.
    method: ClassVar[str]
    #: Whether the client needs a ``client_secret``.
    needs_secret: ClassVar[bool] = False
    #: Whether the proof contains the time, so that a wrong clock makes it invalid.
    makes_dated_proofs: ClassVar[bool] = False

    @property
    def algorithm(self) -> str | None:
        """The JWS algorithm of the proof, or None if the method has none."""
        return None

    @property
    def advice(self) -> str | None:
        """What to check about this method after ``invalid_client``, for the error message; None for nothing special."""
        return None

    def authenticate(self, request: TokenRequest, client: Applicant) -> None:
        """Add the credentials to the request; called for each try, since some can be used only once.

        Raises ``TokenRequestError`` if the credentials cannot be read or made.
        """
        raise NotImplementedError

    def identity(self, client: Applicant) -> tuple[str, ...]:
        """What tells the client's credentials from others within this process, without the secret itself.

        Clients with different identities never share a token. By default it is where the secret comes from, or this
        very object if the method uses no secret.
        """
        if self.needs_secret:
            return self.method, secret_of(client).identity
        return self.method, own_mark(self)

    def proof(self, client: Applicant, hashed: Callable[[str], str]) -> tuple[str, ...]:
        """What a shared cache stores the client's tokens under: the same for all who have the same credentials now.

        Pass secrets through ``hashed``, which makes them safe to store. By default a hash of the secret; or something
        that only this object has if the method uses no secret, which keeps its tokens in this process. Called in the
        thread that fetches the token. Raises ``TokenRequestError``.
        """
        if self.needs_secret:
            return self.method, hashed(secret_of(client).proof())
        return self.method, own_mark(self)

    def stamp(self) -> Hashable:
        """A value that changes when a key or file has changed, after which failed requests are tried again at once.

        Called often: it should cost no more than a ``stat``.
        """
        return None

    def check(self, client: Applicant) -> None:
        """Raise ``ConfigurationError`` if the client lacks something that this method needs."""
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


def secret_of(client: Applicant) -> SecretSource:
    """The secret of a client whose method needs one."""
    secret = client.client_secret
    assert secret is not None, "check() has refused this client"
    return secret

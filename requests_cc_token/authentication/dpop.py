"""Sender-constrained tokens by demonstrating proof of possession (RFC 9449).

The token is bound to a key, and each request carries a proof that its sender holds the key. Signing is done by
joserfc, in the extra ``jose``.
"""

from __future__ import annotations

import secrets
from collections.abc import Hashable
from typing import NoReturn
from urllib.parse import urlsplit

from requests_cc_token.secret_source import SecretLike
from requests_cc_token.tracebacks import sealed
from requests_cc_token.urls import origin_of

from .signing_key import KeyLike, SigningKeySource, generated, sha256_url

#: Origins whose newest nonce is remembered; far more than one client talks to.
MAX_NONCES = 256
#: Characters of a nonce: more is not sent back.
MAX_NONCE = 1024

_NONCE_CHARACTERS = frozenset(chr(c) for c in range(0x21, 0x7F)) - set('"\\')


class Nonces:
    """The newest nonce of each server (RFC 9449 sections 8 and 9)."""

    def __init__(self) -> None:
        self._newest: dict[str, str] = {}

    def get(self, url: str) -> str | None:
        """The nonce for the next request to that server, or None."""
        return self._newest.get(origin_of(url))

    def learn(self, url: str, given: str | None) -> str | None:
        """Remember the nonce of an answer; the nonce, or None where there is none to use."""
        given = usable_nonce(given)
        if given is None:
            return None
        if len(self._newest) >= MAX_NONCES:
            self._newest = {}
        self._newest[origin_of(url)] = given
        return given

    def __repr__(self) -> str:
        return f"<nonces of {len(self._newest)} servers>"


def usable_nonce(given: str | None) -> str | None:
    """The nonce where it may be sent back (RFC 9449 section 8.1), of a bounded length; else None."""
    fits = given is not None and 0 < len(given) <= MAX_NONCE and _NONCE_CHARACTERS.issuperset(given)
    return given if fits else None


class DPoPKey:
    """A private key that access tokens are bound to (DPoP, RFC 9449): ``add_client(..., dpop=DPoPKey.generate())``.

    - ``key``: PEM as text or bytes, a JWK as a mapping or JSON; or ``{"env": name}`` or ``{"file": path}`` with one of
      these in it. A file is read again when it changes; tokens that are bound to the old key are still used with it
    - ``algorithm``: the JWS algorithm; by default what fits the key, such as ``"ES256"`` for a key on P-256
    - ``password``: for encrypted PEM, given as a ``client_secret`` is

    A token is of use only with its key, so keep a key at least as long as its tokens. Raises ``ConfigurationError``,
    also if joserfc is missing (``pip install requests_cc_token[jose]``).
    """

    @sealed
    def __init__(self, key: KeyLike, algorithm: str | None = None, *, password: SecretLike | None = None) -> None:
        self._source = SigningKeySource(key, algorithm=algorithm, key_id=None, password=password, what="DPoPKey")
        self._current: DPoPKey | None = None

    @classmethod
    def generate(cls, algorithm: str = "ES256") -> DPoPKey:
        """Create a new key, for this process only. Raises ``ConfigurationError``."""
        return cls(generated(algorithm, "DPoPKey"))

    def __repr__(self) -> str:
        return f"<DPoPKey {self._source!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled; configure the token client on the other side")

    @property
    def is_fixed(self) -> bool:
        """Whether the key cannot change, as one in a file can."""
        return self._source.is_fixed

    @property
    def algorithm(self) -> str:
        """The JWS algorithm, such as ``"ES256"``. Raises ``TokenRequestError`` if the key's file cannot be read."""
        return self._source.get().algorithm

    @property
    def thumbprint(self) -> str:
        """The JWK thumbprint of the public key (RFC 7638); the ``jkt`` of RFC 9449 section 6.1.

        Raises ``TokenRequestError`` if the key's file cannot be read.
        """
        return self._source.get().thumbprint

    def current(self, *, within: float | None = None) -> DPoPKey:
        """The key as it was a second ago at most, as a ``DPoPKey`` that does not change; the same until the file does.

        ``within`` is the number of seconds that this caller has. Raises ``TokenRequestError`` if the key's file cannot
        be read, or not in time.
        """
        if self.is_fixed:
            return self
        key = self._source.recent(within)
        current = self._current
        if current is None or current.thumbprint != key.thumbprint:
            current = self._current = DPoPKey(key)
        return current

    def stamp(self) -> Hashable:
        """A value that changes when the key has changed."""
        return self._source.stamp()

    def proof(
        self, method: str, url: str, *, now: float, nonce: str | None = None, access_token: str | None = None
    ) -> str:
        """Create the value of the ``DPoP`` header for one request (RFC 9449 section 4.2).

        - ``method``, ``url``: those of the request
        - ``now``: seconds since the epoch, by the token service's clock as far as it is known
        - ``nonce``: the server's nonce, if it has sent one
        - ``access_token``: the token that is sent along; None for a token request

        Raises ``TokenRequestError`` if the key cannot be read or used.
        """
        key = self._source.get()
        claims: dict[str, object] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": target(url),
            "iat": int(now),
        }
        if access_token is not None:
            claims["ath"] = sha256_url(access_token.encode("ascii"))
        if nonce is not None:
            claims["nonce"] = nonce
        return key.sign({"typ": "dpop+jwt", "jwk": key.public_jwk}, claims)


def target(url: str) -> str:
    """``htu``: the URL without query and fragment, scheme and host in lower case, no default port."""
    return origin_of(url) + (urlsplit(url).path or "/")

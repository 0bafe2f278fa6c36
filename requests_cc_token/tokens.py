"""The access token: a frozen value that never shows itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from .values import Value

if TYPE_CHECKING:
    from .authentication.certificate import LoadedCertificate
    from .authentication.dpop import DPoPKey

_NOTHING: Mapping[str, Any] = MappingProxyType({})

#: The layout of a stored record; a record of another layout is not read.
RECORD_FORMAT = 1


class Binding(Value):
    """What a token is bound to: a DPoP key (RFC 9449), a client certificate (RFC 8705), or both.

    The API wants proof of the key, or a connection with that certificate.
    """

    __slots__ = ("dpop", "certificate")

    dpop: DPoPKey | None
    certificate: LoadedCertificate | None

    def __init__(self, dpop: DPoPKey | None, certificate: LoadedCertificate | None) -> None:
        object.__setattr__(self, "dpop", dpop)
        object.__setattr__(self, "certificate", certificate)


class AccessToken(
    Value,
    hidden=("value", "extra", "key", "soft_expiry", "hard_expiry", "binding"),
    uncompared=("key", "soft_expiry", "hard_expiry", "binding"),
    unhashed=("extra",),
):
    """An access token as the token service issued it (RFC 6749 section 5.1).

    ``value`` is the secret; it is in no repr, and the object refuses to be pickled: a cache stores
    ``to_record()`` where it means to.
    """

    __slots__ = (
        "value",
        "token_type",
        "scope",
        "expires_at",
        "renew_at",
        "extra",
        "key",
        "soft_expiry",
        "hard_expiry",
        "binding",
    )

    #: The token itself.
    value: str
    #: How to present it: ``"Bearer"`` or ``"DPoP"``.
    token_type: str
    #: The scope granted, space-separated; None where neither the request nor the answer named one.
    scope: str | None
    #: When it expires by its issuer, in seconds since the epoch.
    expires_at: float
    #: When a renewal is wanted, in seconds since the epoch.
    renew_at: float
    #: What else the answer held, never a refresh token.
    extra: Mapping[str, Any]
    #: The cache key: a hash over what shaped the token request, no secret.
    key: str
    #: Soft and hard expiry on the monotonic clock of this process. A token read from a store that other processes
    #: share has none until the service derives them: a monotonic clock means nothing elsewhere.
    soft_expiry: float | None
    hard_expiry: float | None
    #: What it may be used with only, or None.
    binding: Binding | None

    def __init__(
        self,
        value: str,
        token_type: str = "Bearer",
        scope: str | None = None,
        *,
        expires_at: float,
        renew_at: float | None = None,
        extra: Mapping[str, Any] = _NOTHING,
        key: str = "",
        soft_expiry: float | None = None,
        hard_expiry: float | None = None,
        binding: Binding | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "value", value)
        put(self, "token_type", token_type)
        put(self, "scope", scope)
        put(self, "expires_at", expires_at)
        put(self, "renew_at", expires_at if renew_at is None else renew_at)
        put(self, "extra", MappingProxyType(dict(extra)) if extra else _NOTHING)
        put(self, "key", key)
        put(self, "soft_expiry", soft_expiry)
        put(self, "hard_expiry", hard_expiry)
        put(self, "binding", binding)

    @property
    def authorization(self) -> str:
        """The value of the ``Authorization`` header (RFC 6750 section 2.1, RFC 9449 section 7.1). A secret."""
        return f"{self.token_type} {self.value}"

    def __str__(self) -> str:
        return repr(self)

    def __copy__(self) -> AccessToken:
        return self

    def __deepcopy__(self, memo: Any) -> AccessToken:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an AccessToken is a secret and is not pickled; ask the token service of the other process for one, "
            "or store AccessToken.to_record() where a secret may be kept"
        )

    def to_record(self) -> dict[str, Any]:
        """A JSON-ready mapping that holds the secret in clear, for stores."""
        return {
            "format": RECORD_FORMAT,
            "value": self.value,
            "token_type": self.token_type,
            "scope": self.scope,
            "expires_at": self.expires_at,
            "renew_at": self.renew_at,
            "extra": dict(self.extra),
            "key": self.key,
        }

    @classmethod
    def from_record(cls, record: Any) -> AccessToken:
        """The token of a stored record.

        Raises ``ValueError`` for anything that ``to_record`` would not have written.
        """
        if not isinstance(record, dict) or record.get("format") != RECORD_FORMAT:
            raise ValueError("not a token record of this format")
        value, token_type, scope, key = (record.get(n) for n in ("value", "token_type", "scope", "key"))
        expires_at, renew_at, extra = (record.get(n) for n in ("expires_at", "renew_at", "extra"))
        if not (
            isinstance(value, str)
            and is_b64token(value)
            and token_type in ("Bearer", "DPoP")
            and (scope is None or isinstance(scope, str))
            and isinstance(key, str)
            and _is_moment(expires_at)
            and _is_moment(renew_at)
            and isinstance(extra, dict)
        ):
            raise ValueError("a token record with missing or malformed members")
        return cls(value, token_type, scope, expires_at=expires_at, renew_at=renew_at, extra=extra, key=key)


def _is_moment(value: object) -> TypeGuard[float]:
    # Compared, not converted: JSON has whole numbers that no float holds.
    largest = sys.float_info.max
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -largest <= value <= largest


_B64TOKEN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/")


def is_b64token(value: str) -> bool:
    """Whether the text is a ``b64token`` of RFC 6750 section 2.1, the only form that a header takes safely."""
    stem = value.rstrip("=")
    return bool(stem) and _B64TOKEN.issuperset(stem)

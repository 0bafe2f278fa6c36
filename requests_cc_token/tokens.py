"""The access token: a frozen value that never shows itself."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeGuard

if TYPE_CHECKING:
    from .authentication.certificate import LoadedCertificate
    from .authentication.dpop import DPoPKey

#: The layout of a stored record; a record of another layout is not read.
RECORD_FORMAT = 1


class Binding(NamedTuple):
    """What a token is bound to: a DPoP key (RFC 9449), a client certificate (RFC 8705), or both.

    The API wants proof of the key, or a connection with that certificate.
    """

    dpop: DPoPKey | None
    certificate: LoadedCertificate | None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token as the token service issued it (RFC 6749 section 5.1). Immutable.

    ``value`` is the secret. It is not in the ``repr``, and the object cannot be pickled; a cache that stores tokens
    outside the process uses ``to_record`` and ``from_record``.
    """

    #: The token itself.
    value: str = field(repr=False)
    #: How it is sent: ``"Bearer"`` or ``"DPoP"``.
    token_type: str = "Bearer"
    #: The scope granted, space-separated; None if neither the request nor the answer named one.
    scope: str | None = None
    #: When it expires, in seconds since the epoch.
    expires_at: float = field(kw_only=True)
    #: From when on it is renewed in the background, in seconds since the epoch; at its expiry by default.
    renew_at: float = field(default=math.inf, kw_only=True)
    #: When it was requested, in seconds since the epoch, by the clock of the process that did; None if not known.
    issued_at: float | None = field(default=None, repr=False, kw_only=True)
    #: What else the answer contained; never a refresh token.
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False, kw_only=True)
    #: The cache key: a hash over what shaped the token request, no secret.
    key: str = field(default="", repr=False, compare=False, kw_only=True)
    #: Soft and hard expiry on the monotonic clock of this process. A token read from a store that other processes
    #: share has none until the service derives them: a monotonic clock means nothing elsewhere.
    soft_expiry: float | None = field(default=None, repr=False, compare=False, kw_only=True)
    hard_expiry: float | None = field(default=None, repr=False, compare=False, kw_only=True)
    #: What it may be used with only, or None.
    binding: Binding | None = field(default=None, repr=False, compare=False, kw_only=True)
    #: Seconds by which the clock of the token service was ahead of ours when the token came; proofs that go with
    #: the token are dated by it.
    clock_offset: float = field(default=0.0, repr=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "renew_at", min(self.renew_at, self.expires_at))
        # A copy of its own, so that nobody changes what threads share.
        object.__setattr__(self, "extra", MappingProxyType(dict(self.extra)))

    @property
    def authorization(self) -> str:
        """The value of the ``Authorization`` header, a secret (RFC 6750 section 2.1, RFC 9449 section 7.1)."""
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
        """The token as a mapping that JSON can carry, for caches. It contains the secret in plain text."""
        return {
            "format": RECORD_FORMAT,
            "value": self.value,
            "token_type": self.token_type,
            "scope": self.scope,
            "expires_at": self.expires_at,
            "renew_at": self.renew_at,
            "issued_at": self.issued_at,
            "extra": dict(self.extra),
            "key": self.key,
        }

    @classmethod
    def from_record(cls, record: Any) -> AccessToken:
        """The token of a mapping that ``to_record`` returned.

        Raises ``ValueError`` for anything else.
        """
        if not isinstance(record, dict) or record.get("format") != RECORD_FORMAT:
            raise ValueError("not a token record of this format")
        value, token_type, scope, key = (record.get(n) for n in ("value", "token_type", "scope", "key"))
        expires_at, renew_at, issued_at, extra = (
            record.get(n) for n in ("expires_at", "renew_at", "issued_at", "extra")
        )
        if not (
            isinstance(value, str)
            and is_presentable(value)
            and token_type in ("Bearer", "DPoP")
            and (scope is None or isinstance(scope, str))
            and isinstance(key, str)
            and _is_moment(expires_at)
            and _is_moment(renew_at)
            and (issued_at is None or _is_moment(issued_at))
            and isinstance(extra, dict)
        ):
            raise ValueError("a token record with missing or malformed members")
        return cls(
            value,
            token_type,
            scope,
            expires_at=expires_at,
            renew_at=renew_at,
            issued_at=issued_at,
            extra=extra,
            key=key,
        )


def _is_moment(value: object) -> TypeGuard[float]:
    # Compared, not converted: JSON has whole numbers that no float holds.
    largest = sys.float_info.max
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -largest <= value <= largest


_VISIBLE = re.compile(r"[\x21-\x7e]+")


def is_presentable(value: str) -> bool:
    """Whether a header carries the text as it is: visible ASCII characters only (RFC 6749 appendix A.12, no blank).

    RFC 6750 section 2.1 has fewer of them, and large vendors have tokens with others.
    """
    return _VISIBLE.fullmatch(value) is not None

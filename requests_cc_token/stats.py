"""What is counted of token clients, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypedDict, get_args

from .exceptions import TokenRequestError, code_of
from .keywords import Unpack

#: A client without failures, one whose token is valid while its renewal fails, and one without a token to be had.
Status = Literal["fine", "degraded", "failing"]
STATUSES: tuple[Status, ...] = get_args(Status)


#: Kinds of failures that are counted apart. A code is the token service's word, and it may have a new one each time.
MAX_CAUSES = 32


class Asking(Protocol):
    """Something that asks for tokens."""

    @property
    def name(self) -> str:
        """The token client's name."""

    @property
    def scope(self) -> tuple[str, ...]:
        """The scopes asked for."""

    @property
    def resource(self) -> tuple[str, ...]:
        """The resource indicators."""

    @property
    def audience(self) -> str | None:
        """The audience."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What tokens were asked for, as figures and events tell it: in which client's name, and which."""

    client: str
    scope: str | None = None
    resource: tuple[str, ...] = ()
    audience: str | None = None

    @classmethod
    def of(cls, source: Asking) -> Asked:
        """What a registration asks for, or a demand."""
        return cls(source.name, " ".join(source.scope) or None, source.resource, source.audience)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCount:
    """How many fetches of a token failed in one way."""

    #: The name of the error's class, ``"TokenEndpointError"`` for example.
    error: str
    #: The ``error`` code of the token service's answer (RFC 6749 section 5.2), or None where it gave none.
    code: str | None = None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStats:
    """The figures of one token client in this process, for one of the things that were asked for in its name.

    Each client that was added has a line for what it is registered with, whether or not it was used yet. Requests that
    asked for another scope, resource or audience have lines of their own. What differs in another way, a key that was
    replaced for example, is counted together, and the token is the one that was used last. Clients that are registered
    alike share a token, which is counted for the one that came first.
    """

    #: The name of the token client.
    client: str
    #: The scope asked for, space-separated; None where none was.
    scope: str | None = None
    #: The resource indicators asked for (RFC 8707).
    resource: tuple[str, ...] = ()
    #: The audience asked for.
    audience: str | None = None
    #: How often a token was given at once, without waiting.
    hits: int = 0
    #: Token requests that were sent to the token service. One that found no connection, or no secret to prove the
    #: client by, was not; one that was sent once more with the server's nonce counts twice.
    requests: int = 0
    #: Fetches that have ended, with a token or an error: each looks into the shared cache, and sends token requests
    #: as far as that is needed.
    fetches: int = 0
    #: Seconds that these fetches took together.
    fetch_seconds: float = 0.0
    #: Tokens that were dropped because the API refused them.
    rejections: int = 0
    #: Fetches that failed, by what they failed with.
    failures: tuple[FailureCount, ...] = ()
    #: The text of the last error, or None.
    last_error: str | None = None
    #: ``"fine"``; ``"degraded"``: a valid token, but its renewal fails; ``"failing"``: no token, and the last fetch
    #: failed.
    status: Status = "fine"
    #: Seconds for which the current token may be used; None without one that may.
    seconds_to_expiry: float | None = None
    #: Seconds until the next token request may be made after failures; 0 while nothing keeps it from being made.
    seconds_to_next_try: float = 0.0


def counted_together(older: ClientStats, latest: ClientStats) -> ClientStats:
    """The figures of two tokens that were asked for alike; what is about one token is the latest one's."""
    failures = {(each.error, each.code): each.count for each in older.failures}
    for each in latest.failures:
        failures[each.error, each.code] = failures.get((each.error, each.code), 0) + each.count
    return replace(
        latest,
        hits=older.hits + latest.hits,
        requests=older.requests + latest.requests,
        fetches=older.fetches + latest.fetches,
        fetch_seconds=older.fetch_seconds + latest.fetch_seconds,
        rejections=older.rejections + latest.rejections,
        failures=_failure_counts(failures),
        last_error=latest.last_error or older.last_error,
    )


class Counts:
    """What is counted of one token as time goes by. Changed by one thread at a time."""

    __slots__ = ("_causes", "fetch_seconds", "fetches", "last_error", "rejections", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.fetches = 0
        self.fetch_seconds = 0.0
        self.rejections = 0
        self.last_error: str | None = None
        self._causes: dict[tuple[str, str | None], int] = {}

    def failed(self, error: TokenRequestError) -> None:
        """Count a fetch that failed."""
        cause = type(error).__name__, code_of(error)
        if cause not in self._causes and len(self._causes) >= MAX_CAUSES:
            cause = cause[0], None
        self._causes[cause] = self._causes.get(cause, 0) + 1
        self.last_error = str(error)

    def told(self, asked: Asked, **others: Unpack[_Others]) -> ClientStats:
        """The figures as a value."""
        return ClientStats(
            client=asked.client,
            scope=asked.scope,
            resource=asked.resource,
            audience=asked.audience,
            requests=self.requests,
            fetches=self.fetches,
            fetch_seconds=self.fetch_seconds,
            rejections=self.rejections,
            # A copy, since other threads go on counting.
            failures=_failure_counts(dict(self._causes)),
            last_error=self.last_error,
            **others,
        )


class _Others(TypedDict, total=False):
    hits: int
    status: Status
    seconds_to_expiry: float | None
    seconds_to_next_try: float


def _failure_counts(failures: Mapping[tuple[str, str | None], int]) -> tuple[FailureCount, ...]:
    return tuple(FailureCount(error=error, code=code, count=count) for (error, code), count in failures.items())

"""What is counted of token clients, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol, TypedDict, get_args

from .exceptions import TokenRequestError, code_of
from .keyword_arguments import Unpack

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
    def audience(self) -> str | tuple[str, ...] | None:
        """The audience, or several."""


class Asked(NamedTuple):
    """What tokens were asked for, as figures and events tell it: in which client's name, and which."""

    client: str
    scope: str | None = None
    resource: tuple[str, ...] = ()
    audience: str | None = None

    @classmethod
    def of(cls, source: Asking) -> Asked:
        """What a registration asks for, or a demand."""
        audience = " ".join(source.audience) if isinstance(source.audience, tuple) else source.audience
        return cls(source.name, " ".join(source.scope) or None, source.resource, audience or None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCount:
    """How many fetches of a token failed with one kind of error. Immutable."""

    #: The name of the error class, such as ``"TokenEndpointError"``.
    error: str
    #: The ``error`` code in the token service's answer (RFC 6749 section 5.2), or None.
    code: str | None = None
    #: How many fetches failed like this.
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStats:
    """Usage figures of one token client in this process, for one combination of scope, resource and audience.

    A fetch is one attempt to get a token from a shared cache or from the token service, retries included. Tokens that
    differ in something else, such as a key that was replaced, are counted together; ``status`` and the seconds are
    those of the token that was used last. Clients with the same registration share a token, which is counted for the
    one that used it first. Immutable.
    """

    #: The name of the token client.
    client: str
    #: The scope requested, space-separated; None if none was.
    scope: str | None = None
    #: The resource indicators requested (RFC 8707).
    resource: tuple[str, ...] = ()
    #: The audience requested; several are separated by spaces. None if there was none.
    audience: str | None = None
    #: How many times a token was there when it was needed.
    hits: int = 0
    #: How many requests were sent to the token service, retries included. A try that found no connection or no secret
    #: sent none; one that was repeated with the server's nonce sent two.
    requests: int = 0
    #: How many fetches ended, with a token or an error.
    fetches: int = 0
    #: How many seconds these fetches took together.
    fetch_seconds: float = 0.0
    #: How many fetches have begun and not ended, including those that nobody waits for any more.
    in_flight: int = 0
    #: How many callers got ``TokenRequestTimeout``: their time was over before a token came.
    timeouts: int = 0
    #: How many tokens were dropped because the API refused them.
    rejections: int = 0
    #: How many fetches failed, by kind of error.
    failures: tuple[FailureCount, ...] = ()
    #: The text of the last error, or None.
    last_error: str | None = None
    #: ``"fine"``; ``"degraded"``: there is a valid token, but renewing it fails; ``"failing"``: there is no token, and
    #: the last fetch failed.
    status: Status = "fine"
    #: For how many more seconds the token can be used; None if there is none.
    seconds_to_expiry: float | None = None
    #: Seconds until the next fetch may start after failures; 0 if nothing delays it.
    seconds_to_next_try: float = 0.0


def labels(stats: ClientStats) -> dict[str, str]:
    """Whose figures these are, and what was asked for, as labels of a metric; empty where there is nothing."""
    return {
        "client": stats.client,
        "scope": stats.scope or "",
        "resource": " ".join(stats.resource),
        "audience": stats.audience or "",
    }


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
        in_flight=older.in_flight + latest.in_flight,
        timeouts=older.timeouts + latest.timeouts,
        rejections=older.rejections + latest.rejections,
        failures=_failure_counts(failures),
        last_error=latest.last_error or older.last_error,
    )


class Counts:
    """What is counted of one token as time goes by.

    Changed by one thread at a time, except for ``requests`` and ``timeouts``, which are counted without a lock.
    """

    __slots__ = ("_causes", "fetch_seconds", "fetches", "last_error", "rejections", "requests", "timeouts")

    def __init__(self) -> None:
        self.requests = 0
        self.fetches = 0
        self.fetch_seconds = 0.0
        self.rejections = 0
        self.timeouts = 0
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
            timeouts=self.timeouts,
            rejections=self.rejections,
            # A copy, since other threads go on counting.
            failures=_failure_counts(dict(self._causes)),
            last_error=self.last_error,
            **others,
        )


class _Others(TypedDict, total=False):
    hits: int
    in_flight: int
    status: Status
    seconds_to_expiry: float | None
    seconds_to_next_try: float


def _failure_counts(failures: Mapping[tuple[str, str | None], int]) -> tuple[FailureCount, ...]:
    return tuple(FailureCount(error=error, code=code, count=count) for (error, code), count in failures.items())

"""What happens to tokens, told to subscribers and to the log.

An event never holds a token or a secret. Subscribers are called in the thread in which the thing happened; one
that raises is logged and does no harm.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Literal

from .exceptions import ConfigurationError, TokenRequestError, code_of
from .www_authenticate import Challenge

logger = logging.getLogger("requests_cc_token")
# Without any handler, Python would print the warnings of this logger to stderr.
logger.addHandler(logging.NullHandler())

#: Why a token was fetched: there was none, it was getting old, the API refused it, or a caller asked for a new one.
Reason = Literal["cold", "renewal", "rejected", "forced"]
#: Where it came from: the token service, or a cache that other processes share.
Source = Literal["service", "shared cache"]

EventKind = Literal[
    "requested",
    "obtained",
    "renewed",
    "served_stale",
    "failed",
    "held_off",
    "timed_out",
    "rejected",
    "insufficient_scope",
]


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """Something that happened to the token of one client; see ``AccessTokenManagement.subscribe``. Immutable.

    A fetch is one attempt to get a token from a shared cache or from the token service, retries included. ``kind`` is

    - ``"requested"``: a request is about to be sent to the token service; ``attempt`` counts the tries of a fetch
      from 1. From the second try on, ``error`` is the failure of the one before and ``waited`` the pause since then
    - ``"obtained"``: a fetch brought a token, and callers waited for it; ``repeated`` is true where it is one that the
      API has refused
    - ``"renewed"``: a fetch in the background brought a token; meanwhile callers used the old one
    - ``"served_stale"``: a fetch in the background failed; callers use the old token for another ``expires_in`` seconds
    - ``"failed"``: a fetch failed with ``error``; the next one may start in ``wait`` seconds
    - ``"held_off"``: a caller got the error of the fetch before, because the next one may start in ``wait`` seconds
      only
    - ``"timed_out"``: a caller's time was over before a token came, or that of the fetch that it waited for; ``error``
      is what the caller got, ``duration`` how long the fetch had been running
    - ``"rejected"``: the API refused the token, which the next call replaces; ``challenge`` is what the API said
    - ``"insufficient_scope"``: the API wants a token with more scope; ``challenge`` says which
    """

    kind: EventKind
    #: The name of the token client.
    client: str
    #: The scope requested, space-separated; None if none was.
    scope: str | None = field(default=None, kw_only=True)
    #: For how many more seconds the token can be used.
    expires_in: float | None = field(default=None, kw_only=True)
    #: The error of the fetch, of the try before, or of the caller.
    error: TokenRequestError | None = field(default=None, kw_only=True)
    #: Seconds until the next fetch may start.
    wait: float | None = field(default=None, kw_only=True)
    #: Seconds between the end of the try before and this one.
    waited: float | None = field(default=None, kw_only=True)
    #: The number of this try, from 1.
    attempt: int | None = field(default=None, kw_only=True)
    #: Seconds since the fetch started.
    duration: float | None = field(default=None, kw_only=True)
    #: Why there was a fetch: ``"cold"`` (no token yet), ``"renewal"``, ``"rejected"`` or ``"forced"``.
    reason: Reason | None = field(default=None, kw_only=True)
    #: Where the token or error came from: ``"service"`` or ``"shared cache"``.
    source: Source | None = field(default=None, kw_only=True)
    #: How many tries the fetch took; 0 if the token came from a shared cache.
    attempts: int | None = field(default=None, kw_only=True)
    #: Whether the token service, or a cache on the way, gave the token again that the API had refused.
    repeated: bool | None = field(default=None, kw_only=True)
    #: What the API said about the token in ``WWW-Authenticate``, without the token itself (RFC 6750 section 3).
    challenge: Challenge | None = field(default=None, kw_only=True)


Subscriber = Callable[[TokenEvent], object]

_LEVELS: dict[str, int] = {
    "requested": logging.DEBUG,
    "obtained": logging.INFO,
    "renewed": logging.INFO,
    "served_stale": logging.WARNING,
    "failed": logging.WARNING,
    "held_off": logging.DEBUG,
    "timed_out": logging.WARNING,
    "rejected": logging.INFO,
    "insufficient_scope": logging.INFO,
}


class _Telling:
    """The telling of one event. What a subscriber begins meanwhile, on an event loop say, may outlive it."""

    __slots__ = ("about", "over")

    def __init__(self, event: TokenEvent) -> None:
        self.about = event.kind, event.client
        self.over = False


#: The events of which somebody is being told.
_telling: ContextVar[tuple[_Telling, ...]] = ContextVar("requests_cc_token events", default=())


class Events:
    """The subscribers of one management, and the log."""

    def __init__(self) -> None:
        # Each under a key of its own, so that one who subscribed twice may leave once. Changed by single steps of
        # the interpreter: needs no lock, and a fork can leave none behind.
        self._subscribers: dict[object, Subscriber] = {}

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber(event)`` from now on; the returned function ends that. Raises ``ConfigurationError``."""
        if not callable(subscriber):
            raise ConfigurationError("a subscriber must be callable: subscriber(event)")
        key = object()
        self._subscribers[key] = subscriber

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    def emit(self, event: TokenEvent) -> None:
        """Log the event and tell every subscriber.

        Not what happens because a subscriber or a log handler of such an event uses the client itself: that would have
        no end.
        """
        telling = [each for each in _telling.get() if not each.over]
        mine = _Telling(event)
        if any(each.about == mine.about for each in telling):
            return
        token = _telling.set((*telling, mine))
        try:
            self._tell(event)
        finally:
            mine.over = True
            _telling.reset(token)

    def _tell(self, event: TokenEvent) -> None:
        level = logging.WARNING if event.repeated else _LEVELS[event.kind]
        if logger.isEnabledFor(level):
            try:
                logger.log(level, "%s", _sentence(event), extra=_fields(event))
            except KeyError:
                # A record factory of the program's sets a field of one of these names.
                logger.log(level, "%s", _sentence(event))
        if event.error is not None:
            # A copy: what is done to it, raising it again included, changes nothing of what callers get.
            event = replace(event, error=event.error.for_caller())
        for subscriber in list(self._subscribers.values()):
            try:
                subscriber(event)
            except (Exception, SystemExit):
                # The fetch belongs to all who wait for it, not to one subscriber.
                logger.exception("token client %r: a subscriber failed on %r", event.client, event.kind)


#: The members of an event that are fields of its log record, where they say something.
_LOGGED = ("scope", "expires_in", "wait", "waited", "attempt", "duration", "reason", "source", "attempts", "repeated")


def _fields(event: TokenEvent) -> dict[str, object]:
    """The fields of the event's log record beside its text: names, numbers and words, for structured logging."""
    fields: dict[str, object] = {"client": event.client, "event": event.kind}
    fields.update({name: value for name in _LOGGED if (value := getattr(event, name)) is not None})
    if event.error is not None:
        fields["error"] = type(event.error).__name__
        fields["error_code"] = code_of(event.error)
    if event.challenge is not None:
        fields["challenge_error"] = event.challenge.error
        fields["challenge_scope"] = event.challenge.scope
    return fields


def _sentence(event: TokenEvent) -> str:
    parts = [f"token client {event.client!r}: {event.kind.replace('_', ' ')}"]
    if event.source is not None and event.kind in ("obtained", "renewed"):
        parts[0] += " from a shared cache" if event.source == "shared cache" else " from the token service"
    if event.attempt is not None:
        parts.append(f"try {event.attempt}" + (f" after {event.waited:.1f} s" if event.waited is not None else ""))
    if event.expires_in is not None:
        parts.append(f"usable for {event.expires_in:.0f} s")
    if event.error is not None:
        parts.append(str(event.error).removeprefix(f"token client {event.client!r}: "))
    if event.repeated:
        parts.append(
            "it is a token that the API has refused: the token service gives it again, or a cache on the way does"
        )
    if event.wait is not None:
        parts.append(f"next try in {event.wait:.1f} s")
    if event.challenge is not None:
        said = event.challenge
        told = [said.error, said.error_description, f"it wants the scope {said.scope}" if said.scope else None]
        parts.append(f"the API says {': '.join(filter(None, told)) or 'no reason'}")
    elif event.kind == "rejected":
        parts.append("the API says no reason")
    return "; ".join(parts)

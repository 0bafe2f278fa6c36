"""What is known of one cache key's token, and what a caller does next.

No lock, no thread, no I/O and no clock in here. Every verb takes the moment at which it happens, so the life of a token
can be read, and tested, as a row of values; only how long a hold-off lasts is drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any, NamedTuple, Union

from .clock import is_duration
from .events import EventKind, Reason, TokenEvent
from .exceptions import TokenRequestError
from .flights import Flight
from .retry_delays import BACKOFF_CAP, half_jitter, hold_off
from .stats import Asked, ClientStats, Counts, Status
from .tokens import AccessToken, Binding

#: Tokens of a key that are remembered as dead: the last one, and a few for what a slow cache may still hold.
MAX_DEAD = 4
#: Seconds for which a token has to work before its refusal is a first one again, and no more one in a row.
CALM = BACKOFF_CAP
#: Fetches of one key that may hang at once. Each holds a thread.
MAX_HANGING = 8


class Failure(NamedTuple):
    """The error of the last fetch that failed, and until when it is everybody's answer."""

    error: TokenRequestError
    #: The moment of the next token request, and that for a caller who would rather wait than fail.
    until: float
    patient_until: float
    #: Whether everybody had a token while that fetch ran.
    background: bool
    #: What the secret, key and certificate looked like; a change ends the hold-off.
    stamp: Hashable


#: Stands for a stamp that nobody looked at, because nothing was held off when the caller came.
NOT_LOOKED: Hashable = object()

#: The fetch of a token.
TokenFlight = Flight[AccessToken]


class Step(NamedTuple):
    """What a caller does now."""

    #: Use the token, raise the failure's error, or wait for the flight.
    outcome: Union[AccessToken, Failure, TokenFlight]
    #: The flight that the caller has to start, if any: the one to wait for, or a renewal in the background.
    start: TokenFlight | None
    #: The epoch in which the caller asked; a flight of an older one is no answer.
    epoch: int


class Slot:
    """The state of one cache key in this process. Changed by one thread at a time: the service sees to that."""

    __slots__ = (
        "__weakref__",
        "accepted",
        "asked",
        "binding",
        "counts",
        "dead",
        "epoch",
        "failure",
        "failures",
        "flight",
        "hanging",
        "hits",
        "key",
        "landed_at",
        "looked_at",
        "next_renewal",
        "refusals",
        "stored_key",
        "token",
        "was_rejected",
    )

    def __init__(self, key: str, asked: Asked, binding: Binding | None = None) -> None:
        self.key = key
        #: What the cache keeps its tokens by, as far as that was needed.
        self.stored_key: str | None = None
        #: What tokens of this key are bound to; the key follows from it.
        self.binding = binding
        #: What was asked for by the client that came first, for events and figures.
        self.asked = asked
        #: The current token; replaced in one assignment, so it may be read by any thread at any moment.
        self.token: AccessToken | None = None
        #: When it came, and whether the API has taken it.
        self.landed_at = -math.inf
        self.accepted = False
        #: Whether the last token was dropped because the API refused it.
        self.was_rejected = False
        self.flight: TokenFlight | None = None
        #: Fetches that were given up and whose threads have not ended.
        self.hanging = 0
        #: Counts deletions.
        self.epoch = 0
        #: Tries that failed in a row, and the failure that holds the next one off.
        self.failures = 0
        self.failure: Failure | None = None
        #: When a caller last looked whether what caused the failure has changed.
        self.looked_at = -math.inf
        #: Values that the API refused or that have expired: neither a cache nor a wall clock brings them back.
        self.dead: tuple[str, ...] = ()
        #: How often in a row the API refused a token, and the moment before which that causes no further renewal.
        self.refusals = 0
        self.next_renewal = -math.inf
        # For the figures. Hits are counted without a lock: near enough when many threads share them.
        self.hits = 0
        self.counts = Counts()

    @property
    def name(self) -> str:
        """The client's name."""
        return self.asked.client

    # What a caller does

    def step(
        self,
        now: float,
        stamp: Hashable = NOT_LOOKED,
        *,
        force: bool = False,
        patient: bool = False,
        max_time: float = math.inf,
    ) -> Step:
        """Decide what a caller does at this moment.

        ``stamp`` is that of the client's secret, key and certificate now. ``force`` wants a token newer than the
        current one, ``patient`` would rather wait than get an error, ``max_time`` is the seconds a new fetch may take.
        """
        token = self._current(now)
        if self.flight is not None and self.flight.is_overdue(now):
            self.give_up(self.flight)
        failure = self._holding(now, stamp, patient)
        start: TokenFlight | None = None
        if token is not None and not force:
            self.hits += 1
            assert token.soft_expiry is not None
            wanted = failure is None and now >= token.soft_expiry
            if wanted and self.flight is None and self.hanging < MAX_HANGING:
                start = self.flight = Flight(now, max_time, epoch=self.epoch, background=True, reason="renewal")
            return Step(token, start, self.epoch)
        if self.flight is not None:
            return Step(self.flight, None, self.epoch)
        if failure is not None and (force or not failure.background):
            return Step(failure, None, self.epoch)
        if self.hanging >= MAX_HANGING:
            return Step(self._all_hang(now, stamp), None, self.epoch)
        if self.failure is not None and self.failure.background:
            # Renewals that were refused while the old token worked say nothing of what comes after it.
            self.forget_failures()
        reason: Reason = "forced" if force else "rejected" if self.was_rejected else "cold"
        start = self.flight = Flight(now, max_time, epoch=self.epoch, forced=force, reason=reason)
        return Step(start, start, self.epoch)

    def _current(self, now: float) -> AccessToken | None:
        """The token, unless its life is over."""
        token = self.token
        if token is not None and now >= hard_expiry(token):
            self._bury(token)
            return None
        return token

    def _holding(self, now: float, stamp: Hashable, patient: bool) -> Failure | None:
        """The failure that holds the next try off, unless its time is over or what caused it has changed."""
        failure = self.failure
        if failure is None or now >= (failure.patient_until if patient else failure.until):
            return None
        if stamp not in (NOT_LOOKED, failure.stamp):
            self.forget_failures()
            return None
        return failure

    def _all_hang(self, now: float, stamp: Hashable) -> Failure:
        error = TokenRequestError(
            f"token client {self.name!r}: {MAX_HANGING} fetches of its token hang and none has ended; "
            "look at what its secret's callable, its proxy or a subscriber waits for",
            client=self.name,
        )
        return Failure(error, now, now, False, stamp)

    # What happens to fetches

    def give_up(self, flight: TokenFlight) -> None:
        """Wait no longer for a fetch that never began or whose time is over; its outcome will change nothing."""
        flight.given_up = True
        self.hanging += flight.begun
        self.flight = None
        if not flight.begun:
            flight.epoch = -1  # none, so that nobody takes it for an answer
            flight.land()

    def begin(self, flight: TokenFlight) -> bool:
        """Note that the thread of a fetch has begun; returns whether the fetch is still wanted."""
        flight.begun = self.flight is flight
        return flight.begun

    def end(self, flight: TokenFlight) -> None:
        """Note that the thread of a fetch is at its end, whether or not somebody still waited for it."""
        if self.flight is flight:
            self.flight = None
        # Not below 0: of a forked child's threads, one may be that of a fetch which its parent had given up.
        self.hanging = max(0, self.hanging - (flight.begun and flight.given_up))

    def wants(self, flight: TokenFlight) -> bool:
        """Whether the outcome of this fetch is still wanted, here and in the cache."""
        return self.flight is flight and flight.epoch == self.epoch

    def land(
        self, flight: TokenFlight, brought: AccessToken | TokenRequestError, now: float, stamp: Hashable = None
    ) -> list[TokenEvent]:
        """Take what a fetch brought; returns the events to tell.

        The outcome of a fetch that was given up changes nothing here; callers that still wait for it get its token.
        """
        if self.flight is not flight:
            if isinstance(brought, AccessToken) and not flight.landed:
                flight.result = brought
            return []
        self.flight = None
        self.counts.fetches += 1
        self.counts.fetch_seconds += now - flight.begun_at
        if isinstance(brought, AccessToken):
            flight.result = brought
            if flight.epoch == self.epoch:
                self.token, self.landed_at, self.accepted, self.was_rejected = brought, now, False, False
                self.forget_failures()
            kind: Any = "renewed" if flight.background else "obtained"
            repeated = True if flight.reason == "rejected" and brought.value in self.dead else None
            return [self._event(kind, flight, now, expires_in=hard_expiry(brought) - now, repeated=repeated)]
        flight.error = brought
        if flight.is_overdue(now):
            # The process was frozen meanwhile: that says nothing of now, and holds nobody off.
            return [self._event("failed", flight, now, error=brought, wait=0.0)]
        self.failures += max(flight.tries, 1)
        wait, patient = hold_off(
            self.failures, transient=brought.transient, retry_after=_seconds(brought.retry_after)
        )
        background = flight.background and not flight.waiting
        self.failure = Failure(brought, now + wait, now + patient, background, stamp)
        self.counts.failed(brought)
        events = [self._event("failed", flight, now, error=brought, wait=wait)]
        token = self._current(now)
        if token is not None:
            events.append(
                TokenEvent("served_stale", self.name, scope=self.asked.scope, expires_in=hard_expiry(token) - now)
            )
        return events

    def _event(self, kind: EventKind, flight: TokenFlight, now: float, **members: Any) -> TokenEvent:
        """What a fetch ended with."""
        return TokenEvent(
            kind,
            self.name,
            scope=self.asked.scope,
            duration=now - flight.begun_at,
            reason=flight.reason,
            source=flight.source,
            attempts=flight.tries,
            **members,
        )

    # What the API says of tokens

    def refuse(self, token: AccessToken, now: float) -> bool:
        """Note that the API refused this token; whether it is dropped for it.

        Only the current token is: a late refusal of an older one changes nothing. Refusals in a row drop one token per
        step of a growing hold-off, not one per call. A token that is refused after it worked for a while was revoked,
        which is a first refusal; one that is refused at once counts, whatever was taken in between: an API that refuses
        every other request does not cost a token for each.
        """
        if self.token is None or self.token.value != token.value:
            return False
        if self.accepted and now - self.landed_at >= CALM:
            self.refusals, self.next_renewal = 0, -math.inf
        if now < self.next_renewal:
            return False
        self.refusals += 1
        # Half of the wait is certain, so that the very next call never asks again.
        self.next_renewal = now + half_jitter(self.refusals)
        self.was_rejected = True
        self.counts.rejections += 1
        self._bury(token)
        return True

    def accept(self, token: AccessToken) -> None:
        """Note that the API took this token."""
        if self.token is not None and self.token.value == token.value:
            self.accepted = True

    # What caches and programs say

    def news(self, token: AccessToken | None, now: float) -> AccessToken | None:
        """The token of a cache, where it tells this process something new and may be used."""
        if token is None or token.value in self.dead or now >= hard_expiry(token):
            return None
        current = self.token
        if current is not None and (current.value == token.value or hard_expiry(token) <= hard_expiry(current)):
            return None
        return token

    def forget(self) -> None:
        """Forget the token; a fetch that runs now answers only the callers that wait for it already."""
        self.epoch += 1
        self.token = None
        self.forget_failures()

    def forget_failures(self) -> None:
        """End the hold-off."""
        self.failures = 0
        self.failure = None

    def close(self) -> TokenFlight | None:
        """Forget the token, and the fetch that runs, which is returned."""
        flight, self.flight, self.token = self.flight, None, None
        return flight

    def _bury(self, token: AccessToken) -> None:
        self.token = None
        self.dead = (*self.dead, token.value)[-MAX_DEAD:]

    def status(self, now: float) -> Status:
        """Whether there is a usable token, and whether the last fetch failed."""
        if self.failure is None:
            return "fine"
        return "failing" if self.seconds_to_expiry(now) is None else "degraded"

    def seconds_to_expiry(self, now: float) -> float | None:
        """For how many more seconds the token may be used; None without one."""
        token = self.token
        return None if token is None or now >= hard_expiry(token) else hard_expiry(token) - now

    def health(self, now: float) -> dict[str, Any]:
        """The status and its reason, as ``AccessTokenManagement.health`` has them."""
        failure = self.failure
        return {
            "status": self.status(now),
            "reason": None if failure is None else str(failure.error),
            "seconds_to_expiry": self.seconds_to_expiry(now),
        }

    def figures(self, now: float) -> ClientStats:
        """The counts and the current status, as a value."""
        failure = self.failure
        return self.counts.told(
            self.asked,
            hits=self.hits,
            in_flight=self.hanging + (self.flight is not None),
            status=self.status(now),
            seconds_to_expiry=self.seconds_to_expiry(now),
            seconds_to_next_try=0.0 if failure is None else max(0.0, failure.until - now),
        )


def hard_expiry(token: AccessToken) -> float:
    """The moment from which a token may not be used any more, on the monotonic clock of this process."""
    assert token.hard_expiry is not None, "a slot holds localized tokens only"
    return token.hard_expiry


def _seconds(retry_after: object) -> float:
    """What an error says of the next try; an authentication method of somebody's own may have said anything."""
    return float(retry_after) if is_duration(retry_after) else 0.0  # type: ignore[arg-type]

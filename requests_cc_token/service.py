"""The token service: a usable token for a client, at once where there is one.

For each cache key there is one slot, and at most one flight: a fetch that all who need the token wait for, each
up to its own deadline. Flights run in threads of their own, so that nobody's deadline depends on the token
service, and a token between soft and hard expiry is renewed while callers go on with it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .caches.protocol import Lease, SharedTokenCache, TokenCache
from .clients import ClientCredentialsClient
from .clock import Clock
from .demand import Demand
from .events import Events, TokenEvent, logger
from .exceptions import TokenCacheError, TokenRequestError, TokenRequestTimeout
from .expiry import Moment, localized
from .forks import importing, renew_after_fork
from .jitter import full_jitter, half_jitter
from .parameters import TokenRequestParameters
from .pickling import Reference, service_of
from .tokens import AccessToken, Binding

if TYPE_CHECKING:
    from .endpoint.backchannel import Backchannel

_T = TypeVar("_T")

#: Seconds: bounds of the hold-off after the first permanent error, and after many. Somebody has to change the
#: configuration first, and that change ends the hold-off by itself.
PERMANENT_HOLD_OFF = (30.0, 600.0)
#: Clients and per-request parameters that are kept ready at most, the least recently used dropped first.
MAX_RECENT = 10_000
#: Seconds without a cache that has failed: a store that is down costs one call in so many.
CACHE_COOL_DOWN = 30.0


class Registry(Protocol):
    """Who knows the token clients by name."""

    def find(self, name: str | None) -> ClientCredentialsClient:
        """The client of the name, or the only one for None. Raises ``UnknownClientError``."""

    def is_registered(self, name: str | None, client: ClientCredentialsClient) -> bool:
        """Whether ``find`` will give this client until the registrations change."""


class _Flight:
    """One fetch that runs, and who waits for it."""

    __slots__ = ("background", "begun", "done", "epoch", "error", "forced", "token", "tries", "waiting")

    def __init__(self, epoch: int, *, background: bool = False, forced: bool = False) -> None:
        #: Whether its thread is at it.
        self.begun = False
        self.done = threading.Event()
        self.epoch = epoch
        self.background = background
        self.forced = forced
        self.waiting = 0
        self.tries = 0
        self.token: AccessToken | None = None
        self.error: TokenRequestError | None = None


class _Slot:
    """What is known of one cache key in this process. Changed under the service's lock only."""

    __slots__ = (
        "__weakref__",
        "binding",
        "epoch",
        "error",
        "error_stamp",
        "error_was_background",
        "failures",
        "failures_by_cause",
        "flight",
        "hits",
        "key",
        "last_error",
        "name",
        "next_renewal",
        "next_try",
        "refusals",
        "rejected",
        "requests",
        "token",
    )

    def __init__(self, key: str, name: str, binding: Binding | None) -> None:
        self.key = key
        #: What tokens of this key are bound to; the key follows from it.
        self.binding = binding
        #: The name of the client that came first, for events and statistics.
        self.name = name
        #: The current token; replaced in one assignment, so it may be read without the lock.
        self.token: AccessToken | None = None
        self.flight: _Flight | None = None
        #: Counts deletions: a flight of an older epoch must not put its token here.
        self.epoch = 0
        #: Tries that failed in a row, and the error and moment that hold the next one off.
        self.failures = 0
        self.error: TokenRequestError | None = None
        self.error_was_background = False
        self.error_stamp: Hashable = None
        self.next_try = 0.0
        #: The token that the API refused last, how often in a row it refused one, and the moment before which
        #: that causes no further renewal.
        self.rejected: str | None = None
        self.refusals = 0
        self.next_renewal = 0.0
        #: For the statistics. Hits are counted without the lock: near enough when many threads share them.
        self.hits = 0
        self.requests = 0
        self.failures_by_cause: dict[str, int] = {}
        self.last_error: str | None = None


class AccessTokenService:
    """Gives usable access tokens; safe in threads and after forks.

    A cached token else a new one: ``get_access_token`` is the main entry point of the package. Pickled by reference
    to its management.
    """

    #: What is pickled in its place; set by the management.
    reference: Callable[[], Reference] | None = None

    def __init__(
        self, registry: Registry, *, cache: TokenCache, clock: Clock, backchannel: Backchannel, events: Events
    ) -> None:
        self._registry = registry
        self._cache = cache
        self._clock = clock
        self._monotonic = clock.monotonic
        self._backchannel = backchannel
        self._events = events
        self._cache_down_until = float("-inf")
        self._lock = threading.Lock()
        #: The slots of registered clients by name, read without the lock.
        self._by_name: dict[str | None, _Slot] = {}
        self._slots: weakref.WeakValueDictionary[str, _Slot] = weakref.WeakValueDictionary()
        self._recent: dict[Demand, _Slot] = {}
        renew_after_fork(self)

    def get_access_token(
        self,
        client: str | None = None,
        parameters: TokenRequestParameters | None = None,
        *,
        timeout: float | None = None,
        patience: float | None = None,
    ) -> AccessToken:
        """A token that may be used now.

        ``client`` may be left out while there is one token client. ``timeout`` is how many seconds this caller
        waits at most; None waits for as long as the fetch takes, which the backchannel bounds. ``patience`` is
        for how many seconds this caller would rather wait through failed tries than get their error.

        Raises ``UnknownClientError``; ``TokenRequestTimeout`` where the time is over first;
        ``TokenRequestError`` and its kinds where no token can be had.
        """
        if parameters is None:
            slot = self._by_name.get(client)
            if slot is not None:
                token = slot.token
                if token is not None and self._monotonic() < token.soft_expiry:  # type: ignore[operator]
                    slot.hits += 1
                    return token
        return self._get(client, parameters, timeout, patience)

    def delete_access_token(
        self, client: str | None = None, parameters: TokenRequestParameters | None = None
    ) -> None:
        """Forget the client's token, here and in the cache; the next call asks for a new one.

        A fetch that runs at that moment answers those who wait for it already and nobody else.
        """
        demand = Demand.of(self._registry.find(client), parameters)
        slot = self._slot(demand, client)
        with self._lock:
            slot.epoch += 1
            slot.token = None
            self._forget_failures(slot)
        self._use_cache("delete from", demand.name, lambda: self._cache.delete(slot.key))

    def __reduce__(self) -> tuple[Any, ...]:
        if self.reference is None:
            raise TypeError("an AccessTokenService holds secrets; only that of an AccessTokenManagement is pickled")
        return service_of, (tuple(self.reference()),)

    def __copy__(self) -> AccessTokenService:
        return self

    def __deepcopy__(self, memo: Any) -> AccessTokenService:
        return self

    def token_rejected(self, token: AccessToken) -> None:
        """Tell that the API refused this token with a 401.

        Only the current token is dropped for it: a late refusal of an older one changes nothing. An API that
        refuses fresh tokens too does not cause a renewal for each call, but one per step of a growing hold-off;
        until then the token stays.
        """
        now = self._monotonic()
        with self._lock:
            slot = self._slots.get(token.key)
            if slot is None or slot.token is None or slot.token.value != token.value:
                return
            if slot.refusals and now < slot.next_renewal:
                return
            slot.refusals += 1
            # Half of the wait is certain, so that the very next call never asks again.
            slot.next_renewal = now + half_jitter(slot.refusals)
            slot.rejected = token.value
            slot.token = None
        self._events.emit(TokenEvent("rejected", slot.name))

    def token_accepted(self, token: AccessToken) -> None:
        """Tell that the API took this token: its next refusal is a revocation, not one more of a series."""
        slot = self._slots.get(token.key)
        if slot is not None and slot.refusals:
            with self._lock:
                if slot.token is not None and slot.token.value == token.value:
                    slot.refusals = 0

    def stats(self) -> dict[str, dict[str, Any]]:
        """Figures per token client, as a plain mapping; for a client's per-request parameters a key of their own.

        ``hits`` (tokens given without waiting), ``requests`` (token requests sent), ``failures`` by cause,
        ``seconds_to_expiry`` of the current token or None, ``last_error`` or None, ``seconds_to_next_try`` while
        held off, else 0.
        """
        now = self._monotonic()
        figures: dict[str, dict[str, Any]] = {}
        with self._lock:
            slots = sorted(self._live_slots(), key=lambda slot: (slot.name, slot.key))
            # The last one used of each name, where keys or certificates were replaced.
            latest = {slot.name: slot for demand, slot in self._recent.items() if demand.parameters is None}
            by_default = {id(slot) for slot in (*latest.values(), *self._by_name.values())}
        for slot in slots:
            token = slot.token
            name = slot.name if id(slot) in by_default else f"{slot.name}#{slot.key[:8]}"
            figures[name] = {
                "hits": slot.hits,
                "requests": slot.requests,
                "failures": dict(slot.failures_by_cause),
                "seconds_to_expiry": None if token is None else max(0.0, _hard(token) - now),
                "last_error": slot.last_error,
                "seconds_to_next_try": max(0.0, slot.next_try - now) if slot.error is not None else 0.0,
            }
        return figures

    def held_tokens(self) -> list[tuple[Demand, AccessToken]]:
        """Each token that may be used now, with what it was asked for by."""
        with self._lock:
            held = {id(slot): (demand, slot.token) for demand, slot in self._recent.items()}
        now = self._monotonic()
        return [(demand, token) for demand, token in held.values() if token is not None and now < _hard(token)]

    def now(self) -> float:
        """Seconds since the epoch, by the clock of the management."""
        return self._clock.time()

    def registrations_changed(self) -> None:
        """Look names up anew: a name, or the lack of one, may mean another client now."""
        with self._lock:
            self._by_name.clear()

    def retry_at_once(self) -> None:
        """End every hold-off: what the failed requests were sent with has changed."""
        with self._lock:
            for slot in self._live_slots():
                self._forget_failures(slot)

    def _get(
        self,
        client: str | None,
        parameters: TokenRequestParameters | None,
        timeout: float | None,
        patience: float | None,
    ) -> AccessToken:
        """The long way of ``get_access_token``: look the slot up, and wait where it must be."""
        started = self._monotonic()
        deadline = None if timeout is None else started + timeout
        patient_until = started if patience is None else started + patience
        demand = Demand.of(self._registry.find(client), parameters)
        slot = self._slot(demand, client)
        force = demand.force_renewal
        while True:
            step, epoch = self._step(slot, demand, force)
            if isinstance(step, AccessToken):
                return step
            if isinstance(step, _HeldOff):
                impatient = step.until > patient_until or not step.error.transient
                if impatient or (deadline is not None and step.until >= deadline):
                    wait = max(0.0, step.until - self._monotonic())
                    self._events.emit(TokenEvent("held_off", demand.name, error=step.error, wait=wait))
                    raise step.error.for_caller()
                self._clock.wait(self._backchannel.closed, step.until - self._monotonic())
                continue
            try:
                if not self._clock.wait(step.done, None if deadline is None else deadline - self._monotonic()):
                    raise TokenRequestTimeout(
                        f"token client {demand.name!r}: no token within {timeout:.3g} s; the token endpoint "
                        f"{demand.client.token_endpoint or demand.client.issuer} is slow or does not answer. "
                        "The fetch goes on; call again, or allow more time (timeout=...)",
                        client=demand.name,
                    )
            except BaseException:
                # Out of time, or interrupted: the fetch is not tried again for this caller.
                with self._lock:
                    step.waiting -= 1
                raise
            if step.epoch != epoch:
                continue  # it began before the token was deleted, or never
            if step.token is not None:
                return step.token
            assert step.error is not None
            if not step.error.transient or self._monotonic() >= patient_until:
                raise step.error.for_caller()

    def _step(
        self, slot: _Slot, demand: Demand, force: bool
    ) -> tuple[AccessToken | _HeldOff | _Flight, int]:
        """What a caller can do now: take the token, give up, or wait for a flight; with the slot's epoch."""
        start: _Flight | None = None
        try:
            with self._lock:
                # Under the lock: close() takes it too, and ends every flight that it finds.
                if self._backchannel.closed.is_set():
                    raise _closed_error(demand)
                now = self._monotonic()
                token = slot.token
                if token is not None and now >= _hard(token):
                    slot.token = token = None
                held = self._held_off(slot, demand, now)
                outcome: AccessToken | _HeldOff | _Flight
                if token is not None and not force:
                    slot.hits += 1
                    if now >= _soft(token) and slot.flight is None and held is None:
                        start = slot.flight = _Flight(slot.epoch, background=True)
                    outcome = token
                elif slot.flight is not None:
                    slot.flight.waiting += 1
                    outcome = slot.flight
                elif held is not None and (force or not slot.error_was_background):
                    outcome = held
                else:
                    outcome = start = slot.flight = _Flight(slot.epoch, forced=force)
                    start.waiting = 1
                epoch = slot.epoch
            if start is not None:
                self._start(slot, start, demand)
        except BaseException:
            # What a signal's handler raised in the caller, say: Ctrl-C, or the time limit of a task queue.
            if start is not None:
                self._abandon(slot, start)
            raise
        return outcome, epoch

    def _held_off(self, slot: _Slot, demand: Demand, now: float) -> _HeldOff | None:
        """The error that holds the next try off, unless its time is over or what caused it has changed."""
        if slot.error is None or now >= slot.next_try:
            return None
        if demand.stamp() != slot.error_stamp:
            self._forget_failures(slot)
            return None
        return _HeldOff(slot.error, slot.next_try)

    def _start(self, slot: _Slot, flight: _Flight, demand: Demand) -> None:
        """Run the flight in a thread of its own, with the context variables of its first caller."""
        with importing:
            import contextvars
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run,
            args=(self._run, slot, flight, demand),
            daemon=True,
            name=f"requests_cc_token {demand.name}",
        )
        try:
            thread.start()
        except RuntimeError:
            # No thread can be had: the machine is out of them, or the interpreter is shutting down.
            self._run(slot, flight, demand)

    def _abandon(self, slot: _Slot, flight: _Flight) -> None:
        """End a flight whose thread may never come, unless it is there; who waits for it starts another one."""
        with self._lock:
            if flight.begun or flight.done.is_set():
                return
            slot.flight = None
            flight.epoch = -1  # none, so that nobody takes it for an answer
        flight.done.set()

    def _run(self, slot: _Slot, flight: _Flight, demand: Demand) -> None:
        """Fetch, and let everybody know. Whatever happens, the flight ends."""
        with self._lock:
            if flight.done.is_set():
                return  # abandoned, or closed
            flight.begun = True
        brought: AccessToken | TokenRequestError
        unexpected: str | None = None
        try:
            brought = self._obtain(slot, flight, demand)
        except TokenRequestError as failure:
            brought = failure
        except BaseException as failure:
            unexpected = type(failure).__name__
            brought = TokenRequestError(
                f"token client {demand.name!r}: the fetch ended with {unexpected}",
                client=demand.name,
                transient=False,
            )
        if isinstance(brought, TokenRequestError):
            # The frames of the fetch are of no use to its waiters, and every one of them gets a copy.
            brought = brought.for_caller()
        self._land(slot, flight, demand, brought)
        if unexpected is not None:
            # Last, since a handler of somebody's may be what fails.
            logger.error("token client %r: the fetch ended with %s", demand.name, unexpected)

    def _land(
        self,
        slot: _Slot,
        flight: _Flight,
        demand: Demand,
        brought: AccessToken | TokenRequestError,
    ) -> None:
        """Put what a flight brought where callers find it, then wake those who wait."""
        events: list[TokenEvent] = []
        name = demand.name
        with self._lock:
            if flight.done.is_set():
                return  # closed meanwhile
            slot.flight = None
            now = self._monotonic()
            if not isinstance(brought, TokenRequestError):
                flight.token = brought
                if flight.epoch == slot.epoch:
                    slot.token = brought
                    self._forget_failures(slot)
                kind: Any = "renewed" if flight.background else "obtained"
                events.append(TokenEvent(kind, name, expires_in=_hard(brought) - now))
            else:
                flight.error = brought
                slot.failures += max(flight.tries, 1)
                slot.error = brought
                slot.error_was_background = flight.background and not flight.waiting
                slot.error_stamp = demand.stamp()
                slot.next_try = now + _hold_off(slot.failures, brought)
                cause = _cause(brought)
                slot.failures_by_cause[cause] = slot.failures_by_cause.get(cause, 0) + 1
                slot.last_error = str(brought)
                events.append(TokenEvent("failed", name, error=brought, wait=slot.next_try - now))
                if slot.token is not None and now < _hard(slot.token):
                    events.append(TokenEvent("served_stale", name, expires_in=_hard(slot.token) - now))
        try:
            for event in events:
                self._events.emit(event)
        finally:
            flight.done.set()

    def _obtain(self, slot: _Slot, flight: _Flight, demand: Demand) -> AccessToken:
        """The cached token else a new one, as one process or, where the cache can tell, as one of a fleet."""
        token = self._cached(slot, demand)
        if token is not None and not flight.forced:
            return token
        # A forced renewal wants a token newer than what lies there, not necessarily its own.
        known = None if token is None else token.value
        lease = self._lease(slot, demand)
        try:
            while lease is not None:
                # Whoever held the lease before may have left what we came for.
                token = self._usable(slot, lease.token)
                if token is not None and token.value != known:
                    return token
                if lease.granted:
                    break
                lease = self._lease(slot, demand)
            token = self._request(slot, flight, demand)
            put = lease.set if lease is not None else partial(self._cache.set, slot.key)
            if flight.epoch == slot.epoch:
                self._use_cache("write to", demand.name, partial(put, token))
            return token
        finally:
            if lease is not None:
                # Whether or not the cache is left alone now: others would wait for this process.
                self._use_cache("release", demand.name, lease.release, even_if_down=True)

    def _cached(self, slot: _Slot, demand: Demand) -> AccessToken | None:
        """The cache's token, where it is usable and tells this process something new."""
        return self._usable(slot, self._use_cache("read", demand.name, partial(self._cache.get, slot.key)))

    def _usable(self, slot: _Slot, token: AccessToken | None) -> AccessToken | None:
        """The token as this process may use it; None for one that the API refused or that brings no more time."""
        if token is None or token.value == slot.rejected:
            return None
        if token.soft_expiry is None or token.hard_expiry is None:
            token = self._localized(token, slot)
        current = slot.token
        if self._monotonic() >= _hard(token):
            return None
        if current is not None and (current.value == token.value or _hard(token) <= _hard(current)):
            return None
        return token

    def _localized(self, token: AccessToken, slot: _Slot) -> AccessToken:
        """A token of a shared store, its expiry on this process's monotonic clock."""
        return localized(token, Moment.now(self._clock), key=slot.key, binding=slot.binding)

    def _lease(self, slot: _Slot, demand: Demand) -> Lease | None:
        """The right to fetch for all processes, where the cache knows such a thing."""
        if not isinstance(self._cache, SharedTokenCache):
            return None
        lease = partial(self._cache.lease, slot.key, self._backchannel.closed.is_set)
        return self._use_cache("lease from", demand.name, lease)

    def _request(self, slot: _Slot, flight: _Flight, demand: Demand) -> AccessToken:
        with importing:
            from .endpoint.token_request import request_token
        # Further tries within the fetch are for those who wait for it, after a time that went well. A renewal
        # that nobody waits for, and the probes of an outage, leave them to the schedule of the hold-off.
        first_sequence = slot.error is None

        def on_try() -> None:
            flight.tries += 1
            slot.requests += 1
            self._events.emit(TokenEvent("requested", demand.name, attempt=flight.tries))

        return request_token(
            demand,
            slot.key,
            backchannel=self._backchannel,
            clock=self._clock,
            keep_trying=lambda: first_sequence and flight.waiting > 0,
            on_try=on_try,
        )

    def _use_cache(
        self, doing: str, client: str, action: Callable[[], _T], *, even_if_down: bool = False
    ) -> _T | None:
        """Use the cache; one that fails is left alone for a while, and the call goes on without it."""
        if self._monotonic() < self._cache_down_until and not even_if_down:
            return None
        try:
            return action()
        except Exception as error:
            now = self._monotonic()
            with self._lock:
                first = now >= self._cache_down_until
                self._cache_down_until = now + CACHE_COOL_DOWN
            if first:
                logger.warning(
                    "token client %r: could not %s the token cache (%s); going on without it for %.0f s",
                    client,
                    doing,
                    error if isinstance(error, TokenCacheError) else type(error).__name__,
                    CACHE_COOL_DOWN,
                )
            return None

    def _slot(self, demand: Demand, client: str | None) -> _Slot:
        """The slot of a demand; made where there is none."""
        with self._lock:
            slot = self._recent.get(demand)
        if slot is None:
            key = demand.cache_key
            with self._lock:
                slot = self._slots.get(key)
                if slot is None:
                    slot = self._slots[key] = _Slot(key, demand.name, demand.binding)
        with self._lock:
            # To the end, in one step: whoever counts or revokes tokens meanwhile must not miss this one.
            self._recent.pop(demand, None)
            self._recent[demand] = slot
            while len(self._recent) > MAX_RECENT:
                del self._recent[next(iter(self._recent))]
            # Not where a client of the name was registered since a resolver gave this one. And a key or certificate
            # in files may have changed by the next call, so that one takes the long way too.
            lasts = demand.parameters is None and demand.client.is_fixed
            if lasts and self._registry.is_registered(client, demand.client):
                self._by_name[client] = slot
        return slot

    def _live_slots(self) -> list[_Slot]:
        """All slots that are in use. One may go at any moment, in any thread, so what is walked through is a copy."""
        return [slot for slot in (reference() for reference in self._slots.valuerefs()) if slot is not None]

    @staticmethod
    def _forget_failures(slot: _Slot) -> None:
        slot.failures = 0
        slot.error = None
        slot.error_was_background = False
        slot.next_try = 0.0

    def close(self) -> None:
        """Forget all tokens and answer everybody who waits; called after the backchannel is closed."""
        with self._lock:
            self._by_name.clear()
            self._recent.clear()
            flights = []
            for slot in self._live_slots():
                slot.token = None
                if slot.flight is not None:
                    slot.flight.error = _closed_error(None)
                    flights.append(slot.flight)
                    slot.flight = None
            for flight in flights:
                flight.done.set()

    def after_fork_in_child(self) -> None:
        """Keep the tokens; start locks and flights anew, whose threads are not in the child."""
        self._lock = threading.Lock()
        for slot in self._live_slots():
            slot.flight = None


class _HeldOff:
    """The error of the last failed fetch, and the moment until which it is everybody's answer."""

    __slots__ = ("error", "until")

    def __init__(self, error: TokenRequestError, until: float) -> None:
        self.error = error
        self.until = until


def _hold_off(failures: int, error: TokenRequestError) -> float:
    """Seconds until the next token request after so many failures in a row."""
    if error.transient:
        wait = full_jitter(failures)
    else:
        base, cap = PERMANENT_HOLD_OFF
        wait = half_jitter(failures, base=base, cap=cap)
    return max(wait, error.retry_after or 0.0)


def _cause(error: TokenRequestError) -> str:
    code = getattr(error, "error", None)
    return f"{type(error).__name__}: {code}" if code else type(error).__name__


def _closed_error(demand: Demand | None) -> TokenRequestError:
    name = None if demand is None else demand.name
    whose = "" if name is None else f"token client {name!r}: "
    return TokenRequestError(f"{whose}the access token management is closed", client=name, transient=False)


def _soft(token: AccessToken) -> float:
    assert token.soft_expiry is not None
    return token.soft_expiry


def _hard(token: AccessToken) -> float:
    assert token.hard_expiry is not None
    return token.hard_expiry

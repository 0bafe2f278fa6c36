"""Access tokens for clients: a usable one at once where there is one, else the outcome of a fetch that all wait for.

For each cache key there is one slot, which knows what is to be done, and at most one flight: a fetch that all who need
the token wait for, each up to its own deadline. Here callers meet flights, under one lock that is never held while
anything is sent, waited for, or asked of somebody else's code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from .bounded_reads import LOOK_EVERY, NEXT_LOOK, SHORT_LOOK, Looks
from .caches.protocol import TokenCache
from .clock import Clock, waited_for
from .demand import Demand
from .endpoint.backchannel import Backchannel
from .events import Events, TokenEvent, logger
from .exceptions import TokenRequestError, TokenRequestTimeout
from .flights import Bell, Flight, carry_out, is_endless, reentered, start
from .forks import renew_after_fork
from .locking import Guard
from .parameters import TokenRequestParameters
from .pickling import Reference, service_of
from .registry import ClientRegistry
from .slot_table import SlotTable
from .slots import NOT_LOOKED, Failure, Slot, Step, TokenFlight, hard_expiry
from .stats import ClientStats
from .token_source import TokenSource
from .tokens import AccessToken
from .urls import shown_url
from .www_authenticate import Challenge

if TYPE_CHECKING:
    from .authentication.dpop import Nonces

#: Fetches that one caller may see end without an outcome, by a lack of memory for example, before it gives up.
MAX_VAIN_WAITS = 3


class AccessTokenService:
    """Provides access tokens that can be used now: the cached one, or a new one from the token service.

    It belongs to an ``AccessTokenManagement``, as ``management.service``. Safe to use from threads, from signal
    handlers and after a fork. It is pickled as a reference to its management; see there.

    (More than 300 lines, because the way of a caller, from the token that is there to the fetch that it waits for, is
    read best in one place.)
    """

    #: Makes the reference that is pickled instead of this object; set by the management.
    reference: Callable[[], Reference] | None = None

    def __init__(
        self, registry: ClientRegistry, *, cache: TokenCache, clock: Clock, backchannel: Backchannel, events: Events
    ) -> None:
        self._registry = registry
        self._source = TokenSource(cache, backchannel=backchannel, clock=clock, events=events, others=self)
        self._clock = clock
        self._monotonic = clock.monotonic
        self._backchannel = backchannel
        self._events = events
        self._guard = Guard()
        self._slots = SlotTable(self._guard)
        self._by_name = self._slots.by_name
        self._looks = Looks()
        #: Those who wait for the end of a hold-off.
        self._patient: set[Bell] = set()
        renew_after_fork(self)

    def get_access_token(
        self,
        client: str | None = None,
        parameters: TokenRequestParameters | None = None,
        *,
        timeout: float | None = None,
        token_patience: float | None = None,
    ) -> AccessToken:
        """Get an access token that can be used now.

        - ``client``: the name of the token client; may be left out if only one is registered
        - ``parameters``: a scope, resource and so on for this token instead of the registered ones
        - ``timeout``: how many seconds to wait for the token; None waits until the fetch ends, which
          ``configure_backchannel(max_time=...)`` limits
        - ``token_patience``: for how many seconds to go on waiting while token requests fail; by default the first
          failure is raised

        Raises ``UnknownClientError``, ``TokenRequestTimeout`` if ``timeout`` is over before the token is there,
        ``TokenRequestError`` if no token can be obtained, and ``ConfigurationError`` for what is no number of seconds.
        """
        if parameters is None:
            slot = self._by_name.get(client)
            if slot is not None:
                token = slot.token
                if token is not None and self._monotonic() < token.soft_expiry:  # type: ignore[operator]
                    slot.hits += 1
                    return token
        return self._get(client, parameters, timeout, token_patience)

    def delete_access_token(
        self, client: str | None = None, parameters: TokenRequestParameters | None = None
    ) -> None:
        """Remove the client's token from this process and from the cache, so that the next call requests a new one.

        ``client`` and ``parameters`` are as for ``get_access_token``. The result of a token request that is under way
        is given only to the callers that wait for it already. A cache that cannot delete it may give it out again; the
        log says so. Raises ``UnknownClientError``.
        """
        demand = Demand.of(self._registry.find(client), parameters)
        slot = self._slot(demand, client)
        self._guard.do(slot.forget)
        is_done = carry_out(
            lambda: self._source.delete(demand, slot),
            f"requests_cc_token {demand.name}",
            clock=self._clock,
            max_time=self._source.max_time,
        )
        if not is_done:
            logger.warning(
                "token client %r: the token cache has not deleted the token within %.0f s, and may give it out again",
                demand.name,
                self._source.max_time,
            )

    def token_rejected(self, token: AccessToken, challenge: Challenge | None = None) -> None:
        """Report that an API refused this token, so that the next call requests a new one.

        Adapters and auth objects of this package do so for a 401. ``challenge`` is what the API said; it is passed on
        in the ``rejected`` event. Reporting a token that has been replaced already does nothing. If an API refuses new
        tokens as well, they are replaced at growing intervals, not at every call.
        """
        slot = self._slots.slot_of(token)
        now = self._monotonic()
        if slot is not None and self._guard.do(lambda: slot.refuse(token, now)):
            self._events.emit(TokenEvent("rejected", slot.name, scope=slot.asked.scope, challenge=challenge))

    def token_accepted(self, token: AccessToken) -> None:
        """Report that an API accepted this token.

        If a token is refused after it was accepted for a while, it is replaced at once, whatever happened before.
        """
        slot = self._slots.slot_of(token)
        if slot is not None:
            slot.accept(token)

    def insufficient_scope(self, token: AccessToken, challenge: Challenge) -> None:
        """Report that an API wants a token with more scope (RFC 6750 section 3.1); emits ``insufficient_scope``.

        The token is kept: a new one would have the same scope.
        """
        slot = self._slots.slot_of(token)
        if slot is not None:
            self._events.emit(TokenEvent("insufficient_scope", slot.name, scope=slot.asked.scope, challenge=challenge))

    def stats(self) -> list[ClientStats]:
        """Usage figures of each token client in this process; see ``AccessTokenManagement.stats``."""
        return self._slots.figures(self._monotonic(), self._registry.clients.values())

    def health(self, client: str | None = None) -> dict[str, Any]:
        """The state of one token client; see ``AccessTokenManagement.health``. Raises ``UnknownClientError``."""
        registered = self._registry.find(client)
        try:
            slot = self._slot(Demand.of(registered), client)
        except TokenRequestError as error:
            # Its key or certificate file cannot be read, so no token can be requested, whatever is cached.
            return {"status": "failing", "reason": str(error), "seconds_to_expiry": None}
        return slot.health(self._monotonic())

    def __reduce__(self) -> tuple[Any, ...]:
        if self.reference is None:
            raise TypeError("an AccessTokenService holds secrets; only that of an AccessTokenManagement is pickled")
        return service_of, (tuple(self.reference()),)

    def __copy__(self) -> AccessTokenService:
        return self

    def __deepcopy__(self, memo: Any) -> AccessTokenService:
        return self

    # What the management asks for

    def held_tokens(self) -> list[tuple[Demand, AccessToken]]:
        """Each token that can be used now, with the demand that it was requested for."""
        return self._slots.held_tokens(self._monotonic())

    def registrations_changed(self) -> None:
        """Look names up anew: a name, or the lack of one, may mean another client now."""
        # Under the guard: a step that has seen the registrations of before may be about to note a name.
        self._guard.do(self._by_name.clear)

    def retry_at_once(self) -> None:
        """End every hold-off: what the failed requests were sent with has changed."""

        def forget() -> None:
            for slot in self._slots.live():
                slot.forget_failures()

        self._guard.do(forget)

    @functools.cached_property
    def api_nonces(self) -> Nonces:
        """The latest nonce of each API that requires one in DPoP proofs (RFC 9449 section 9)."""
        from .authentication.dpop import Nonces

        return Nonces()

    def now(self) -> float:
        """Seconds since the epoch, by the clock of the management."""
        return self._clock.time()

    def close(self) -> None:
        """Forget all tokens and answer everybody who waits; called after the backchannel is closed."""

        def forget() -> list[TokenFlight]:
            self._slots.clear()
            return [flight for flight in [slot.close() for slot in self._slots.live()] if flight is not None]

        for flight in self._guard.do(forget):
            flight.error = _closed(None)
            flight.land()
        for bell in list(self._patient):
            bell.set()

    # A caller

    def _get(
        self,
        client: str | None,
        parameters: TokenRequestParameters | None,
        timeout: float | None,
        token_patience: float | None,
    ) -> AccessToken:
        """The long way of ``get_access_token``: look the slot up, and wait where it must be."""
        started = self._monotonic()
        deadline = None if timeout is None else started + waited_for(timeout, "timeout")
        patient_until = started if token_patience is None else started + waited_for(token_patience, "token_patience")
        demand = self._demand(client, parameters, deadline)
        if self._guard.is_inside():
            return self._token_there(demand)
        if is_endless():
            raise TokenRequestError(
                f"token client {demand.name!r}: it is one of too many clients that wait for each other's tokens",
                client=demand.name,
                transient=False,
            )
        slot = self._slot(demand, client)
        vain = 0
        while vain < MAX_VAIN_WAITS:
            patient = self._monotonic() < patient_until
            step, bell = self._step(slot, demand, patient, deadline)
            outcome = step.outcome
            if isinstance(outcome, AccessToken):
                return outcome
            if isinstance(outcome, Failure):
                self._hold_off(outcome, demand, patient_until, deadline)
                continue
            assert bell is not None
            if not outcome.wait(bell, self._clock, deadline) and (
                outcome.result is None or outcome.epoch != step.epoch
            ):
                late = deadline is not None and self._monotonic() >= deadline
                if outcome.begun or late:
                    raise self._timed_out(slot, outcome, demand, asked=timeout if late else None)
                vain += 1  # its thread never came
            elif outcome.epoch != step.epoch:
                continue  # it began before the token was deleted
            elif outcome.result is not None:
                return outcome.result
            elif isinstance(outcome.error, TokenRequestError):
                if self._monotonic() >= patient_until or self._backchannel.closed.is_set():
                    raise outcome.error.for_caller()
            else:
                vain += 1
        raise _in_vain(demand)

    def _demand(
        self,
        client: str | None,
        parameters: TokenRequestParameters | None,
        deadline: float | None,
    ) -> Demand:
        """What the caller asks for; a resolver may have to be asked first which client the name is."""
        try:
            registered = self._registry.find(client, deadline)
            within = None if deadline is None else max(0.0, deadline - self._monotonic())
            return Demand.of(registered, parameters, within=within)
        except TokenRequestTimeout as error:
            self._events.emit(TokenEvent("timed_out", str(error.client), error=error))
            raise

    def _step(
        self, slot: Slot, demand: Demand, patient: bool, deadline: float | None
    ) -> tuple[Step, Bell | None]:
        """What a caller can do now; what has to be started is, and where there is a flight it is joined."""
        stamp = NOT_LOOKED if slot.failure is None else self._stamp(slot, demand, deadline)
        step, bell = self._guard.do(lambda: self._decided(slot, demand, stamp, patient))
        try:
            if step.start is not None:
                self._start(slot, step.start, demand)
            if isinstance(step.outcome, Flight) and step.outcome.waits_for_this_thread():
                raise reentered()
            if isinstance(step.outcome, Flight) and step.outcome.waits_for_this_code():
                raise TokenRequestError(
                    f"token client {demand.name!r}: its token was asked for by the code that fetches it: a secret's "
                    "callable, a subscriber or a log handler. Use a session of another token client there, or none",
                    client=demand.name,
                    transient=False,
                )
        except BaseException:
            # What a signal's handler raised in the caller, say: Ctrl-C, or the time limit of a task queue.
            if isinstance(step.outcome, Flight) and bell is not None:
                step.outcome.leave(bell)
            raise
        return step, bell

    def _stamp(self, slot: Slot, demand: Demand, deadline: float | None) -> Hashable:
        """The stamp of what a request would be sent with now, as far as it is looked at: by one caller each second."""
        now = self._monotonic()
        if now - slot.looked_at < LOOK_EVERY:
            return NOT_LOOKED
        slot.looked_at = now
        # A caller with a token waits for nothing but a look that takes as long as looks do.
        own = None if deadline is None else max(0.0, deadline - now)
        if slot.token is not None:
            own = SHORT_LOOK if own is None else min(own, SHORT_LOOK)
        return self._look(slot, demand, own)

    def _look(self, slot: Slot, demand: Demand, own: float | None = None) -> Hashable:
        """The stamp of now, looked at for ``own`` seconds at most; ``NOT_LOOKED`` where files hang for longer."""
        try:
            return self._looks.take(slot.key, demand.stamp, within=NEXT_LOOK, own=own)
        except TimeoutError:
            return NOT_LOOKED

    def _decided(self, slot: Slot, demand: Demand, stamp: Hashable, patient: bool) -> tuple[Step, Bell | None]:
        # Under the lock: close() takes it too, and ends every flight that it finds.
        if self._backchannel.closed.is_set():
            raise _closed(demand)
        step = slot.step(
            self._monotonic(), stamp, force=demand.force_renewal, patient=patient, max_time=self._source.max_time
        )
        return step, step.outcome.join() if isinstance(step.outcome, Flight) else None

    def _hold_off(
        self, failure: Failure, demand: Demand, patient_until: float, deadline: float | None
    ) -> None:
        """Wait for the next try where this caller would rather wait; else raise the error of the last one."""
        now = self._monotonic()
        again = failure.patient_until if now < patient_until else failure.until
        if again > patient_until or (deadline is not None and again >= deadline) or failure.until <= now:
            wait = max(0.0, failure.until - now)
            self._events.emit(
                TokenEvent("held_off", demand.name, scope=demand.scope_text, error=failure.error, wait=wait)
            )
            raise failure.error.for_caller()
        bell = Bell()
        self._patient.add(bell)
        try:
            if not self._backchannel.closed.is_set():
                self._clock.wait(bell, again - now)
        finally:
            self._patient.discard(bell)

    def _timed_out(
        self, slot: Slot, flight: TokenFlight, demand: Demand, *, asked: float | None
    ) -> TokenRequestTimeout:
        """Tell that a caller's time is over; the error for it."""
        error = _timeout_error(demand, self._source.max_time, asked=asked)
        slot.counts.timeouts += 1
        duration, reason = self._monotonic() - flight.begun_at, flight.reason
        self._events.emit(
            TokenEvent(
                "timed_out", demand.name, scope=demand.scope_text, error=error, duration=duration, reason=reason
            )
        )
        return error

    # A fetch

    def _start(self, slot: Slot, flight: TokenFlight, demand: Demand) -> None:
        """Run the flight."""
        try:
            start(flight, lambda: self._run(slot, flight, demand), f"requests_cc_token {demand.name}")
        except BaseException:
            # Interrupted. Unless its thread has begun, the next caller has to start another fetch.
            self._guard.do(lambda: None if flight.begun or slot.flight is not flight else slot.give_up(flight))
            raise

    def _run(self, slot: Slot, flight: TokenFlight, demand: Demand) -> None:
        """Fetch, and let everybody know. Whatever happens, the flight ends."""
        try:
            if self._guard.do(lambda: slot.begin(flight)):
                self._fetch(slot, flight, demand)
        finally:
            try:
                self._guard.do(lambda: slot.end(flight))
            finally:
                flight.land()

    def _fetch(self, slot: Slot, flight: TokenFlight, demand: Demand) -> None:
        """Get the token, and put it, or the error, where callers find it."""
        # Where it cannot be told, the next stamp that can be had is another one.
        stamp = self._look(slot, demand)
        unexpected: str | None = None
        brought: AccessToken | TokenRequestError
        try:
            brought = self._source.obtain(demand, slot, flight)
        except TokenRequestError as error:
            # The frames of the fetch are of no use to its waiters, and every one of them gets a copy.
            brought = error.for_caller()
        except BaseException as error:
            unexpected = type(error).__name__
            brought = TokenRequestError(
                f"token client {demand.name!r}: the fetch ended with {unexpected}", client=demand.name, transient=False
            )
        for event in self._guard.do(lambda: slot.land(flight, brought, self._monotonic(), stamp)):
            self._events.emit(event)
        if unexpected is not None:
            flight.land()  # a handler of somebody's may be what fails
            logger.error("token client %r: the fetch ended with %s", demand.name, unexpected)

    # Slots

    def _slot(self, demand: Demand, name: str | None) -> Slot:
        return self._slots.slot_for(demand, name, lambda: self._registry.is_registered(name, demand.client))

    def _token_there(self, demand: Demand) -> AccessToken:
        """The token that is there already, read without the lock. Raises ``TokenRequestError`` where there is none."""
        slot = self._slots.known(demand)
        token = None if slot is None else slot.token
        if token is None or self._monotonic() >= hard_expiry(token) or demand.force_renewal:
            raise reentered()
        return token

    def after_fork_in_child(self) -> None:
        """Keep the tokens; start locks and flights anew, whose threads are not in the child."""
        self._guard.renew()
        self._patient = set()
        for slot in self._slots.live():
            slot.flight, slot.hanging = None, 0


def _timeout_error(demand: Demand, max_time: float, *, asked: float | None) -> TokenRequestTimeout:
    """The error for a caller whose time was over first; it names the limit: the caller's own, or that of a fetch."""
    name = demand.name
    where = shown_url(demand.client.token_endpoint or demand.client.issuer or "")
    if asked is not None:
        limit = f"within {asked:.3g} s"
        advice = "The fetch goes on; call again, or allow this call more time (timeout=...)"
    else:
        limit = f"within the {max_time:.3g} s that a fetch may take"
        advice = "Look at what the token service, a proxy, the secret's file or callable, or a subscriber waits for"
    return TokenRequestTimeout(
        f"token client {name!r}: no token {limit}; the token endpoint {where} is slow or does not answer. {advice}",
        client=name,
    )


def _in_vain(demand: Demand) -> TokenRequestError:
    return TokenRequestError(
        f"token client {demand.name!r}: its fetches end before they have begun; the machine may be out of memory "
        "or threads",
        client=demand.name,
    )


def _closed(demand: Demand | None) -> TokenRequestError:
    name = None if demand is None else demand.name
    whose = "" if name is None else f"token client {name!r}: "
    return TokenRequestError(f"{whose}the access token management is closed", client=name, transient=False)

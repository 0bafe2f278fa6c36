"""Random histories of callers, token service, API, clock and secrets: what must hold after each step."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from requests_cc_token import (
    AccessToken,
    AccessTokenManagement,
    TokenRequestError,
    TokenRequestParameters,
    TokenRequestTimeout,
)
from requests_cc_token.events import TokenEvent
from requests_cc_token.testing import ManualClock

from .scripted_server import (
    PATIENCE,
    Action,
    Request,
    ScriptedServer,
    answer,
    error_answer,
    gated,
    half_a_body,
    hang,
    reset,
    token_answer,
)

SCOPES = ("read", "write")

#: What the token service may do; None hands out a token with that lifetime.
LIFETIMES: dict[str, Any] = {"ok": 3600, "short": 5, "minute": 60, "long": 86_400, "no lifetime": None}
FAILURES: dict[str, Action] = {
    "400": error_answer(400, "invalid_scope"),
    "401": error_answer(401, "invalid_client"),
    "429": error_answer(429, "slow_down", [("Retry-After", "7")]),
    "500": error_answer(500, "server_error"),
    "reset": reset,
    "half a body": half_a_body(),
    "html": answer(200, b"<html></html>"),
    "hang": hang,
}

MODES = st.one_of(st.sampled_from(list(LIFETIMES)), st.sampled_from(list(FAILURES)))


class TokenServiceMachine(RuleBasedStateMachine):
    """Callers of two keys against one scripted token service."""

    def __init__(self) -> None:
        super().__init__()
        self.server = ScriptedServer()
        self.server.__enter__()
        self.server.respond = self._respond
        self.clock = ManualClock()
        self.secret = "T41NT-1"
        self.mode = "ok"
        self.numbers = itertools.count()
        self.issued: dict[str, tuple[str, float]] = {}  # value -> scope, the moment it must not outlive
        self.latest: dict[str, str] = {}  # scope -> the value issued last
        self.rejected: set[str] = set()
        self.requested = 0
        self.most_in_flight = 0
        self.lock = threading.Lock()
        self.management = AccessTokenManagement(clock=self.clock)
        self.management.add_client(
            "worker", token_endpoint=self.server.token_endpoint, client_id="m2m", client_secret=lambda: self.secret
        )
        self.management.configure_backchannel(wait=(), max_time=10, timeout=(5, None))
        self.service: Any = self.management.service
        self.management.subscribe(self._note)

    def teardown(self) -> None:
        self.management.close()
        self.server.close()

    def _respond(self, request: Request) -> Action | None:
        scope = request.form["scope"][0]
        if self.mode in FAILURES:
            return FAILURES[self.mode]
        value = f"t{next(self.numbers)}.{scope}"
        lifetime = LIFETIMES[self.mode]
        self.issued[value] = (scope, self.clock.monotonic() + (300 if lifetime is None else lifetime))
        self.latest[scope] = value
        return token_answer(value, lifetime)

    def _note(self, event: TokenEvent) -> None:
        # Events are told in the flight's thread: a request begins with one and ends with another.
        if event.kind == "requested":
            with self.lock:
                self.requested += 1
                running = sum(1 for slot in list(self.service._slots.values()) if slot.flight is not None)
                threads = sum(1 for t in threading.enumerate() if t.name == "requests_cc_token worker")
                self.most_in_flight = max(self.most_in_flight, threads - running)

    def _parameters(self, scope: str, force: bool = False) -> TokenRequestParameters:
        return TokenRequestParameters(scope=scope, force_renewal=force)

    def _slot(self, scope: str) -> Any:
        return next((s for (_, p), s in list(self.service._recent.items()) if p.scope == (scope,)), None)

    def _get(self, scope: str, force: bool = False) -> AccessToken | TokenRequestError:
        """One call; a hang is ended by the time budget of the fetch."""
        outcome: list[AccessToken | TokenRequestError] = []

        def call() -> None:
            try:
                outcome.append(self.service.get_access_token("worker", self._parameters(scope, force)))
            except TokenRequestError as error:
                outcome.append(error)

        caller = threading.Thread(target=call, daemon=True)
        caller.start()
        self._join(caller)
        assert outcome, "a caller hangs"
        return outcome[0]

    def _settle(self) -> None:
        """Let every fetch in the background end; one that hangs ends with its time budget."""
        for thread in threading.enumerate():
            if thread.name == "requests_cc_token worker":
                self._join(thread)

    def _join(self, thread: threading.Thread) -> None:
        """Wait for a thread; a fetch that hangs, once its request is at the server, ends with its time budget."""
        while self.mode == "hang" and thread.is_alive():
            thread.join(0.002)
            if self.requested and len(self.server.requests) == self.requested and self.clock.waiting():
                self.clock.advance(10.0)
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread hangs"

    @rule(scope=st.sampled_from(SCOPES), force=st.booleans(), mode=MODES)
    def get(self, scope: str, force: bool, mode: str) -> None:
        self.mode = mode
        slot = self._slot(scope)
        now = self.clock.monotonic()
        usable = slot.token if slot is not None and slot.token is not None else None
        usable = usable if usable is not None and now < usable.hard_expiry else None
        held = slot.error if slot is not None and now < slot.next_try else None
        background = slot is not None and slot.error_was_background
        requests = len(self.server.requests)
        outcome = self._get(scope, force)
        if isinstance(outcome, AccessToken):
            assert outcome.value.endswith(f".{scope}"), "a token crossed keys"
            assert now < self.issued[outcome.value][1], "an expired token was handed out"
            assert outcome.value not in self.rejected, "a rejected token came back"
        else:
            assert force or usable is None, "a valid token was refused"
            if len(self.server.requests) == requests:
                assert held is not None, "an error nobody can explain"
                assert str(outcome) == str(held), "another error than that of the failed fetch"
        if held is not None and (force or not background):
            assert len(self.server.requests) == requests, "a request in the hold-off"
        self._settle()

    @rule(scope=st.sampled_from(SCOPES))
    def api_rejects_the_current_token(self, scope: str) -> None:
        slot = self._slot(scope)
        if slot is not None and slot.token is not None:
            token = slot.token
            self.service.token_rejected(token)
            if slot.token is None:
                self.rejected.add(token.value)

    @rule(scope=st.sampled_from(SCOPES))
    def a_late_rejection_of_an_older_token(self, scope: str) -> None:
        slot = self._slot(scope)
        if slot is None or slot.token is None:
            return
        current = slot.token
        old = AccessToken("t-older", expires_at=0.0, key=slot.key)
        self.service.token_rejected(old)
        assert slot.token is current, "a rejection of v dropped v+1"

    @rule(seconds=st.sampled_from([0.5, 3.0, 30.0, 299.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(
        scope=st.sampled_from(SCOPES),
        expiry=st.sampled_from(["soft", "hard"]),
        past=st.sampled_from([-0.01, 0.01]),
        mode=MODES,
    )
    def get_at_the_edge(self, scope: str, expiry: str, past: float, mode: str) -> None:
        slot = self._slot(scope)
        if slot is not None and slot.token is not None:
            edge = slot.token.soft_expiry if expiry == "soft" else slot.token.hard_expiry
            self.clock.advance(max(0.0, edge + past - self.clock.monotonic()))
        self.get(scope, False, mode)

    @rule(scope=st.sampled_from(SCOPES), past=st.sampled_from([-0.01, 0.01]), mode=MODES)
    def get_around_the_next_try(self, scope: str, past: float, mode: str) -> None:
        slot = self._slot(scope)
        if slot is not None and slot.error is not None:
            self.clock.advance(max(0.0, slot.next_try + past - self.clock.monotonic()))
        self.get(scope, False, mode)

    @rule(scope=st.sampled_from(SCOPES), mode=MODES)
    def get_after_a_rejection(self, scope: str, mode: str) -> None:
        self.api_rejects_the_current_token(scope)
        self.get(scope, False, mode)

    @rule(seconds=st.sampled_from([-3600.0, 3600.0]))
    def the_wall_clock_steps(self, seconds: float) -> None:
        self.clock.step_wall_clock(seconds)

    @rule()
    def the_secret_is_swapped(self) -> None:
        self.secret += "1"
        self.service.retry_at_once()

    @rule(scope=st.sampled_from(SCOPES))
    def delete(self, scope: str) -> None:
        self.service.delete_access_token("worker", self._parameters(scope))
        slot = self._slot(scope)
        assert slot.token is None

    @rule(scope=st.sampled_from(SCOPES), callers=st.integers(2, 6), mode=MODES)
    def callers_share_one_flight(self, scope: str, callers: int, mode: str) -> None:
        """Callers of a fetch under way get what it gets: its token, or its failure; the hasty one its deadline."""
        self.mode = mode
        self.service.delete_access_token("worker", self._parameters(scope))
        release = threading.Event()
        action = self._respond(Request("POST", "/token", {}, f"scope={scope}".encode()))
        assert action is not None
        fails = self.mode in FAILURES
        self.server.respond = None
        self.server.script.append(gated(release, reset if self.mode == "hang" else action))
        outcomes: list[AccessToken | TokenRequestError] = []

        def call(timeout: float | None) -> None:
            try:
                outcomes.append(
                    self.service.get_access_token("worker", self._parameters(scope), timeout=timeout)
                )
            except TokenRequestError as error:
                outcomes.append(error)

        before = len(self.server.requests)
        threads = [threading.Thread(target=call, args=(None,), daemon=True) for _ in range(callers)]
        for thread in threads:
            thread.start()
        self.server.wait_for_requests(before + 1)
        slot = self._slot(scope)
        while slot.flight.waiting < callers:
            threads[0].join(0.0005)
        call(0.0)
        assert isinstance(outcomes.pop(), TokenRequestTimeout), "a waiter outlived its deadline"
        release.set()
        for thread in threads:
            thread.join(PATIENCE)
        self.server.respond = self._respond
        self._settle()
        assert len(outcomes) == callers, "a waiter hangs"
        assert len(self.server.requests) == before + 1, "more than one fetch was in flight"
        if fails:
            assert len({str(outcome) for outcome in outcomes}) == 1
            assert all(isinstance(outcome, TokenRequestError) for outcome in outcomes)
        else:
            assert {o.value for o in outcomes if isinstance(o, AccessToken)} == {self.latest[scope]}

    @invariant()
    def one_flight_per_key(self) -> None:
        assert self.most_in_flight <= 0, "a thread fetches for a slot that does not know it"

    @invariant()
    def nobody_waits(self) -> None:
        for slot in list(self.service._slots.values()):
            assert slot.flight is None


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_the_invariants_hold_over_random_histories() -> None:
    """No expired token is handed out, no valid one refused, one fetch per key, every waiter gets its answer."""
    run_state_machine_as_test(
        TokenServiceMachine,
        settings=settings(
            max_examples=150,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

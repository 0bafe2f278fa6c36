"""The token service under a clock moved by hand and a token service scripted on real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from requests_cc_token import (
    AccessToken,
    AccessTokenManagement,
    ClientCredentialsClient,
    ClientStats,
    ConfigurationError,
    FailureCount,
    InvalidTokenResponseError,
    MemoryTokenCache,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestError,
    TokenRequestParameters,
    TokenRequestTimeout,
    UnknownClientError,
)
from requests_cc_token.bounded_reads import LOOK_EVERY
from requests_cc_token.demand import Demand
from requests_cc_token.endpoint.backchannel_options import DEFAULT_MAX_TIME
from requests_cc_token.events import TokenEvent
from requests_cc_token.slots import Failure
from requests_cc_token.testing import ManualClock

from .fetch_threads import FetchThreads
from .scripted_server import (
    PATIENCE,
    Action,
    ScriptedServer,
    answer,
    error_answer,
    gated,
    half_a_body,
    hang,
    reset,
    token_answer,
)

FAILURES: dict[str, Action] = {
    "500": error_answer(500, "server_error"),
    "503 with Retry-After": error_answer(503, "temporarily_unavailable", [("Retry-After", "1")]),
    "429": answer(429, b"slow down"),
    "reset": reset,
    "half a body": half_a_body(),
    "html": answer(200, b"<html>maintenance</html>"),
    "garbage": answer(200, b"\x00\xff\xfe"),
}


class Harness:
    """A management, its clock and its scripted token service."""

    def __init__(self, server: ScriptedServer, **backchannel: Any) -> None:
        self.server = server
        self.clock = ManualClock()
        self.management = AccessTokenManagement(clock=self.clock)
        self.management.add_client(
            "worker", token_endpoint=server.token_endpoint, client_id="m2m", client_secret="T41NT-secret", scope="api"
        )
        if backchannel:
            self.management.configure_backchannel(**backchannel)
        self.service = self.management.service
        self.events: list[TokenEvent] = []
        self._changed = threading.Condition()
        self.management.subscribe(self._note)

    def _note(self, event: TokenEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def kinds(self, *wanted: str) -> list[str]:
        return [event.kind for event in self.events if not wanted or event.kind in wanted]

    def until_event(self, kind: str, count: int = 1) -> TokenEvent:
        """Wait for the count-th event of a kind, and for the flight that told it to end."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.kinds().count(kind) >= count, PATIENCE), self.kinds()
        event = [e for e in self.events if e.kind == kind][count - 1]
        self.until_landed()
        return event

    def until_landed(self, client: str = "worker") -> None:
        """Wait until no fetch runs for the client."""
        FetchThreads.current.join(client)

    def get(self, **kwargs: Any) -> AccessToken:
        return self.service.get_access_token("worker", **kwargs)

    @property
    def requests(self) -> int:
        return len(self.server.requests)


@pytest.fixture
def harness(server: ScriptedServer) -> Iterator[Harness]:
    harness = Harness(server)
    with harness.management:
        yield harness


def in_threads(count: int, call: Callable[[], Any]) -> Callable[[], list[Any]]:
    """Start the calls at one moment; the returned function joins and gives each one's result or error."""
    barrier = threading.Barrier(count + 1)
    results: list[Any] = []

    def run() -> None:
        barrier.wait(PATIENCE)
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait(PATIENCE)

    def join() -> list[Any]:
        for thread in threads:
            thread.join(PATIENCE)
        assert len(results) == count, "a caller hangs"
        return results

    return join


def until_all_wait(harness: Harness, count: int, slot_of: str = "worker") -> None:
    """Wait until so many callers are counted as waiting for the flight: they have all joined it."""
    service: Any = harness.service
    deadline = threading.Event()
    timer = threading.Timer(PATIENCE, deadline.set)
    timer.start()
    try:
        while not any(
            slot.flight is not None and slot.flight.waiting >= count
            for slot in service._slots.live()
            if slot.name == slot_of
        ):
            assert not deadline.is_set(), "the callers did not come"
            deadline.wait(0.001)
    finally:
        timer.cancel()


class TestColdStart:
    def test_t1_two_hundred_threads_on_a_cold_cache_cause_one_token_request(self, harness: Harness) -> None:
        """Two hundred callers of a token that nobody has share one token request and its token."""
        release = threading.Event()
        harness.server.script.append(gated(release, token_answer("one")))
        join = in_threads(200, harness.get)
        harness.server.wait_for_requests(1)
        until_all_wait(harness, 200)
        release.set()
        tokens = join()
        assert {token.value for token in tokens} == {"one"}
        assert harness.requests == 1

    def test_a_cached_token_costs_no_request(self, harness: Harness) -> None:
        """A second call gets the same token object."""
        harness.server.script.append(token_answer("one"))
        assert harness.get() is harness.get()
        assert harness.requests == 1

    def test_the_only_client_needs_no_name(self, harness: Harness) -> None:
        """Without a name the only client is meant; with two clients a name is asked for, listing both."""
        harness.server.default = token_answer("one")
        assert harness.service.get_access_token().value == "one"
        harness.management.add_client(
            "other", token_endpoint=harness.server.token_endpoint, client_id="o", client_secret="T41NT-o"
        )
        with pytest.raises(UnknownClientError, match="'other', 'worker'"):
            harness.service.get_access_token()

    def test_names_with_equal_registrations_share_a_token(self, harness: Harness) -> None:
        """What shapes the token request decides, not the client's name."""
        harness.management.add_client(
            "twin",
            token_endpoint=harness.server.token_endpoint,
            client_id="m2m",
            client_secret="T41NT-secret",
            scope="api",
        )
        harness.server.script.append(token_answer("one"))
        assert harness.get() is harness.service.get_access_token("twin")

    def test_per_request_parameters_have_tokens_of_their_own(self, harness: Harness) -> None:
        """Another scope is another token, asked for once; the order of scopes does not matter."""
        harness.server.script.extend([token_answer("api"), token_answer("ab")])
        assert harness.get().value == "api"
        assert harness.get(parameters=TokenRequestParameters(scope="a b")).value == "ab"
        assert harness.get(parameters=TokenRequestParameters(scope=["b", "a"])).value == "ab"
        assert [request.form["scope"] for request in harness.server.requests] == [["api"], ["a b"]]

    def test_force_renewal_asks_although_a_token_is_there(self, harness: Harness) -> None:
        """force_renewal gets a new token, and everybody uses that from then on."""
        harness.server.script.extend([token_answer("one"), token_answer("two")])
        assert harness.get().value == "one"
        assert harness.get(parameters=TokenRequestParameters(force_renewal=True)).value == "two"
        assert harness.get().value == "two"

    def test_force_renewal_asks_although_a_shared_cache_has_a_token(self, server: ScriptedServer) -> None:
        """A process that starts with a stored token and is told to renew gets a new one."""
        cache = MemoryTokenCache()
        server.script.extend([token_answer("one"), token_answer("two")])
        for forced, expected in ((False, "one"), (False, "one"), (True, "two"), (False, "two")):
            with AccessTokenManagement(cache=cache) as management:
                management.add_client("w", token_endpoint=server.token_endpoint, client_id="m", client_secret="T41NT")
                parameters = TokenRequestParameters(force_renewal=forced)
                assert management.service.get_access_token("w", parameters).value == expected


class TestSharedFailure:
    def test_t5_a_failed_fetch_is_one_sequence_and_one_error_for_all_who_wait(self, server: ScriptedServer) -> None:
        """Thirty-two callers wait for a fetch that fails: the tries of one fetch, and the same error for each."""
        harness = Harness(server, wait=())
        release = threading.Event()
        server.script.append(gated(release, error_answer(500, "server_error")))
        with harness.management:
            join = in_threads(32, harness.get)
            server.wait_for_requests(1)
            until_all_wait(harness, 32)
            release.set()
            errors = join()
        assert {type(error) for error in errors} == {TokenEndpointError}
        assert len({str(error) for error in errors}) == 1
        assert len({id(error) for error in errors}) == 32, "a shared instance would collect everybody's tracebacks"
        assert harness.requests == 1

    def test_retries_go_on_while_somebody_waits(self, server: ScriptedServer) -> None:
        """A waiting caller gets the token of a later try; the waits are exactly those given."""
        harness = Harness(server, wait=(1, 2, 3))
        server.script.extend([reset, error_answer(503, "temporarily_unavailable"), half_a_body(), token_answer("ok")])
        with harness.management:
            join = in_threads(1, harness.get)
            for tries, seconds in enumerate((1.0, 2.0, 3.0), 1):
                server.wait_for_requests(tries)
                harness.clock.until_waiting(lambda left, seconds=seconds: seconds in left)  # type: ignore[misc]
                harness.clock.advance(seconds)
            assert [token.value for token in join()] == ["ok"]

    def test_a_permanent_error_is_not_retried(self, harness: Harness) -> None:
        """invalid_client is one request, and its error says which client, what was said, what to do."""
        harness.server.default = error_answer(401, "invalid_client")
        with pytest.raises(TokenEndpointError) as caught:
            harness.get()
        assert harness.requests == 1
        assert (caught.value.status_code, caught.value.error, caught.value.client) == (401, "invalid_client", "worker")
        for part in ("'worker'", "invalid_client", "check client_id", harness.server.token_endpoint):
            assert part in str(caught.value)

    def test_a_token_that_is_not_the_one_asked_for_is_not_asked_for_again(self, harness: Harness) -> None:
        """Less scope than a strict client asked for is one request: the next answer would be the same."""
        harness.management.add_client(
            "strict",
            token_endpoint=harness.server.token_endpoint,
            client_id="m2m",
            client_secret="T41NT",
            scope="read write",
            strict_scope=True,
        )
        harness.server.default = token_answer("one", scope="read")
        with pytest.raises(InvalidTokenResponseError, match="write is missing") as caught:
            harness.service.get_access_token("strict")
        assert not caught.value.transient
        assert harness.requests == 1


class TestHoldOff:
    def test_a_failed_fetch_answers_at_once_until_the_next_try(self, server: ScriptedServer) -> None:
        """While held off, callers get the same error without a request; after it one probe is sent."""
        harness = Harness(server, wait=())
        server.script.extend([error_answer(500, "server_error"), token_answer("ok")])
        with harness.management:
            with pytest.raises(TokenEndpointError) as first:
                harness.get()
            wait = harness.until_event("failed").wait
            assert wait is not None
            assert 0 <= wait <= 1
            harness.clock.advance(wait * 0.99)
            with pytest.raises(TokenEndpointError) as second:
                harness.get()
            assert str(second.value) == str(first.value)
            assert harness.requests == 1
            harness.clock.advance(wait * 0.01 + 1e-6)
            assert harness.get().value == "ok"

    def test_the_bound_doubles_up_to_the_cap(self, server: ScriptedServer) -> None:
        """After n failures the wait is below 2**(n-1) seconds, and never above a minute."""
        harness = Harness(server, wait=())
        with harness.management:
            for failures in range(1, 12):
                with pytest.raises(TokenEndpointError):
                    harness.get()
                wait = harness.until_event("failed", failures).wait
                assert wait is not None
                assert 0 <= wait <= min(60, 2 ** (failures - 1))
                harness.clock.advance(wait)
        assert harness.requests == 11

    def test_t7_retry_after_is_obeyed_to_the_second(self, server: ScriptedServer) -> None:
        """No request comes before Retry-After is over, and the first call after it sends one."""
        harness = Harness(server, wait=())
        server.script.extend([error_answer(429, "slow_down", [("Retry-After", "120")]), token_answer("ok")])
        with harness.management:
            with pytest.raises(TokenEndpointError):
                harness.get()
            harness.clock.advance(119.9)
            with pytest.raises(TokenEndpointError):
                harness.get()
            harness.clock.advance(0.2)
            assert harness.get().value == "ok"
        assert harness.requests == 2

    def test_permanent_errors_are_held_longer(self, harness: Harness) -> None:
        """A refused client asks again after 15 to 30 seconds at the earliest."""
        harness.server.default = error_answer(401, "invalid_client")
        with pytest.raises(TokenEndpointError):
            harness.get()
        wait = harness.until_event("failed").wait
        assert wait is not None
        assert 15 <= wait <= 30

    def test_a_changed_configuration_ends_the_hold_off(self, harness: Harness) -> None:
        """configure_backchannel is a reason to try at once."""
        harness.server.script.extend([error_answer(401, "invalid_client"), token_answer("ok")])
        with pytest.raises(TokenEndpointError):
            harness.get()
        harness.management.configure_backchannel(timeout=3)
        assert harness.get().value == "ok"

    def test_a_changed_secret_ends_the_hold_off(self, server: ScriptedServer, tmp_path: Any) -> None:
        """A new content of the secret's file is a reason to try at once, with the new secret."""
        secret = tmp_path / "secret"
        secret.write_text("T41NT-old")
        server.script.extend([error_answer(401, "invalid_client"), token_answer("ok")])
        with AccessTokenManagement(clock=ManualClock()) as management:
            management.add_client(
                "w",
                token_endpoint=server.token_endpoint,
                client_id="m2m",
                client_secret={"file": secret},
                auth="client_secret_post",
            )
            with pytest.raises(TokenEndpointError):
                management.service.get_access_token()
            secret.write_text("T41NT-brand-new")
            assert management.service.get_access_token().value == "ok"
        assert [request.form["client_secret"] for request in server.requests] == [["T41NT-old"], ["T41NT-brand-new"]]

    def test_of_all_calls_in_a_hold_off_one_in_a_second_looks(
        self, server: ScriptedServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Looking at the secret's file costs a thread: the other calls get the error at once, and see it later."""
        monkeypatch.setattr("requests_cc_token.service.LOOK_EVERY", LOOK_EVERY)
        secret, clock = tmp_path / "secret", ManualClock()
        secret.write_text("T41NT-old")
        server.script.extend([error_answer(401, "invalid_client"), token_answer("ok")])
        with AccessTokenManagement(clock=clock) as management:
            management.add_client(
                "w", token_endpoint=server.token_endpoint, client_id="m2m", client_secret={"file": secret}
            )
            for _ in range(2):
                with pytest.raises(TokenEndpointError):
                    management.service.get_access_token()
            secret.write_text("T41NT-brand-new")
            with pytest.raises(TokenEndpointError):
                management.service.get_access_token()
            clock.advance(LOOK_EVERY)
            assert management.service.get_access_token().value == "ok"

    def test_a_patient_caller_waits_for_the_next_try(self, server: ScriptedServer) -> None:
        """With patience a caller waits through hold-offs and gets the token of the scheduled try."""
        harness = Harness(server, wait=())
        server.script.extend([reset, reset, token_answer("ok")])
        with harness.management:
            join = in_threads(1, lambda: harness.get(token_patience=300))
            for failures in (1, 2):
                harness.until_event("failed", failures)
                # The wait of the hold-off, not what is left of the exchange's deadline.
                harness.clock.until_waiting(lambda left: len(left) == 1 and left[0] <= 2)
                harness.clock.advance_to_next()
            assert [token.value for token in join()] == ["ok"]

    def test_a_patient_caller_is_told_that_the_management_is_closed(self, server: ScriptedServer) -> None:
        """At once, and not at the end of the hold-off; nor does one wait that comes to it as it is being closed."""
        server.default = error_answer(503, "down")
        harness = Harness(server, wait=())
        join = in_threads(1, lambda: harness.get(token_patience=300))
        harness.until_event("failed")
        # The wait of the hold-off, not what is left of the exchange's deadline.
        harness.clock.until_waiting(lambda left: len(left) == 1 and left[0] <= 1)
        harness.management.close()
        (error,) = join()
        assert "is closed" in str(error)
        service: Any = harness.service
        now = harness.clock.monotonic()
        failure = Failure(TokenRequestError("x"), now + 1, patient_until=now + 1, background=False, stamp=None)
        demand = Demand.of(harness.management.clients["worker"])
        service._hold_off(failure, demand, now + 300, None)

    def test_patience_ends(self, server: ScriptedServer) -> None:
        """A patient caller gets the error where the next try comes after its patience."""
        harness = Harness(server, wait=())
        server.script.append(error_answer(429, "slow_down", [("Retry-After", "100")]))
        with harness.management, pytest.raises(TokenEndpointError):
            harness.get(token_patience=30)
        assert harness.requests == 1
        assert harness.clock.waits.count(100.0) == 0


class TestDeadlines:
    @pytest.mark.parametrize("option", ["timeout", "token_patience"])
    @pytest.mark.parametrize("given", [float("nan"), "1", True])
    def test_what_is_no_time_is_refused(self, harness: Harness, option: str, given: Any) -> None:
        """Not a number would never be over, and nobody means True by a second; nothing is sent."""
        with pytest.raises(ConfigurationError, match=f"{option} must be a number of seconds"):
            harness.get(**{option: given})
        assert harness.requests == 0

    def test_no_time_at_all(self, harness: Harness) -> None:
        """What is left of a time that is over may be less than nothing, and is no mistake."""
        release = threading.Event()
        harness.server.script.append(gated(release, token_answer("late")))
        with pytest.raises(TokenRequestTimeout, match="no token within"):
            harness.get(timeout=-1)
        release.set()
        assert harness.get(token_patience=float("inf")).value == "late"

    def test_t6_a_caller_returns_by_its_deadline_and_the_fetch_goes_on(self, harness: Harness) -> None:
        """The impatient caller gets TokenRequestTimeout at its deadline, the patient one the token."""
        release = threading.Event()
        harness.server.script.append(gated(release, token_answer("late")))
        patient = in_threads(1, harness.get)
        harness.server.wait_for_requests(1)
        hasty = in_threads(1, lambda: harness.get(timeout=2.0))
        harness.clock.until_waiting(lambda left: 2.0 in left)
        harness.clock.advance(1.9)
        harness.clock.until_waiting(lambda left: any(seconds < 1 for seconds in left))
        harness.clock.advance(0.1)
        (error,) = hasty()
        assert isinstance(error, TokenRequestTimeout)
        assert "2 s" in str(error)
        (told,) = [event for event in harness.events if event.kind == "timed_out"]
        assert (told.client, told.scope, told.duration, told.reason) == ("worker", "api", 2.0, "cold")
        assert isinstance(told.error, TokenRequestTimeout)
        (line,) = harness.management.stats()
        assert (line.requests, line.fetches, line.in_flight, line.timeouts) == (0, 0, 1, 1)
        release.set()
        assert [token.value for token in patient()] == ["late"]
        assert harness.requests == 1
        harness.until_landed()
        (line,) = harness.management.stats()
        assert (line.requests, line.fetches, line.in_flight, line.timeouts) == (1, 1, 0, 1)

    def test_a_hanging_token_service_ends_with_the_time_budget(self, server: ScriptedServer) -> None:
        """A connection that says nothing is shut down when max_time is over, and the error says so."""
        harness = Harness(server, max_time=20, timeout=(5, None))
        server.default = hang
        with harness.management:
            join = in_threads(1, harness.get)
            server.wait_for_requests(1)
            harness.clock.until_waiting(lambda left: 20.0 in left)
            harness.clock.advance(20.0)
            (error,) = join()
        assert isinstance(error, TokenEndpointConnectionError)
        assert "did not answer in time" in str(error)


class TestRenewal:
    def test_t4_no_caller_waits_between_soft_and_hard_expiry(self, harness: Harness) -> None:
        """Past soft expiry callers get the valid token at once while one renewal runs in the background."""
        release = threading.Event()
        harness.server.script.extend([token_answer("one", 1000), gated(release, token_answer("two", 1000))])
        harness.get()
        harness.clock.advance(860)
        assert [harness.get(timeout=0).value for _ in range(50)] == ["one"] * 50
        harness.server.wait_for_requests(2)
        release.set()
        harness.until_event("renewed")
        assert harness.get().value == "two"
        assert harness.requests == 2

    def test_soft_expiry_is_spread(self, server: ScriptedServer) -> None:
        """Workers that start together do not renew together: soft expiry differs, within 80 and 85 percent."""
        server.default = token_answer("t", 1000)
        moments = []
        for _ in range(20):
            with Harness(server).management as management:
                token = management.service.get_access_token()
                assert token.soft_expiry is not None
                moments.append(token.soft_expiry - 1000.0)
        assert len(set(moments)) == 20
        assert all(800 <= moment <= 850 for moment in moments)

    def test_refresh_in_decides_soft_expiry(self, harness: Harness) -> None:
        """The token service's own refresh_in counts, cut by up to five percent."""
        harness.server.script.extend([token_answer("one", 1000, refresh_in=500), token_answer("two", 1000)])
        token = harness.get()
        assert token.soft_expiry is not None
        assert 475 <= token.soft_expiry - 1000.0 <= 500

    @pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
    def test_t3_no_call_fails_while_the_token_lives(self, harness: Harness, failure: Action) -> None:
        """Whatever the token service does between soft and hard expiry, every call gets the valid token."""
        harness.server.script.append(token_answer("one", 1000))
        harness.server.default = failure
        harness.get()
        harness.clock.advance(850)
        served = 0
        while harness.clock.monotonic() < 1000.0 + 994.9:
            assert harness.get().value == "one"
            harness.until_landed()
            harness.clock.advance(1.0)
            served += 1
        assert served == 145
        assert harness.requests > 3, "the outage was not even tried"
        harness.server.default = token_answer("two", 1000)
        assert harness.get().value == "two", "the outage ended with the token's life: no call fails"

    def test_t3_a_hang_does_not_fail_a_call_either(self, server: ScriptedServer) -> None:
        """While a renewal hangs, callers get the valid token."""
        harness = Harness(server, timeout=(5, None), max_time=30)
        server.script.append(token_answer("one", 1000))
        server.default = hang
        with harness.management:
            harness.get()
            harness.clock.advance(860)
            for _ in range(130):
                assert harness.get(timeout=0).value == "one"
                harness.clock.advance(1.0)

    def test_t11_a_short_lived_token_costs_one_request_per_lifetime(self, harness: Harness) -> None:
        """Tokens of five seconds under steady traffic: one request for each lifetime, used for 80 % of it."""
        harness.server.default = token_answer("t", 5)
        for _ in range(1000):
            harness.get()
            harness.until_landed()
            harness.clock.advance(0.1)
        assert harness.requests <= 100 / 4 + 1

    def test_a_token_is_not_used_in_its_last_moments(self, harness: Harness) -> None:
        """Past hard expiry, five seconds before the end of an hour, a caller waits for a new token."""
        harness.server.script.extend([token_answer("one", 3600), token_answer("two", 3600)])
        harness.get()
        harness.clock.advance(3595)
        assert harness.get().value == "two"

    def test_f30_the_same_token_until_its_end_costs_no_call_at_the_turn(self, harness: Harness) -> None:
        """A service that gives a token at its end is asked again in a second, while callers wait for that."""
        harness.server.script.extend(token_answer("one", seconds) for seconds in (15, 2, 0))
        harness.server.script.append(token_answer("two", 15))
        assert harness.get().value == "one"
        harness.clock.advance(13)
        assert harness.get().value == "one"
        harness.until_event("renewed")
        assert harness.get().value == "one"
        harness.clock.advance(2)
        join = in_threads(4, harness.get)
        harness.server.wait_for_requests(3)
        harness.clock.until_waiting(lambda left: any(1.0 <= seconds <= 2.0 for seconds in left))
        harness.clock.advance(2)
        assert {token.value for token in join()} == {"two"}
        assert harness.requests == 4

    def test_t12_a_stepped_wall_clock_changes_nothing(self, harness: Harness) -> None:
        """An hour forth or back on the wall clock neither expires a token nor keeps one alive."""
        harness.server.script.extend([token_answer("one", 1800), token_answer("two", 1800)])
        harness.get()
        harness.clock.step_wall_clock(3600)
        assert harness.get().value == "one"
        harness.clock.step_wall_clock(-7200)
        harness.clock.advance(1796)
        assert harness.get().value == "two"

    def test_a_failed_renewal_is_told(self, harness: Harness) -> None:
        """Subscribers learn that the renewal failed and for how long the old token still serves."""
        harness.server.script.extend([token_answer("one", 1000), error_answer(500, "server_error")])
        harness.get()
        harness.clock.advance(900)
        harness.get()
        stale = harness.until_event("served_stale")
        assert stale.expires_in == pytest.approx(95, abs=0.01)
        assert harness.kinds() == ["requested", "obtained", "requested", "failed", "served_stale"]


class TestRejection:
    def test_t8_a_revoked_token_is_renewed_once_for_all_threads(self, harness: Harness) -> None:
        """Two hundred threads report the same revoked token: one renewal, and all get its token."""
        harness.server.script.extend([token_answer("one"), token_answer("two")])
        revoked = harness.get()

        def report_and_get() -> AccessToken:
            harness.service.token_rejected(revoked)
            return harness.get()

        tokens = in_threads(200, report_and_get)()
        assert {token.value for token in tokens} == {"two"}
        assert harness.requests == 2
        assert harness.kinds("rejected") == ["rejected"]

    def test_a_late_rejection_of_the_old_token_keeps_the_new_one(self, harness: Harness) -> None:
        """A 401 for token v that comes after v+1 is there changes nothing."""
        harness.server.script.extend([token_answer("one"), token_answer("two")])
        old = harness.get()
        harness.service.token_rejected(old)
        new = harness.get()
        harness.service.token_rejected(old)
        assert harness.get() is new
        assert harness.requests == 2

    def test_t9_an_api_that_refuses_every_token_costs_one_renewal_per_step(self, harness: Harness) -> None:
        """A thousand refused calls in a minute cause renewals on the schedule of the hold-off, not per call."""
        harness.server.default = token_answer("t")
        numbers = iter(range(10_000))
        harness.server.respond = lambda request: token_answer(f"t{next(numbers)}")
        for _ in range(1000):
            harness.service.token_rejected(harness.get())
            harness.clock.advance(0.06)
        # Steps of at least 0.5, 1, 2, 4, 8, 16, 30 s: at most seven begin within the minute.
        assert 4 <= harness.requests <= 9

    def test_a_token_that_worked_for_a_while_makes_the_next_refusal_a_first_one(self, harness: Harness) -> None:
        """Revoked, renewed, used with success for a minute, revoked again: renewed at once each time."""
        numbers = iter(range(100))
        harness.server.respond = lambda request: token_answer(f"t{next(numbers)}")
        for expected in range(5):
            token = harness.get()
            assert token.value == f"t{expected}"
            harness.service.token_accepted(token)
            harness.clock.advance(60)
            harness.service.token_rejected(token)

    def test_a41_an_api_that_refuses_every_other_request_does_not_cost_a_token_for_each(self, harness: Harness) -> None:
        """Two hundred calls in twenty seconds, every other one refused, whatever was taken in between: a few tokens."""
        numbers = iter(range(10_000))
        harness.server.respond = lambda request: token_answer(f"t{next(numbers)}")
        for _ in range(100):
            harness.service.token_rejected(harness.get())
            harness.service.token_accepted(harness.get())
            harness.clock.advance(0.2)
        # Steps of at least 0.5, 1, 2, 4, 8 s.
        assert 3 <= harness.requests <= 7

    def test_an_older_token_that_is_accepted_ends_no_series(self, harness: Harness) -> None:
        """The success of an older token's call says nothing of the current one, whose refusal is one more in a row."""
        numbers = iter(range(100))
        harness.server.respond = lambda request: token_answer(f"t{next(numbers)}")
        old = harness.get()
        harness.service.token_rejected(old)
        new = harness.get()
        harness.service.token_accepted(old)
        harness.service.token_rejected(new)
        assert harness.get() is new
        harness.service.token_accepted(new)
        harness.clock.advance(60)
        harness.service.token_rejected(new)
        assert harness.get().value == "t2"

    def test_the_cache_never_gives_the_rejected_token_back(self, harness: Harness) -> None:
        """The rejected token still lies in the cache; it is asked past, and overwritten."""
        harness.server.script.extend([token_answer("one"), token_answer("two")])
        harness.service.token_rejected(harness.get())
        assert harness.get().value == "two"
        cache: Any = harness.management._cache
        assert [cache.get(slot.stored_key).value for slot in harness.service._slots.live()] == ["two"]


class TestDelete:
    def test_a_deleted_token_is_asked_for_anew(self, harness: Harness) -> None:
        """delete_access_token forgets the token here and in the cache."""
        harness.server.script.extend([token_answer("one"), token_answer("two")])
        harness.get()
        harness.service.delete_access_token("worker")
        assert harness.get().value == "two"

    def test_a_fetch_under_way_does_not_outlive_a_delete(self, harness: Harness) -> None:
        """Who waited already gets the token of the fetch; who comes after the delete waits for another one."""
        first, second = threading.Event(), threading.Event()
        harness.server.script.extend([gated(first, token_answer("old")), gated(second, token_answer("new"))])
        before = in_threads(1, harness.get)
        harness.server.wait_for_requests(1)
        harness.service.delete_access_token("worker")
        after = in_threads(1, harness.get)
        until_all_wait(harness, 2)
        first.set()
        assert [token.value for token in before()] == ["old"]
        second.set()
        assert [token.value for token in after()] == ["new"]
        assert harness.get().value == "new"


class TestBounds:
    def test_t14_memory_stays_bounded_over_many_scopes(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of many distinct scopes only the most recently used are remembered."""
        monkeypatch.setattr("requests_cc_token.slot_table.MAX_RECENT", 50)
        service: Any = harness.service
        harness.server.default = token_answer("t")
        for number in range(300):
            harness.get(parameters=TokenRequestParameters(scope=f"s{number}"))
        assert len(service._slots._recent) == 50
        assert len(service._slots.live()) <= 51
        harness.get(parameters=TokenRequestParameters(scope="s299"))
        assert harness.requests == 300

    def test_an_evicted_slot_finds_its_token_in_the_cache(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the service forgot, the cache still knows: no new token request."""
        monkeypatch.setattr("requests_cc_token.slot_table.MAX_RECENT", 1)
        harness.server.default = token_answer("t")
        one, two = TokenRequestParameters(scope="one"), TokenRequestParameters(scope="two")
        for parameters in (one, two, one, two):
            harness.get(parameters=parameters)
            FetchThreads.current.join(None)  # the try's thread too: it has what its fetch had
        assert harness.requests == 2
        assert [event.source for event in harness.events if event.kind == "obtained"] == [
            "service",
            "service",
            "shared cache",
            "shared cache",
        ]


class BrokenCache:
    """A store that is down."""

    def __init__(self) -> None:
        self.asked = 0

    def get(self, key: str) -> AccessToken | None:
        self.asked += 1
        raise ConnectionError("T41NT the store is down")

    def set(self, key: str, token: AccessToken) -> None:
        raise ConnectionError("T41NT the store is down")

    def delete(self, key: str) -> None:
        raise ConnectionError("T41NT the store is down")


@pytest.mark.parametrize("given", ["T41NT", b"T41NT", {"access_token": "T41NT"}, ("T41NT", 3600), 0])
def test_a_cache_that_gives_what_is_no_token_fails_no_call(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture, given: Any
) -> None:
    """It is left alone as one that raises is, and what it gave is not repeated."""

    class Odd(BrokenCache):
        def get(self, key: str) -> AccessToken | None:
            return cast("AccessToken", given)

    server.default = token_answer("t", 3600)
    with AccessTokenManagement(cache=Odd(), clock=ManualClock()) as management:
        management.add_client("w", token_endpoint=server.token_endpoint, client_id="m", client_secret="T41NT")
        assert management.service.get_access_token().value == "t"
        FetchThreads.current.join("w")
    assert caplog.messages == [
        "token client 'w': could not read the token cache (AttributeError); going on without it for 30 s"
    ]


def test_a_broken_cache_fails_no_call(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    """A cache that raises is left alone for a cool-down, with one warning and without failed calls."""
    clock, cache = ManualClock(), BrokenCache()
    forced = TokenRequestParameters(force_renewal=True)
    server.default = token_answer("t", 10)
    with AccessTokenManagement(cache=cache, clock=clock) as management:
        management.add_client("w", token_endpoint=server.token_endpoint, client_id="m", client_secret="T41NT")
        for _ in range(30):
            assert management.service.get_access_token(parameters=forced).value == "t"
            clock.advance(1.9)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == cache.asked == 2, "30 calls over 57 s are two cool-downs"
    assert "T41NT" not in "".join(warnings)


def test_a_cache_that_hangs_on_a_deletion(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    """The caller is let go after the time of a fetch, and the log says that the token may come back."""
    entered, over, clock = threading.Event(), threading.Event(), ManualClock()

    class Hangs(MemoryTokenCache):
        def delete(self, key: str) -> None:
            entered.set()
            over.wait(PATIENCE)

    with AccessTokenManagement(cache=Hangs(clock=clock), clock=clock) as management:
        management.add_client("w", token_endpoint=server.token_endpoint, client_id="m", client_secret="T41NT")
        join = in_threads(1, management.service.delete_access_token)
        assert entered.wait(PATIENCE)
        clock.advance(DEFAULT_MAX_TIME + 1)
        assert join() == [None]
        over.set()
    assert "token client 'w': the token cache has not deleted the token within 31 s" in caplog.text


def test_a_resolver_is_asked_for_names_nobody_registered(harness: Harness) -> None:
    """A tenant's client comes from the resolver, and is asked for again after five minutes."""
    asked: list[str] = []

    def resolve(name: str) -> ClientCredentialsClient | None:
        asked.append(name)
        if not name.startswith("tenant-"):
            return None
        return ClientCredentialsClient(
            token_endpoint=harness.server.token_endpoint, client_id=name, client_secret="T41NT", scope="api"
        )

    harness.management.add_client_resolver(resolve)
    harness.server.default = token_answer("t", 86_400)
    for _ in range(3):
        harness.service.get_access_token("tenant-1")
    assert asked == ["tenant-1"]
    harness.clock.advance(301)
    harness.service.get_access_token("tenant-1")
    assert asked == ["tenant-1"] * 2
    assert harness.requests == 1
    with pytest.raises(UnknownClientError, match="nobody"):
        harness.service.get_access_token("nobody")


class TestClose:
    def test_r5_close_during_a_fetch_answers_who_waits(self, server: ScriptedServer) -> None:
        """close() while the token service hangs lets every waiting caller go with an error, at once."""
        harness = Harness(server, timeout=(5, None))
        server.default = hang
        join = in_threads(8, harness.get)
        server.wait_for_requests(1)
        until_all_wait(harness, 8)
        harness.management.close()
        errors = join()
        assert {type(error) for error in errors} == {TokenRequestError}
        assert "closed" in str(errors[0])

    def test_what_a_fetch_brings_after_close_goes_nowhere(self, harness: Harness) -> None:
        """A fetch that ends after close() tells nobody what it brought; its caller has been answered."""
        release = threading.Event()
        harness.server.script.append(gated(release, token_answer("late")))
        join = in_threads(1, harness.get)
        harness.server.wait_for_requests(1)
        harness.management.close()
        (error,) = join()
        assert isinstance(error, TokenRequestError)
        assert "closed" in str(error)
        release.set()
        harness.until_landed()
        assert harness.kinds() == ["requested"]

    def test_no_secret_is_sent_after_close(self, harness: Harness) -> None:
        """A fetch whose secret comes after close() does not ask the token service any more."""
        answered = threading.Event()

        def secret() -> str:
            harness.management.close()
            assert answered.wait(PATIENCE)
            return "T41NT"

        harness.management.add_client(
            "late", token_endpoint=harness.server.token_endpoint, client_id="m", client_secret=secret
        )
        with pytest.raises(TokenRequestError, match="closed"):
            harness.service.get_access_token("late")
        answered.set()
        harness.until_landed("late")
        assert harness.kinds() == ["requested"]
        assert harness.requests == 0

    def test_a_closed_management_gives_no_token(self, harness: Harness) -> None:
        """After close() a call gets an error that says so, and tokens are forgotten."""
        harness.server.default = token_answer("t")
        harness.get()
        harness.management.close()
        with pytest.raises(TokenRequestError, match="closed"):
            harness.get()

    def test_close_ends_the_wait_between_tries(self, server: ScriptedServer) -> None:
        """A fetch that waits for its next try ends with close()."""
        harness = Harness(server, wait=(1000,), max_time=5000)
        server.default = reset
        join = in_threads(1, harness.get)
        harness.clock.until_waiting(lambda left: 1000.0 in left)
        harness.management.close()
        (error,) = join()
        assert isinstance(error, TokenRequestError)


class TestStatistics:
    def test_stats_has_a_line_for_a_client(self, harness: Harness) -> None:
        """Hits, requests, fetches, failures by cause, seconds to expiry and the last error, each a field."""
        harness.server.script.extend([error_answer(400, "invalid_scope"), token_answer("one", 1000)])
        with pytest.raises(TokenEndpointError):
            harness.get()
        harness.clock.advance(700)
        harness.get()
        harness.get()
        (line,) = harness.management.stats()
        assert line == ClientStats(
            client="worker",
            scope="api",
            hits=1,
            requests=2,
            fetches=2,
            failures=(FailureCount(error="TokenEndpointError", code="invalid_scope", count=1),),
            last_error=line.last_error,
            seconds_to_expiry=995.0,
        )
        assert "invalid_scope" in str(line.last_error)

    def test_a_client_that_nobody_has_used_is_listed(self, harness: Harness) -> None:
        """Lines are sorted by client, each with what it is registered with; nothing is sent for them."""
        management = harness.management
        management.add_client(
            "erp",
            token_endpoint=harness.server.token_endpoint,
            client_id="erp",
            client_secret="T41NT-secret",
            scope="read write",
            resource="https://erp.example.com/",
            audience="erp",
        )
        assert management.stats() == [
            ClientStats(client="erp", scope="read write", resource=("https://erp.example.com/",), audience="erp"),
            ClientStats(client="worker", scope="api"),
        ]
        assert harness.requests == 0

    def test_clients_that_are_registered_alike_are_counted_once(self, harness: Harness) -> None:
        """Their token is one: what is counted stands at the one that came first, how it stands at both."""
        management = harness.management
        management.add_client(
            "again",
            token_endpoint=harness.server.token_endpoint,
            client_id="m2m",
            client_secret="T41NT-secret",
            scope="api",
        )
        harness.server.default = token_answer("one", 1000)
        harness.get()
        harness.service.get_access_token("again")
        assert management.stats() == [
            ClientStats(client="again", scope="api", seconds_to_expiry=995.0),
            ClientStats(client="worker", scope="api", hits=1, requests=1, fetches=1, seconds_to_expiry=995.0),
        ]

    def test_what_a_resolver_knows_is_listed_once_it_is_used(self, harness: Harness) -> None:
        """A tenant that nobody asked for cannot be."""
        harness.server.default = token_answer("one", 1000)
        harness.management.add_client_resolver(
            lambda name: ClientCredentialsClient(
                token_endpoint=harness.server.token_endpoint, client_id=name, client_secret="T41NT"
            )
        )
        assert [line.client for line in harness.management.stats()] == ["worker"]
        harness.service.get_access_token("tenant")
        counted = {line.client: line.requests for line in harness.management.stats()}
        assert counted == {"tenant": 1, "worker": 0}

    def test_only_what_was_sent_is_counted(self, harness: Harness) -> None:
        """No request without a secret, none where nothing listens; one that breaks off was sent all the same."""
        management = harness.management
        management.configure_backchannel(wait=())
        management.add_client(
            "no secret", token_endpoint=harness.server.token_endpoint, client_id="x", client_secret={"env": "NO_SECRET"}
        )
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}/token"
        management.add_client("nobody there", token_endpoint=url, client_id="x", client_secret="T41NT")
        harness.server.default = reset
        for name in ("no secret", "nobody there", "worker"):
            with pytest.raises(TokenRequestError):
                harness.service.get_access_token(name)
        figures = {line.client: line for line in management.stats()}
        assert {name: line.requests for name, line in figures.items()} == {
            "no secret": 0,
            "nobody there": 0,
            "worker": 1,
        }
        assert harness.requests == 1
        assert [line.fetches for line in figures.values()] == [1, 1, 1]
        assert [line.status for line in figures.values()] == ["failing"] * 3

    def test_a_request_that_is_sent_once_more_counts_twice(self, harness: Harness) -> None:
        """A secret that was replaced meanwhile is tried within the same try: two requests, one fetch."""
        secrets = iter(["T41NT-old", "T41NT-new"])
        harness.management.add_client(
            "rotated",
            token_endpoint=harness.server.token_endpoint,
            client_id="x",
            client_secret=lambda: next(secrets),
        )
        harness.server.script.extend([error_answer(401, "invalid_client"), token_answer("one", 1000)])
        harness.service.get_access_token("rotated")
        (line,) = [line for line in harness.management.stats() if line.client == "rotated"]
        assert (line.requests, line.fetches, harness.requests) == (2, 1, 2)

    def test_per_request_parameters_have_figures_of_their_own(self, harness: Harness) -> None:
        """A scope asked for by one request is counted beside the client's own."""
        harness.server.default = token_answer("one")
        harness.get()
        harness.get(parameters=TokenRequestParameters(scope="write"))
        harness.get(parameters=TokenRequestParameters(scope="write"))
        harness.get(parameters=TokenRequestParameters(audience="erp", resource="urn:erp"))
        lines = harness.management.stats()
        assert [(s.client, s.scope, s.audience, s.resource, s.hits, s.requests) for s in lines] == [
            ("worker", "api", None, (), 0, 1),
            ("worker", "api", "erp", ("urn:erp",), 0, 1),
            ("worker", "write", None, (), 1, 1),
        ]

    def test_what_differs_in_another_way_is_counted_together(self, harness: Harness) -> None:
        """Form fields may be secrets, so no line tells them; the token is the client's own, or the one used last."""
        codes = ("invalid_request", "invalid_scope", "invalid_request")
        harness.server.script.extend([token_answer("one", 1000), *(error_answer(400, code) for code in codes)])
        harness.get()
        for tenant in "bcd":
            with pytest.raises(TokenEndpointError):
                harness.get(parameters=TokenRequestParameters(parameters={"tenant": tenant}))
        (line,) = harness.management.stats()
        assert (line.requests, line.fetches, line.seconds_to_expiry, line.status) == (4, 4, 995.0, "fine")
        assert line.failures == (
            FailureCount(error="TokenEndpointError", code="invalid_request", count=2),
            FailureCount(error="TokenEndpointError", code="invalid_scope", count=1),
        )
        assert "invalid_request" in str(line.last_error)

    def test_rejections_are_counted(self, harness: Harness) -> None:
        """A token that the API refused, once, though two threads say so."""
        harness.server.default = token_answer("one")
        token = harness.get()
        harness.service.token_rejected(token)
        harness.service.token_rejected(token)
        assert [line.rejections for line in harness.management.stats()] == [1]

    def test_a_token_whose_end_has_come_is_none(self, harness: Harness) -> None:
        """Seconds to expiry are those of a token that may be used."""
        harness.server.default = token_answer("one", 1000)
        harness.get()
        harness.clock.advance(995)
        assert [line.seconds_to_expiry for line in harness.management.stats()] == [None]

"""Races, played out step by step at gates: where two threads meet, both orders are right."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from requests_cc_token import (
    AccessToken,
    ClientCredentialsClient,
    TokenEndpointError,
    TokenRequestError,
    TokenRequestParameters,
    UnknownClientError,
)
from requests_cc_token.clock import Waitable
from requests_cc_token.events import TokenEvent

from .fetch_threads import FetchThreads, started
from .scripted_server import PATIENCE, ScriptedServer, error_answer, gated, reset, token_answer
from .test_service import Harness, in_threads, until_all_wait

FORCED = TokenRequestParameters(force_renewal=True)


@pytest.fixture
def harness(server: ScriptedServer) -> Iterator[Harness]:
    harness = Harness(server, wait=())
    with harness.management:
        yield harness


def at_event(harness: Harness, kind: str, action: Callable[[], Any]) -> list[Any]:
    """Run the action inside the flight, between what it changed and the moment its waiters wake."""
    results: list[Any] = []

    def subscriber(event: TokenEvent) -> None:
        if event.kind == kind and not results:
            results.append(None)
            try:
                results[0] = action()
            except TokenRequestError as error:
                results[0] = error

    harness.management.subscribe(subscriber)
    return results


def test_renewal_against_rejection_while_the_renewal_runs(harness: Harness) -> None:
    """A 401 for the old token while its renewal is under way joins that renewal."""
    release = threading.Event()
    harness.server.script.extend([token_answer("one", 1000), gated(release, token_answer("two", 1000))])
    old = harness.get()
    harness.clock.advance(900)
    harness.get()
    harness.server.wait_for_requests(2)
    harness.service.token_rejected(old)
    join = in_threads(5, harness.get)
    until_all_wait(harness, 5)
    release.set()
    assert {token.value for token in join()} == {"two"}
    assert harness.requests == 2


def test_renewal_against_rejection_as_the_renewal_lands(harness: Harness) -> None:
    """A 401 for the old token in the moment in which the new one is there does not drop the new one."""
    harness.server.script.extend([token_answer("one", 1000), token_answer("two", 1000)])
    old = harness.get()
    harness.clock.advance(900)
    at_event(harness, "renewed", lambda: harness.service.token_rejected(old))
    harness.get()
    harness.until_event("renewed")
    assert harness.get().value == "two"
    assert harness.requests == 2


def test_rejection_against_rejection(harness: Harness) -> None:
    """Two threads report one token, the second after the first one's renewal: one renewal."""
    harness.server.script.extend([token_answer("one"), token_answer("two")])
    old = harness.get()
    harness.service.token_rejected(old)
    assert harness.get().value == "two"
    harness.service.token_rejected(old)
    assert harness.get().value == "two"
    assert harness.requests == 2


def test_the_failure_against_a_late_waiter(harness: Harness) -> None:
    """Who comes when the fetch has failed, before its waiters woke, gets the same error and starts nothing."""
    harness.server.script.extend([error_answer(400, "invalid_scope"), token_answer("never")])
    late = at_event(harness, "failed", harness.get)
    with pytest.raises(TokenEndpointError) as early:
        harness.get()
    assert str(late[0]) == str(early.value)
    assert harness.requests == 1


def test_the_token_against_a_late_waiter(harness: Harness) -> None:
    """Who comes when the token is there, before the waiters woke, gets it at once."""
    harness.server.script.append(token_answer("one"))
    late = at_event(harness, "obtained", lambda: harness.get(timeout=0))
    assert harness.get() is late[0]


def test_delete_against_a_fetch_as_it_lands(harness: Harness) -> None:
    """A delete in the moment in which the token is there forgets it; who waited still gets it."""
    harness.server.script.extend([token_answer("one"), token_answer("two")])
    at_event(harness, "obtained", lambda: harness.service.delete_access_token("worker"))
    assert harness.get().value == "one"
    assert harness.get().value == "two"


def test_forced_and_ordinary_callers_share_a_flight(harness: Harness) -> None:
    """force_renewal while a fetch is under way joins it."""
    release = threading.Event()
    harness.server.script.append(gated(release, token_answer("one")))
    ordinary = in_threads(3, harness.get)
    harness.server.wait_for_requests(1)
    forced = in_threads(3, lambda: harness.get(parameters=FORCED))
    until_all_wait(harness, 6)
    release.set()
    assert {token.value for token in ordinary() + forced()} == {"one"}
    assert harness.requests == 1


def test_hard_expiry_against_a_renewal_under_way(harness: Harness) -> None:
    """The token expires while it is being renewed: from then on callers wait for that renewal."""
    release = threading.Event()
    harness.server.script.extend([token_answer("one", 1000), gated(release, token_answer("two", 1000))])
    harness.get()
    harness.clock.advance(975)
    assert harness.get().value == "one"
    harness.server.wait_for_requests(2)
    harness.clock.advance(21)
    join = in_threads(3, harness.get)
    until_all_wait(harness, 3)
    release.set()
    assert {token.value for token in join()} == {"two"}
    assert harness.requests == 2


def test_hard_expiry_ends_the_hold_off_of_a_background_renewal(harness: Harness) -> None:
    """Renewals failed while nobody noticed; the first caller without a token has a try of its own."""
    retry_later = [("Retry-After", "3000")]
    harness.server.script.extend(
        [token_answer("one", 1000), error_answer(503, "temporarily_unavailable", retry_later), token_answer("two")]
    )
    harness.get()
    harness.clock.advance(900)
    harness.get()
    harness.until_event("failed")
    harness.clock.advance(100)
    assert harness.get().value == "two"


def test_the_last_waiter_leaves_before_the_try_fails(server: ScriptedServer) -> None:
    """Nobody waits any more: the failed fetch is not tried again, the schedule decides about the next one."""
    harness = Harness(server, wait=(1, 1, 1))
    release = threading.Event()
    server.script.append(gated(release, reset))
    with harness.management:
        with pytest.raises(TokenRequestError):
            harness.get(timeout=0)
        server.wait_for_requests(1)
        release.set()
        harness.until_event("failed")
        assert harness.requests == 1


def test_no_thread_can_be_started(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no thread left, the caller fetches by itself as far as it can."""
    harness.server.default = token_answer("one")

    def refuse(function: Callable[..., object], arguments: tuple[()]) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    assert harness.get().value == "one"


@pytest.mark.parametrize("failure", [SystemExit, MemoryError, ValueError])
def test_whatever_ends_a_fetch_its_waiters_are_answered(
    harness: Harness, failure: type[BaseException]
) -> None:
    """An error of a kind nobody expects, here from a subscriber's or a secret's code, is an error for the waiters."""

    def secret() -> str:
        raise failure("T41NT")

    harness.management.add_client(
        "odd", token_endpoint=harness.server.token_endpoint, client_id="m", client_secret=secret
    )
    with pytest.raises(TokenRequestError) as caught:
        harness.service.get_access_token("odd")
    assert "'odd'" in str(caught.value)
    assert failure.__name__ in str(caught.value)
    assert "T41NT" not in str(caught.value)


@pytest.mark.parametrize("failure", [RuntimeError, SystemExit])
def test_a_failing_subscriber_does_no_harm(
    harness: Harness, caplog: pytest.LogCaptureFixture, failure: type[BaseException]
) -> None:
    """A subscriber that raises is logged; the token comes all the same, and the others are told."""
    told: list[str] = []

    def broken(event: TokenEvent) -> None:
        raise failure("broken subscriber")

    harness.management.subscribe(broken)
    unsubscribe = harness.management.subscribe(lambda event: told.append(event.kind))
    harness.server.default = token_answer("one")
    assert harness.get().value == "one"
    assert told == ["requested", "obtained"]
    assert "a subscriber failed" in caplog.text
    unsubscribe()
    harness.service.delete_access_token("worker")
    harness.get()
    assert told == ["requested", "obtained"]


def test_context_variables_reach_the_secret(harness: Harness) -> None:
    """The fetch runs with the context variables of the caller that started it, a web request's for example."""
    import contextvars

    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")
    harness.server.default = token_answer("one")
    harness.management.add_client(
        "t",
        token_endpoint=harness.server.token_endpoint,
        client_id="m",
        client_secret=lambda: "T41NT-" + tenant.get(),
        auth="client_secret_post",
    )
    tenant.set("blue")
    token = harness.service.get_access_token("t")
    assert isinstance(token, AccessToken)
    assert harness.server.requests[-1].form["client_secret"] == ["T41NT-blue"]


def test_a_registration_against_its_resolver(harness: Harness) -> None:
    """A client that is registered while a resolver is asked for its name counts from the next call on."""

    def client(client_id: str) -> dict[str, Any]:
        return {"token_endpoint": harness.server.token_endpoint, "client_id": client_id, "client_secret": "T41NT"}

    def resolve(name: str) -> ClientCredentialsClient:
        harness.management.add_client(name, **client("registered"))
        return ClientCredentialsClient(**client("resolved"), auth="client_secret_post")

    harness.management.add_client_resolver(resolve)
    harness.server.script.extend([token_answer("resolved"), token_answer("registered")])
    got = [harness.service.get_access_token("tenant").value for _ in range(3)]
    assert got == ["resolved", "registered", "registered"]


def test_a_registration_against_a_call_without_a_name(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second client that is registered while the only one is looked up: from then on there are two."""
    harness.server.default = token_answer("t")
    guard, looked_at = harness.service._guard, harness.service._registry.is_registered

    def meanwhile(name: str | None, client: ClientCredentialsClient) -> bool:
        monkeypatch.undo()
        is_registered = looked_at(name, client)
        over.append(started(lambda: harness.management.add_client("other", **second)))
        # Either it is done, or it waits for this step.
        while not over[0].wait(0.001) and len(guard._inside) < 2:
            pass
        return is_registered

    over: list[threading.Event] = []
    second: dict[str, Any] = {"token_endpoint": harness.server.token_endpoint, "client_id": "o", "client_secret": "s"}
    monkeypatch.setattr(harness.service._registry, "is_registered", meanwhile)
    assert harness.service.get_access_token().value == "t"
    assert over[0].wait(PATIENCE)
    with pytest.raises(UnknownClientError, match="there are several"):
        harness.service.get_access_token()


def test_the_tokens_to_revoke_against_those_who_use_them(harness: Harness) -> None:
    """However threads mix, a token that is in use is among those that the process holds, and counted by its name."""
    harness.server.default = token_answer("one")
    harness.management.add_client_resolver(
        lambda name: ClientCredentialsClient(
            token_endpoint=harness.server.token_endpoint, client_id=name, client_secret="T41NT"
        )
    )
    harness.service.get_access_token("tenant")
    over = threading.Event()

    def use() -> None:
        while not over.is_set():
            harness.service.get_access_token("tenant")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        join = in_threads(3, use)
        held = {tuple(token.value for _, token in harness.service.held_tokens()) for _ in range(1_000)}
        names = {tuple(line.client for line in harness.management.stats()) for _ in range(1_000)}
    finally:
        over.set()
        sys.setswitchinterval(interval)
    assert join() == [None] * 3
    assert held == {("one",)}
    assert names == {("tenant", "worker")}


class InterruptError(BaseException):
    """What the handler of a signal raises in the main thread: as Ctrl-C does, or the time limit of a task queue."""


@contextmanager
def at_the_next_start(action: Callable[[Callable[[], object]], object]) -> Iterator[None]:
    """Within the block, the work of the first thread that is to be started is given to the action instead."""
    with pytest.MonkeyPatch.context() as patch:

        def start(work: Callable[[], object], name: str) -> None:
            patch.undo()
            action(work)

        patch.setattr("requests_cc_token.flights.start_thread", start)
        yield


@pytest.mark.parametrize("began", [False, True])
def test_a_caller_interrupted_as_the_fetch_starts(harness: Harness, began: bool) -> None:
    """Whoever waits for a fetch whose starter is interrupted gets a token, whether or not its thread was there yet."""
    release = threading.Event()
    harness.server.script.append(gated(release, token_answer("one")))
    joins: list[Callable[[], list[Any]]] = []

    def interrupted(work: Callable[[], object]) -> None:
        joins.append(in_threads(2, lambda: harness.get().value))
        until_all_wait(harness, 3)
        if began:
            FetchThreads.current.start(work, "requests_cc_token worker")
            harness.server.wait_for_requests(1)
        raise InterruptError

    with at_the_next_start(interrupted), pytest.raises(InterruptError):
        harness.get()
    release.set()
    assert joins.pop()() == ["one", "one"]
    assert harness.get().value == "one"
    assert harness.requests == 1


def test_a_thread_that_comes_after_its_fetch_was_given_up(harness: Harness) -> None:
    """It sends nothing: somebody else has fetched the token meanwhile."""
    harness.server.script.append(token_answer("one"))
    late: list[Callable[[], object]] = []

    def interrupted(work: Callable[[], object]) -> None:
        late.append(work)
        raise InterruptError

    with at_the_next_start(interrupted), pytest.raises(InterruptError):
        harness.get()
    token = harness.get()
    late[0]()
    assert harness.get() is token
    assert harness.requests == 1


def test_a_caller_interrupted_while_it_waits(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried again for a caller that an interrupt took away."""
    harness = Harness(server, wait=(1.0,))
    release = threading.Event()
    server.script.append(gated(release, reset))
    wait, caller = harness.clock.wait, threading.current_thread()

    def interrupted(event: Waitable, timeout: float | None) -> bool:
        if threading.current_thread() is caller:
            raise InterruptError
        return wait(event, timeout)

    with harness.management:
        monkeypatch.setattr(harness.clock, "wait", interrupted)
        with pytest.raises(InterruptError):
            harness.get()
        release.set()
        harness.until_event("failed")
    assert harness.requests == 1

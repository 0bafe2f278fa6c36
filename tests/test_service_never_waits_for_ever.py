"""Nobody waits for ever: whatever hangs, dies, interrupts or calls back, callers come away with a token or an error."""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import (
    AccessToken,
    AccessTokenManagement,
    ClientCredentialsClient,
    DPoPKey,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestError,
    TokenRequestTimeout,
    UnknownClientError,
    flights,
    locking,
    registry,
    service,
    slot_table,
    slots,
    token_source,
)
from requests_cc_token.caches.memory import MemoryTokenCache
from requests_cc_token.endpoint import token_request
from requests_cc_token.events import TokenEvent
from requests_cc_token.flights import BEGIN_WITHIN
from requests_cc_token.threads import start_thread

from .fetch_threads import FetchThreads
from .moments import a_signal_may_come
from .scripted_server import PATIENCE, ScriptedServer, error_answer, gated, token_answer
from .test_service import Harness, in_threads, until_all_wait
from .test_watched_files import Hanging

ROOT = Path(__file__).parent.parent


@pytest.fixture
def harness(server: ScriptedServer) -> Iterator[Harness]:
    harness = Harness(server, wait=(), max_time=20)
    server.default = token_answer("one")
    with harness.management:
        yield harness


def add(harness: Harness, name: str, secret: Callable[[], str]) -> None:
    harness.management.add_client(
        name, token_endpoint=harness.server.token_endpoint, client_id=name, client_secret=secret
    )


class TestForeignCodeThatHangs:
    def test_a20_a_secret_that_hangs_once_is_waited_for_no_longer_than_a_fetch_may_take(self, harness: Harness) -> None:
        """Its caller gets an error that says so, the next one a token; the late secret changes nothing."""
        entered, release = threading.Event(), threading.Event()
        hangs = iter([True])

        def secret() -> str:
            if next(hangs, False):
                entered.set()
                release.wait(PATIENCE)
            return "T41NT"

        add(harness, "vault", secret)
        join = in_threads(3, lambda: harness.service.get_access_token("vault"))
        assert entered.wait(PATIENCE)
        until_all_wait(harness, 3, "vault")
        harness.clock.advance(20)
        errors = join()
        assert {type(error) for error in errors} == {TokenEndpointConnectionError}
        assert "its credentials were not there in time" in str(errors[0])
        harness.clock.advance(1)
        assert harness.service.get_access_token("vault").value == "one"
        release.set()
        FetchThreads.current.join("vault")
        assert harness.requests == 1, "the late one sent a request"

    def test_a20_a_subscriber_that_hangs_is_waited_for_no_longer_either(self, harness: Harness) -> None:
        """The error names the limit that was reached; what the late fetch brings changes nothing."""
        entered, release = threading.Event(), threading.Event()
        hangs = iter([True])

        def subscriber(event: TokenEvent) -> None:
            if event.kind == "requested" and next(hangs, False):
                entered.set()
                release.wait(PATIENCE)

        harness.management.subscribe(subscriber)
        join = in_threads(3, harness.get)
        assert entered.wait(PATIENCE)
        until_all_wait(harness, 3)
        harness.clock.advance(21)
        errors = join()
        assert {type(error) for error in errors} == {TokenRequestTimeout}
        assert "within the 21 s that a fetch may take" in str(errors[0])
        assert harness.kinds().count("timed_out") == 3
        token = harness.get()
        (line,) = harness.management.stats()
        assert (line.in_flight, line.timeouts) == (1, 3), "the one that hangs is still there"
        release.set()
        FetchThreads.current.join()
        assert harness.get() is token
        assert harness.management.stats()[0].in_flight == 0

    def test_a20_a_subscriber_that_hangs_over_a_token_keeps_it_from_nobody(self, harness: Harness) -> None:
        """Who waits has the token at the end of the time that a fetch may take, who comes later at once."""
        entered, release = threading.Event(), threading.Event()

        def subscriber(event: TokenEvent) -> None:
            if event.kind == "obtained":
                entered.set()
                release.wait(PATIENCE)

        harness.management.subscribe(subscriber)
        gate = threading.Event()
        harness.server.script.append(gated(gate, token_answer("one")))
        join = in_threads(3, lambda: harness.get().value)
        until_all_wait(harness, 3)
        gate.set()
        assert entered.wait(PATIENCE)
        assert harness.get(timeout=0).value == "one"
        harness.clock.advance(21)
        assert join() == ["one"] * 3
        release.set()
        FetchThreads.current.join()
        assert harness.requests == 1

    def test_a26_a_file_system_that_hangs_stops_no_other_client(self, harness: Harness) -> None:
        """The stamp of a secret is looked at outside of the service's lock."""
        entered, release = threading.Event(), threading.Event()
        add(harness, "hangs", lambda: "T41NT")
        client = harness.management.clients["hangs"]
        harness.server.script.append(error_answer(401, "invalid_client"))
        with pytest.raises(TokenRequestError):
            harness.service.get_access_token("hangs")

        def stamp() -> None:
            entered.set()
            release.wait(PATIENCE)

        object.__setattr__(client.client_secret, "stamp", stamp)
        join = in_threads(1, lambda: harness.service.get_access_token("hangs"))
        assert entered.wait(PATIENCE)
        assert harness.get(timeout=PATIENCE).value == "one"
        assert [line.requests for line in harness.management.stats() if line.client == "worker"] == [1]
        release.set()
        join()

    def test_a26_a_caller_with_a_token_does_not_wait_for_a_file_system(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While a renewal is held off and the secret's file system hangs, a token that is there is given at once."""
        token = harness.get()
        harness.server.default = error_answer(503, "down")
        assert token.soft_expiry is not None
        harness.clock.advance(token.soft_expiry - harness.clock.monotonic() + 1)
        assert harness.get() is token
        FetchThreads.current.join()
        harness.until_event("served_stale")
        monkeypatch.setattr("requests_cc_token.bounded_reads.NEXT_LOOK", PATIENCE)
        monkeypatch.setattr("requests_cc_token.service.NEXT_LOOK", PATIENCE)
        gate = threading.Event()
        monkeypatch.setattr("requests_cc_token.demand.Demand.stamp", lambda demand: gate.wait(PATIENCE))
        began = time.monotonic()
        assert harness.get() is token
        assert harness.get(timeout=0.01) is token
        assert time.monotonic() - began < PATIENCE / 4
        gate.set()

    def test_a26_what_cannot_be_looked_at_counts_as_unchanged(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While the file system of a secret hangs, a caller amid a hold-off gets its error, not a wait without end."""
        monkeypatch.setattr(service, "NEXT_LOOK", 0.02)
        release = threading.Event()
        add(harness, "hangs", lambda: "T41NT")
        client = harness.management.clients["hangs"]
        harness.server.script.append(error_answer(401, "invalid_client"))
        with pytest.raises(TokenRequestError):
            harness.service.get_access_token("hangs")
        object.__setattr__(client.client_secret, "stamp", lambda: release.wait(PATIENCE))
        for _ in range(3):
            with pytest.raises(TokenEndpointError, match="invalid_client"):
                harness.service.get_access_token("hangs")
        assert harness.requests == 1
        release.set()

    def test_a26_a_key_whose_file_system_hangs_stops_its_own_client_only(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A caller has an error within its own timeout; other clients have their tokens meanwhile."""
        hanging = Hanging(monkeypatch, "key.pem")
        harness.management.add_client(
            "bound",
            token_endpoint=harness.server.token_endpoint,
            client_id="bound",
            client_secret="T41NT",
            dpop=DPoPKey({"file": tmp_path / "key.pem"}),
        )
        join = in_threads(2, lambda: harness.service.get_access_token("bound", timeout=0.5))
        assert hanging.asked.acquire(timeout=PATIENCE)
        assert harness.get(timeout=PATIENCE).value == "one"
        errors = join()
        assert {str(error) for error in errors} == {
            f"token client 'bound': the key file, '{tmp_path / 'key.pem'}': it is still being read after 0.5 s"
        }
        hanging.answers.set()

    def test_a25_one_caller_asks_the_resolver_and_the_others_wait(self, harness: Harness) -> None:
        """Thirty-two threads ask for one tenant: the resolver is asked once, and a caller's deadline holds."""
        asked: list[str] = []
        release = threading.Event()

        def resolve(name: str) -> ClientCredentialsClient:
            asked.append(name)
            release.wait(PATIENCE)
            return ClientCredentialsClient(
                token_endpoint=harness.server.token_endpoint, client_id=name, client_secret="T41NT"
            )

        harness.management.add_client_resolver(resolve)
        join = in_threads(32, lambda: harness.service.get_access_token("tenant").value)
        hasty = in_threads(1, lambda: harness.service.get_access_token("tenant", timeout=2))
        harness.clock.until_waiting(lambda left: len(left) == 33)
        harness.clock.advance(2)
        (error,) = hasty()
        assert isinstance(error, TokenRequestTimeout)
        assert "the client resolver did not answer in time" in str(error)
        assert [event.client for event in harness.events if event.kind == "timed_out"] == ["tenant"]
        release.set()
        assert join() == ["one"] * 32
        assert asked == ["tenant"]

    def test_a_resolver_that_raises_tells_everybody(self, harness: Harness) -> None:
        """And is asked again by the next one; where there is no thread, by the caller itself."""

        def resolve(name: str) -> ClientCredentialsClient:
            raise LookupError(f"no database for {name}")

        harness.management.add_client_resolver(resolve)
        with pytest.raises(LookupError, match="no database"):
            harness.service.get_access_token("tenant")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("requests_cc_token.flights.start_thread", _no_thread)
            with pytest.raises(LookupError, match="no database"):
                harness.service.get_access_token("tenant")

    def test_a_resolver_that_hangs_is_asked_again_after_its_time(self, harness: Harness) -> None:
        """Its callers get an error; the late answer is of no use to anybody."""
        entered, release = threading.Event(), threading.Event()
        hangs = iter([True])

        def resolve(name: str) -> ClientCredentialsClient | None:
            if next(hangs, False):
                entered.set()
                release.wait(PATIENCE)
            return None

        harness.management.add_client_resolver(resolve)
        join = in_threads(1, lambda: harness.service.get_access_token("tenant"))
        assert entered.wait(PATIENCE)
        harness.clock.until_waiting(lambda left: len(left) == 1)
        harness.clock.advance(30)
        (error,) = join()
        assert isinstance(error, TokenRequestTimeout)
        with pytest.raises(UnknownClientError):
            harness.service.get_access_token("tenant")
        release.set()


def _no_thread(work: Callable[[], object], name: str) -> None:
    raise RuntimeError("can't start new thread")


class TestCallbacks:
    """F45, A22: code that is called by the fetch and asks for the token of that fetch."""

    def test_a_secret_that_needs_its_own_token(self, harness: Harness) -> None:
        """It is refused at once, in its own call; the fetch fails with what that made of it, not with a time-out."""
        seen: list[str] = []

        def secret() -> str:
            try:
                harness.service.get_access_token("vault")
            except TokenRequestError as error:
                seen.append(str(error))
            return "T41NT"

        add(harness, "vault", secret)
        assert harness.service.get_access_token("vault").value == "one"
        assert len(seen) == 1
        assert "asked for by the code that fetches it" in seen[0]

    def test_two_secrets_that_need_each_others_tokens(self, harness: Harness) -> None:
        """The second one is refused; both callers and bystanders get their tokens."""
        harness.server.respond = lambda request: token_answer("t")

        def needing(name: str) -> Callable[[], str]:
            def secret() -> str:
                with contextlib.suppress(TokenRequestError):
                    harness.service.get_access_token(name)
                return "T41NT"

            return secret

        add(harness, "a", needing("b"))
        add(harness, "b", needing("a"))
        join = in_threads(6, lambda: harness.service.get_access_token("a" if _thread.get_ident() % 2 else "b").value)
        assert set(join()) == {"t"}

    def test_a_secret_that_needs_another_clients_token(self, harness: Harness) -> None:
        """That is no circle, and works."""
        add(harness, "vault", lambda: harness.service.get_access_token("worker").value)
        assert harness.service.get_access_token("vault").value == "one"
        assert harness.requests == 2

    @pytest.mark.parametrize("kind", ["requested", "obtained", "failed", "held_off", "rejected"])
    def test_a_subscriber_that_asks_for_the_token(self, harness: Harness, kind: str) -> None:
        """Whatever it is told of, it gets a token that is there or an error at once, and does no harm."""
        outcomes: list[object] = []

        def subscriber(event: TokenEvent) -> None:
            if event.kind == kind:
                try:
                    outcomes.append(harness.get())
                except TokenRequestError as error:
                    outcomes.append(error)

        harness.management.subscribe(subscriber)
        if kind in ("failed", "held_off"):
            harness.server.script.append(error_answer(401, "invalid_client"))
            for _ in range(2):
                with pytest.raises(TokenRequestError):
                    harness.get()
        else:
            token = harness.get()
            if kind == "rejected":
                harness.service.token_rejected(token)
            harness.get()
        harness.until_landed()
        assert len(outcomes) == 1

    def test_a_log_handler_that_asks_for_the_token(self, harness: Harness) -> None:
        """As one that ships its records to the API does: an error at once, which logging swallows or shows."""
        outcomes: list[object] = []

        class Shipping(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                try:
                    outcomes.append(harness.get())
                except TokenRequestError as error:
                    outcomes.append(error)

        log, handler = logging.getLogger("requests_cc_token"), Shipping(logging.DEBUG)
        before = log.level
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        try:
            assert harness.get().value == "one"
        finally:
            log.removeHandler(handler)
            log.setLevel(before)
        assert any(isinstance(outcome, TokenRequestError) for outcome in outcomes)

    def test_a_resolver_that_asks_for_the_token_it_is_to_resolve(self, harness: Harness) -> None:
        """An error that says so."""

        def resolve(name: str) -> ClientCredentialsClient | None:
            harness.service.get_access_token(name)
            return None

        harness.management.add_client_resolver(resolve)
        with pytest.raises(UnknownClientError, match="asks for a token of 'tenant' itself"):
            harness.service.get_access_token("tenant")


class TestSignalsAndFinalizers:
    """A27: what comes amid a call of the same thread."""

    def _amid(self, harness: Harness, action: Callable[[], object]) -> None:
        """Do this while this thread is inside of the service."""
        service: Any = harness.service
        service._guard.do(action)

    def test_it_gets_a_token_that_is_there(self, harness: Harness) -> None:
        """Past soft expiry too, where a renewal would be started."""
        token = harness.get()
        harness.clock.advance(3_500)
        got: list[AccessToken] = []
        self._amid(harness, lambda: got.append(harness.get()))
        assert got == [token]

    def test_it_gets_a_named_error_at_once_where_there_is_none(self, harness: Harness) -> None:
        """Which says what to do; the call that it interrupted goes on."""
        errors: list[str] = []

        def handler() -> None:
            try:
                harness.get()
            except TokenRequestError as error:
                errors.append(str(error))

        harness.get()
        harness.clock.advance(4_000)
        self._amid(harness, handler)
        assert "a signal's handler or a finalizer" in errors[0]
        assert harness.get().value == "one"

    def test_a_mark_that_an_interrupt_left_behind_refuses_nobody(self, harness: Harness) -> None:
        """The thread is taken to be inside only while the lock is held."""
        service: Any = harness.service
        service._guard._inside.add(threading.get_ident())
        assert harness.get().value == "one"
        assert service._guard._inside == set()

    def test_it_comes_before_its_own_thread_has_started_the_fetch(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody would start the fetch that it waits for: a named error at once; the call itself gets its token."""
        came = self._before_the_start(monkeypatch, lambda: harness.get(timeout=PATIENCE))
        assert harness.get().value == "one"
        assert came == [True]
        assert harness.get(timeout=0).value == "one"

    def test_it_comes_before_its_own_thread_has_asked_the_resolver(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same, where the client is not known yet."""
        harness.management.add_client_resolver(lambda name: harness.management.clients["worker"])
        came = self._before_the_start(
            monkeypatch, lambda: harness.service.get_access_token("tenant", timeout=PATIENCE)
        )
        assert harness.service.get_access_token("tenant").value == "one"
        assert came == [True]

    def _before_the_start(self, monkeypatch: pytest.MonkeyPatch, handler: Callable[[], object]) -> list[bool]:
        came: list[bool] = []
        def interrupted(work: Callable[[], object], name: str) -> None:
            monkeypatch.setattr(flights, "start_thread", start_thread)
            with pytest.raises(TokenRequestError, match="a signal's handler or a finalizer"):
                handler()
            came.append(True)
            start_thread(work, name)

        monkeypatch.setattr(flights, "start_thread", interrupted)
        return came

    def test_a_call_uses_the_cache_in_no_thread_of_its_caller(self, server: ScriptedServer) -> None:
        """A handler that came while its own thread holds the cache's lock would wait for a fetch that needs it."""
        used: list[tuple[str, int]] = []

        class Watched(MemoryTokenCache):
            def get(self, key: str) -> AccessToken | None:
                used.append(("get", threading.get_ident()))
                return super().get(key)

            def set(self, key: str, token: AccessToken) -> None:
                used.append(("set", threading.get_ident()))
                super().set(key, token)

            def delete(self, key: str) -> None:
                used.append(("delete", threading.get_ident()))
                super().delete(key)

        server.default = token_answer("one")
        with AccessTokenManagement(cache=Watched()) as management:
            management.add_client("w", token_endpoint=server.token_endpoint, client_id="m", client_secret="T41NT")
            management.service.get_access_token()
            management.service.delete_access_token()
            management.service.get_access_token()
        assert {what for what, _ in used} == {"get", "set", "delete"}
        assert threading.get_ident() not in {thread for _, thread in used}

    def test_signals_that_come_at_any_moment(self, server: ScriptedServer) -> None:
        """A handler that uses the service hundreds of times amid calls of its own thread: no call hangs."""
        server.default = token_answer("one")
        outcomes: list[object] = []
        with AccessTokenManagement() as management:
            management.add_client("w", token_endpoint=server.token_endpoint, client_id="m", client_secret="T41NT")
            service = management.service

            def handler(number: int, frame: object) -> None:
                try:
                    outcomes.append(service.get_access_token(timeout=PATIENCE).value)
                except TokenRequestError as error:
                    outcomes.append(error)
                # One after the other, so that handlers do not pile up.
                signal.setitimer(signal.ITIMER_REAL, 0.0007)

            before = signal.signal(signal.SIGALRM, handler)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0007)
                while len(outcomes) < 300:
                    service.delete_access_token()
                    assert service.get_access_token(timeout=PATIENCE).value == "one"
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
        assert not any(isinstance(outcome, TokenRequestTimeout) for outcome in outcomes)


#: The files whose lines a fetch runs through.
FETCH_FILES = [
    str(module.__file__)
    for module in (service, locking, slot_table, slots, flights, token_source, token_request, registry)
]


def let_time_pass(harness: Harness, join: Callable[[], list[Any]]) -> list[Any]:
    """Join the callers; where a flight is left behind, they wait for its end on this clock."""
    over = threading.Event()
    results: list[Any] = []

    def wait() -> None:
        results.extend(join())
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    deadline = time.monotonic() + PATIENCE
    while not over.wait(0.005):
        assert time.monotonic() < deadline, "a caller hangs"
        harness.clock.advance(BEGIN_WITHIN)
    # Those that met the end of a flight that an exception left behind have its error.
    assert all(isinstance(result, (str, TokenRequestError)) for result in results)
    return results


class TestInterruptsAtEachLine:
    """A21, A29: an exception at any line of a call, in the caller or in the fetch."""

    class Interrupt(BaseException):
        """What a signal's handler raises."""

    def _interrupting(self, at: int) -> tuple[Callable[..., Any], list[bool]]:
        """A trace that raises at a line, and whether it did."""
        hit: list[bool] = []
        lines = iter(range(100_000))

        def trace(frame: Any, event: str, argument: Any) -> Any:
            if frame.f_code.co_filename not in FETCH_FILES:
                return None
            if event == "line" and a_signal_may_come(frame) and next(lines) == at:
                hit.append(True)
                raise self.Interrupt
            return trace

        return trace, hit

    @pytest.mark.parametrize("where", ["caller", "fetch"])
    def test_nobody_waits_for_ever(self, server: ScriptedServer, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """After an exception at the n-th line, for each n, other callers get their token, or an error, in time."""
        FetchThreads.current.expect(self.Interrupt)
        # A look that an exception left behind is waited for on the machine's clock.
        monkeypatch.setattr(service, "NEXT_LOOK", 0.05)
        server.respond = lambda request: token_answer("t")
        for at in range(1_000):
            harness = Harness(server, wait=(), max_time=20)
            with harness.management:
                trace, hit = self._interrupting(at)
                if where == "fetch":
                    with pytest.MonkeyPatch.context() as patch:
                        patch.setattr(threading, "gettrace", lambda trace=trace: trace)
                        callers = in_threads(1, lambda h=harness: h.get().value)  # type: ignore[misc]
                        let_time_pass(harness, callers)
                        FetchThreads.current.join(None)  # all have had the trace, however late they began
                else:
                    before = sys.gettrace()
                    sys.settrace(trace)
                    try:
                        harness.get()
                    except self.Interrupt:
                        pass
                    finally:
                        sys.settrace(before)
                let_time_pass(harness, in_threads(3, lambda h=harness: h.get().value))  # type: ignore[misc]
                harness.service.delete_access_token("worker")
                harness.management.configure_backchannel(max_time=20)
                assert harness.get(timeout=PATIENCE).value == "t"
            if not hit:
                break
        assert at > 60, "fewer lines than a call has"


class TestWithoutMemoryOrThreads:
    def test_a23_a_thread_that_dies_before_its_first_line(self, harness: Harness) -> None:
        """Those who wait for it start another one after a few seconds."""
        starts = iter([None])

        def start(work: Callable[[], object], name: str) -> None:
            if next(starts, True):
                FetchThreads.current.start(work, name)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("requests_cc_token.flights.start_thread", start)
            join = in_threads(2, lambda: harness.get().value)
            until_all_wait(harness, 2)
            harness.clock.advance(BEGIN_WITHIN)
            assert join() == ["one", "one"]

    def test_a23_threads_that_never_begin(self, harness: Harness) -> None:
        """After a few of them the caller gets an error that says so, and the next call works."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("requests_cc_token.flights.start_thread", lambda work, name: None)
            (error,) = let_time_pass(harness, in_threads(1, harness.get))
        assert isinstance(error, TokenRequestError)
        assert "out of memory or threads" in str(error)
        harness.clock.advance(BEGIN_WITHIN)
        assert harness.get().value == "one"

    def test_a23_a_fetch_that_ends_without_an_outcome(self, harness: Harness) -> None:
        """A lack of memory as it lands: those who wait for it start another one."""
        service: Any = harness.service
        fetch = service._fetch
        fails = iter([True])

        def failing(*arguments: Any) -> None:
            if next(fails, False):
                raise MemoryError
            fetch(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(service, "_fetch", failing)
            FetchThreads.current.expect(MemoryError)
            assert harness.get().value == "one"
            assert FetchThreads.current.ended_with() == [MemoryError]

    def test_a23_no_thread_and_no_memory_for_a_moment(self, server: ScriptedServer) -> None:
        """A process that runs into its limit of memory recovers by itself once there is some again."""
        server.respond = lambda request: token_answer("t")
        program = f"""
import gc, resource, sys
from requests_cc_token import AccessTokenManagement, TokenRequestError
management = AccessTokenManagement()
management.add_client("w", token_endpoint={server.token_endpoint!r}, client_id="m", client_secret={{"env": "SECRET"}})
management.configure_backchannel(max_time=5)
management.service.get_access_token()
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for spare in (0, 64 << 10, 256 << 10, 1 << 20):
    management.service.delete_access_token()
    resource.setrlimit(resource.RLIMIT_AS, (used + spare, hard))
    try:
        management.service.get_access_token(timeout=3)
    except (TokenRequestError, MemoryError) as error:
        pass
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
management.configure_backchannel(max_time=5)
print(management.service.get_access_token(timeout=20).value)
"""
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE * 3,
            cwd=ROOT,
            env={**os.environ, "SECRET": "T41NT"},
        )
        assert done.stdout == "t\n", done.stderr

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="the public way to make an isolated one is of 3.13")
    def test_a28_an_isolated_subinterpreter(self, server: ScriptedServer) -> None:
        """It has no daemon threads: the caller fetches by itself."""
        interpreters = pytest.importorskip("concurrent.interpreters", reason="of Python 3.14")
        server.respond = lambda request: token_answer("t")
        interpreter = interpreters.create()
        interpreter.exec(f"""
from requests_cc_token import AccessTokenManagement
management = AccessTokenManagement()
management.add_client("w", token_endpoint={server.token_endpoint!r}, client_id="m", client_secret="T41NT")
assert management.service.get_access_token(timeout=20).value == "t"
""")
        interpreter.close()


def test_f34_a_process_that_was_frozen_amid_a_fetch(server: ScriptedServer) -> None:
    """Stopped and continued past its fetch's time and its token's end, its first call gets a fresh fetch."""
    release = threading.Event()
    server.script.extend([token_answer("old", 1), gated(release, token_answer("late", 1))])
    server.default = token_answer("fresh")
    program = f"""
import sys, threading
from requests_cc_token import AccessTokenManagement
management = AccessTokenManagement()
management.add_client("w", token_endpoint={server.token_endpoint!r}, client_id="m", client_secret={{"env": "SECRET"}})
management.configure_backchannel(max_time=1, wait=())
print(management.service.get_access_token().value, flush=True)
def renew():
    try: management.service.get_access_token()
    except Exception: pass
management.service.delete_access_token()
threading.Thread(target=renew, daemon=True).start()
sys.stdin.readline()
print(management.service.get_access_token().value, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "SECRET": "T41NT"},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "old\n"
        server.wait_for_requests(2)
        process.send_signal(signal.SIGSTOP)
        # Real time is what a frozen process misses; this is past the fetch's budget and the token's life.
        threading.Event().wait(2.2)
        process.stdin.write("go\n")
        process.stdin.flush()
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "fresh\n"
        release.set()
        process.stdin.close()


def test_an_interrupt_as_a_renewal_is_started(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes its caller away, who waited for nobody; the next one starts the renewal."""
    harness.get()
    harness.clock.advance(3_500)

    def interrupted(work: Callable[[], object], name: str) -> None:
        monkeypatch.setattr(flights, "start_thread", start_thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(flights, "start_thread", interrupted)
    with pytest.raises(KeyboardInterrupt):
        harness.get()
    harness.get()
    harness.until_event("renewed")

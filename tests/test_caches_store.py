"""Operations of a store that take a bounded time, whatever the store does."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

from requests_cc_token import AccessToken
from requests_cc_token.caches.bounded_calls import MAX_HANGING, STEPS, Allowance, BoundedCalls
from requests_cc_token.caches.records import TokenRecords
from requests_cc_token.caches.store import (
    MAX_WAIT,
    SILENCE_WHILE_WAITING,
    Claim,
    Holder,
    Kept,
    StoreTokenCache,
    Wait,
    until_next_look,
)
from requests_cc_token.exceptions import TokenCacheError
from requests_cc_token.testing import ManualClock

from .fetch_threads import FetchThreads, until_nothing_hangs
from .scripted_server import PATIENCE

#: Part of a token that must not get out.
TOKEN = "T41NT-token"


@pytest.fixture
def calls() -> BoundedCalls:
    return BoundedCalls("the store")


def short() -> Allowance:
    """Over soon."""
    return Allowance(0.04)


def patient() -> Allowance:
    return Allowance(PATIENCE)


def test_a_result(calls: BoundedCalls) -> None:
    """An operation's result comes back."""
    assert calls.call("read", lambda: TOKEN, patient()) == TOKEN


class NeverSet(threading.Event):
    """An event that is never set; notes for how long it was waited for, and waits for none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        return False


def test_an_allowance_is_what_it_says() -> None:
    """A silent store is waited for in equal steps that add up to the seconds allowed, however late each one ends."""
    allowance, silent = Allowance(0.25), NeverSet()
    assert not allowance.wait(silent)
    assert len(silent.waits) == STEPS
    assert sum(silent.waits) == pytest.approx(0.25)


def test_an_allowance_is_shared_by_the_operations_of_a_call() -> None:
    """What one operation has used up the next one has not; an answer that is there is taken all the same."""
    allowance, silent, answered = Allowance(0.25), NeverSet(), threading.Event()
    answered.set()
    assert not allowance.wait(silent)
    assert not allowance.wait(silent)
    assert len(silent.waits) == STEPS + 1
    assert allowance.wait(answered)


def test_an_error_says_what_the_store_said(calls: BoundedCalls) -> None:
    """An OSError, and one of a script in Redis, is told by its reason; others by their kind: they may quote a token."""

    def fail(error: Exception) -> Any:
        raise error

    for error, said in (
        (OSError(28, "No space left on device", f"/{TOKEN}"), "the store: OSError: No space left on device"),
        (ValueError(TOKEN), "the store: ValueError"),
        (OSError(TOKEN), "the store: OSError"),
        (TokenCacheError("the key is missing"), "the store: the key is missing"),
        (
            redis.ResponseError(
                f"Error running script (call to f_{'0' * 40}): @user_script:28: @user_script: 28: -OOM not allowed"
            ),
            "the store: ResponseError: OOM not allowed",
        ),
    ):
        with pytest.raises(TokenCacheError) as caught:
            calls.call("read", lambda error=error: fail(error), patient())  # type: ignore[misc]
        assert str(caught.value) == said
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_what_a_store_says_at_length_is_cut(calls: BoundedCalls) -> None:
    """As much of it as a line of the log can do with; the values of a command, which may be a token, are left out."""

    def fail(text: str) -> Any:
        raise redis.ResponseError(text)

    for text, told in (
        ("n" * 120, "n" * 120),
        ("n" * 121, "n" * 120 + "…"),
        (f"unknown command 'EVALSHA', with args beginning with: '{TOKEN}'", "unknown command 'EVALSHA'"),
        ("", ""),
    ):
        with pytest.raises(TokenCacheError) as caught:
            calls.call("read", lambda text=text: fail(text), patient())  # type: ignore[misc]
        assert str(caught.value) == "the store: ResponseError" + (f": {told}" if told else "")


def test_what_hangs_is_left_behind(calls: BoundedCalls) -> None:
    """An operation that hangs raises in time; its late result is undone."""
    gate, undone = threading.Event(), threading.Event()
    results: list[str] = []

    def hang() -> str:
        gate.wait(PATIENCE)
        return "late"

    def undo(result: str) -> None:
        results.append(result)
        undone.set()

    with pytest.raises(TokenCacheError, match="the store did not answer within 40 ms"):
        calls.call("lease from", hang, short(), undo=undo)
    assert results == []
    gate.set()
    assert undone.wait(PATIENCE)
    assert results == ["late"]


def test_what_hangs_is_bounded(calls: BoundedCalls) -> None:
    """Only so many operations may hang at once; the next ones raise without a thread, until one has ended."""
    gate = threading.Event()
    for _ in range(MAX_HANGING):
        with pytest.raises(TokenCacheError, match="did not answer"):
            calls.call("read", lambda: gate.wait(PATIENCE), short())
    assert calls._hanging == MAX_HANGING
    ran: list[bool] = []
    with pytest.raises(TokenCacheError, match=f"{MAX_HANGING} operations hang already"):
        calls.call("read", lambda: ran.append(True), patient())
    assert ran == []
    gate.set()
    until_nothing_hangs()
    assert calls.call("read", lambda: "again", patient()) == "again"


def test_what_hangs_while_it_is_undone_is_bounded(calls: BoundedCalls) -> None:
    """Giving back what came late may hang as well, and holds a thread as long."""
    gate, undoing, over = threading.Event(), threading.Semaphore(0), threading.Event()

    def undo(_: object) -> None:
        undoing.release()
        over.wait(PATIENCE)

    for _ in range(MAX_HANGING):
        with pytest.raises(TokenCacheError, match="did not answer"):
            calls.call("lease from", lambda: gate.wait(PATIENCE), short(), undo=undo)
    gate.set()
    for _ in range(MAX_HANGING):
        assert undoing.acquire(timeout=PATIENCE)
    with pytest.raises(TokenCacheError, match=f"{MAX_HANGING} operations hang already"):
        calls.call("read", lambda: 1, patient())
    over.set()
    until_nothing_hangs()
    assert calls.call("read", lambda: 1, patient()) == 1


def test_a_late_failure_is_nobodys(calls: BoundedCalls) -> None:
    """An operation that fails after it was left behind, or whose undoing fails, says nothing more."""
    gate = threading.Event()

    def fail(*_: object) -> None:
        gate.wait(PATIENCE)
        raise OSError(5, TOKEN)

    with pytest.raises(TokenCacheError, match="did not answer"):
        calls.call("lease from", fail, short(), undo=fail)
    with pytest.raises(TokenCacheError, match="did not answer"):
        calls.call("lease from", lambda: gate.wait(PATIENCE), short(), undo=fail)
    gate.set()
    until_nothing_hangs()
    assert calls.call("read", lambda: "again", patient()) == "again"


def test_without_a_thread_there_is_no_operation(calls: BoundedCalls) -> None:
    """Where the system gives no thread more, the operation does not run, and the error says so."""
    ran: list[bool] = []
    # No address space has room for such a stack: pthread_create fails as it does at the limit of threads.
    before = threading.stack_size(1 << 60)
    try:
        with pytest.raises(TokenCacheError, match="the store: no thread can be started to read it"):
            calls.call("read", lambda: ran.append(True), patient())
    finally:
        threading.stack_size(before)
    assert ran == []


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs a signal that comes by itself")
def test_an_interrupt_leaves_nothing_behind(calls: BoundedCalls) -> None:
    """What is granted to a caller whom a signal's handler took away is given back, and counts while it hangs."""
    gate, undone = threading.Event(), threading.Event()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def operation() -> None:
        # By now its caller waits for it, or is about to; a timer's signal might come sooner.
        gate.wait(0.01)
        signal.pthread_kill(caller, signal.SIGALRM)
        gate.wait(PATIENCE)

    caller = threading.get_ident()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            calls.call("lease from", operation, patient(), undo=lambda _: undone.set())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not undone.is_set()
    gate.set()
    assert undone.wait(PATIENCE)


def test_an_interrupt_while_the_thread_starts(calls: BoundedCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that is taken away before it waits: what is granted then is given back as well."""
    gate, undone = threading.Event(), threading.Event()
    def interrupted(work: Callable[[], object], name: str) -> None:
        FetchThreads.current.start(work, name)
        raise KeyboardInterrupt

    monkeypatch.setattr("requests_cc_token.caches.bounded_calls.start_thread", interrupted)
    with pytest.raises(KeyboardInterrupt):
        calls.call("lease from", lambda: gate.wait(PATIENCE), patient(), undo=lambda _: undone.set())
    gate.set()
    assert undone.wait(PATIENCE)


def test_no_memory_for_a_thread_holds_nothing_up(calls: BoundedCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often none can be had, none of these operations counts as one that hangs."""

    def without_memory(function: Callable[[], object], arguments: tuple[()]) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", without_memory)
        for _ in range(MAX_HANGING + 1):
            with pytest.raises(TokenCacheError, match="no thread can be started to read it"):
                calls.call("read", lambda: None, patient())
    assert calls.call("read", lambda: 1, patient()) == 1


def test_a_thread_that_dies_before_its_first_line(calls: BoundedCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where memory runs out: it is waited for as long as any other, and however often that is, none hangs."""
    threads = FetchThreads.current
    given_back: list[int] = []
    begin: list[Callable[[], object]] = []
    with monkeypatch.context() as patch:
        patch.setattr("requests_cc_token.caches.bounded_calls.start_thread", lambda work, name: begin.append(work))
        for _ in range(MAX_HANGING + 1):
            with pytest.raises(TokenCacheError, match="did not answer within 40 ms"):
                calls.call("lease from", lambda: 1, short(), undo=given_back.append)
    assert calls.call("read", lambda: 1, patient()) == 1
    # One that was only late gives back what it got, and counts for as long as it takes.
    threads.start(begin[0], "requests_cc_token cache")
    until_nothing_hangs()
    assert given_back == [1]
    assert calls._hanging == 0


class SlowStore(StoreTokenCache[str]):
    """A store that answers a claim when its gate opens, and notes what it gets back."""

    def __init__(self, claim: Claim[str]) -> None:
        super().__init__("the store", TokenRecords(None), 10.0, 0.04, None)
        self.gate = threading.Event()
        self.claim = claim
        self.there = AccessToken(TOKEN, expires_at=math.inf)
        self.back: list[str] = []

    def _read(self, key: str) -> AccessToken | None:
        return None

    def _write(self, key: str, token: AccessToken | None, claim: Claim[str] | None) -> None:
        raise AssertionError("nothing is written here")

    def _claim(self, key: str, wait: Wait) -> Claim[str]:
        self.gate.wait(PATIENCE)
        if wait.for_any:
            return Claim(0, 7, self.there)
        return self.claim

    def _let_go(self, key: str, holding: str) -> None:
        self.back.append(holding)

    def _forget(self, key: str) -> None:
        raise AssertionError("nothing is forgotten here")

    def _inspect(self, key: str) -> Kept:
        raise AssertionError("nobody looks here")


@pytest.mark.parametrize(
    ("number", "holding"), [(8, "the lock"), (0, None)], ids=["granted", "another one's turn"]
)
def test_a_claim_granted_too_late_is_given_back(number: int, holding: str | None) -> None:
    """What a store grants to a caller that has left is given back; where it grants nothing there is nothing to give."""
    claim = Claim(number, 7, None, holding)
    store = SlowStore(claim)
    with pytest.raises(TokenCacheError, match="did not answer"):
        store.lease("key", lambda: False)
    store.gate.set()
    until_nothing_hangs()
    assert store.back == ([] if holding is None else [holding])
    assert claim.holding is None


def test_what_a_child_does_about_what_hangs(calls: BoundedCalls) -> None:
    """After a fork nothing hangs; an operation of before that ends all the same is not counted."""
    gate = threading.Event()
    for _ in range(MAX_HANGING):
        with pytest.raises(TokenCacheError, match="did not answer"):
            calls.call("read", lambda: gate.wait(PATIENCE), short())
    calls.after_fork_in_child()
    gate.set()
    until_nothing_hangs()
    gate.clear()
    for _ in range(MAX_HANGING):
        with pytest.raises(TokenCacheError, match="did not answer"):
            calls.call("read", lambda: gate.wait(PATIENCE), short())
    with pytest.raises(TokenCacheError, match="hang already"):
        calls.call("read", lambda: "one more", patient())
    gate.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_is_not_held_back_by_what_hangs_in_its_parent(calls: BoundedCalls) -> None:
    """What hangs in a parent is not in its forked child."""
    gate = threading.Event()
    for _ in range(MAX_HANGING):
        with pytest.raises(TokenCacheError, match="did not answer"):
            calls.call("read", lambda: gate.wait(PATIENCE), short())
    child = os.fork()
    if child == 0:  # pragma: no cover - the child's lines count in no parent
        works = False
        try:
            works = calls.call("read", lambda: "child", patient()) == "child"
        finally:
            os._exit(0 if works else 1)
    gate.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    until_nothing_hangs()


class NotedCalls(BoundedCalls):
    """Runs operations at once, and notes what each was allowed."""

    def __init__(self) -> None:
        super().__init__("the store")
        self.noted: list[tuple[str, Allowance]] = []

    def call(self, doing: str, operation: Any, allowance: Allowance, *, undo: Any = None) -> Any:
        self.noted.append((doing, allowance))
        return operation()


def test_a_call_has_one_allowance_for_all_that_it_asks_of_the_store() -> None:
    """Looking, leasing and giving back share what the store may add to one call; the next call has its own."""
    store = SlowStore(Claim(8, 7, None, "the lock"))
    store.gate.set()
    store._calls = calls = NotedCalls()
    for _ in range(2):
        lease = store.lease("key", lambda: False, lambda token: False)
        assert lease is not None
        store.claim.holding = "the lock"
        lease.release()
    assert [doing for doing, _ in calls.noted] == ["lease from", "lease from", "release"] * 2
    one, other = ({id(allowance) for _, allowance in calls.noted[at : at + 3]} for at in (0, 3))
    assert len(one) == len(other) == 1
    assert one != other
    assert {allowance.seconds for _, allowance in calls.noted} == {0.04}


def test_who_waits_for_another_process_does_not_wait_for_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process fetches, each look has an allowance of its own, and a larger one."""
    monkeypatch.setattr("requests_cc_token.caches.store.POLL_BOUNDS", (0.0, 0.0))
    store = SlowStore(Claim(0, 7, None))
    store.gate.set()
    store._calls = calls = NotedCalls()
    looks = iter([False, False, True])
    assert store.lease("key", lambda: next(looks)) is None
    assert [allowance.seconds for _, allowance in calls.noted] == [0.04] + [0.04 * SILENCE_WHILE_WAITING] * 2
    assert len({id(allowance) for _, allowance in calls.noted}) == 3


def test_what_is_written_between_the_first_two_looks_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of the first look was not enough; the one that came before the second is what is waited for."""
    monkeypatch.setattr("requests_cc_token.caches.store.POLL_BOUNDS", (0.0, 0.0))
    news = AccessToken("news", expires_at=math.inf)
    store = SlowStore(Claim(0, 8, news))
    store.gate.set()
    lease = store.lease("key", lambda: True, lambda token: False)
    assert lease is not None
    assert (lease.granted, lease.token) == (False, news)


class ToldStore(StoreTokenCache[str]):
    """A store that answers what it is told to, and notes what it is asked for."""

    def __init__(self, clock: ManualClock, kept: Kept | None = None, fails: str | None = None) -> None:
        super().__init__("the store", TokenRecords(None), 10.0, PATIENCE, clock)
        self.kept = kept
        self.fails = fails
        self.noted: list[tuple[str, str]] = []
        self.written: AccessToken | None = None

    def _note(self, doing: str, key: str) -> None:
        self.noted.append((doing, key))
        if doing == self.fails:
            raise OSError(28, "No space left on device")

    def _read(self, key: str) -> AccessToken | None:
        self._note("read", key)
        return None if self.kept is None else self.kept.token

    def _write(self, key: str, token: AccessToken | None, claim: Claim[str] | None) -> None:
        self._note("write" if claim is None else "write under the claim", key)
        self.written = token

    def _claim(self, key: str, wait: Wait) -> Claim[str]:
        self._note("claim", key)
        assert not wait.for_any
        return Claim(1, 0, None if self.kept is None else self.kept.token, "the lock")

    def _let_go(self, key: str, holding: str) -> None:
        self._note("let go", key)

    def _forget(self, key: str) -> None:
        self._note("forget", key)

    def _inspect(self, key: str) -> Kept:
        self._note("inspect", key)
        assert self.kept is not None
        return self.kept


@pytest.mark.parametrize(("left", "is_there"), [(0.1, True), (0.0, False), (-1.0, False)])
def test_a_token_that_has_expired_is_not_there(left: float, is_there: bool) -> None:
    """From its last moment on; who fetches the next one is told all the same."""
    clock, holder = ManualClock(), Holder("process 7", None)
    token = AccessToken("t", expires_at=clock.time() + left)
    store = ToldStore(clock, Kept(token, 5.0, holder))
    assert store.get("key") is (token if is_there else None)
    lease = store.lease("key", lambda: False)
    assert lease is not None
    assert lease.token is (token if is_there else None)
    assert store.inspect("key") == (Kept(token, 5.0, holder) if is_there else Kept(None, None, holder))
    nothing = Kept(None, None, None)
    assert ToldStore(clock, nothing).inspect("key") == nothing


@pytest.mark.parametrize(
    ("fails", "done"),
    [
        (None, ["claim", "write under the claim", "let go", "forget"]),
        ("claim", ["claim", "forget"]),
        ("write under the claim", ["claim", "write under the claim", "let go", "forget"]),
        ("let go", ["claim", "write under the claim", "let go", "forget"]),
        ("forget", ["claim", "write under the claim", "let go", "forget"]),
    ],
)
def test_trying_a_store_out_leaves_nothing(fails: str | None, done: list[str]) -> None:
    """All of it happens to a key that no client has, and whatever fails is told."""
    clock = ManualClock()
    stores = [ToldStore(clock, fails=fails) for _ in range(2)]
    for store in stores:
        if fails is None:
            store.try_out()
        else:
            with pytest.raises(TokenCacheError, match="No space left on device"):
                store.try_out()
        assert [doing for doing, _ in store.noted] == done
    keys = [{key for _, key in store.noted} for store in stores]
    assert [len(each) for each in keys] == [1, 1]
    assert keys[0] != keys[1]
    assert all(re.fullmatch("[0-9a-f]{64}", key) for each in keys for key in each)
    if fails not in ("claim", "write under the claim"):
        assert store.written is not None
        assert (store.written.value, store.written.expires_at) == ("none", clock.time() + 10.0)


@pytest.mark.parametrize(("left", "stored"), [(0.1, True), (0.0, False)])
def test_what_is_written_late_is_a_deletion(left: float, stored: bool) -> None:
    """A token that has expired meanwhile is not stored, and what was there goes; under a lease and without."""
    clock = ManualClock()
    store, token = ToldStore(clock), AccessToken("t", expires_at=clock.time() + left)
    store.set("key", token)
    assert store.written is (token if stored else None)
    store.delete("key")
    assert store.written is None
    assert store.noted == [("write", "key")] * 2
    store.noted.clear()
    lease = store.lease("key", lambda: False)
    assert lease is not None
    assert (lease.granted, lease.token, repr(lease)) == (True, None, f"<lease 1 of {store!r}>")
    lease.set(token)
    assert store.written is (token if stored else None)
    done = [("claim", "key"), ("write under the claim", "key"), ("let go", "key")]
    assert store.noted == done
    lease.release()
    assert store.noted == done, "it is let go of once"


def test_a_lease_is_let_go_of_where_its_token_cannot_be_written() -> None:
    """At once: whoever wants it next need not wait for the end of this fetch."""
    clock = ManualClock()
    store = ToldStore(clock, fails="write under the claim")
    lease = store.lease("key", lambda: False)
    assert lease is not None
    with pytest.raises(TokenCacheError, match="No space left on device"):
        lease.set(AccessToken("t", expires_at=clock.time() + 1))
    assert store.noted[-1] == ("let go", "key")


def never() -> bool:
    raise AssertionError("nobody waits here")


@pytest.mark.parametrize("is_enough", [True, False])
def test_a_token_that_is_there_may_be_enough(is_enough: bool) -> None:
    """Then one look is all, without a turn; else the turn is asked for at once."""
    store, asked = SlowStore(Claim(8, 7, None, "the lock")), list[str]()
    store.gate.set()
    store._calls = calls = NotedCalls()

    def enough(token: AccessToken) -> bool:
        asked.append(token.value)
        return is_enough

    lease = store.lease("key", never, enough)
    assert lease is not None
    assert (lease.granted, lease.token) == ((False, store.there) if is_enough else (True, None))
    assert asked == [TOKEN]
    assert len(calls.noted) == (1 if is_enough else 2)
    lease.release()
    assert store.back == ([] if is_enough else ["the lock"])


def test_who_wants_another_token_is_not_asked() -> None:
    """What is there is not shown to a fetch that nothing is enough for, nor what has expired to any."""
    store = SlowStore(Claim(0, 7, AccessToken(TOKEN, expires_at=math.inf)))
    store.gate.set()
    assert store.lease("key", lambda: True) is None
    store.there = AccessToken(TOKEN, expires_at=0.0)

    def enough(token: AccessToken) -> bool:
        raise AssertionError("there is none")

    assert store.lease("key", lambda: True, enough) is None


def test_a_wait_for_others_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted on the cache's clock, look by look; each wait is another one."""
    monkeypatch.setattr("requests_cc_token.caches.store.POLL_BOUNDS", (0.0, 0.0))
    clock = ManualClock()
    wait = Wait(clock.monotonic())
    assert (wait.looks, wait.waited, wait.over, wait.for_any) == (0, 0.0, False, False)
    for seconds, over in ((0.0, False), (MAX_WAIT - 0.5, False), (0.5, True)):
        clock.advance(seconds)
        wait.pause(clock)
        assert wait.over is over
    assert (wait.looks, wait.waited) == (3, MAX_WAIT)
    assert Wait(0.0).nonce != wait.nonce
    assert Wait(0.0).nonce.startswith(f"{socket.gethostname()}:{os.getpid()}:")


@pytest.mark.parametrize(
    ("waited", "bound"), [(0.0, 0.1), (0.4, 0.1), (0.8, 0.2), (1.6, 0.4), (2.0, 0.5), (30.0, 0.5)]
)
def test_who_waits_for_longer_looks_more_rarely(waited: float, bound: float) -> None:
    """A quarter of the time so far, within bounds; a fleet does not look in step."""
    waits = [until_next_look(waited) for _ in range(1_000)]
    assert bound / 2 <= min(waits) < 0.6 * bound
    assert 0.9 * bound < max(waits) <= bound

"""Operations of a store that take a bounded time, whatever the store does."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import AccessToken
from requests_cc_token.caches.bounded_calls import MAX_HANGING, BoundedCalls
from requests_cc_token.caches.records import TokenRecords
from requests_cc_token.caches.store import Claim, StoreTokenCache, Wait
from requests_cc_token.exceptions import TokenCacheError

from .scripted_server import PATIENCE

#: Part of a token that must not get out.
TOKEN = "T41NT-token"


@pytest.fixture
def calls() -> BoundedCalls:
    return BoundedCalls("the store", 0.04)


def left_behind() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "requests_cc_token cache"]


@pytest.fixture(autouse=True)
def _nothing_hangs_from_before() -> None:
    for thread in left_behind():
        thread.join(PATIENCE)


def test_a_result_and_what_it_took(calls: BoundedCalls) -> None:
    """An operation's result comes back, with the share of the time that it took."""
    patient = BoundedCalls("the store", PATIENCE)
    result, spent = patient.call("read", lambda: TOKEN)
    assert result == TOKEN
    assert 0 <= spent < 1


def test_an_error_says_what_the_store_said(calls: BoundedCalls) -> None:
    """An operation's OSError is told by its reason, any other error by its kind alone: it may quote a token."""

    def fail(error: Exception) -> Any:
        raise error

    for error, said in (
        (OSError(28, "No space left on device", f"/{TOKEN}"), "the store: OSError: No space left on device"),
        (ValueError(TOKEN), "the store: ValueError"),
        (OSError(TOKEN), "the store: OSError"),
        (TokenCacheError("the key is missing"), "the store: the key is missing"),
    ):
        with pytest.raises(TokenCacheError) as caught:
            BoundedCalls("the store", PATIENCE).call("read", lambda error=error: fail(error))  # type: ignore[misc]
        assert str(caught.value) == said
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


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
        calls.call("lease from", hang, undo=undo)
    assert results == []
    gate.set()
    assert undone.wait(PATIENCE)
    assert results == ["late"]


def test_what_hangs_is_bounded(calls: BoundedCalls) -> None:
    """Only so many operations may hang at once; the next ones raise without a thread, until one has ended."""
    gate = threading.Event()
    for _ in range(MAX_HANGING):
        with pytest.raises(TokenCacheError, match="did not answer"):
            calls.call("read", lambda: gate.wait(PATIENCE))
    assert len(left_behind()) == MAX_HANGING
    ran: list[bool] = []
    with pytest.raises(TokenCacheError, match=f"{MAX_HANGING} operations hang already"):
        calls.call("read", lambda: ran.append(True))
    assert ran == []
    gate.set()
    for thread in left_behind():
        thread.join(PATIENCE)
    calls.timeout = PATIENCE
    assert calls.call("read", lambda: "again")[0] == "again"


def test_a_late_failure_is_nobodys(calls: BoundedCalls) -> None:
    """An operation that fails after it was left behind, or whose undoing fails, says nothing more."""
    gate = threading.Event()

    def fail(*_: object) -> None:
        gate.wait(PATIENCE)
        raise OSError(5, TOKEN)

    with pytest.raises(TokenCacheError, match="did not answer"):
        calls.call("lease from", fail, undo=fail)
    with pytest.raises(TokenCacheError, match="did not answer"):
        calls.call("lease from", lambda: gate.wait(PATIENCE), undo=fail)
    gate.set()
    for thread in left_behind():
        thread.join(PATIENCE)
    calls.timeout = PATIENCE
    assert calls.call("read", lambda: "again")[0] == "again"


def test_a_smaller_share_is_a_shorter_time(calls: BoundedCalls) -> None:
    """An operation gets the share of the time that is left of it."""
    gate = threading.Event()
    with pytest.raises(TokenCacheError, match="the store did not answer within 10 ms"):
        calls.call("read", lambda: gate.wait(PATIENCE), share=0.25)
    gate.set()


def test_without_a_thread_there_is_no_operation(calls: BoundedCalls) -> None:
    """Where the system gives no thread more, the operation does not run, and the error says so."""
    ran: list[bool] = []
    # No address space has room for such a stack: pthread_create fails as it does at the limit of threads.
    before = threading.stack_size(1 << 60)
    try:
        with pytest.raises(TokenCacheError, match="the store: no thread can be started to read it"):
            calls.call("read", lambda: ran.append(True))
    finally:
        threading.stack_size(before)
    assert ran == []


def test_where_the_system_tells_nothing_of_threads(
    calls: BoundedCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no /proc, the clock alone says when an operation's time is over, and what it took."""
    for name in ("_THREADS", "_THIS_THREAD"):
        monkeypatch.setattr(f"requests_cc_token.caches.bounded_calls.{name}", tmp_path / "none")
    gate = threading.Event()
    with pytest.raises(TokenCacheError, match="the store did not answer within 40 ms"):
        calls.call("read", lambda: gate.wait(PATIENCE))
    gate.set()
    patient = BoundedCalls("the store", PATIENCE)
    result, spent = patient.call("read", lambda: TOKEN)
    assert result == TOKEN
    assert 0 < spent < 1


class SlowStore(StoreTokenCache[str]):
    """A store that answers a claim when its gate opens, and notes what it gets back."""

    def __init__(self, claim: Claim[str]) -> None:
        super().__init__("the store", TokenRecords(None), 10.0, 0.04, None)
        self.gate = threading.Event()
        self.claim = claim
        self.back: list[str] = []

    def _read(self, key: str) -> AccessToken | None:
        return None

    def _write(self, key: str, token: AccessToken | None, claim: Claim[str] | None) -> None:
        raise AssertionError("nothing is written here")

    def _claim(self, key: str, wait: Wait) -> Claim[str]:
        self.gate.wait(PATIENCE)
        return self.claim

    def _let_go(self, key: str, holding: str) -> None:
        self.back.append(holding)


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
    for thread in left_behind():
        thread.join(PATIENCE)
    assert store.back == ([] if holding is None else [holding])
    assert claim.holding is None


def test_a_busy_operation_is_not_the_stores_fault() -> None:
    """An operation that wants a processor all the time is waited for beyond its time, but not for ever."""
    calls = BoundedCalls("the store", 0.001)

    def spin() -> str:
        ends = time.thread_time() + 0.05
        while time.thread_time() < ends:
            pass
        return "done"

    if os.path.exists("/proc/thread-self/schedstat"):  # noqa: PTH110
        assert calls.call("read", spin)[0] == "done"


def test_what_a_child_does_about_what_hangs(calls: BoundedCalls) -> None:
    """After a fork nothing hangs; an operation of before that ends all the same is not counted."""
    gate = threading.Event()
    for _ in range(MAX_HANGING):
        with pytest.raises(TokenCacheError, match="did not answer"):
            calls.call("read", lambda: gate.wait(PATIENCE))
    calls.after_fork_in_child()
    gate.set()
    for thread in left_behind():
        thread.join(PATIENCE)
    gate.clear()
    for _ in range(MAX_HANGING):
        with pytest.raises(TokenCacheError, match="did not answer"):
            calls.call("read", lambda: gate.wait(PATIENCE))
    with pytest.raises(TokenCacheError, match="hang already"):
        calls.call("read", lambda: "one more")
    gate.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_is_not_held_back_by_what_hangs_in_its_parent(calls: BoundedCalls) -> None:
    """What hangs in a parent is not in its forked child."""
    gate = threading.Event()
    for _ in range(MAX_HANGING):
        with pytest.raises(TokenCacheError, match="did not answer"):
            calls.call("read", lambda: gate.wait(PATIENCE))
    calls.timeout = PATIENCE
    child = os.fork()
    if child == 0:  # pragma: no cover - the child's lines count in no parent
        works = False
        try:
            works = calls.call("read", lambda: "child")[0] == "child"
        finally:
            os._exit(0 if works else 1)
    gate.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for thread in left_behind():
        thread.join(PATIENCE)

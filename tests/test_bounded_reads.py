"""Looks at files that are waited for for a bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from requests_cc_token.bounded_reads import FIRST_LOOK, MAX_HANGING, CallersTimeError, Looks

from .fetch_threads import started
from .forked import in_child
from .scripted_server import PATIENCE


@pytest.fixture
def looks() -> Looks:
    return Looks()


def interrupted(flight: object) -> None:
    raise KeyboardInterrupt


def no_thread(work: Callable[[], object], name: str) -> None:
    raise RuntimeError("can't start new thread")


def test_what_a_look_brings_and_what_it_raises(looks: Looks) -> None:
    """Comes back to the caller, each time anew."""
    assert looks.take("a", lambda: 1, within=PATIENCE) == 1
    with pytest.raises(ZeroDivisionError):
        looks.take("a", lambda: 1 // 0, within=PATIENCE)
    assert looks.take("a", lambda: 2, within=PATIENCE) == 2


def test_one_looks_for_all(looks: Looks) -> None:
    """Who comes while a look is taken gets what it brings; looks at other things are taken beside it."""
    begun, gate = threading.Event(), threading.Event()
    got: list[str] = []

    def look() -> str:
        begun.set()
        assert gate.wait(PATIENCE)
        return "the first"

    overs = [started(lambda: got.append(looks.take("a", look, within=PATIENCE)))]
    assert begun.wait(PATIENCE)
    joined = looks._under_way["a"].bells
    overs += [started(lambda: got.append(looks.take("a", lambda: "another", within=PATIENCE))) for _ in range(3)]
    while len(joined) < 4:
        assert not any(over.is_set() for over in overs)
    assert looks.take("b", lambda: "aside", within=PATIENCE) == "aside"
    gate.set()
    assert all(over.wait(PATIENCE) for over in overs)
    assert got == ["the first"] * 4


def test_one_that_hangs_is_waited_for_once(looks: Looks) -> None:
    """Who comes later is told at once, however long it would wait; no second look is begun."""
    gate, begun = threading.Event(), threading.Semaphore(0)

    def look() -> None:
        begun.release()
        gate.wait(PATIENCE)

    for _ in range(50):
        with pytest.raises(TimeoutError) as caught:
            looks.take("a", look, within=0.02)
        assert caught.value.strerror == "it is still being read after 0.02 s"
    assert begun.acquire(timeout=PATIENCE)
    assert not begun.acquire(blocking=False)
    gate.set()


def test_a_caller_has_its_own_time(looks: Looks) -> None:
    """It counts from when the caller came, whoever began the look, and ends the caller's wait only."""
    begun, gate = threading.Event(), threading.Event()

    def look() -> str:
        begun.set()
        gate.wait(PATIENCE)
        return "there"

    with pytest.raises(CallersTimeError) as caught:
        looks.take("a", look, within=PATIENCE, own=0.02)
    assert caught.value.strerror == "it is still being read after 0.02 s"
    assert begun.wait(PATIENCE)
    looks._under_way["a"].begun_at -= PATIENCE / 2
    got: list[str] = []
    over = started(lambda: got.append(looks.take("a", look, within=PATIENCE, own=PATIENCE / 4)))
    while not looks._under_way["a"].bells:
        assert not over.is_set()
    gate.set()
    assert over.wait(PATIENCE)
    assert got == ["there"]


def test_an_interrupt_before_the_look_leaves_nothing_behind(
    looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, or a task's time limit, as the look is about to begin: the next caller begins another one."""
    with monkeypatch.context() as patch:
        patch.setattr("requests_cc_token.flights.Flight.join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            looks.take("a", lambda: 1, within=PATIENCE)
    assert looks.take("a", lambda: 2, within=PATIENCE) == 2
    begun, gate = threading.Event(), threading.Event()

    def look() -> int:
        begun.set()
        gate.wait(PATIENCE)
        return 3

    over = started(lambda: looks.take("a", look, within=PATIENCE))
    assert begun.wait(PATIENCE)
    with monkeypatch.context() as patch:
        patch.setattr("requests_cc_token.flights.Flight.join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            looks.take("a", lambda: 4, within=PATIENCE)
    assert "a" in looks._under_way, "the one that somebody else waits for goes on"
    gate.set()
    assert over.wait(PATIENCE)


def test_one_that_hangs_for_long_is_not_the_last(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there now is looked at after a while, by a few more threads at most; those that end make room."""
    monkeypatch.setattr("requests_cc_token.bounded_reads.AGAIN_AFTER", 0.0)
    gate, begun = threading.Event(), threading.Semaphore(0)

    def look() -> None:
        begun.release()
        gate.wait(PATIENCE)

    for _ in range(MAX_HANGING + 1):
        with pytest.raises(TimeoutError):
            looks.take("a", look, within=0)
        assert begun.acquire(timeout=PATIENCE)
    for _ in range(MAX_HANGING):
        with pytest.raises(TimeoutError):
            looks.take("a", look, within=0)
    assert not begun.acquire(timeout=0.05)
    gate.set()
    until = time.monotonic() + PATIENCE
    while looks._hanging:
        assert time.monotonic() < until
    assert looks.take("a", lambda: 1, within=PATIENCE) == 1


def test_one_whose_thread_never_came_is_replaced(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory ran out as it started: the next caller takes another one once that one is late."""
    with monkeypatch.context() as patch:
        patch.setattr("requests_cc_token.flights.BEGIN_WITHIN", 0.0)
        patch.setattr("requests_cc_token.flights.start_thread", lambda work, name: None)
        with pytest.raises(TimeoutError):
            looks.take("a", lambda: 1, within=PATIENCE)
    assert looks.take("a", lambda: 2, within=PATIENCE) == 2


def test_where_no_thread_can_be_had(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller looks by itself."""
    monkeypatch.setattr("requests_cc_token.flights.start_thread", no_thread)
    assert looks.take("a", threading.current_thread, within=PATIENCE) is threading.current_thread()


def test_a_look_that_asks_for_itself_is_refused(looks: Looks) -> None:
    """A password's callable, say, that needs a token of the client whose key it opens."""
    with pytest.raises(TimeoutError) as caught:
        looks.take("a", lambda: looks.take("a", lambda: 1, within=FIRST_LOOK), within=PATIENCE)
    assert caught.value.strerror == "it is asked for amid a look at it"


def test_a_signals_handler_does_not_wait_for_its_own_thread(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes just before its thread starts a look is told at once."""
    told: list[str | None] = []

    def interrupted(work: Callable[[], object], name: str) -> None:
        if not told:
            told.append(None)
            with pytest.raises(TimeoutError) as caught:
                looks.take("a", lambda: 1, within=FIRST_LOOK)
            told.append(caught.value.strerror)
        work()

    monkeypatch.setattr("requests_cc_token.flights.start_thread", interrupted)
    assert looks.take("a", lambda: 2, within=PATIENCE) == 2
    assert told == [None, "it is asked for amid a look at it"]


def test_a_forked_child_looks_by_itself(looks: Looks) -> None:
    """The thread of its parent's look is not there."""
    gate = threading.Event()
    with pytest.raises(TimeoutError):
        looks.take("a", lambda: gate.wait(PATIENCE), within=0)

    def check() -> None:
        assert looks.take("a", lambda: 1, within=PATIENCE) == 1

    in_child(check)
    gate.set()

"""The guard of the token service: one step at a time, and no thread waits for itself."""

from __future__ import annotations

import threading

import pytest

from requests_cc_token import TokenRequestError
from requests_cc_token.locking import Guard


def test_a_step_gives_what_it_returns() -> None:
    """Or raises, and the next one goes ahead all the same."""
    guard = Guard()
    assert guard.do(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        guard.do(lambda: 1 // 0)
    assert guard.do(guard.is_inside)
    assert not guard.is_inside()


def test_a_step_amid_a_step_of_the_same_thread_is_refused() -> None:
    """At once, where it would wait for itself; the outer one goes on."""
    guard = Guard()

    def outer() -> str:
        with pytest.raises(TokenRequestError, match="a signal's handler or a finalizer"):
            guard.do(lambda: None)
        return "outer"

    assert guard.do(outer) == "outer"


def test_another_thread_waits_for_its_turn() -> None:
    """And is not inside meanwhile."""
    guard = Guard()
    entered, release = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        entered.set()
        release.wait(10)
        order.append("first")

    threads = [
        threading.Thread(target=guard.do, args=(first,)),
        threading.Thread(target=guard.do, args=(lambda: order.append("second"),)),
    ]
    threads[0].start()
    assert entered.wait(10)
    assert not guard.is_inside()
    threads[1].start()
    release.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"]


def test_a_mark_that_an_interrupt_left_behind_is_none() -> None:
    """What a signal's handler raises as a step ends may leave it; the next step goes ahead and takes it away."""
    guard = Guard()
    guard._inside.add(threading.get_ident())
    assert not guard.is_inside()
    assert guard.do(lambda: 7) == 7
    assert guard._inside == set()


def test_a_child_of_a_fork_amid_a_step_begins_anew() -> None:
    """Another thread's step does not hold the child up, and that thread's number may be one of its own by now."""
    guard = Guard()

    def fork() -> None:
        guard.renew()
        assert not guard.is_inside()
        assert guard.do(lambda: 7) == 7

    guard.do(fork)
    assert guard.do(lambda: 8) == 8

"""One fetch and who waits for it: what waiters share, and what becomes of them when something ends early."""

from __future__ import annotations

import contextvars
import math
import sys
import threading
import traceback
from typing import Any

import pytest

from requests_cc_token import TokenRequestError
from requests_cc_token.clock import SystemClock
from requests_cc_token.flights import BEGIN_WITHIN, Bell, Flight, is_endless, joined, run_as_part_of
from requests_cc_token.testing import ManualClock

from .fetch_threads import started
from .scripted_server import PATIENCE


class TestBell:
    def test_it_wakes_the_one_who_waits(self) -> None:
        """Rung before or while somebody waits, and rung twice: it has rung, and waiting is over at once."""
        bell = Bell()
        over = started(lambda: bell.wait(PATIENCE))
        assert not bell.is_set()
        bell.set()
        bell.set()
        assert over.wait(PATIENCE)
        assert bell.is_set()
        assert bell.wait()

    def test_it_may_be_rung_twice_before_anybody_waits(self) -> None:
        """The second time changes nothing."""
        bell = Bell()
        bell.set()
        bell.set()
        assert bell.wait()

    @pytest.mark.parametrize("timeout", [0, 0.001, -1])
    def test_a_wait_ends_with_its_time(self, timeout: float) -> None:
        """Nobody rang."""
        assert not Bell().wait(timeout)

    def test_a_wait_may_be_as_long_as_somebody_likes(self) -> None:
        """More seconds than a lock can be waited for are as many as it can."""
        bell = Bell()
        bell.wake()
        assert not bell.wait(1e300)

    def test_a29_an_interrupt_of_a_waiter_locks_nothing(self) -> None:
        """A waiter that an exception takes away at any line of its wait leaves the ringing free for the others."""

        class Interrupt(BaseException):
            pass

        for line in range(12):
            flight: Flight[str] = Flight(0.0)
            flight.begun = True
            mine, others = flight.join(), flight.join()
            count = iter(range(1_000))

            def trace(frame: Any, event: str, argument: Any, count: Any = count, line: int = line) -> Any:
                if event == "line" and frame.f_code.co_filename.endswith("flights.py") and next(count) == line:
                    raise Interrupt
                return trace

            before = sys.gettrace()
            sys.settrace(trace)
            try:
                flight.wait(mine, SystemClock(), SystemClock().monotonic() + 0.001)
            except Interrupt:
                pass
            finally:
                sys.settrace(before)
            flight.land()
            assert flight.wait(others, SystemClock())


class TestFlight:
    def test_it_is_overdue_when_its_thread_or_its_end_did_not_come_in_time(self) -> None:
        """A few seconds for the thread to begin, the given time for the whole."""
        flight: Flight[str] = Flight(100.0, 30.0)
        assert not flight.is_overdue(100.0 + BEGIN_WITHIN - 0.1)
        assert flight.is_overdue(100.0 + BEGIN_WITHIN)
        flight.begun = True
        assert not flight.is_overdue(129.9)
        assert flight.is_overdue(130.0)

    def test_one_that_is_new(self) -> None:
        """Nothing has come of it, and it is what it was begun as; one that has landed is nobody's to wait for."""
        flight: Flight[str] = Flight(100.0)
        assert (flight.epoch, flight.background, flight.forced, flight.reason) == (0, False, False, "cold")
        assert (flight.begun, flight.given_up, flight.landed) == (False, False, False)
        assert (flight.tries, flight.waiting) == (0, 0)
        assert (flight.result, flight.error, flight.source, flight.waits_for) == (None, None, "service", None)
        assert (flight.begun_at, flight.over_at, flight.waits_for_this_thread()) == (100.0, math.inf, True)
        assert not flight.is_overdue(100.0)
        flight.land()
        assert flight.is_overdue(100.0)
        given: Flight[str] = Flight(0.0, epoch=3, background=True, forced=True, reason="renewal")
        assert (given.epoch, given.background, given.forced, given.reason) == (3, True, True, "renewal")

    def test_waiting_ends_when_it_lands(self) -> None:
        """Each waiter has a bell of its own, and whoever has left is not counted any more."""
        flight: Flight[str] = Flight(0.0)
        flight.begun = True
        bells = [flight.join() for _ in range(3)]
        flight.leave(bells[0])
        flight.leave(bells[0])
        assert flight.waiting == 2
        flight.land()
        assert all(flight.wait(bell, ManualClock()) for bell in bells[1:])
        assert flight.waiting == 0

    def test_waiting_ends_with_the_deadline_or_when_it_is_overdue(self) -> None:
        """Whichever comes first; a thread that begins late is waited for until the flight's own end."""
        clock = ManualClock(monotonic=0.0)
        flight: Flight[str] = Flight(0.0, 30.0)
        outcomes: list[bool] = []
        over = [
            started(lambda: outcomes.append(flight.wait(flight.join(), clock, 2.0))),
            started(lambda: outcomes.append(flight.wait(flight.join(), clock))),
        ]
        clock.until_waiting(lambda left: sorted(left) == [2.0, BEGIN_WITHIN])
        flight.begun = True
        clock.advance(2.0)
        assert over[0].wait(PATIENCE)
        clock.advance(BEGIN_WITHIN)
        clock.until_waiting(lambda left: left == [30.0 - 2.0 - BEGIN_WITHIN])
        clock.advance(30.0)
        assert over[1].wait(PATIENCE)
        assert outcomes == [False, False]

    def test_f45_a_flight_waits_for_the_code_that_is_part_of_it(self) -> None:
        """Within its own work, within that of a flight it waits for, and not once it has landed."""
        inner: Flight[str] = Flight(0.0)
        outer: Flight[str] = Flight(0.0)
        outer.waits_for = inner
        seen: list[bool] = []

        def look() -> None:
            seen.extend([inner.waits_for_this_code(), outer.waits_for_this_code()])
            inner.land()
            seen.append(outer.waits_for_this_code())

        assert not outer.waits_for_this_code()
        run_as_part_of(inner, look)
        assert seen == [True, True, False]

    def test_flights_that_wait_for_each_other_are_a_circle(self) -> None:
        """However long the row: it ends."""
        one: Flight[str] = Flight(0.0)
        two: Flight[str] = Flight(0.0)
        one.waits_for, two.waits_for = two, one
        assert one.waits_for_this_code()

    def test_the_innermost_flight_waits(self) -> None:
        """Of flights within each other, the one whose code it is; those around it wait for that one anyway."""
        outer, inner, awaited = (Flight[str](0.0) for _ in range(3))
        awaited.begun = True
        clock = ManualClock(monotonic=0.0)
        over = started(
            lambda: run_as_part_of(
                outer, lambda: run_as_part_of(inner, lambda: awaited.wait(awaited.join(), clock, 10.0))
            )
        )
        clock.until_waiting(lambda left: left == [10.0])
        assert (outer.waits_for, inner.waits_for) == (None, awaited)
        awaited.land()
        assert over.wait(PATIENCE)
        assert (outer.waits_for, inner.waits_for) == (None, None)

    def test_a_flight_notes_what_its_code_waits_for(self) -> None:
        """While it waits, and no longer."""
        outer: Flight[str] = Flight(0.0)
        inner: Flight[str] = Flight(0.0, math.inf)
        inner.begun = True
        clock = ManualClock(monotonic=0.0)
        over = started(lambda: run_as_part_of(outer, lambda: inner.wait(inner.join(), clock, 10.0)))
        clock.until_waiting(lambda left: left == [10.0])
        assert outer.waits_for is inner
        inner.land()
        assert over.wait(PATIENCE)
        assert outer.waits_for is None


class Sealed(Exception):
    """An error of somebody's that is made of one thing and keeps another."""

    def __init__(self, number: int) -> None:
        super().__init__(f"number {number + 1}")


class Mutable(Exception):
    """One that no copy is like."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ValueError, ("another",)


class TestOutcome:
    def landed(self, error: BaseException | None, result: Any = None) -> Flight[Any]:
        flight: Flight[Any] = Flight(0.0)
        flight.error, flight.result = error, result
        flight.land()
        return flight

    def test_what_it_brought(self) -> None:
        """As it is, whatever it is."""
        brought = object()
        assert self.landed(None, brought).outcome() is brought
        assert self.landed(None).outcome() is None

    def test_each_waiter_has_an_error_of_its_own(self) -> None:
        """With what it was raised of and where; no frame of another waiter, and nothing that one was handling."""
        error = KeyError("who", 1)
        error.hint = "ask"  # type: ignore[attr-defined]
        try:
            try:
                raise error from ValueError("a cause")
            except KeyError as failed:
                flight = self.landed(failed)
        finally:
            frames = traceback.extract_tb(error.__traceback__)
        got: list[KeyError] = []
        for number in range(3):
            try:
                raise IndexError(number)
            except IndexError:
                with pytest.raises(KeyError) as raised:
                    flight.outcome()
                got.append(raised.value)
        assert len({id(each) for each in [error, *got]}) == 4
        for number, each in enumerate(got):
            assert (each.args, each.hint, each.__cause__) == (error.args, "ask", error.__cause__)  # type: ignore[attr-defined]
            assert each.__suppress_context__
            assert repr(each.__context__) == f"IndexError({number})"
            assert traceback.extract_tb(each.__traceback__)[-1] == frames[-1]
            assert len(traceback.extract_tb(each.__traceback__)) == len(frames) + 2
        assert traceback.extract_tb(error.__traceback__) == frames

    def test_one_of_ours_comes_without_frames(self) -> None:
        """They may hold the secret."""
        error = TokenRequestError("no", client="a", transient=False, retry_after=3.0)
        try:
            raise error
        except TokenRequestError:
            flight = self.landed(error)
        with pytest.raises(TokenRequestError, match="no") as raised:
            flight.outcome()
        assert raised.value is not error
        assert (raised.value.client, raised.value.transient, raised.value.retry_after) == ("a", False, 3.0)
        assert len(traceback.extract_tb(raised.value.__traceback__)) == 2

    @pytest.mark.parametrize("error", [Sealed(1), Mutable("x"), UnicodeDecodeError("utf-8", b"", 0, 1, "no")])
    def test_one_that_cannot_be_copied_is_raised_as_it_is(self, error: Exception) -> None:
        """A copy that says something else, or is something else, would be worse."""
        with pytest.raises(type(error)) as raised:
            self.landed(error).outcome()
        assert str(raised.value) == str(error)
        assert (raised.value is error) is not isinstance(error, UnicodeDecodeError)


class TestJoined:
    def test_what_lands_as_it_is_joined_is_the_answer(self) -> None:
        """Nothing is begun, and what another thread has begun in its place meanwhile goes on being the one for all."""
        clock = ManualClock()
        landed: Flight[str] = Flight(clock.monotonic())
        following: Flight[str] = Flight(clock.monotonic())
        landed.result = "landed"

        class Late(dict[str, Flight[str]]):
            def setdefault(self, key: str, default: Any = None) -> Any:
                landed.land()
                self[key] = following
                return landed

        under_way = Late()
        flight, bell = joined(under_way, "key", lambda: "new", "of the test", clock=clock)
        assert flight.wait(bell, clock)
        assert flight.result == "landed"
        assert under_way == {"key": following}

    def test_what_is_overdue_is_replaced(self) -> None:
        """Its outcome is for those who waited; it takes nobody's place away when it lands."""
        clock = ManualClock()
        gates = [threading.Event(), threading.Event()]
        under_way: dict[str, Flight[int]] = {}

        def begin(number: int) -> tuple[Flight[int], Bell]:
            def work() -> int:
                gates[number].wait(PATIENCE)
                return number

            return joined(under_way, "key", work, "of the test", clock=clock, max_time=30.0)

        first, bell = begin(0)
        assert begin(1)[0] is first
        clock.advance(30.0)
        second, other = begin(1)
        assert second is not first
        gates[0].set()
        assert bell.wait(PATIENCE)
        assert under_way == {"key": second}
        gates[1].set()
        assert other.wait(PATIENCE)
        assert (first.result, second.result, under_way) == (0, 1, {})

    def test_an_interrupt_before_the_thread_begins_leaves_no_flight(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next caller begins another one at once."""
        clock = ManualClock()
        under_way: dict[str, Flight[int]] = {}

        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("requests_cc_token.flights.start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                joined(under_way, "key", lambda: 1, "of the test", clock=clock)
        assert under_way == {}
        flight, bell = joined(under_way, "key", lambda: 2, "of the test", clock=clock)
        assert bell.wait(PATIENCE)
        assert flight.result == 2


def test_only_flights_under_way_make_a_chain() -> None:
    """What a flight plans on an event loop has its context: generations of it are no chain without end."""
    context = contextvars.copy_context()

    def plan() -> None:
        nonlocal context
        assert not is_endless()
        context = contextvars.copy_context()

    for _ in range(100):
        flight: Flight[str] = Flight(0.0)
        context.run(run_as_part_of, flight, plan)
        flight.land()

    def nested(depth: int) -> int:
        if is_endless():
            return depth
        found: list[int] = []
        run_as_part_of(Flight(0.0), lambda: found.append(nested(depth + 1)))
        return found[0]

    assert 1 < nested(0) < 100

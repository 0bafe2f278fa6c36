"""One piece of work, mostly a fetch, and the callers that wait for it.

A fetch runs in a thread of its own, so that nobody's deadline depends on a server, and everybody who needs its outcome
meanwhile waits for it. Waiters share nothing that an exception in one of them could leave locked: each has a bell of
its own, and ringing it never blocks.
"""

from __future__ import annotations

import _thread
import copy
import math
import threading
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from .clock import Clock
from .events import Reason, Source
from .exceptions import TokenRequestError
from .threads import start_thread
from .tracers import in_a_trace

_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")

#: Seconds within which a thread has begun, on a busy machine too. Where memory runs out it may die before its first
#: line, and nobody waits longer for it than that.
BEGIN_WITHIN = 5.0


class Bell:
    """What one waiter waits for, in the manner of a ``threading.Event`` that only this waiter uses.

    A lock that is taken from the start; ringing releases it. Neither step can be interrupted halfway, and neither the
    one that rings nor another waiter ever takes it.
    """

    __slots__ = ("_is_set", "_lock")

    def __init__(self) -> None:
        self._is_set = False
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def is_set(self) -> bool:
        """Whether it has rung."""
        return self._is_set

    def set(self) -> None:
        """Ring, for good."""
        self._is_set = True
        self.wake()

    def wake(self) -> None:
        """Wake the waiter, who will look whether it has rung; what a clock does when time has passed."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it is about to wake already

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until woken, at most ``timeout`` seconds; whether it has rung."""
        if not self._is_set:
            self._lock.acquire(timeout=-1 if timeout is None else max(0.0, min(timeout, threading.TIMEOUT_MAX)))
        return self._is_set


class Flight(Generic[_T]):
    """One fetch: how long it may take, the callers that wait for it, and its outcome.

    ``begin_by`` and ``over_at`` are moments on the monotonic clock. A flight whose thread has not begun by the one, or
    that has not landed by the other, is given up by the next caller; what it still brings changes nothing.
    """

    __slots__ = (
        "background",
        "begin_by",
        "begun",
        "begun_at",
        "bells",
        "epoch",
        "error",
        "forced",
        "given_up",
        "landed",
        "over_at",
        "reason",
        "result",
        "source",
        "starting_in",
        "tries",
        "waits_for",
    )

    def __init__(
        self,
        now: float,
        max_time: float = math.inf,
        *,
        epoch: int = 0,
        background: bool = False,
        forced: bool = False,
        reason: Reason = "cold",
    ) -> None:
        self.begun_at = now
        self.begin_by = now + BEGIN_WITHIN
        self.over_at = now + max_time
        #: Counts deletions: a flight of an older epoch brings its result to those only who waited before.
        self.epoch = epoch
        #: Whether it was begun while everybody had a token.
        self.background = background
        #: Whether it was begun to replace a token that is there.
        self.forced = forced
        #: Why it was begun, and where its outcome comes from, for events.
        self.reason: Reason = reason
        self.source: Source = "service"
        #: The thread that is about to start it.
        self.starting_in: int | None = threading.get_ident()
        #: Whether its thread is at it.
        self.begun = False
        #: Whether nobody waits for it any more, though its thread may still be at it.
        self.given_up = False
        #: Whether it has ended, with an outcome or without.
        self.landed = False
        self.result: _T | None = None
        self.error: BaseException | None = None
        #: Token requests sent so far.
        self.tries = 0
        self.bells: list[Bell] = []
        #: The flight that the code of this one waits for: a secret's callable may need another client's token.
        self.waits_for: Flight[Any] | None = None

    @property
    def waiting(self) -> int:
        """How many wait for it."""
        return len(self.bells)

    def is_overdue(self, now: float) -> bool:
        """Whether nobody should wait for it any more."""
        return self.landed or now >= self.over_at or (not self.begun and now >= self.begin_by)

    def join(self) -> Bell:
        """Add a waiter; it has to ``leave``."""
        bell = Bell()
        self.bells.append(bell)
        return bell

    def leave(self, bell: Bell) -> None:
        """Wait no longer: nothing is tried again for this waiter."""
        if bell in self.bells:
            self.bells.remove(bell)

    def land(self) -> None:
        """Let everybody know, outcome or none. Never blocks."""
        self.landed = True
        for bell in list(self.bells):
            bell.set()

    def wait(self, bell: Bell, clock: Clock, deadline: float | None = None) -> bool:
        """Wait until it has landed, at most until the deadline or its own end; whether it has landed."""
        running = [flight for flight in _running.get() if not flight.landed]
        if running:
            running[-1].waits_for = self
        try:
            while not self.landed:
                now = clock.monotonic()
                if self.is_overdue(now) or (deadline is not None and now >= deadline):
                    break
                until = self.over_at if self.begun else min(self.begin_by, self.over_at)
                clock.wait(bell, (until if deadline is None else min(until, deadline)) - now)
            return self.landed
        finally:
            self.leave(bell)
            if running:
                running[-1].waits_for = None

    def outcome(self) -> _T:
        """What it brought, once it has landed. Its error is raised, for each waiter one of its own."""
        if self.error is not None:
            raise _ones_own(self.error)
        return self.result  # type: ignore[return-value]

    def waits_for_this_thread(self) -> bool:
        """Whether a signal's handler or a finalizer came just before this thread, here, would have started it."""
        return self.starting_in == threading.get_ident()

    def waits_for_this_code(self) -> bool:
        """Whether the code that is running now is part of this flight, or of one that this one waits for.

        A secret's callable, a subscriber or a log handler that asks for the token it is called for would wait for ever.
        """
        running = _running.get()
        awaited: Flight[Any] | None = self
        for _ in range(_LONGEST_CHAIN):
            if awaited is None or awaited.landed:
                return False
            if awaited in running:
                return True
            awaited = awaited.waits_for
        return True


def _ones_own(error: BaseException) -> BaseException:
    """The error for one of several waiters: a copy, or the error itself where there can be none.

    One object that all of them raise would collect their tracebacks, and what each was handling as it asked.
    """
    if isinstance(error, TokenRequestError):
        return error.for_caller()  # without the frames, which may hold the secret
    try:
        copied = copy.copy(error)
        is_another = type(copied) is not type(error) or copied.args != error.args
    except Exception:
        return error  # a class of somebody's that takes other arguments than it keeps
    if is_another:
        return error
    copied.__cause__, copied.__context__ = error.__cause__, error.__context__
    copied.__suppress_context__ = error.__suppress_context__
    return copied.with_traceback(error.__traceback__)


#: Flights that wait for each other in a row: more than that is a circle.
_LONGEST_CHAIN = 100

#: Flights within each other at most. A client whose token is exchanged for another one, and that once more, are three.
_DEEPEST = 20

#: The flights of which the running code is a part, the innermost last.
_running: ContextVar[tuple[Flight[Any], ...]] = ContextVar("requests_cc_token flights", default=())


def is_endless() -> bool:
    """Whether the running code is a part of so many flights, each within another one, that there is no end to see.

    Of clients, say, each of which exchanges the token of another one that a resolver makes up.
    """
    return sum(not flight.landed for flight in _running.get()) >= _DEEPEST


def reentered() -> TokenRequestError:
    """The error for a signal's handler or a finalizer that would wait for its own thread."""
    return TokenRequestError(
        "a token was asked for by a signal's handler or a finalizer that interrupted its own thread amid another such "
        "call; there is no token yet, so return from it and let that call go on first"
    )


def run_as_part_of(flight: Flight[Any], work: Callable[[], object]) -> None:
    """Run the flight's work here, so that ``waits_for_this_code`` is true within it."""
    # Those that have ended go: what they began, on an event loop say, has their context for as long as it lives.
    token = _running.set((*(each for each in _running.get() if not each.landed), flight))
    try:
        work()
    finally:
        _running.reset(token)


def start(flight: Flight[Any], work: Callable[[], object], name: str, *, traced: bool = True) -> None:
    """Run the flight's work in a thread of its own, or here if none can be started; ``traced``: as part of a trace."""

    def part() -> None:
        run_as_part_of(flight, work)

    try:
        start_thread(in_a_trace(part) if traced else part, name)
    except (RuntimeError, MemoryError):
        flight.starting_in = None
        part()
    finally:
        flight.starting_in = None


def joined(
    under_way: dict[_K, Flight[_T]],
    key: _K,
    work: Callable[[], _T],
    name: str,
    *,
    clock: Clock,
    max_time: float = math.inf,
    is_over: Callable[[Flight[_T], float], bool] = Flight.is_overdue,
    traced: bool = True,
) -> tuple[Flight[_T], Bell]:
    """Join the flight of this key that is under way, or begin one that does the work; its outcome is for all.

    ``is_over(flight, now)`` is whether another one is begun though that one has not landed. ``under_way`` is changed by
    single steps of the interpreter, so it needs no lock. The caller has to ``wait`` for the flight, or to ``leave`` it.
    """
    now = clock.monotonic()
    new: Flight[_T] = Flight(now, max_time)

    def part() -> None:
        new.begun = True
        try:
            new.result = work()
        except BaseException as error:
            new.error = error
        finally:
            if under_way.get(key) is new:
                under_way.pop(key, None)
            new.land()

    try:
        flight = under_way.setdefault(key, new)
        # One that has landed just now is the answer; in its place there may be another one already.
        if flight is not new and is_over(flight, now) and not flight.landed:
            flight = under_way[key] = new
        bell = flight.join()
        if flight is new:
            start(new, part, name, traced=traced)
        return flight, bell
    except BaseException:
        # Interrupted. Unless its thread has begun, the next caller begins another one.
        if not new.begun and under_way.get(key) is new:
            under_way.pop(key, None)
        raise


def carry_out(work: Callable[[], object], name: str, *, clock: Clock, max_time: float) -> bool:
    """Do the work in a thread of its own, and wait for it for at most ``max_time`` seconds; whether it is done then.

    Whatever the work locks, the caller's thread does not hold: a signal's handler that comes meanwhile can ask for a
    token, and wait for a fetch that needs the same lock. Raises what the work raises.
    """
    flight, bell = joined({}, None, work, name, clock=clock, max_time=max_time)
    is_done = flight.wait(bell, clock)
    flight.outcome()
    return is_done

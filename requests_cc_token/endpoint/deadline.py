"""Work that is waited for until a deadline and no longer, whatever it does.

The timeouts of requests count from byte to byte, a name may be looked up for minutes, and somebody's own callable may
hang: none of them can be ended from outside. So such work runs in a thread of its own, and once its time is over
nobody waits for it any more. What it still brings then changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from requests_cc_token.clock import Clock
from requests_cc_token.threads import start_thread
from requests_cc_token.tracers import handed_on

_T = TypeVar("_T")


class OverdueError(Exception):
    """Work took longer than until its deadline."""


class Deadline(NamedTuple):
    """Until when something may take, and which limit that is."""

    #: On the monotonic clock.
    at: float
    #: The limit and the option that sets it, as messages say it.
    limit: str

    def seconds_left(self, clock: Clock) -> float:
        """Seconds until then; 0 once it is over."""
        return max(0.0, self.at - clock.monotonic())

    def no_later_than(self, at: float) -> Deadline:
        """This deadline, or the same limit at an earlier moment."""
        return Deadline(min(self.at, at), self.limit)


def by_deadline(work: Callable[[], _T], clock: Clock, deadline: Deadline, unfinished: set[object]) -> _T:
    """What ``work()`` returns or raises; ``OverdueError`` where that takes longer than until the deadline.

    Work that was given up is in ``unfinished`` for as long as it still runs; what had not begun by then is not begun.
    If no thread can be started, the work is done here and may take longer.
    """
    done = threading.Event()
    results: list[_T] = []
    errors: list[BaseException] = []
    begun = given_up = False

    def run() -> None:
        nonlocal begun
        begun = True
        try:
            if not given_up:
                results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()
            unfinished.discard(done)

    try:
        start_thread(handed_on(run), "requests_cc_token try")
    except (RuntimeError, MemoryError):
        return work()
    if not clock.wait(done, deadline.seconds_left(clock)):
        given_up = True
        # Where memory runs out, a thread may die before its first line, and would count for ever.
        if begun:
            unfinished.add(done)
        if done.is_set():
            unfinished.discard(done)
        raise OverdueError
    if errors:
        raise errors.pop()
    return results.pop()

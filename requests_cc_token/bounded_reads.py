"""Looks at files, and at what somebody's own code says of them, that are waited for for a bounded time.

A file system whose server is gone answers after hours, or never, and no call of it can be ended from outside. So a
look is taken in a thread of its own, for all who want it at that moment. While it hangs no other is begun for a minute,
and a few in all, so that threads do not pile up; whoever comes is told at once.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from .clock import SystemClock
from .flights import Flight, joined
from .forks import renew_after_fork

_T = TypeVar("_T")

#: Seconds that the first look at something may take, when nothing of it is known yet: the command that prints a key's
#: password may take ten, and decrypting it some more.
FIRST_LOOK = 15.0
#: Seconds that a look may take where it is known what was there last. Local files take microseconds, and a key that has
#: changed is checked in a few hundredths of a second; in seconds where processors are scarce.
NEXT_LOOK = 5.0

#: Seconds that a caller waits for a look who has a token that can be used.
SHORT_LOOK = 0.1

#: Seconds between two looks on behalf of calls, which come by the thousand: each look costs a thread.
LOOK_EVERY = 1.0

#: Seconds after which another look is begun though the last one hangs: what was mounted there may be another thing now.
AGAIN_AFTER = 60.0
#: Looks that may hang at once beside those that are waited for. Each holds a thread.
MAX_HANGING = 8

_CLOCK = SystemClock()


class CallersTimeError(TimeoutError):
    """The caller's own time was over first, which says nothing of what is looked at."""


class Looks:
    """The looks that are being taken, of each thing one at a time; safe in threads, signal handlers and after forks."""

    def __init__(self) -> None:
        # Changed by single steps of the interpreter, so that no lock is needed.
        self._under_way: dict[Hashable, Flight[Any]] = {}
        #: Those in whose place another one was begun.
        self._replaced: list[Flight[Any]] = []
        renew_after_fork(self)

    def take(self, thing: Hashable, look: Callable[[], _T], *, within: float, own: float | None = None) -> _T:
        """What ``look()`` returns or raises, or what it brings to somebody who has begun it already.

        Raises ``TimeoutError`` once the look takes longer than ``within`` seconds, and at once where the caller is a
        part of it; its ``strerror`` says which. ``own`` is the seconds that this caller has, counted from now:
        ``CallersTimeError`` where they are over first.
        """
        came = _CLOCK.monotonic()
        name = "requests_cc_token look"
        flight, bell = joined(self._under_way, thing, look, name, clock=_CLOCK, is_over=self._is_over, traced=False)
        if flight.waits_for_this_thread() or flight.waits_for_this_code():
            flight.leave(bell)
            raise TimeoutError(errno.EDEADLK, "it is asked for amid a look at it")
        until = flight.begun_at + within
        if own is not None and came + own < until:
            if not flight.wait(bell, _CLOCK, came + own):
                raise CallersTimeError(errno.ETIMEDOUT, f"it is still being read after {own:.3g} s")
        elif not flight.wait(bell, _CLOCK, until):
            raise TimeoutError(errno.ETIMEDOUT, f"it is still being read after {within:g} s")
        return flight.outcome()  # type: ignore[no-any-return]

    def _is_over(self, flight: Flight[Any], now: float) -> bool:
        """Whether another look is to be begun though this one was not heard of."""
        if not flight.begun:
            return flight.is_overdue(now)  # its thread never came
        if now - flight.begun_at < AGAIN_AFTER or len(self._hanging) >= MAX_HANGING:
            return False
        self._replaced = [*self._hanging, flight]
        return True

    @property
    def _hanging(self) -> list[Flight[Any]]:
        """Those that hang, and in whose place another one was begun."""
        return [flight for flight in self._replaced if not flight.landed]

    def after_fork_in_child(self) -> None:
        """Forget the looks that threads of the parent are taking."""
        self._under_way = {}
        self._replaced = []

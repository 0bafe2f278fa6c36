"""A lock for steps that are short and call nobody else's code, on which a thread never waits for itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from .flights import reentered

_T = TypeVar("_T")


class Guard:
    """One step at a time, over all threads.

    Python runs a signal's handler, or a finalizer, between any two lines of a thread: amid a step, too. Such code finds
    out here that its own thread holds the lock, and does not wait for it.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start anew, in a forked child: the thread that held the lock is not there."""
        self._lock = threading.Lock()
        #: The threads that hold the lock, or are about to.
        self._inside: set[int] = set()

    def do(self, step: Callable[[], _T]) -> _T:
        """What the step returns. Raises ``TokenRequestError`` where this very thread is amid another one."""
        if self.is_inside():
            raise reentered()
        thread = threading.get_ident()
        try:
            self._inside.add(thread)
            with self._lock:
                return step()
        finally:
            self._inside.discard(thread)

    def is_inside(self) -> bool:
        """Whether this thread is amid a step."""
        # An interrupt may have left a mark behind; it does not count while nobody holds the lock.
        return threading.get_ident() in self._inside and self._lock.locked()

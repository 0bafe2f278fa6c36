"""Operations of a store, each for a bounded time.

A store may hang in ways that no socket timeout covers: a name that does not resolve, a file system of a server
that is gone, a client that retries. So each operation runs in a thread of its own, and the caller leaves it behind
when its time is over.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from requests_cc_token.exceptions import TokenCacheError, one_line
from requests_cc_token.forks import renew_after_fork
from requests_cc_token.threads import start_thread

_T = TypeVar("_T")

#: Steps in which an allowance is waited through.
STEPS = 50
#: Operations that may hang at once. Each holds a thread and perhaps a connection.
MAX_HANGING = 4
#: Characters of a store's own error text that a message repeats at most.
MAX_TEXT = 120
#: What Redis before version 7 says before the reason for which a script failed: as much as a message repeats.
_BEFORE_REASON = re.compile(r"Error running script .*?@user_script: \d+: -?")


class Allowance:
    """Seconds that the store may add to one call, over all its operations.

    They are waited through in fifty steps, and each counts as long as it was meant to be, however late the
    system wakes this process from it. So where processors are scarce, which slows the store and its clients alike,
    the time stretches; where there are enough, it is what it says.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._steps_left = STEPS

    def wait(self, done: threading.Event) -> bool:
        """Wait until the event is set or nothing is left; whether it is set."""
        while not done.wait(self.seconds / STEPS):
            self._steps_left -= 1
            if self._steps_left <= 0:
                return False
        return True


class _Outcome(Generic[_T]):
    """What came of one operation; written by its thread, but for ``left``."""

    __slots__ = ("begun", "done", "failure", "left", "result")

    def __init__(self) -> None:
        self.begun = False
        self.done = threading.Event()
        #: Whether nobody waits for it any more.
        self.left = False
        self.failure: str | None = "it ended without an answer"
        self.result: _T | None = None


class BoundedCalls:
    """Runs operations of a store, each for a bounded time."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._hanging = 0
        renew_after_fork(self)

    def call(
        self,
        doing: str,
        operation: Callable[[], _T],
        allowance: Allowance,
        *,
        undo: Callable[[_T], object] | None = None,
    ) -> _T:
        """The operation's result.

        Raises ``TokenCacheError`` when the allowance is used up; ``undo`` is then called with a result that comes
        late. Also where the operation raised: its error carries frames that may hold a token, so only its text
        goes on.
        """
        if self._hanging >= MAX_HANGING:
            raise TokenCacheError(f"{self._store}: {MAX_HANGING} operations hang already")
        outcome: _Outcome[_T] = _Outcome()
        try:
            try:
                start_thread(partial(self._run, operation, outcome, undo), "requests_cc_token cache")
            except (RuntimeError, MemoryError):
                outcome.done.set()
                raise TokenCacheError(f"{self._store}: no thread can be started to {doing} it") from None
            allowance.wait(outcome.done)
        finally:
            # Also where a signal's handler raises, be it while the thread starts: what is granted late has to be
            # given back.
            with self._lock:
                if not outcome.done.is_set():
                    outcome.left = True
                    # Where memory runs out a thread may die before its first line: it holds nothing.
                    self._hanging += outcome.begun
        if outcome.left:
            raise TokenCacheError(f"{self._store} did not answer within {allowance.seconds * 1000:.0f} ms")
        if outcome.failure is not None:
            raise TokenCacheError(f"{self._store}: {outcome.failure}")
        return outcome.result  # type: ignore[return-value]

    def _run(
        self, operation: Callable[[], _T], outcome: _Outcome[_T], undo: Callable[[_T], object] | None
    ) -> None:
        lock = self._lock
        with lock:
            outcome.begun = True
            self._hanging += outcome.left
        try:
            try:
                outcome.result = operation()
                outcome.failure = None
            except Exception as error:
                outcome.failure = _told(error)
            finally:
                with lock:
                    outcome.done.set()
            if outcome.left and undo is not None and outcome.failure is None:
                # The lease of what cannot be undone ends by itself.
                with contextlib.suppress(Exception):
                    undo(outcome.result)  # type: ignore[arg-type]
        finally:
            with lock:
                if outcome.left and lock is self._lock:
                    self._hanging -= 1

    def after_fork_in_child(self) -> None:
        """The operations that hang are not in the child."""
        self._lock = threading.Lock()
        self._hanging = 0


def _told(error: Exception) -> str:
    """What a store's error says, without what it may quote."""
    kind = type(error)
    if isinstance(error, TokenCacheError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{kind.__name__}: {error.strerror}"
    text = ""
    # Of a foreign error only what its library composed: no text of unknown origin can be told from a token.
    if kind.__module__.partition(".")[0] in ("redis", "valkey"):
        said = str(error).partition("with args")[0].rstrip(", ")
        text = one_line(_BEFORE_REASON.sub("", said, count=1), MAX_TEXT)
    return f"{kind.__name__}: {text}" if text else kind.__name__

"""Operations of a store, each for a bounded time.

A store may hang in ways that no socket timeout covers: a name that does not resolve, a file system of a server
that is gone, a client that retries. So each operation runs in a thread of its own, and the caller leaves it behind
when its time is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from requests_cc_token.exceptions import TokenCacheError
from requests_cc_token.forks import renew_after_fork

_T = TypeVar("_T")

#: Seconds between two looks at an operation whose time is over while its thread wants a processor; and after how many
#: it is over all the same. A busy machine is no broken store, and a fleet that starts cold makes its machine busy.
_RECHECK, MAX_STARVED = 0.005, 1.0
#: Seconds that threads wait for a processor on a machine that is not busy.
_USUAL_DELAY = 0.002
#: How many times slower than on an idle machine a store is taken to run at most.
_MAX_SLOWDOWN = 8.0
#: Operations that may hang at once. Each holds a thread and perhaps a connection.
MAX_HANGING = 4
#: Linux: what it tells of the threads of this process, and of the one that asks.
_THREADS, _THIS_THREAD = Path("/proc/self/task"), Path("/proc/thread-self")
#: Characters of a store's own error text that a message repeats at most.
MAX_TEXT = 120


class _Outcome(Generic[_T]):
    """What came of one operation. Written by its thread; ``left`` says that nobody waits for it any more."""

    __slots__ = ("done", "failure", "left", "result", "schedule")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.left = False
        self.failure: str | None = "it ended without an answer"
        self.result: _T | None = None
        #: See ``_schedule``.
        self.schedule = (0.0, 0.0)


class BoundedCalls:
    """Runs operations of a store, each for a bounded time."""

    def __init__(self, store: str, timeout: float) -> None:
        self._store = store
        self.timeout = timeout
        self._lock = threading.Lock()
        self._hanging = 0
        renew_after_fork(self)

    def call(
        self, doing: str, operation: Callable[[], _T], *, share: float = 1.0, undo: Callable[[_T], object] | None = None
    ) -> tuple[_T, float]:
        """The operation's result, and the share of the timeout that it took.

        ``share`` of the timeout is how long it may take. Raises ``TokenCacheError`` when that is over; ``undo`` is
        then called with a result that comes late. Likewise where the operation raised: its error carries frames that
        may hold a token, so only its text goes on.
        """
        if self._hanging >= MAX_HANGING:
            raise TokenCacheError(f"{self._store}: {MAX_HANGING} operations hang already")
        outcome: _Outcome[_T] = _Outcome()
        thread = threading.Thread(
            target=self._run, args=(operation, outcome, undo), daemon=True, name="requests_cc_token cache"
        )
        try:
            thread.start()
        except RuntimeError:
            raise TokenCacheError(f"{self._store}: no thread can be started to {doing} it") from None
        allowed, charged, began = self.timeout * share, 0.0, time.monotonic()
        while not outcome.done.wait(max(allowed - charged, _RECHECK)):
            elapsed = time.monotonic() - began
            folder = _THREADS / str(thread.native_id)
            charged, wanting = _charged(elapsed, _schedule(folder)), _wants_processor(folder)
            if (charged >= allowed and not wanting) or elapsed >= MAX_STARVED:
                break
        with self._lock:
            if not outcome.done.is_set():
                outcome.left = True
                self._hanging += 1
        if outcome.left:
            raise TokenCacheError(f"{self._store} did not answer within {allowed * 1000:.0f} ms")
        if outcome.failure is not None:
            raise TokenCacheError(f"{self._store}: {outcome.failure}")
        charged = _charged(time.monotonic() - began, outcome.schedule)
        return outcome.result, charged / self.timeout  # type: ignore[return-value]

    def _run(
        self, operation: Callable[[], _T], outcome: _Outcome[_T], undo: Callable[[_T], object] | None
    ) -> None:
        lock = self._lock
        try:
            outcome.result = operation()
            outcome.failure = None
        except Exception as error:
            outcome.failure = _told(error)
        finally:
            outcome.schedule = _schedule(_THIS_THREAD)
            with lock:
                outcome.done.set()
                if outcome.left and lock is self._lock:
                    self._hanging -= 1
        if outcome.left and undo is not None and outcome.failure is None:
            try:
                undo(outcome.result)  # type: ignore[arg-type]
            except Exception:
                # The lease of what could not be undone ends by itself.
                return

    def after_fork_in_child(self) -> None:
        """The operations that hang are not in the child."""
        self._lock = threading.Lock()
        self._hanging = 0


def _charged(elapsed: float, schedule: tuple[float, float]) -> float:
    """The part of an operation's seconds that the store has to answer for.

    Not those in which the operation wanted a processor in vain. And where its thread and the calling one ran slower
    than on an idle machine, a store on this machine is taken to have run as much slower.
    """
    ran, delayed = schedule
    callers_ran, callers_delayed = _schedule(_THIS_THREAD)
    slowdown = 1.0 + max(0.0, delayed + callers_delayed - _USUAL_DELAY) / max(ran + callers_ran, 0.001)
    return max(0.0, elapsed - delayed) / min(slowdown, _MAX_SLOWDOWN)


def _schedule(folder: Path) -> tuple[float, float]:
    """Seconds that a thread was on a processor, and that it waited for one; zeros where the system does not tell."""
    try:
        ran, delayed = (folder / "schedstat").read_bytes().split()[:2]
        return int(ran) / 1e9, int(delayed) / 1e9
    except (OSError, ValueError):
        return 0.0, 0.0


def _wants_processor(folder: Path) -> bool:
    """Whether a thread has or wants a processor now, as far as the system tells."""
    try:
        # The name, in parentheses, may hold anything; the state follows.
        return (folder / "stat").read_bytes().rpartition(b")")[2].split()[0] == b"R"
    except (OSError, IndexError):
        return False


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
        text = "".join(c if c.isprintable() else " " for c in str(error).partition("with args")[0])[:MAX_TEXT]
    return f"{kind.__name__}: {text}" if text else kind.__name__

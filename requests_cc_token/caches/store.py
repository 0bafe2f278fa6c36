"""What the caches that several processes share have in common: bounded operations, waiting, leases.

A store may hang in ways that no socket timeout covers: a name that does not resolve, a file system of a server
that is gone, a client that retries. So each operation runs in a thread of its own, and the caller leaves it behind
when its time is over.
"""

from __future__ import annotations

import math
import random
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from requests_cc_token.clock import Clock, SystemClock
from requests_cc_token.exceptions import ConfigurationError, TokenCacheError
from requests_cc_token.forks import renew_after_fork
from requests_cc_token.tokens import AccessToken

from .records import TokenRecords

_T = TypeVar("_T")

#: Seconds that the store may add to one call before the call goes on without it: a store nearby answers in one or
#: two milliseconds, and 50 ms is what callers are promised at most.
DEFAULT_TIMEOUT = 0.04
#: Seconds for which a process may fetch before another one may too. Token services answer in well under one second.
DEFAULT_LEASE = 10.0
#: Seconds to wait for others at most; then this process fetches whoever else does. A fetch with all its tries takes
#: no longer by default.
MAX_WAIT = 30.0
#: Seconds between two looks at an operation whose time is over while its thread wants a processor; and after how many
#: it is over all the same. A busy machine is no broken store, and a fleet that starts cold makes its machine busy.
_RECHECK, MAX_STARVED = 0.005, 1.0
#: Seconds that threads wait for a processor on a machine that is not busy.
_USUAL_DELAY = 0.002
#: How many times slower than on an idle machine a store is taken to run at most.
_MAX_SLOWDOWN = 8.0
#: The least share of the timeout that an operation gets, however long those before it took.
_LEAST_SHARE = 0.125
#: Operations that may hang at once. Each holds a thread and perhaps a connection.
MAX_HANGING = 4
#: Seconds between two looks at a store while another process fetches, and the share of the time waited so far: a
#: fleet that waits longer asks more rarely.
POLL_BOUNDS = (0.03, 0.25)
POLL_SHARE = 0.25
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


class Claim(Generic[_T]):
    """An answer of the store to who wants to fetch."""

    __slots__ = ("holding", "last", "number", "token")

    def __init__(self, number: int, last: int, token: AccessToken | None, holding: _T | None = None) -> None:
        #: The fencing number under which the token may be written, or 0 where another process is at it.
        self.number = number
        #: The fencing number of the last write or deletion.
        self.last = last
        #: The token that the store has now.
        self.token = token
        #: What to let go of afterwards.
        self.holding = holding


class StoreLease:
    """See ``cache.Lease``."""

    __slots__ = ("_cache", "_claim", "_key", "_share")

    def __init__(self, cache: StoreTokenCache[Any], key: str, claim: Claim[Any], share: float) -> None:
        self._cache = cache
        self._key = key
        self._claim = claim
        self._share = share

    @property
    def granted(self) -> bool:
        """Whether this process may fetch."""
        return self._claim.number > 0

    @property
    def token(self) -> AccessToken | None:
        """The token that was in the cache when the wait had ended."""
        return self._claim.token

    def set(self, token: AccessToken) -> None:
        """Keep the token, unless a newer one is there, and let the next one fetch."""
        self._cache.write(self._key, token, self._claim, self._share)

    def release(self) -> None:
        """Let the next one fetch."""
        if self._claim.holding is not None:
            self._cache.let_go(self._key, self._claim, self._share)

    def __repr__(self) -> str:
        return f"<lease {self._claim.number} of {self._cache!r}>"


class StoreTokenCache(ABC, Generic[_T]):
    """A token cache over a store of several processes; ``_T`` is what a process holds while it fetches.

    Subclasses give the operations. Each runs in a thread of its own and may raise whatever it likes.
    """

    def __init__(
        self, store: str, records: TokenRecords, lease: float, timeout: float, clock: Clock | None
    ) -> None:
        records.check()
        self._lease_time = _seconds(lease, "lease")
        self._calls = BoundedCalls(store, _seconds(timeout, "timeout"))
        self._records = records
        self._clock: Clock = clock if clock is not None else SystemClock()
        # What the last get of a thread took is taken off the lease that follows.
        self._spent = threading.local()

    # What the store does.

    @abstractmethod
    def _read(self, key: str) -> AccessToken | None:
        """The token of the key, expired or not."""

    @abstractmethod
    def _write(self, key: str, token: AccessToken | None, claim: Claim[_T] | None) -> None:
        """Write the token, or that there is none; under a claim only if nothing was written later than it."""

    @abstractmethod
    def _claim(self, key: str, wait: Wait) -> Claim[_T]:
        """Claim the right to fetch; whatever the answer, do not wait for it."""

    @abstractmethod
    def _let_go(self, key: str, holding: _T) -> None:
        """Give the right back."""

    # What a cache does.

    def get(self, key: str) -> AccessToken | None:
        """The token, or None. Raises ``TokenCacheError``."""
        token, self._spent.share = self._calls.call("read", lambda: self._read(key))
        return self._unexpired(token)

    def set(self, key: str, token: AccessToken) -> None:
        """Keep the token until it expires. Raises ``TokenCacheError``."""
        self.write(key, token, None, 1.0)

    def delete(self, key: str) -> None:
        """Forget the token; a fetch that runs at that moment, in whichever process, does not bring it back.

        Raises ``TokenCacheError``.
        """
        self._calls.call("delete from", lambda: self._write(key, None, None))

    def lease(self, key: str, cancelled: Callable[[], bool]) -> StoreLease | None:
        """Wait until this process may fetch, or until another one has written or deleted the token.

        Raises ``TokenCacheError``.
        """
        left = 1.0 - float(self._spent.__dict__.pop("share", 0.0))
        wait = Wait(self._clock.monotonic())
        while True:
            claim, spent = self._calls.call(
                "lease from",
                partial(self._claim, key, wait),
                # A process that waits for another one waits for that one, not for the store.
                share=1.0 if wait.looks else max(left, _LEAST_SHARE),
                undo=partial(self._undo, key),
            )
            if wait.looks == 0:
                left -= spent
                wait.first_seen = claim.last
            claim.token = self._unexpired(claim.token)
            if claim.number or claim.last > wait.first_seen:
                return StoreLease(self, key, claim, max(left, _LEAST_SHARE))
            if cancelled():
                return None
            wait.pause(self._clock)

    # What a lease does.

    def write(self, key: str, token: AccessToken, claim: Claim[_T] | None, share: float) -> None:
        """See ``StoreLease.set``."""

        def operation() -> None:
            try:
                self._write(key, self._unexpired(token), claim)
            finally:
                if claim is not None and claim.holding is not None:
                    holding, claim.holding = claim.holding, None
                    self._let_go(key, holding)

        self._calls.call("write to", operation, share=share)

    def let_go(self, key: str, claim: Claim[_T], share: float) -> None:
        """See ``StoreLease.release``."""
        self._calls.call("release", partial(self._undo, key, claim), share=share)

    def _undo(self, key: str, claim: Claim[_T]) -> None:
        holding, claim.holding = claim.holding, None
        if holding is not None:
            self._let_go(key, holding)

    def _unexpired(self, token: AccessToken | None) -> AccessToken | None:
        return token if token is not None and self._clock.time() < token.expires_at else None

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} is not pickled: it may hold secrets; make one on the other side")


class Wait:
    """One process's wait for its turn."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._really_begun = time.monotonic()
        #: Seconds waited on the cache's clock, as of the last pause.
        self.waited = 0.0
        self.looks = 0
        #: The fencing number that the first look found.
        self.first_seen = 0
        #: The turn that is waited for, since when, and up to which one nobody is waited for any more. For stores
        #: whose leases do not end by themselves.
        self.turn = 0
        self.turn_began = 0.0
        self.given_up = 0
        #: Who waits, for stores that ask.
        self.nonce = secrets.token_hex(16)

    @property
    def over(self) -> bool:
        """Whether others were waited for long enough."""
        return self.waited >= MAX_WAIT

    def pause(self, clock: Clock) -> None:
        """Wait a little before the next look."""
        # In real time, whatever the clock: what is waited for happens in other processes.
        shortest, longest = POLL_BOUNDS
        pause = min(longest, max(shortest, POLL_SHARE * (time.monotonic() - self._really_begun)))
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - it spreads load
        self.looks += 1
        self.waited = clock.monotonic() - self._begun


def _seconds(given: object, what: str) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not math.isfinite(given) or given <= 0:
        raise ConfigurationError(f"{what} of a token cache is a positive number of seconds")
    return float(given)

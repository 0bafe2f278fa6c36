"""The memory of one process: the contract, its bound, and random histories against a plain model."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from requests_cc_token import AccessToken, ConfigurationError, MemoryTokenCache
from requests_cc_token.testing import ManualClock, TokenCacheContract

from .scripted_server import PATIENCE

MAX_TOKENS = 4


class TestMemoryTokenCache(TokenCacheContract):
    """The contract that all caches inherit."""

    def make_cache(self, clock: ManualClock) -> MemoryTokenCache:
        return MemoryTokenCache(clock=clock)


class MemoryMachine(RuleBasedStateMachine):
    """A small cache beside a model: a list of (key, token), least recently used first."""

    keys = st.integers(0, 2 * MAX_TOKENS)

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.cache = MemoryTokenCache(MAX_TOKENS, clock=self.clock)
        self.model: list[tuple[str, AccessToken]] = []
        self.serial = 0

    def expire(self) -> None:
        self.model = [(key, token) for key, token in self.model if self.clock.time() < token.expires_at]

    @rule(key=keys, lifetime=st.integers(-1, 5))
    def set_token(self, key: int, lifetime: int) -> None:
        name = TokenCacheContract.key(key)
        self.serial += 1
        token = AccessToken(f"t{self.serial}", expires_at=self.clock.time() + lifetime)
        self.expire()
        self.model = [entry for entry in self.model if entry[0] != name]
        if lifetime > 0:
            # The cache makes room after it has dropped what expired.
            self.model = [*self.model[-(MAX_TOKENS - 1) :], (name, token)]
        self.cache.set(name, token)

    @rule(key=keys)
    def get_token(self, key: int) -> None:
        name = TokenCacheContract.key(key)
        self.expire()
        expected = dict(self.model).get(name)
        if expected is not None:
            self.model = [*(entry for entry in self.model if entry[0] != name), (name, expected)]
        assert self.cache.get(name) == expected

    @rule(key=keys)
    def delete_token(self, key: int) -> None:
        name = TokenCacheContract.key(key)
        self.model = [entry for entry in self.model if entry[0] != name]
        self.cache.delete(name)

    @rule()
    def clear(self) -> None:
        self.model = []
        self.cache.clear()

    @rule(seconds=st.integers(1, 4))
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def holds_as_many_as_the_model(self) -> None:
        self.expire()
        assert len(self.cache) == len(self.model) <= MAX_TOKENS


TestMemoryMachine = MemoryMachine.TestCase


def test_a_wall_clock_step_changes_nothing() -> None:
    """A token with a monotonic expiry lives as long as it should, however the wall clock is set."""
    clock = ManualClock()
    cache = MemoryTokenCache(clock=clock)
    token = AccessToken("token", expires_at=clock.time() + 100, hard_expiry=clock.monotonic() + 100)
    cache.set("key", token)
    for step in (-3600, 7200):
        clock.step_wall_clock(step)
        assert cache.get("key") is token
    clock.advance(100)
    assert cache.get("key") is None


def test_the_least_recently_used_goes_first() -> None:
    """A full cache drops the token that was asked for least recently, and holds no more than its bound."""
    clock = ManualClock()
    cache = MemoryTokenCache(3, clock=clock)
    tokens = {name: AccessToken(name, expires_at=clock.time() + 100) for name in "abcd"}
    for name in "abc":
        cache.set(name, tokens[name])
    assert cache.get("a") is tokens["a"]
    cache.set("d", tokens["d"])
    assert [name for name in "abcd" if cache.get(name) is not None] == ["a", "c", "d"]
    assert len(cache) == 3


def test_many_keys_stay_within_the_bound() -> None:
    """Memory is bounded, whatever the number of keys."""
    clock = ManualClock()
    cache = MemoryTokenCache(10, clock=clock)
    token = AccessToken("token", expires_at=clock.time() + 100)
    for number in range(20_000):
        cache.set(str(number), token)
    assert len(cache) == 10
    assert cache.get("19999") is token


def test_nothing_looks_at_the_tokens_without_the_lock() -> None:
    """Neither does anything change them: what looks at its clock amid a step finds the lock held."""
    held: list[bool] = []

    class LooksAtTheLock(ManualClock):
        def monotonic(self) -> float:
            held.append(cache._lock.locked())
            return super().monotonic()

    clock = LooksAtTheLock()
    cache = MemoryTokenCache(clock=clock)
    steps: list[Callable[[], object]] = [
        lambda: cache.set("key", AccessToken("t", expires_at=clock.time() + 100)),
        lambda: cache.get("key"),
        lambda: len(cache),
        lambda: cache.delete("key"),
    ]
    for step in steps:
        held.clear()
        step()
        assert held
        assert all(held)


def test_a_bound_of_one() -> None:
    """Is a bound: the second token takes the place of the first."""
    clock = ManualClock()
    cache = MemoryTokenCache(1, clock=clock)
    one, two = (AccessToken(name, expires_at=clock.time() + 100) for name in ("one", "two"))
    cache.set("one", one)
    cache.set("two", two)
    assert (cache.get("one"), cache.get("two")) == (None, two)


def test_a_token_that_has_expired_takes_the_place_of_the_one_before_it() -> None:
    """What is stored last counts: there is none then, also where the clock of the expiry is the process's own."""
    clock = ManualClock()
    cache = MemoryTokenCache(clock=clock)
    for late in (
        AccessToken("late", expires_at=clock.time()),
        AccessToken("late", expires_at=clock.time() + 100, hard_expiry=clock.monotonic()),
    ):
        cache.set("key", AccessToken("early", expires_at=clock.time() + 100))
        cache.set("key", late)
        assert (cache.get("key"), len(cache)) == (None, 0)


@pytest.mark.parametrize("given", [0, -1, 1.5, True, "100", None])
def test_a_bound_that_is_none_is_refused(given: object) -> None:
    """A bound that no token fits in, or that is no number, is told at once, and not by a cache that never works."""
    with pytest.raises(ConfigurationError, match="max_tokens of a MemoryTokenCache must be a whole number above 0"):
        MemoryTokenCache(given)  # type: ignore[arg-type]


def test_a_cleared_cache_is_empty() -> None:
    """Clearing forgets all tokens."""
    cache = MemoryTokenCache()
    token = AccessToken("token", expires_at=time.time() + 100)
    cache.set("one", token)
    cache.set("two", token)
    assert len(cache) == 2
    cache.clear()
    assert len(cache) == 0
    assert cache.get("one") is None


def test_it_is_not_pickled() -> None:
    """A cache holds secrets, so it does not travel."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(MemoryTokenCache())


def test_what_a_child_does_about_a_change_under_way() -> None:
    """After a fork in the middle of another thread's change a cache begins anew; else it keeps its tokens."""
    clock = ManualClock()
    cache = MemoryTokenCache(clock=clock)
    token = AccessToken("token", expires_at=clock.time() + 100)
    cache.set("key", token)
    cache.after_fork_in_child()
    assert cache.get("key") is token
    with cache._lock:
        cache.after_fork_in_child()
        assert cache.get("key") is None
        cache.set("key", token)
    assert cache.get("key") is token


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_in_the_middle_of_a_change_goes_on() -> None:
    """A child whose parent had another thread within the cache neither hangs nor sees a half-made state."""
    entered, leave = threading.Event(), threading.Event()

    class StopsWithin(ManualClock):
        def monotonic(self) -> float:
            if threading.current_thread() is not threading.main_thread():
                entered.set()
                leave.wait(PATIENCE)
            return super().monotonic()

    clock = StopsWithin()
    cache = MemoryTokenCache(clock=clock)
    token = AccessToken("token", expires_at=clock.time() + 100)
    cache.set("before", token)
    thread = threading.Thread(target=cache.set, args=("within", token), daemon=True)
    thread.start()
    assert entered.wait(PATIENCE)
    child = os.fork()
    if child == 0:  # pragma: no cover - the child's lines count in no parent
        works = False
        try:
            cache.set("after", token)
            works = cache.get("after") is token
        finally:
            os._exit(0 if works else 1)
    leave.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    thread.join(PATIENCE)
    assert cache.get("before") is token
    assert cache.get("within") is token

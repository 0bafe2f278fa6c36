"""The contract of token caches, as tests for pytest: what every cache must do, and what a shared one must."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from requests_cc_token.caches.protocol import Lease, SharedTokenCache, TokenCache
from requests_cc_token.tokens import AccessToken

from .manual_clock import ManualClock

if TYPE_CHECKING:
    from typing import TypeGuard

#: Seconds after which a thread of the contract counts as hanging.
_PATIENCE = 60.0

_AT_ONCE = "a free turn, or a token that is enough, is returned whatever cancelled() says: only a wait asks it"
_NO_TURN = "a wait for the turn of another one ends with None when cancelled() returns True"


class TokenCacheContract:
    """What every token cache must do, as tests for pytest.

    Inherit it in a class whose name begins with ``Test``, and give it ``make_cache``.
    """

    def make_cache(self, clock: ManualClock) -> TokenCache:
        """A cache that takes the time from the clock; for each test an empty one."""
        raise NotImplementedError

    @cached_property
    def clock(self) -> ManualClock:
        """The clock of the test."""
        return ManualClock()

    @staticmethod
    def key(number: int = 0) -> str:
        """A cache key: 64 hexadecimal digits."""
        return f"{number:064x}"

    def token(
        self, value: str = "T41NT-token", *, lifetime: float = 3600.0, key: int = 0, **members: Any
    ) -> AccessToken:
        """A token that expires after ``lifetime`` seconds of the test's clock."""
        return AccessToken(value, expires_at=self.clock.time() + lifetime, key=self.key(key), **members)

    def test_an_empty_cache_has_nothing(self) -> None:
        """Nothing is found where nothing was set."""
        assert self.make_cache(self.clock).get(self.key()) is None

    def test_a_token_comes_back_whole(self) -> None:
        """What was set is found, with everything that the token service said."""
        cache = self.make_cache(self.clock)
        token = self.token(
            token_type="DPoP",  # noqa: S106
            scope="read write",
            renew_at=self.clock.time() + 3000.5,
            extra={"instance": "a", "nested": {"list": [1, None, "\u00e9\U0001f511"]}},
        )
        cache.set(self.key(), token)
        found = cache.get(self.key())
        assert found == token
        assert found is not None
        assert found.key == self.key()

    def test_the_last_token_counts(self) -> None:
        """A token takes the place of the one before, whichever of them lives longer."""
        cache = self.make_cache(self.clock)
        cache.set(self.key(), self.token("first", lifetime=7200.0))
        cache.set(self.key(), self.token("second"))
        assert _value(cache.get(self.key())) == "second"

    def test_keys_are_kept_apart(self) -> None:
        """Each key has its own token; setting or deleting one leaves the others."""
        cache = self.make_cache(self.clock)
        for number in range(20):
            cache.set(self.key(number), self.token(f"token-{number}", key=number))
        cache.delete(self.key(7))
        found = [_value(cache.get(self.key(number))) for number in range(21)]
        assert found == [None if number in (7, 20) else f"token-{number}" for number in range(21)]

    def test_a_deleted_token_is_gone(self) -> None:
        """Deleting forgets the token; another may be set after it."""
        cache = self.make_cache(self.clock)
        cache.set(self.key(), self.token("first"))
        cache.delete(self.key())
        assert cache.get(self.key()) is None
        cache.set(self.key(), self.token("second"))
        assert _value(cache.get(self.key())) == "second"

    def test_deleting_nothing_does_nothing(self) -> None:
        """A key without a token may be deleted, any number of times."""
        cache = self.make_cache(self.clock)
        cache.delete(self.key())
        cache.delete(self.key())
        assert cache.get(self.key()) is None

    def test_a_token_is_found_until_it_expires(self) -> None:
        """A token is found until the moment of its expiry and not from it on, each for its own lifetime."""
        cache = self.make_cache(self.clock)
        cache.set(self.key(0), self.token("short", lifetime=100.0))
        cache.set(self.key(1), self.token("long", lifetime=200.0, key=1))
        self.clock.advance(99.0)
        assert _value(cache.get(self.key(0))) == "short"
        self.clock.advance(1.0)
        assert cache.get(self.key(0)) is None
        assert _value(cache.get(self.key(1))) == "long"

    def test_an_expired_token_is_not_kept(self) -> None:
        """Setting a token that has expired already leaves none, not the one before either."""
        cache = self.make_cache(self.clock)
        cache.set(self.key(), self.token("first"))
        cache.set(self.key(), self.token("expired", lifetime=-1.0))
        assert cache.get(self.key()) is None

    def test_threads_may_use_it_at_once(self) -> None:
        """However threads mix, a key gives a token that was set for it, or none, and no call fails."""
        cache = self.make_cache(self.clock)
        tokens = {number: self.token(f"token-{number}", key=number) for number in range(3)}
        mistakes: list[object] = []

        def mix(seed: int) -> None:
            try:
                for step in range(30):
                    number = (seed + step) % 3
                    if (seed + step) % 7 == 0:
                        cache.delete(self.key(number))
                    elif (seed + step) % 2:
                        cache.set(self.key(number), tokens[number])
                    elif (found := cache.get(self.key(number))) not in (None, tokens[number]):
                        mistakes.append(found)
            except Exception as error:
                mistakes.append(error)

        _in_threads(8, mix)
        assert mistakes == [], mistakes

    def test_its_repr_shows_no_token(self) -> None:
        """Neither repr nor str of a cache shows what is in it."""
        cache = self.make_cache(self.clock)
        cache.set(self.key(), self.token("T41NT-token"))
        assert "T41NT" not in repr(cache) + str(cache)


class SharedTokenCacheContract(TokenCacheContract):
    """What a cache that several processes share must do besides.

    ``make_cache`` gives one more cache over the same store each time it is called within a test. Leases are not ended
    here by time, since a store counts it by its own clock: test yourself that a process that died is not waited for
    for ever.
    """

    def make_cache(self, clock: ManualClock) -> SharedTokenCache:
        """A cache over the store of the test, which is empty at its beginning."""
        raise NotImplementedError

    def test_what_one_sets_the_other_finds(self) -> None:
        """Two caches over one store have the same tokens."""
        one, other = self.make_cache(self.clock), self.make_cache(self.clock)
        one.set(self.key(), self.token("shared"))
        assert _value(other.get(self.key())) == "shared"
        other.delete(self.key())
        assert one.get(self.key()) is None

    def test_one_lease_at_a_time(self) -> None:
        """While one holds the lease of a key, another one waits; once it is released, another one gets it."""
        one, other = self.make_cache(self.clock), self.make_cache(self.clock)
        lease = one.lease(self.key(), lambda: False)
        assert _granted(lease)
        assert lease.token is None
        assert other.lease(self.key(), lambda: True) is None, _NO_TURN
        lease.release()
        following = other.lease(self.key(), lambda: True)
        assert _granted(following), _AT_ONCE
        following.release()

    def test_leases_of_other_keys_are_free(self) -> None:
        """The lease of one key is nothing to another key."""
        cache = self.make_cache(self.clock)
        leases = [cache.lease(self.key(number), lambda: True) for number in range(3)]
        granted = [lease for lease in leases if _granted(lease)]
        assert len(granted) == 3, _AT_ONCE
        for lease in granted:
            lease.release()

    def test_a_lease_brings_what_is_there(self) -> None:
        """Who gets the lease learns which token is in the cache at that moment."""
        cache = self.make_cache(self.clock)
        cache.set(self.key(), self.token("there"))
        lease = cache.lease(self.key(), lambda: False)
        assert _granted(lease)
        assert _value(lease.token) == "there"
        lease.release()
        assert _value(cache.get(self.key())) == "there"

    def test_a_token_that_is_enough_is_given_at_once(self) -> None:
        """Who would rather have a token than the lease gets the one that is there, whoever fetches meanwhile."""
        one, other = self.make_cache(self.clock), self.make_cache(self.clock)
        one.set(self.key(), self.token("there"))
        fetching = one.lease(self.key(), lambda: False)
        assert _granted(fetching)
        lease = other.lease(self.key(), lambda: True, lambda token: token.value == "there")
        assert lease is not None, _AT_ONCE
        assert not lease.granted
        assert _value(lease.token) == "there"
        lease.release()
        fetching.release()

    def test_a_token_that_is_not_enough_is_no_obstacle(self) -> None:
        """Where the token that is there is not enough, has expired, or is none, the lease is granted."""
        cache = self.make_cache(self.clock)
        for number, value in enumerate(("there", "expired", None)):
            if value is not None:
                cache.set(self.key(number), self.token(value, lifetime=60.0))
            if value == "expired":
                self.clock.advance(61.0)
            lease = cache.lease(self.key(number), lambda: True, lambda token: token.value != "there")
            assert _granted(lease), _AT_ONCE
            assert _value(lease.token) == (value if value == "there" else None)
            lease.release()

    def test_who_waits_gets_what_the_holder_wrote(self) -> None:
        """A wait ends with the token that the holder of the lease wrote."""
        one, other = self.make_cache(self.clock), self.make_cache(self.clock)
        lease = one.lease(self.key(), lambda: False)
        assert lease is not None
        waiting = threading.Event()
        found: list[str | None] = []

        def wait() -> None:
            def has_looked() -> bool:
                waiting.set()
                return False

            ended = other.lease(self.key(), has_looked)
            assert ended is not None
            found.append(_value(ended.token))
            ended.release()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        assert waiting.wait(_PATIENCE)
        lease.set(self.token("fetched"))
        lease.release()
        thread.join(_PATIENCE)
        assert found == ["fetched"]

    def test_a_late_holder_replaces_nothing(self) -> None:
        """A token under a lease is not kept where another one was written since the lease was granted."""
        one, other = self.make_cache(self.clock), self.make_cache(self.clock)
        lease = one.lease(self.key(), lambda: False)
        assert lease is not None
        other.set(self.key(), self.token("newer"))
        lease.set(self.token("late"))
        lease.release()
        assert _value(one.get(self.key())) == _value(other.get(self.key())) == "newer"

    def test_a_late_holder_brings_nothing_back(self) -> None:
        """A token under a lease is not kept where the key was deleted since the lease was granted."""
        one, other = self.make_cache(self.clock), self.make_cache(self.clock)
        lease = one.lease(self.key(), lambda: False)
        assert lease is not None
        other.delete(self.key())
        lease.set(self.token("late"))
        lease.release()
        assert one.get(self.key()) is None

    def test_a_cold_start_of_many_fetches_once(self) -> None:
        """Of many that find nothing at once, one fetches and the others get its token."""
        caches = [self.make_cache(self.clock) for _ in range(8)]
        fetched: list[int] = []
        found: list[str | None] = []

        def start(number: int) -> None:
            lease = caches[number].lease(self.key(), lambda: False)
            assert lease is not None
            if lease.token is None:
                assert lease.granted
                fetched.append(number)
                lease.set(self.token("fetched"))
                found.append("fetched")
            else:
                found.append(lease.token.value)
            lease.release()

        _in_threads(8, start)
        assert len(fetched) == 1
        assert found == ["fetched"] * 8


def _value(token: AccessToken | None) -> str | None:
    return None if token is None else token.value


def _granted(lease: Lease | None) -> TypeGuard[Lease]:
    return lease is not None and lease.granted


def _in_threads(count: int, run: Callable[[int], None]) -> None:
    start = threading.Barrier(count)

    def begin(number: int) -> None:
        start.wait(_PATIENCE)
        run(number)

    threads = [threading.Thread(target=begin, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"

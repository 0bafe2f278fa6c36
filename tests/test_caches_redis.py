"""RedisTokenCache against a real Redis: the contract, the keys, the lease, clients of every kind, trouble."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import redis
import redis.asyncio
from cryptography.fernet import Fernet
from redis.backoff import NoBackoff
from redis.retry import Retry

from requests_cc_token import AccessToken
from requests_cc_token.caches.records import MAX_RECORD
from requests_cc_token.caches.redis import RedisTokenCache
from requests_cc_token.caches.store import Kept
from requests_cc_token.exceptions import ConfigurationError, TokenCacheError
from requests_cc_token.testing import ManualClock, SharedTokenCacheContract

from .fetch_threads import until_nothing_hangs
from .redis_groups import Cluster, watched_by_one
from .redis_server import RedisServer, clients_end_with_their_test  # noqa: F401 - each test has it
from .scripted_server import PATIENCE

KEY = SharedTokenCacheContract.key()
OTHER_KEY = SharedTokenCacheContract.key(1)
FERNET_KEY = Fernet.generate_key()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class RedisContract(SharedTokenCacheContract):
    key_of_records: bytes | None = None

    @pytest.fixture(autouse=True)
    def _store(self, server: RedisServer) -> None:
        self.server = server
        self.prefix = f"{uuid.uuid4()}:"

    def make_cache(self, clock: ManualClock) -> RedisTokenCache:
        return RedisTokenCache(
            self.server.url, key=self.key_of_records, prefix=self.prefix, timeout=PATIENCE, clock=clock
        )


class TestRedisTokenCache(RedisContract):
    """The contract that all caches inherit."""


class TestEncryptedRedisTokenCache(RedisContract):
    """The contract, encrypted."""

    key_of_records = FERNET_KEY


class TestWithAClientThatDecodes(RedisContract):
    """The contract, over a client of the user's own that gives text instead of bytes."""

    def make_cache(self, clock: ManualClock) -> RedisTokenCache:
        client = self.server.client(decode_responses=True)
        return RedisTokenCache(client, prefix=self.prefix, timeout=PATIENCE, clock=clock)


class TestWithResp3(RedisContract):
    """The contract, over a client that speaks RESP3."""

    def make_cache(self, clock: ManualClock) -> RedisTokenCache:
        return RedisTokenCache(self.server.client(protocol=3), prefix=self.prefix, timeout=PATIENCE, clock=clock)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


class TestWithACluster(SharedTokenCacheContract):
    """The contract, over three masters: the keys of a token are in one place, whichever that is."""

    @pytest.fixture(autouse=True)
    def _store(self, cluster: Cluster) -> Iterator[None]:
        self.prefix = f"{uuid.uuid4()}:"
        self.client = cluster.client()
        yield
        self.client.close()

    def make_cache(self, clock: ManualClock) -> RedisTokenCache:
        return RedisTokenCache(self.client, prefix=self.prefix, timeout=PATIENCE, clock=clock)

    def test_keys_are_on_all_masters(self, cluster: Cluster) -> None:
        """Tokens are spread over the masters."""
        cache = self.make_cache(self.clock)
        for number in range(30):
            cache.set(self.key(number), self.token(f"token-{number}", key=number))
        assert all(node.client().dbsize() > 0 for node in cluster.nodes)


class TestWithSentinel(SharedTokenCacheContract):
    """The contract, over a client that asks a Sentinel who the master is."""

    @pytest.fixture(autouse=True)
    def _store(self, server: RedisServer) -> Iterator[None]:
        self.prefix = f"{uuid.uuid4()}:"
        with watched_by_one(server) as self.sentinel:
            yield

    def make_cache(self, clock: ManualClock) -> RedisTokenCache:
        client = self.sentinel.master_for("main", socket_timeout=PATIENCE)  # type: ignore[no-untyped-call]
        return RedisTokenCache(client, prefix=self.prefix, timeout=PATIENCE, clock=clock)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4()}:"


@pytest.fixture
def cache(server: RedisServer, clock: ManualClock, prefix: str) -> RedisTokenCache:
    return RedisTokenCache(server.url, prefix=prefix, timeout=PATIENCE, clock=clock)


def token(clock: ManualClock, value: str = "T41NT-token", lifetime: float = 3600.0) -> AccessToken:
    return AccessToken(value, expires_at=clock.time() + lifetime)


def value(found: AccessToken | None) -> str | None:
    return None if found is None else found.value


class TestItsKeys:
    """What is in the store."""

    def test_everything_expires(
        self, server: RedisServer, cache: RedisTokenCache, clock: ManualClock, prefix: str
    ) -> None:
        """The token's key lives as long as the token, the lease as long as the lease, the fence a day longer."""
        lease = cache.lease(KEY, lambda: False)
        assert lease is not None
        client = server.client()
        names = {kind: f"{prefix}{{{KEY}}}:{kind}" for kind in ("token", "fence", "lease")}
        assert 9_000 < client.pttl(names["lease"]) <= 10_000
        lease.set(token(clock, lifetime=100.0))
        assert 99_000 < client.pttl(names["token"]) <= 100_000
        assert 86_499_000 < client.pttl(names["fence"]) <= 86_500_000
        assert sorted(client.keys(f"{prefix}*")) == sorted(names[kind].encode() for kind in ("token", "fence"))

    def test_an_encrypted_store_shows_no_token(
        self, server: RedisServer, clock: ManualClock, prefix: str
    ) -> None:
        """With a key the token is in clear nowhere in the store, and is a miss to who has another key or none."""
        encrypted = RedisTokenCache(server.url, key=FERNET_KEY, prefix=prefix, timeout=PATIENCE, clock=clock)
        encrypted.set(KEY, token(clock))
        assert b"T41NT" not in server.client().get(f"{prefix}{{{KEY}}}:token")
        for key in (None, Fernet.generate_key()):
            other = RedisTokenCache(server.url, key=key, prefix=prefix, timeout=PATIENCE, clock=clock)
            assert other.get(KEY) is None

    @pytest.mark.parametrize("garbage", [b"", b"\x00\xff", b"[]", b"{", b"null", b'{"format":0}', b"9" * 5000])
    def test_garbage_is_a_miss(
        self, server: RedisServer, cache: RedisTokenCache, clock: ManualClock, prefix: str, garbage: bytes
    ) -> None:
        """Whatever somebody puts into a key is a miss, for reading and for a lease, and the next token replaces it."""
        server.client().set(f"{prefix}{{{KEY}}}:token", garbage)
        assert cache.get(KEY) is None
        lease = cache.lease(KEY, lambda: False)
        assert lease is not None and lease.granted and lease.token is None
        lease.set(token(clock))
        assert value(cache.get(KEY)) == "T41NT-token"

    @pytest.mark.parametrize("kind", ["token", "fence", "lease"])
    @pytest.mark.parametrize("what", ["list", "hash", "stream", "number", "huge"])
    def test_what_is_no_record_stops_nothing(
        self, server: RedisServer, cache: RedisTokenCache, clock: ManualClock, prefix: str, kind: str, what: str
    ) -> None:
        """Other kinds of values, and larger ones than any of ours, are misses under each of the three names."""
        client, name = server.client(), f"{prefix}{{{KEY}}}:{kind}"
        put: dict[str, Callable[[], Any]] = {
            "list": lambda: client.rpush(name, 1, 2),
            "hash": lambda: client.hset(name, "field", "1"),
            "stream": lambda: client.xadd(name, {"field": "1"}),
            "number": lambda: client.set(name, 5),
            "huge": lambda: client.set(name, b"x" * (4 * MAX_RECORD)),
        }
        put[what]()
        assert cache.get(KEY) is None
        # A number is text to Redis, as a damaged record is.
        assert cache.inspect(KEY) == Kept(None, None, None, unreadable=(kind, what) == ("token", "number"))
        lease = cache.lease(KEY, lambda: False)
        assert lease is not None and lease.granted and lease.token is None
        lease.set(token(clock))
        lease.release()
        assert value(cache.get(KEY)) == "T41NT-token"
        again = cache.lease(KEY, lambda: True)
        assert again is not None and again.granted, "the first lease is held by nobody"
        again.release()
        cache.delete(KEY)
        assert cache.get(KEY) is None

    @pytest.mark.parametrize("number", ["inf", "-inf", "nan", "x", "", "9" * 30, "-5", "1e300", "0x10"])
    def test_numbers_that_are_none_of_ours_stop_nothing(
        self, server: RedisServer, cache: RedisTokenCache, clock: ManualClock, prefix: str, number: str
    ) -> None:
        """Whatever stands in the place of the fencing numbers, the next token is written."""
        server.client().hset(f"{prefix}{{{KEY}}}:fence", mapping={"last": number, "issued": number})
        lease = cache.lease(KEY, lambda: False)
        assert lease is not None and lease.granted
        lease.set(token(clock))
        assert value(cache.get(KEY)) == "T41NT-token"
        cache.set(KEY, token(clock, "T41NT-newer"))
        assert value(cache.get(KEY)) == "T41NT-newer"

    @pytest.mark.parametrize("number", ["inf", "nan", "x", "-5", "9" * 30, None])
    def test_a_token_whose_number_is_lost_has_no_age(
        self, server: RedisServer, cache: RedisTokenCache, clock: ManualClock, prefix: str, number: str | None
    ) -> None:
        """Who looks into the store sees the token; how old it is, nobody knows."""
        cache.set(KEY, token(clock))
        fence = f"{prefix}{{{KEY}}}:fence"
        if number is None:
            server.client().delete(fence)
        else:
            server.client().hset(fence, "last", number)
        kept = cache.inspect(KEY)
        assert value(kept.token) == "T41NT-token"
        assert kept.age is None

    def test_another_keys_record_is_a_miss(
        self, server: RedisServer, cache: RedisTokenCache, clock: ManualClock, prefix: str
    ) -> None:
        """A record copied to another key is a miss there."""
        cache.set(OTHER_KEY, token(clock))
        client = server.client()
        client.set(f"{prefix}{{{KEY}}}:token", client.get(f"{prefix}{{{OTHER_KEY}}}:token"))
        assert cache.get(KEY) is None

    def test_numbers_grow_after_the_store_lost_them(
        self, server: RedisServer, cache: RedisTokenCache, clock: ManualClock, prefix: str
    ) -> None:
        """A holder from before the store lost everything replaces nothing that was written since."""
        for _ in range(3):
            cache.set(KEY, token(clock))
        late = cache.lease(KEY, lambda: False)
        assert late is not None
        server.client().delete(*server.client().keys(f"{prefix}*"))
        cache.set(KEY, token(clock, "T41NT-newer"))
        late.set(token(clock, "T41NT-late"))
        assert value(cache.get(KEY)) == "T41NT-newer"


class TestLease:
    """SET NX PX, compare-and-delete."""

    def test_it_ends_by_itself(self, server: RedisServer, clock: ManualClock, prefix: str) -> None:
        """The lease of a holder that never comes back ends; the next one is told its own, higher number."""
        dead = RedisTokenCache(server.url, prefix=prefix, lease=0.2, timeout=PATIENCE, clock=clock)
        other = RedisTokenCache(server.url, prefix=prefix, lease=PATIENCE, timeout=PATIENCE, clock=clock)
        first = dead.lease(KEY, lambda: False)
        second = other.lease(KEY, lambda: False)
        assert first is not None and second is not None and second.granted
        second.set(token(clock, "T41NT-second"))
        first.set(token(clock, "T41NT-first"))
        assert value(other.get(KEY)) == "T41NT-second"

    def test_a_lease_of_less_than_a_millisecond(self, server: RedisServer, clock: ManualClock, prefix: str) -> None:
        """It is granted, as a file's is; Redis counts in whole milliseconds, and one is the least."""
        cache = RedisTokenCache(server.url, prefix=prefix, lease=0.0001, timeout=PATIENCE, clock=clock)
        lease = cache.lease(KEY, lambda: False)
        assert lease is not None
        assert lease.granted

    def test_only_its_holder_releases_it(self, server: RedisServer, clock: ManualClock, prefix: str) -> None:
        """Who comes back after its lease ended neither writes over nor releases the lease of the next one."""
        slow = RedisTokenCache(server.url, prefix=prefix, lease=0.2, timeout=PATIENCE, clock=clock)
        other = RedisTokenCache(server.url, prefix=prefix, lease=PATIENCE, timeout=PATIENCE, clock=clock)
        first = slow.lease(KEY, lambda: False)
        second = other.lease(KEY, lambda: False)
        assert first is not None and second is not None
        first.release()
        assert other.lease(KEY, lambda: True) is None
        first = slow.lease(KEY, lambda: True)
        assert first is None
        second.release()
        third = slow.lease(KEY, lambda: True)
        assert third is not None and third.granted

    def test_waiting_ends_however_many_fail(self, server: RedisServer, clock: ManualClock, prefix: str) -> None:
        """Whoever has waited for half a minute fetches, whoever else does, and may write."""
        caches = [
            RedisTokenCache(server.url, prefix=prefix, lease=3600.0, timeout=PATIENCE, clock=clock) for _ in range(2)
        ]
        held = caches[0].lease(KEY, lambda: False)
        assert held is not None

        def let_time_pass() -> bool:
            clock.advance(10.0)
            return False

        lease = caches[1].lease(KEY, let_time_pass)
        assert lease is not None and lease.granted
        lease.set(token(clock, "T41NT-newer"))
        held.set(token(clock, "T41NT-late"))
        assert value(caches[0].get(KEY)) == "T41NT-newer"


class TestTrouble:
    """Whatever the store does, an operation ends in bounded time with an error that holds no secret."""

    @pytest.fixture
    def own(self) -> Iterator[RedisServer]:
        with RedisServer() as server:
            yield server

    def test_down_and_up_again(self, own: RedisServer, clock: ManualClock) -> None:
        """A store that is down raises; one that is up again works at once, over the same cache."""
        cache = RedisTokenCache(own.url, timeout=PATIENCE, clock=clock)
        cache.set(KEY, token(clock))
        own.kill()
        for use in (lambda: cache.get(KEY), lambda: cache.set(KEY, token(clock)), lambda: cache.lease(KEY, bool)):
            with pytest.raises(TokenCacheError, match="ConnectionError") as caught:
                use()
            assert "T41NT" not in str(caught.value)
        own.start()
        assert cache.get(KEY) is None
        cache.set(KEY, token(clock))
        assert value(cache.get(KEY)) == "T41NT-token"

    def test_frozen(self, own: RedisServer, clock: ManualClock) -> None:
        """A store that hangs costs each operation its timeout, and after a few no time at all; then it works again."""
        client = own.client()
        cache = RedisTokenCache(client, timeout=0.04, clock=clock)
        patient = RedisTokenCache(client, timeout=PATIENCE, clock=clock)
        patient.set(KEY, token(clock))
        own.freeze()
        try:
            said = []
            for _ in range(5):
                with pytest.raises(TokenCacheError) as caught:
                    cache.get(KEY)
                said.append(str(caught.value))
            assert all("did not answer within 40 ms" in text for text in said[:4])
            assert "4 operations hang already" in said[4]
            assert cache._calls._hanging == 4
        finally:
            own.thaw()
        until_nothing_hangs()
        assert value(patient.get(KEY)) == "T41NT-token"
        assert value(cache.get(KEY)) == "T41NT-token"

    def test_a_lease_that_comes_late_is_given_back(self, own: RedisServer, clock: ManualClock) -> None:
        """A lease that the store grants after nobody waits for it any more is released, and stops nobody."""
        client = own.client()
        cache = RedisTokenCache(client, timeout=0.04, lease=3600.0, clock=clock)
        own.freeze()
        try:
            with pytest.raises(TokenCacheError, match="did not answer"):
                cache.lease(KEY, lambda: False)
            assert cache._calls._hanging == 1
        finally:
            own.thaw()
        until_nothing_hangs()
        lease = RedisTokenCache(client, timeout=PATIENCE, clock=clock).lease(KEY, lambda: True)
        assert lease is not None and lease.granted

    def test_full(self, own: RedisServer, clock: ManualClock) -> None:
        """A store that is full raises for whoever would write; reading goes on."""
        cache = RedisTokenCache(own.url, timeout=PATIENCE, clock=clock)
        cache.set(KEY, token(clock))
        own.client().config_set("maxmemory", "1")
        with pytest.raises(TokenCacheError, match=r"OutOfMemory|OOM"):
            cache.set(KEY, token(clock, "T41NT-next"))
        with pytest.raises(TokenCacheError, match=r"OutOfMemory|OOM"):
            cache.lease(KEY, lambda: False)
        assert value(cache.get(KEY)) == "T41NT-token"
        own.client().config_set("maxmemory", "0")
        cache.set(KEY, token(clock, "T41NT-next"))
        assert value(cache.get(KEY)) == "T41NT-next"

    def test_read_only(self, own: RedisServer, clock: ManualClock) -> None:
        """A replica raises for whoever would write; reading goes on, and so does writing after its promotion."""
        with RedisServer() as replica:
            RedisTokenCache(own.url, timeout=PATIENCE, clock=clock).set(KEY, token(clock))
            client = replica.client()
            client.replicaof("127.0.0.1", own.port)
            cache = RedisTokenCache(client, timeout=PATIENCE, clock=clock)
            looked = threading.Event()
            for _ in range(int(PATIENCE / 0.05)):
                if client.info("replication")["master_link_status"] == "up":
                    break
                looked.wait(0.05)
            assert value(cache.get(KEY)) == "T41NT-token"
            with pytest.raises(TokenCacheError, match=r"ReadOnly|READONLY"):
                cache.set(KEY, token(clock, "T41NT-next"))
            with pytest.raises(TokenCacheError, match=r"ReadOnly|READONLY"):
                cache.lease(KEY, lambda: False)
            client.replicaof("NO", "ONE")
            cache.set(KEY, token(clock, "T41NT-next"))
            assert value(cache.get(KEY)) == "T41NT-next"

    def test_a_wrong_password(self, own: RedisServer, clock: ManualClock) -> None:
        """A password that is refused raises, and the error quotes neither it nor the URL."""
        own.client().config_set("requirepass", "T41NT-right")
        url = f"redis://:T41NT-wrong@127.0.0.1:{own.port}"
        with pytest.raises(TokenCacheError) as caught:
            RedisTokenCache(url, timeout=PATIENCE, clock=clock).get(KEY)
        assert "Auth" in str(caught.value) and "T41NT" not in str(caught.value)
        right = RedisTokenCache(url.replace("wrong", "right"), timeout=PATIENCE, clock=clock)
        right.set(KEY, token(clock))
        assert value(right.get(KEY)) == "T41NT-token"

    def test_a_lost_answer(self, own: RedisServer, clock: ManualClock) -> None:
        """A client that loses the answer to its claim and asks again gets its own lease."""

        class LosesTheFirstAnswer(redis.Connection):
            lost: ClassVar[set[str]] = set()

            def read_response(self, *args: Any, **kwargs: Any) -> Any:
                answer = super().read_response(*args, **kwargs)
                if isinstance(answer, list) and len(answer) == 3 and not self.lost:
                    self.lost.add("once")
                    raise redis.ConnectionError("the answer is lost")
                return answer

        pool = redis.ConnectionPool(
            connection_class=LosesTheFirstAnswer,
            host="127.0.0.1",
            port=own.port,
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[redis.ConnectionError],
        )
        cache = RedisTokenCache(redis.Redis(connection_pool=pool), timeout=PATIENCE, clock=clock)
        lease = cache.lease(KEY, lambda: True)
        assert LosesTheFirstAnswer.lost
        assert lease is not None and lease.granted


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_has_connections_of_its_own(server: RedisServer, cache: RedisTokenCache, clock: ManualClock) -> None:
    """After a fork parent and child use the cache at once, over different connections."""
    cache.set(KEY, token(clock))
    before = {entry["id"] for entry in server.client().client_list()}
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - the child's lines count in no parent
        works = False
        try:
            works = all(value(cache.get(KEY)) == "T41NT-token" for _ in range(50))
            connections = {entry["id"] for entry in server.client().client_list()}
            os.write(write, b"new" if connections - before else b"old")
        finally:
            os._exit(0 if works else 1)
    assert all(value(cache.get(KEY)) == "T41NT-token" for _ in range(50))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert os.read(read, 3) == b"new"


class TestItsClient:
    """What may be handed in."""

    @pytest.mark.parametrize("url", ["http://127.0.0.1", "T41NT", "", "redis://127.0.0.1:port"])
    def test_a_bad_url(self, url: str) -> None:
        """A URL that redis-py cannot read is refused, and not quoted."""
        with pytest.raises(ConfigurationError, match="redis://, rediss:// or unix://") as caught:
            RedisTokenCache(url)
        assert not url or url not in str(caught.value)

    @pytest.mark.parametrize("client", [redis.asyncio.Redis(), object(), None])
    def test_no_client(self, client: Any) -> None:
        """An asynchronous client, or what is none, is refused."""
        with pytest.raises(ConfigurationError, match="synchronous client"):
            RedisTokenCache(client)

    def test_valkeys_scheme(self, server: RedisServer, clock: ManualClock, prefix: str) -> None:
        """A URL of Valkey is one of Redis."""
        url = server.url.replace("redis://", "valkey://")
        cache = RedisTokenCache(url, prefix=prefix, timeout=PATIENCE, clock=clock)
        cache.set(KEY, token(clock))
        assert value(cache.get(KEY)) == "T41NT-token"

    def test_braces_in_the_prefix(self) -> None:
        """A prefix with braces would move the hash tag, so it is refused."""
        with pytest.raises(ConfigurationError, match="braces"):
            RedisTokenCache("redis://127.0.0.1", prefix="{app}")

    @pytest.mark.parametrize("given", [None, 5, b"app:", "\ud800"])
    def test_a_prefix_that_is_no_text(self, given: Any) -> None:
        """It is refused where it is given, and not at each call."""
        with pytest.raises(ConfigurationError, match="prefix of a RedisTokenCache is text"):
            RedisTokenCache("redis://127.0.0.1", prefix=given)

    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "1"])
    @pytest.mark.parametrize("option", ["lease", "timeout"])
    def test_bad_seconds(self, option: str, seconds: Any) -> None:
        """Lease and timeout are positive numbers of seconds."""
        with pytest.raises(ConfigurationError, match=f"{option} of a token cache must be a number of seconds"):
            RedisTokenCache("redis://127.0.0.1", **{option: seconds})

    def test_without_its_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where redis is missing the error says which extra to install."""
        monkeypatch.setitem(sys.modules, "redis", None)
        with pytest.raises(ConfigurationError, match=r"pip install requests_cc_token\[redis\]"):
            RedisTokenCache("redis://127.0.0.1")

    def test_its_repr_and_pickle(self) -> None:
        """Its repr shows neither URL nor key, and it does not travel."""
        cache = RedisTokenCache("redis://:T41NT@127.0.0.1", key=FERNET_KEY, prefix="app:")
        assert repr(cache) == "<RedisTokenCache with prefix 'app:', encrypted>"
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(cache)

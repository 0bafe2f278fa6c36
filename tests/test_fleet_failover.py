"""A store of several servers loses one of them under load: a failover by Sentinels, a node of a cluster (R1, R2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from requests_cc_token.caches.redis import RedisTokenCache
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.testing import ManualClock

from .fetch_threads import FetchThreads
from .fleet.fixtures import tokens_for_one_worker  # noqa: F401 - a fixture
from .fleet.load import Load
from .fleet.outage import LIFETIME, Worker, warnings
from .redis_groups import Cluster, Watched, wait_until
from .redis_server import RedisServer, clients_end_with_their_test  # noqa: F401 - each test has it

#: Seconds after which a socket gives up: what the docs advise.
SOCKET_TIMEOUT = 1.0
#: Seconds of a lease, so that one whose holder could not give it back is soon over.
LEASE = 3.0
#: Seconds that the store may add to a call: it counts as usable on a busy machine too.
TIMEOUT = 1.0


class Fleet:
    """Two workers under load, each with a client of its own, and what they warned of."""

    def __init__(self, tokens: TokenService, workers: Sequence[Worker], load: Load, texts: list[str]) -> None:
        self.tokens = tokens
        self.workers = workers
        self.let_all_call = load.let_all_call
        self._texts = texts

    def warnings(self) -> list[int]:
        """How many warnings there were so far, for each worker."""
        return [sum(repr(worker.name) in text for text in self._texts) for worker in self.workers]

    def cool_down(self) -> list[int]:
        """Let a cool-down and all tokens end, and all threads call; how often each worker warned meanwhile."""
        before = self.warnings()
        for worker in self.workers:
            worker.clock.advance(LIFETIME + 1.0)
        self.let_all_call()
        return [now - then for now, then in zip(self.warnings(), before, strict=True)]

    def share_again(self) -> bool:
        """Whether all have one token, after one token request and no warning."""
        # What hung in the trouble gives up by itself, in less time than a cool-down takes.
        FetchThreads.current.join("cache")
        requests = len(self.tokens.requests)
        silent = self.cool_down() == [0, 0]
        return (
            silent
            and self.workers[0].call() == self.workers[1].call()
            and len(self.tokens.requests) == requests + 1
        )


@contextmanager
def under_load(tokens: TokenService, client: Callable[[], Any]) -> Iterator[Fleet]:
    with ExitStack() as clients:

        def cache(clock: ManualClock) -> RedisTokenCache:
            return RedisTokenCache(clients.enter_context(client()), timeout=TIMEOUT, lease=LEASE, clock=clock)

        workers = [Worker(tokens, cache, ManualClock(), name) for name in ("first", "second")]
        with workers[0].management, workers[1].management, warnings() as texts, Load(workers) as load:
            yield Fleet(tokens, workers, load, texts)


def take_away(server: RedisServer, outage: str) -> None:
    server.freeze() if outage == "frozen" else server.kill()


def bring_back(server: RedisServer, outage: str) -> None:
    server.thaw() if outage == "frozen" else server.start()


@pytest.mark.parametrize("outage", ["killed", "frozen"])
def test_a_failover(tokens: TokenService, outage: str) -> None:
    """While Sentinels replace a dead master no call fails; then the new one is used, whatever the old one does.

    Each worker warns once at most in each cool-down, and not any more once the replica is the master.
    """
    with Watched() as store, under_load(tokens, lambda: store.client(socket_timeout=SOCKET_TIMEOUT)) as fleet:
        fleet.let_all_call()
        assert fleet.share_again()
        take_away(store.master, outage)
        assert fleet.cool_down() == [1, 1]
        while not store.has_failed_over():
            assert max(fleet.cool_down()) <= 1
        assert fleet.share_again()
        assert store.replica.client().keys("*:token") != []
        bring_back(store.master, outage)
        assert fleet.share_again()
        store.demote()
        assert fleet.share_again()


def test_a_failover_during_a_fetch(tokens: TokenService) -> None:
    """A master that dies while one worker fetches and the other one waits for it fails the calls of neither."""
    with Watched() as store, under_load(tokens, lambda: store.client(socket_timeout=SOCKET_TIMEOUT)) as fleet:
        fleet.let_all_call()
        assert fleet.share_again()
        requests = len(tokens.requests)
        before = fleet.warnings()
        with tokens.hold():
            for worker in fleet.workers:
                worker.clock.advance(LIFETIME + 1.0)
            tokens.wait_for_requests(requests + 1)
            store.master.kill()
            # The one that waited for the other's token waits no longer.
            tokens.wait_for_requests(requests + 2)
        fleet.let_all_call()
        assert [now - then for now, then in zip(fleet.warnings(), before, strict=True)] == [1, 1]
        wait_until(store.has_failed_over, "the replica is the master")
        assert fleet.share_again()


@pytest.mark.parametrize("outage", ["killed", "frozen"])
def test_a_node_of_a_cluster(tokens: TokenService, outage: str) -> None:
    """While the node that has the token is gone, calls go on without it; once it is back it is used by itself."""
    with Cluster() as store, under_load(tokens, lambda: store.client(socket_timeout=SOCKET_TIMEOUT)) as fleet:
        fleet.let_all_call()
        assert fleet.share_again()
        owner = store.owner("*:token")
        take_away(owner, outage)
        for _ in range(3):
            assert fleet.cool_down() == [1, 1]
        bring_back(owner, outage)
        store.wait_until_up()
        assert fleet.share_again()
        assert store.owner("*:token") is owner

"""Whatever happens to the store, calls go on: none fails, one warning and a bounded delay for each cool-down (R1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token.caches.file import FileTokenCache
from requests_cc_token.caches.redis import RedisTokenCache
from requests_cc_token.caches.store import DEFAULT_TIMEOUT
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.testing import ManualClock
from requests_cc_token.token_source import CACHE_COOL_DOWN

from .fleet.fixtures import tokens_for_one_worker  # noqa: F401 - a fixture
from .fleet.load import Load
from .fleet.outage import (
    LIFETIME,
    Figures,
    Worker,
    measure,
    redis_troubles,
    replace_by_file,
    silent_host,
    warnings,
)
from .redis_server import RedisServer, clients_end_with_their_test  # noqa: F401 - each test has it
from .relay import Relay
from .scripted_server import PATIENCE

#: Seconds that a store may add to a call, for each cool-down: its timeout, and some for what else a call is made of.
BOUND = DEFAULT_TIMEOUT + 0.05
#: Cool-downs of each trouble.
COOL_DOWNS = 3
#: Cool-downs after which a machine that is busy has had its chance to show one within the bound.
MOST_COOL_DOWNS = 60


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def within_bound(figures: Figures) -> bool:
    """Whether a cool-down was within the bound. The best of several: the others measure what else this machine does."""
    return min(delay - late for delay, late in zip(figures.delays, figures.lateness, strict=True)) <= BOUND


def told(figures: Figures) -> bool:
    """Whether the figures tell: within the bound, or never within it however often it was measured."""
    return within_bound(figures) or len(figures.delays) >= MOST_COOL_DOWNS


def measured(
    tokens: TokenService, cache: Callable[[ManualClock], Any], trouble: Callable[[], object] = lambda: None
) -> Figures:
    return measure(tokens, cache, trouble, told, COOL_DOWNS)


def check(figures: Figures, least_warnings: int | None = None) -> None:
    cool_downs = len(figures.delays)
    assert figures.failed == 0
    assert (cool_downs if least_warnings is None else least_warnings) <= figures.warnings <= cool_downs
    assert within_bound(figures), figures


@pytest.mark.parametrize("trouble", redis_troubles())
def test_a_broken_redis(tokens: TokenService, server: RedisServer, trouble: str) -> None:
    """Killed, frozen, read-only or full: no call fails, and each cool-down has its one warning."""
    begin = redis_troubles()[trouble]
    check(measured(tokens, lambda clock: RedisTokenCache(server.url, clock=clock), lambda: begin(server)))


@pytest.mark.parametrize("delay", [0.2, 1.0])
def test_a_slow_redis(tokens: TokenService, server: RedisServer, delay: float) -> None:
    """A store whose answers come late adds no more than the bound, however late they are."""
    relay = Relay(server.port)

    def trouble() -> None:
        relay.delay = delay

    try:
        # On a busy machine a little lateness is forgiven, now and then.
        check(measured(tokens, lambda clock: RedisTokenCache(relay.url, clock=clock), trouble), least_warnings=1)
    finally:
        relay.close()


def test_a_silent_host(tokens: TokenService) -> None:
    """A host that does not even answer to a connection is no different."""
    with silent_host() as url:
        check(measured(tokens, lambda clock: RedisTokenCache(url, clock=clock)))


def test_a_broken_folder(tokens: TokenService, tmp_path: Path) -> None:
    """A folder that cannot be used is no different."""
    path = tmp_path / "tokens"
    check(measured(tokens, lambda clock: FileTokenCache(path, clock=clock), lambda: replace_by_file(path)))


def test_a_corrupt_folder(tokens: TokenService, tmp_path: Path) -> None:
    """Records that are garbage are misses: nothing to warn of."""
    path = tmp_path / "tokens"

    class Garbles(ManualClock):
        """Its time passes over records that somebody has overwritten."""

        def advance(self, seconds: float) -> None:
            super().advance(seconds)
            for record in path.rglob("*.token"):
                record.write_bytes(b"\x00garbage")

    worker = Worker(tokens, lambda clock: FileTokenCache(path, timeout=PATIENCE, clock=clock), Garbles())
    figures = Figures()
    with worker.management, warnings() as texts:
        for _ in range(COOL_DOWNS):
            worker.cool_down(figures)
        assert texts == []
    assert figures.failed == 0
    assert len(tokens.requests) == COOL_DOWNS


@pytest.mark.parametrize("outage", ["killed", "frozen"])
def test_a_store_comes_and_goes_under_load(tokens: TokenService, server: RedisServer, outage: str) -> None:
    """Two workers of four threads each call all the time while the store goes away and comes back, twice.

    No call fails; each worker warns once in each cool-down at most; and once the cool-down is over they share again.
    """
    workers = [
        Worker(tokens, lambda clock: RedisTokenCache(server.url, timeout=1.0, clock=clock), ManualClock())
        for _ in range(2)
    ]
    with workers[0].management, workers[1].management, warnings() as texts, Load(workers) as load:
        for _ in range(2):
            load.let_all_call()
            server.kill() if outage == "killed" else server.freeze()
            before = len(texts)
            for worker in workers:
                worker.clock.advance(LIFETIME + 1.0)
            load.let_all_call()
            assert len(texts) - before == len(workers)
            server.start() if outage == "killed" else server.thaw()
            for worker in workers:
                worker.clock.advance(max(LIFETIME, CACHE_COOL_DOWN) + 1.0)
            load.let_all_call()
            assert len(texts) - before == len(workers)
            requests = len(tokens.requests)
            for worker in workers:
                worker.clock.advance(LIFETIME + 1.0)
            load.let_all_call()
            assert workers[0].call() == workers[1].call()
            assert len(tokens.requests) == requests + 1

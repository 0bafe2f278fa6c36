"""What a broken store costs: the calls that fail and the delay that is added, for each cool-down (R1).

``python -m tests.fleet.outage`` prints the figures of ``docs/caches.md``.
"""

from __future__ import annotations

import logging
import socket
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from requests_cc_token import AccessTokenManagement, MemoryTokenCache
from requests_cc_token.caches.bounded_calls import STEPS
from requests_cc_token.caches.file import FileTokenCache
from requests_cc_token.caches.redis import RedisTokenCache
from requests_cc_token.caches.store import DEFAULT_TIMEOUT
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.testing import ManualClock
from requests_cc_token.token_source import CACHE_COOL_DOWN
from tests.fleet.member import say
from tests.redis_groups import Watched
from tests.redis_server import RedisServer
from tests.relay import Relay

#: Seconds that the tokens live: they expire with each cool-down, so that each one needs the store.
LIFETIME = int(CACHE_COOL_DOWN)
#: Cool-downs of one trouble, and calls in each.
COOL_DOWNS, CALLS = 7, 200


@dataclass
class Figures:
    """Of one trouble."""

    #: Seconds of the slowest call of each cool-down, less those of the same call without a store.
    delays: list[float] = field(default_factory=list)
    #: Seconds by which this machine was late at that time, over as many waits as a silent store is waited for.
    lateness: list[float] = field(default_factory=list)
    calls: int = 0
    failed: int = 0
    warnings: int = 0

    def __str__(self) -> str:
        delays = [max(0.0, delay) * 1000 for delay in self.delays]
        return (
            f"{self.calls} calls, {self.failed} failed; {self.warnings} warnings in {len(delays)} cool-downs; "
            f"added {statistics.median(delays):.1f} ms, at most {max(delays):.1f} ms"
        )


class Worker:
    """One process's management over a cache, its clock moved by hand."""

    def __init__(
        self, tokens: TokenService, cache: Callable[[ManualClock], Any], clock: ManualClock, name: str = "worker"
    ) -> None:
        self.clock = clock
        #: What its warnings call it; its tokens are those of all workers.
        self.name = name
        self.management = AccessTokenManagement(cache=cache(clock), clock=clock)
        self.management.add_client(
            name, token_endpoint=tokens.token_endpoint, client_id="worker", client_secret="secret", scope="api"
        )

    def call(self) -> str:
        return self.management.service.get_access_token(self.name).value

    def cool_down(self, figures: Figures | None = None) -> float:
        """Let the cool-down and the token end; the seconds that the slowest call of the next one took."""
        self.clock.advance(LIFETIME + 1.0)
        slowest = 0.0
        for _ in range(CALLS):
            began = time.perf_counter()
            try:
                self.call()
            except Exception:
                if figures is None:
                    raise
                figures.failed += 1
            slowest = max(slowest, time.perf_counter() - began)
        if figures is not None:
            figures.calls += CALLS
        return slowest


class Warnings(logging.Handler):
    """Counts what the package warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def warnings() -> Iterator[list[str]]:
    handler = Warnings()
    logger = logging.getLogger("requests_cc_token")
    logger.addHandler(handler)
    try:
        yield handler.texts
    finally:
        logger.removeHandler(handler)


def measure(
    tokens: TokenService,
    cache: Callable[[ManualClock], Any],
    trouble: Callable[[], object],
    over: Callable[[Figures], bool] = lambda figures: True,
    cool_downs: int = COOL_DOWNS,
) -> Figures:
    """Figures of a worker whose store gets into trouble after a good start; of more cool-downs until it is over."""
    alone = Worker(tokens, lambda clock: MemoryTokenCache(clock=clock), ManualClock())
    with_store = Worker(tokens, cache, ManualClock())
    figures = Figures()
    with alone.management, with_store.management, warnings() as texts:
        usual = statistics.median(alone.cool_down() for _ in range(cool_downs))
        with_store.cool_down()
        trouble()
        before = len(texts)
        while len(figures.delays) < cool_downs or not over(figures):
            figures.delays.append(with_store.cool_down(figures) - usual)
            figures.lateness.append(lateness())
        figures.warnings = len(texts) - before
    return figures


def lateness() -> float:
    """Seconds that fifty short waits take too long now: what is waited for in steps stretches so far."""
    pause, began = threading.Event(), time.perf_counter()
    for _ in range(STEPS):
        pause.wait(DEFAULT_TIMEOUT / STEPS)
    return time.perf_counter() - began - DEFAULT_TIMEOUT


@contextmanager
def silent_host() -> Iterator[str]:
    """The URL of a host that does not even answer to a connection: its backlog is full."""
    with socket.socket() as listener, ExitStack() as filling:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = filling.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


def redis_troubles() -> dict[str, Callable[[RedisServer], object]]:
    """What can happen to a Redis, by name."""
    return {
        "killed": RedisServer.kill,
        "frozen": RedisServer.freeze,
        "read-only": lambda server: server.client().replicaof("127.0.0.1", 1),
        "full": lambda server: server.client().config_set("maxmemory", "1"),
    }


def main() -> None:
    logging.getLogger("requests_cc_token").addHandler(logging.NullHandler())
    logging.getLogger("requests_cc_token").propagate = False
    with TokenService(token_lifetime=LIFETIME) as tokens:
        tokens.add_client("worker", "secret", scopes="api")
        for name, trouble in redis_troubles().items():
            with RedisServer() as server:
                url = server.url

                def cache(clock: ManualClock, url: str = url) -> RedisTokenCache:
                    return RedisTokenCache(url, clock=clock)

                say(f"Redis {name}: {measure(tokens, cache, lambda t=trouble, s=server: t(s))}")  # type: ignore[misc]
        with RedisServer() as server:
            relay = Relay(server.port)
            for delay in (0.025, 0.100, 0.400):

                def slow(clock: ManualClock) -> RedisTokenCache:
                    relay.delay = 0.0
                    return RedisTokenCache(relay.url, prefix=f"{uuid.uuid4()}:", clock=clock)

                figures = measure(tokens, slow, lambda d=delay: setattr(relay, "delay", d))  # type: ignore[misc]
                say(f"Redis answers after {delay * 1000:.0f} ms: {figures}")
            relay.close()
        for name, outage in (("killed", RedisServer.kill), ("frozen", RedisServer.freeze)):
            with Watched() as watched:
                client = watched.client(socket_timeout=1)

                def master(clock: ManualClock, client: Any = client) -> RedisTokenCache:
                    # A lease that could not be given back ends before the cool-down does; Redis' time is not moved.
                    return RedisTokenCache(client, lease=0.01, clock=clock)

                begin = partial(outage, watched.master)
                figures = measure(tokens, master, begin, over=lambda _, w=watched: w.has_failed_over())  # type: ignore[misc]
                client.close()
                say(f"Redis master {name}, until its replica has taken over: {figures}")
        with silent_host() as url:
            say(f"Redis host silent: {measure(tokens, lambda clock: RedisTokenCache(url, clock=clock), int)}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokens"
            figures = measure(tokens, lambda clock: FileTokenCache(path, clock=clock), lambda: replace_by_file(path))
            say(f"folder replaced by a file: {figures}")


def replace_by_file(path: Path) -> None:
    """Make the folder unusable, for root too."""
    path.rename(path.with_name("away"))
    path.write_text("in the way")


if __name__ == "__main__":
    main()

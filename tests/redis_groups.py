"""Several real Redis servers that are one store: a cluster, and a master whose replica Sentinels promote."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError
from redis.sentinel import Sentinel

from .redis_server import RedisServer
from .scripted_server import PATIENCE

#: Seconds for which a test waits until servers agree: they tell each other of themselves every two seconds, and an
#: election that nobody won is held again after some more.
LONG_PATIENCE = 4 * PATIENCE
#: Milliseconds after which a server that is silent counts as gone: as few as a machine may hold a live one up.
DOWN_AFTER = 1000


def wait_until(reached: Callable[[], bool], what: str) -> None:
    """Ask the servers again and again; nothing tells when they will have agreed."""
    pause = threading.Event()
    for _ in range(int(LONG_PATIENCE / 0.05)):
        if reached():
            return
        pause.wait(0.05)
    raise AssertionError(f"not within {LONG_PATIENCE:.0f} s: {what}")


class Cluster:
    """Three masters, the slots shared out among them."""

    def __init__(self) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        with ExitStack() as started:
            self.nodes = [started.enter_context(RedisServer(*options)) for _ in range(3)]
            first = self.nodes[0].client()
            for number, node in enumerate(self.nodes):
                client = node.client()
                slots = range(number * 16384 // 3, (number + 1) * 16384 // 3)
                client.execute_command("CLUSTER ADDSLOTS", *slots)
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
                if number:
                    first.execute_command("CLUSTER MEET", "127.0.0.1", node.port)
            self.wait_until_up()
            self._started = started.pop_all()

    def wait_until_up(self) -> None:
        """Return once each node knows all the others, and that no slot is missing."""
        wait_until(lambda: all(map(self._is_up, self.nodes)), "the cluster is up")

    @staticmethod
    def _is_up(node: RedisServer) -> bool:
        return b"cluster_state:ok" in _raw(node, "CLUSTER INFO") and _raw(node, "CLUSTER NODES").count(b"\n") == 3

    def client(self, **options: Any) -> Any:
        nodes = [ClusterNode("127.0.0.1", node.port) for node in self.nodes]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, **options)

    def owner(self, pattern: str) -> RedisServer:
        """The node that has the one key of that pattern."""
        (owner,) = [node for node in self.nodes if node.client().keys(pattern)]
        return owner

    def close(self) -> None:
        self._started.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _raw(node: RedisServer, command: str) -> bytes:
    """The server's own text, which redis-py would parse."""
    with socket.create_connection(("127.0.0.1", node.port), PATIENCE) as connection:
        connection.sendall(command.encode() + b"\r\n")
        with connection.makefile("rb") as answer:
            return answer.read(int(answer.readline()[1:]))


class SentinelServer(RedisServer):
    """Watches over a master as ``main``, and promotes its replica when ``quorum`` Sentinels miss it."""

    def __init__(self, master: RedisServer, quorum: int = 1) -> None:
        self._configuration = (
            f"sentinel monitor main 127.0.0.1 {master.port} {quorum}\n"
            f"sentinel down-after-milliseconds main {DOWN_AFTER}\n"
            "sentinel failover-timeout main 3000\n"
        )
        super().__init__()

    def arguments(self) -> list[str]:
        # It writes there what it learns.
        path = Path(self._folder.name) / "sentinel.conf"
        if not path.exists():
            path.write_text(self._configuration, encoding="ascii")
        return [str(path), "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1"]


class Watched:
    """A master, its replica, and three Sentinels of which two have to agree."""

    def __init__(self) -> None:
        with ExitStack() as started:
            self.master = started.enter_context(RedisServer("--repl-diskless-sync-delay", "0"))
            self.replica = started.enter_context(RedisServer("--replicaof", "127.0.0.1", str(self.master.port)))
            # Before the Sentinels ask, who ask a second time only much later.
            wait_until(self._replicates, "the replica has what the master has")
            self.sentinels = [started.enter_context(SentinelServer(self.master, 2)) for _ in range(3)]
            wait_until(lambda: all(map(self._knows_all, self.sentinels)), "the Sentinels know each other")
            self._started = started.pop_all()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [("127.0.0.1", sentinel.port) for sentinel in self.sentinels]

    def client(self, **options: Any) -> Any:
        """A client that asks the Sentinels who the master is."""
        return Sentinel(self.addresses, socket_timeout=1).master_for("main", **options)  # type: ignore[no-untyped-call]

    def _replicates(self) -> bool:
        return bool(self.replica.client().info("replication")["master_link_status"] == "up")

    @staticmethod
    def _knows_all(sentinel: RedisServer) -> bool:
        state = sentinel.client().sentinel_master("main")
        return bool((state["num-slaves"], state["num-other-sentinels"]) == (1, 2))

    def has_failed_over(self) -> bool:
        """Whether the replica is the master, and all Sentinels say so."""
        named = {sentinel.client().sentinel_get_master_addr_by_name("main")[1] for sentinel in self.sentinels}
        return named == {self.replica.port} and bool(_role(self.replica) == b"master")

    def demote(self) -> None:
        """Make the old master, back again, the replica of the new one; the Sentinels take ten seconds and more."""
        with suppress(RedisError):  # they were faster, and have closed its connections
            self.master.client().replicaof("127.0.0.1", self.replica.port)

    def close(self) -> None:
        self._started.close()

    def __enter__(self) -> Watched:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _role(server: RedisServer) -> Any:
    """What the server is, or None: it closes all connections when that changes."""
    try:
        return server.client().role()[0]
    except RedisError:
        return None


@contextmanager
def watched_by_one(master: RedisServer) -> Iterator[Sentinel]:
    """A Sentinel of a master that has no replica."""
    with SentinelServer(master) as sentinel:
        yield Sentinel([("127.0.0.1", sentinel.port)], socket_timeout=PATIENCE)  # type: ignore[no-untyped-call]

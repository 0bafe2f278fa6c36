"""One process that stops at a gate on its way to a token: python -m tests.fleet.leader STEP CONFIG

At the gate it says ``at STEP`` and waits for a line. Then it goes on and says ``token FINGERPRINT``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from requests_cc_token import AccessToken
from tests.moments import just_before

from .member import WatchedCache, get_token, make_cache, make_management, say

STEPS = ("before the lock", "holding it", "after the answer", "mid-write", "after")


class GatedLease:
    """A lease with gates before and after the write."""

    def __init__(self, lease: Any, gate: Callable[[str], None]) -> None:
        self._lease = lease
        self._gate = gate
        self.granted: bool = lease.granted
        self.token: AccessToken | None = lease.token

    def set(self, token: AccessToken) -> None:
        self._gate("after the answer")
        self._lease.set(token)
        self._gate("after")

    def release(self) -> None:
        self._lease.release()


class GatedCache(WatchedCache):
    """A shared cache with gates before and after the lock."""

    def __init__(self, cache: Any, gate: Callable[[str], None]) -> None:
        super().__init__(cache)
        self._gate = gate

    def lease(
        self, key: str, cancelled: Callable[[], bool], enough: Callable[[AccessToken], bool] | None = None
    ) -> Any:
        self._gate("before the lock")
        lease = super().lease(key, cancelled, enough)
        self._gate("holding it")
        return None if lease is None else GatedLease(lease, self._gate)


def gate_in_redis_writes(cache: Any, gate: Callable[[str], None]) -> None:
    """Stop when half of the write has gone to the server."""
    from redis import Connection

    class StopsHalfway(Connection):
        def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            data = b"".join([command] if isinstance(command, bytes) else command)
            send: Any = super().send_packed_command
            if b'"format"' in data:
                send([data[: len(data) // 2]], check_health)
                gate("mid-write")
                send([data[len(data) // 2 :]], False)
            else:
                send(command, check_health)

    cache._client.connection_pool.connection_class = StopsHalfway


def main(step: str, config: dict[str, Any]) -> None:
    def gate(reached: str) -> None:
        if reached == step:
            say(f"at {step}")
            sys.stdin.readline()

    cache = make_cache(config)
    with ExitStack() as gates:
        if step == "mid-write":
            if config["cache"]["url"].startswith("redis"):
                gate_in_redis_writes(cache, gate)
            else:
                # Between writing the new file and renaming it.
                gates.enter_context(just_before("replace", ".token", lambda: gate("mid-write")))
        say(f"token {get_token(make_management(config, GatedCache(cache, gate)))}")


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))

"""Token requests of a fleet that starts cold on a machine that is busy (T2).

``python -m tests.fleet.cold_start [RUNS]``: 64 processes ask at one moment, with the defaults of each cache, beside as
many loops as the machine has processors. Each run is to cause one token request.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from requests_cc_token.demo.token_service import TokenService
from tests.fleet.member import say
from tests.fleet.processes import crowd
from tests.redis_server import RedisServer

FLEET = 64


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that always want a processor."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def cold_start(cache: dict[str, Any], count: int = FLEET) -> tuple[int, int]:
    """How many token requests so many processes caused, and how many warnings."""
    with TokenService() as tokens:
        tokens.add_client("worker", "secret", scopes="api")
        with crowd(count, {"cache": cache, "token_endpoint": tokens.token_endpoint}) as processes:
            processes.hear_all("ready", 1)
            processes.say()
            processes.hear_all("token", count)
            return len(tokens.requests), len(processes.warnings())


def main(runs: int) -> None:
    with busy_loops(os.cpu_count() or 1):
        for kind in ("file", "Redis"):
            requests, took = [], []
            for _ in range(runs):
                with tempfile.TemporaryDirectory() as folder, RedisServer() as server:
                    url = (Path(folder) / "tokens").as_uri() if kind == "file" else server.url
                    began = time.monotonic()
                    requests.append(cold_start({"url": url})[0])
                    took.append(time.monotonic() - began)
            once = sum(number == 1 for number in requests)
            say(f"{kind}: one token request in {once} of {runs} runs, {max(requests)} at most; {max(took):.1f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 20)

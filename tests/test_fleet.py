"""One token for many processes, whatever happens to the one that fetches it (T2, R2)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token.demo.token_service import TokenService

from .fleet.leader import STEPS
from .fleet.processes import PATIENCE, crowd, leader
from .redis_server import RedisServer, clients_end_with_their_test  # noqa: F401 - each test has it

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")

#: Processes that start at one moment.
FLEET = 64
#: Processes that wait for one that is killed or frozen.
FOLLOWERS = 8
#: Seconds of the lease: longer than a test. Where the store cannot see that the holder is gone, the test ends it.
LEASE = 80.0


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def tokens() -> Iterator[TokenService]:
    with TokenService() as tokens:
        tokens.add_client("worker", "secret", scopes="api")
        yield tokens


@pytest.fixture(params=["file", "redis"])
def config(request: pytest.FixtureRequest, tmp_path: Path, tokens: TokenService) -> dict[str, Any]:
    """What the processes of the fleet are told. The store is patient: this machine is busy with the fleet itself."""
    if request.param == "file":
        cache = {"url": (tmp_path / "tokens").as_uri()}
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        cache = {"url": server.url, "prefix": f"{tmp_path.name}:"}
    return {
        "cache": {**cache, "lease": LEASE, "timeout": PATIENCE},
        "token_endpoint": tokens.token_endpoint,
        "hash_once": True,
        "patient": True,
    }


def let_the_lease_end(config: dict[str, Any], server: RedisServer) -> None:
    """Let the time pass after which Redis forgets who fetches. A file's lock is not a matter of time."""
    client = server.client()
    for name in client.keys(f"{config['cache'].get('prefix', 'none')}*:lease"):
        client.pexpire(name, 1)


def test_a_cold_start_of_64_processes(config: dict[str, Any], tokens: TokenService) -> None:
    """Sixty-four processes on a cold store cause one token request and have the same token."""
    with crowd(FLEET, config) as processes:
        processes.hear_all("ready", 1)
        with tokens.hold():
            processes.say()
            # The token service answers when all the others wait for the one that asked.
            processes.hear_all("waiting", FLEET - 1)
        found = processes.hear_all("token", FLEET)
        assert processes.warnings() == []
    assert len(tokens.requests) == 1
    assert len(set(found)) == 1


@pytest.mark.parametrize("step", STEPS)
def test_the_leader_is_killed(
    config: dict[str, Any], tokens: TokenService, redis_server: RedisServer, step: str
) -> None:
    """SIGKILL at any step: the others get one token, at most two token requests in all; by file they wait for nothing.

    The file's lock ends with its holder, Redis' lease after its time.
    """
    waiting = step in ("holding it", "after the answer", "mid-write")
    with leader(step, config) as first, crowd(FOLLOWERS, config) as others:
        assert first.hear() == f"at {step}"
        others.hear_all("ready", 1)
        if waiting:
            others.say()
            others.hear_all("waiting", FOLLOWERS)
        first.signal(signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
        began = time.monotonic()
        let_the_lease_end(config, redis_server)
        if not waiting:
            others.say()
        found = others.hear_all("token", FOLLOWERS)
        took = time.monotonic() - began
    assert len(set(found)) == 1
    expected = {"before the lock": 1, "holding it": 1, "after the answer": 2, "mid-write": 2, "after": 1}
    assert len(tokens.requests) == expected[step]
    assert took < LEASE / 2


@pytest.mark.parametrize("step", STEPS)
def test_the_leader_freezes(
    config: dict[str, Any], tokens: TokenService, redis_server: RedisServer, step: str
) -> None:
    """SIGSTOP at any step: the others go on, and what the leader writes when it wakes replaces nothing.

    On Linux nobody waits for the lock of a process that is stopped; in Redis its lease ends.
    """
    waiting = step in ("holding it", "after the answer", "mid-write")
    with leader(step, config) as first, crowd(FOLLOWERS, config) as others, crowd(1, config) as later:
        assert first.hear() == f"at {step}"
        others.hear_all("ready", 1)
        later.hear_all("ready", 1)
        if waiting:
            others.say()
            others.hear_all("waiting", FOLLOWERS)
        first.signal(signal.SIGSTOP)
        began = time.monotonic()
        let_the_lease_end(config, redis_server)
        if not waiting:
            others.say()
        found = others.hear_all("token", FOLLOWERS)
        took = time.monotonic() - began
        assert len(set(found)) == 1
        first.say()
        first.signal(signal.SIGCONT)
        (own,) = first.hear_all("token", 1)
        assert first.wait() == 0
        later.say()
        assert later.hear_all("token", 1) == found[:1]
    assert (own == found[0]) == (step in ("before the lock", "after"))
    expected = {"before the lock": 1, "holding it": 2, "after the answer": 2, "mid-write": 2, "after": 1}
    assert len(tokens.requests) == expected[step]
    assert took < LEASE / 2


def test_the_leader_of_64_is_killed(
    config: dict[str, Any], tokens: TokenService, redis_server: RedisServer
) -> None:
    """Sixty-four processes whose leader is killed with the answer in its hand cause two token requests in all."""
    with leader("after the answer", config) as first, crowd(FLEET - 1, config) as others:
        others.hear_all("ready", 1)
        assert first.hear() == "at after the answer"
        others.say()
        others.hear_all("waiting", FLEET - 1)
        first.signal(signal.SIGKILL)
        let_the_lease_end(config, redis_server)
        found = others.hear_all("token", FLEET - 1)
    assert len(set(found)) == 1
    assert len(tokens.requests) == 2

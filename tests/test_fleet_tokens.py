"""What one member of a fleet learns of a token reaches the others through the store, without a token request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import AccessToken, AccessTokenManagement, TokenRequestError
from requests_cc_token.caches.from_url import cache_from_config
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.events import TokenEvent
from requests_cc_token.testing import ManualClock

from .redis_server import RedisServer, clients_end_with_their_test  # noqa: F401 - each test has it
from .scripted_server import PATIENCE

LIFETIME = 1000


class Member:
    """One process's management over the fleet's store."""

    def __init__(self, tokens: TokenService, config: dict[str, Any], clock: ManualClock) -> None:
        self.cache: Any = cache_from_config(config, clock=clock)
        self.management = AccessTokenManagement(cache=self.cache, clock=clock)
        self.management.add_client(
            "worker", token_endpoint=tokens.token_endpoint, client_id="worker", client_secret="secret", scope="api"
        )
        self._renewed = threading.Semaphore(0)
        self.management.subscribe(self._note)

    def _note(self, event: TokenEvent) -> None:
        if event.kind == "renewed":
            self._renewed.release()

    def get(self) -> AccessToken:
        return self.management.service.get_access_token("worker")

    def renewed(self) -> AccessToken:
        """The token after the background renewal that the next call starts."""
        self.get()
        assert self._renewed.acquire(timeout=PATIENCE)
        return self.get()

    def reject(self, token: AccessToken) -> None:
        """What the adapter says after a 401."""
        self.management.service.token_rejected(token)


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def tokens() -> Iterator[TokenService]:
    with TokenService(token_lifetime=LIFETIME) as tokens:
        tokens.add_client("worker", "secret", scopes="api")
        yield tokens


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["file", "redis"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "file":
        return {"url": (tmp_path / "tokens").as_uri(), "timeout": PATIENCE}
    server: RedisServer = request.getfixturevalue("redis_server")
    return {"url": server.url, "prefix": f"{tmp_path.name}:", "timeout": PATIENCE}


@pytest.fixture
def fleet(tokens: TokenService, config: dict[str, Any], clock: ManualClock) -> Iterator[list[Member]]:
    members = [Member(tokens, config, clock) for _ in range(4)]
    yield members
    for member in members:
        member.management.close()


def test_a_refusal_reaches_the_others(fleet: list[Member], tokens: TokenService) -> None:
    """A token that the API refuses is replaced once: the others take the new one from the store at their own 401."""
    (old,) = {member.get().value for member in fleet}
    held = [member.get() for member in fleet]
    fleet[0].reject(held[0])
    new = fleet[0].get().value
    assert new != old
    assert [member.get().value for member in fleet[1:]] == [old] * 3
    for member, token in zip(fleet[1:], held[1:], strict=True):
        member.reject(token)
        assert member.get().value == new
    assert len(tokens.requests) == 2


def test_refusals_at_one_moment_cause_one_request(fleet: list[Member], tokens: TokenService) -> None:
    """Of many processes whose token is refused at one moment, one asks for a new one."""
    held = [member.get() for member in fleet]
    start = threading.Barrier(len(fleet))
    found: list[str] = []

    def refuse(member: Member, token: AccessToken) -> None:
        start.wait(PATIENCE)
        member.reject(token)
        found.append(member.get().value)

    threads = [threading.Thread(target=refuse, args=pair) for pair in zip(fleet, held, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found) == len(fleet)
    assert len(set(found)) == 1
    assert found[0] != held[0].value
    assert len(tokens.requests) == 2


def test_a_renewal_reaches_the_others(fleet: list[Member], tokens: TokenService, clock: ManualClock) -> None:
    """One renews between soft and hard expiry; the others take what it left, in the background too."""
    old = {member.get().value for member in fleet}
    clock.advance(LIFETIME * 0.9)
    new = {member.renewed().value for member in fleet}
    assert len(new) == 1
    assert new != old
    assert len(tokens.requests) == 2


def test_a_late_starter_takes_what_is_there(
    fleet: list[Member], tokens: TokenService, config: dict[str, Any], clock: ManualClock
) -> None:
    """A process that starts later has the same token, for as long as it lives for the others."""
    old = fleet[0].get().value
    clock.advance(LIFETIME * 0.5)
    late = Member(tokens, config, clock)
    assert late.get().value == old
    clock.advance(LIFETIME * 0.5)
    assert late.get().value != old
    assert len(tokens.requests) == 2
    late.management.close()


def test_deleting_reaches_the_store(fleet: list[Member], tokens: TokenService) -> None:
    """After one has deleted its token, whoever has none does not get it from the store."""
    old = fleet[0].get().value
    fleet[0].management.service.delete_access_token("worker")
    assert fleet[1].get().value != old
    assert len(tokens.requests) == 2


def test_a_fetch_that_runs_does_not_bring_a_deleted_token_back(fleet: list[Member], tokens: TokenService) -> None:
    """A fetch of one process that began before another one deleted the token leaves nothing in the store."""
    found: list[AccessToken] = []
    with tokens.hold():
        thread = threading.Thread(target=lambda: found.append(fleet[0].get()))
        thread.start()
        tokens.wait_for_requests(1)
        fleet[1].management.service.delete_access_token("worker")
    thread.join(PATIENCE)
    assert fleet[2].get().value != found[0].value
    assert len(tokens.requests) == 2


def test_an_older_token_of_the_store_is_not_taken(tokens: TokenService, clock: ManualClock, tmp_path: Path) -> None:
    """A process that got its token while the store was away does not renew it with an older one of the store."""
    path = tmp_path / "tokens"
    config = {"url": path.as_uri(), "timeout": PATIENCE}
    one, other = Member(tokens, config, clock), Member(tokens, config, clock)
    older = other.get()
    path.rename(tmp_path / "away")
    path.write_text("in the way")
    clock.advance(LIFETIME * 0.1)
    own = one.get()
    assert own != older
    path.unlink()
    (tmp_path / "away").rename(path)
    # The older token has 4 % of its life left; the process's own one has 14 %, and wants to be renewed.
    clock.advance(LIFETIME * 0.86)
    new = one.renewed()
    assert new not in (older, own)
    assert len(tokens.requests) == 3
    for member in (one, other):
        member.management.close()


def test_a_failed_fetch_lets_the_next_one_try(fleet: list[Member], tokens: TokenService) -> None:
    """Whoever fails gives the lease back: the next process asks at once and shares its token."""
    tokens.fail_next(400, {"error": "invalid_scope"})
    with pytest.raises(Exception, match="invalid_scope"):
        fleet[0].get()
    assert len({member.get().value for member in fleet[1:]}) == 1
    assert len(tokens.requests) == 2


def test_a_store_that_breaks_during_a_fetch(tokens: TokenService, clock: ManualClock, tmp_path: Path) -> None:
    """A store that is gone when the answer comes costs nothing but the sharing, and nobody waits for the lease."""
    path = tmp_path / "tokens"
    config = {"url": path.as_uri(), "timeout": PATIENCE}
    one, other = Member(tokens, config, clock), Member(tokens, config, clock)
    found: list[AccessToken] = []
    with tokens.hold():
        thread = threading.Thread(target=lambda: found.append(one.get()))
        thread.start()
        tokens.wait_for_requests(1)
        path.rename(tmp_path / "away")
        path.write_text("in the way")
    thread.join(PATIENCE)
    assert found == [one.get()]
    path.unlink()
    (tmp_path / "away").rename(path)
    lease = other.cache.lease(found[0].key, lambda: True)
    assert lease is not None
    assert lease.granted
    lease.release()
    for member in (one, other):
        member.management.close()


def test_a_lease_is_given_back_while_the_store_is_left_alone(
    tokens: TokenService, clock: ManualClock, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Who fails to fetch gives the lease back, even if another token's trouble has begun a cool-down meanwhile."""
    config = {"url": redis_server.url, "prefix": f"{tmp_path.name}:", "timeout": PATIENCE}
    one = Member(tokens, config, clock)
    one.management.add_client(
        "second", token_endpoint=tokens.token_endpoint, client_id="worker", client_secret="secret"
    )
    failures: list[Exception] = []

    def fail(client: str) -> None:
        try:
            one.management.service.get_access_token(client)
        except TokenRequestError as error:
            failures.append(error)

    threads = [threading.Thread(target=fail, args=(client,)) for client in ("worker", "second")]
    with tokens.hold():
        threads[0].start()
        tokens.wait_for_requests(1)
        redis_server.client().config_set("maxmemory", "1")
        try:
            threads[1].start()
            tokens.wait_for_requests(2)
        finally:
            redis_server.client().config_set("maxmemory", "0")
        tokens.fail_next(400, {"error": "invalid_scope"}, times=2)
    for thread in threads:
        thread.join(PATIENCE)
    assert len(failures) == 2
    names = redis_server.client().keys(f"{tmp_path.name}:*:lease")
    assert names == []
    one.management.close()

"""What the service makes of a shared cache's answers, each told by the test: leases granted, taken over, cancelled."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import (
    AccessToken,
    AccessTokenManagement,
    FileTokenCache,
    TokenCache,
    TokenRequestError,
    TokenRequestParameters,
)
from requests_cc_token.events import TokenEvent
from requests_cc_token.exceptions import TokenCacheError
from requests_cc_token.testing import ManualClock
from requests_cc_token.token_source import CACHE_COOL_DOWN

from .fetch_threads import FetchThreads
from .forked import in_child
from .scripted_server import PATIENCE, ScriptedServer, error_answer, token_answer


class ToldLease:
    """A lease as the test tells it; notes what is done with it."""

    def __init__(self, log: list[str], granted: bool, token: AccessToken | None, failing: bool = False) -> None:
        self._log = log
        self._failing = failing
        self.granted = granted
        self.token = token

    def set(self, token: AccessToken) -> None:
        self._log.append(f"set {token.value}")
        self._maybe_fail()

    def release(self) -> None:
        self._log.append("release")
        self._maybe_fail()

    def _maybe_fail(self) -> None:
        if self._failing:
            raise ConnectionError("the store is down")


class ToldCache:
    """A shared cache that gives what it was told to."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.token: AccessToken | None = None
        self.leases: list[ToldLease | None] = []
        self.keys: list[str] = []
        #: Called at each lease, and at each deletion.
        self.at_lease: Callable[[], object] = lambda: None
        self.at_deletion: Callable[[], object] = lambda: None

    def get(self, key: str) -> AccessToken | None:
        self._note("get", key)
        return self.token

    def set(self, key: str, token: AccessToken) -> None:
        self._note(f"set {token.value} without a lease", key)

    def delete(self, key: str) -> None:
        self._note("delete", key)
        self.at_deletion()

    def lease(
        self, key: str, cancelled: Callable[[], bool], enough: Callable[[AccessToken], bool] | None = None
    ) -> ToldLease | None:
        self._note("lease", key)
        if enough is not None and self.token is not None and enough(self.token):
            return ToldLease(self.log, False, self.token)
        self.at_lease()
        return self.leases.pop(0)

    def _note(self, doing: str, key: str) -> None:
        assert re.fullmatch("[0-9a-f]{64}", key)
        self.log.append(doing)
        self.keys.append(key)

    def tell(self, granted: bool, token: AccessToken | None = None, *, failing: bool = False) -> None:
        self.leases.append(ToldLease(self.log, granted, token, failing))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    numbers = iter(range(1, 100))
    with ScriptedServer() as server:
        server.respond = lambda request: token_answer(f"own-{next(numbers)}")
        yield server


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache() -> ToldCache:
    return ToldCache()


@contextmanager
def managed(cache: TokenCache, server: ScriptedServer, clock: ManualClock) -> Iterator[AccessTokenManagement]:
    with AccessTokenManagement(cache=cache, clock=clock) as management:
        management.add_client("w", token_endpoint=server.token_endpoint, client_id="m", client_secret="T41NT")
        yield management


@pytest.fixture
def management(cache: ToldCache, server: ScriptedServer, clock: ManualClock) -> Iterator[AccessTokenManagement]:
    with managed(cache, server, clock) as management:
        yield management


def stored(clock: ManualClock, value: str, lifetime: float = 3600.0) -> AccessToken:
    """A token as it comes out of a store: with moments of the wall clock only."""
    return AccessToken(value, expires_at=clock.time() + lifetime)


def until_landed() -> None:
    FetchThreads.current.join("w")


def test_another_process_has_fetched(
    management: AccessTokenManagement, cache: ToldCache, server: ScriptedServer, clock: ManualClock
) -> None:
    """The token that another process left ends the wait: no token request, and the lease is given back."""
    events: list[TokenEvent] = []
    management.subscribe(events.append)
    cache.tell(False, stored(clock, "theirs"))
    token = management.service.get_access_token()
    until_landed()
    assert [(event.kind, event.source) for event in events] == [("obtained", "shared cache")]
    assert (token.value, token.hard_expiry is not None) == ("theirs", True)
    assert cache.log == ["lease", "release"]
    assert not server.requests


def test_what_is_there_when_the_turn_comes(
    management: AccessTokenManagement,
    cache: ToldCache,
    server: ScriptedServer,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Is used, whoever left it there; the turn is given back, and the log says so where that fails."""
    cache.tell(True, stored(clock, "left"), failing=True)
    assert management.service.get_access_token().value == "left"
    until_landed()
    assert cache.log == ["lease", "release"]
    assert not server.requests
    assert caplog.messages == [
        "token client 'w': could not release the token cache (ConnectionError); going on without it for 30 s"
    ]


def test_what_is_deleted(
    management: AccessTokenManagement, cache: ToldCache, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token of the key that it was stored by, though the secret is another one by now; or of the key of now."""
    management.add_client(
        "other", token_endpoint=server.token_endpoint, client_id="m", client_secret={"env": "TOLD_SECRET"}
    )
    monkeypatch.setenv("TOLD_SECRET", "one")
    management.service.delete_access_token("other")
    cache.tell(True)
    management.service.get_access_token("other")
    FetchThreads.current.join("other")
    monkeypatch.setenv("TOLD_SECRET", "two")
    management.service.delete_access_token("other")
    assert cache.log == ["delete", "lease", "set own-1", "release", "delete"]
    assert len(set(cache.keys)) == 1


def test_another_process_has_deleted(
    management: AccessTokenManagement, cache: ToldCache, server: ScriptedServer
) -> None:
    """A wait that ended without a token, because it was deleted, begins anew: one process at a time fetches."""
    cache.tell(False)
    cache.tell(True)
    assert management.service.get_access_token().value == "own-1"
    until_landed()
    assert cache.log == ["lease", "lease", "set own-1", "release"]
    assert len(server.requests) == 1


def test_a_forced_renewal_takes_what_is_newer(
    management: AccessTokenManagement, cache: ToldCache, server: ScriptedServer, clock: ManualClock
) -> None:
    """A forced renewal does not take the stored token, but one that another process fetched while it waited."""
    cache.token = stored(clock, "old")
    forced = TokenRequestParameters(force_renewal=True)
    cache.tell(True, cache.token)
    assert management.service.get_access_token(parameters=forced).value == "own-1"
    until_landed()
    cache.tell(False, stored(clock, "newer", 7200.0))
    assert management.service.get_access_token(parameters=forced).value == "newer"
    assert len(server.requests) == 1


def test_a_stored_token_that_has_expired_is_none(
    management: AccessTokenManagement, cache: ToldCache, clock: ManualClock
) -> None:
    """What a store keeps beyond its expiry is not used, neither at once nor after the wait."""
    cache.token = stored(clock, "expired", -1.0)
    cache.tell(True, cache.token)
    assert management.service.get_access_token().value == "own-1"


def test_a_wait_that_is_cancelled_asks_for_itself(
    management: AccessTokenManagement, cache: ToldCache, server: ScriptedServer
) -> None:
    """A cache that stops waiting without a lease leaves the fetch to the process; the token is offered without one."""
    cache.leases.append(None)
    assert management.service.get_access_token().value == "own-1"
    until_landed()
    assert cache.log == ["lease", "set own-1 without a lease"]


def test_a_store_that_breaks_twice_is_said_once(
    management: AccessTokenManagement, cache: ToldCache, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that fails at the write and again at the release is one warning, and is left alone from then on."""
    cache.tell(True, failing=True)
    assert management.service.get_access_token().value == "own-1"
    until_landed()
    assert cache.log == ["lease", "set own-1", "release"]
    assert [record.getMessage().partition(" the token cache")[0] for record in caplog.records] == [
        "token client 'w': could not write to"
    ]
    cache.log.clear()
    clock.advance(1.0)
    management.service.delete_access_token()
    assert cache.log == ["delete"]
    assert management.service.get_access_token().value == "own-2"
    until_landed()
    assert cache.log == ["delete"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(TokenCacheError("the store is read-only"), "the store is read-only"), (OSError("T41NT"), "OSError")],
)
def test_a_deletion_that_fails_is_told_each_time(
    management: AccessTokenManagement,
    cache: ToldCache,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    reason: str,
) -> None:
    """Also while the store is left alone, which a deletion does not: whoever deletes a token wants it gone."""

    def fail() -> None:
        raise error

    cache.at_deletion = fail
    management.service.delete_access_token()
    clock.advance(1.0)
    management.service.delete_access_token()
    assert cache.log == ["delete", "delete"]
    not_deleted = f"token client 'w': the token cache has not deleted the token ({reason}), and may give it out again"
    assert [record.getMessage() for record in caplog.records] == [
        f"token client 'w': could not delete from the token cache ({reason}); going on without it for 30 s",
        not_deleted,
        not_deleted,
    ]


def test_a_child_forked_amid_a_warning_leaves_a_broken_store_alone(
    management: AccessTokenManagement, cache: ToldCache, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread that warns is not in the child, so nothing of it is either: the child warns by itself."""
    source = management.service._source
    assert source._warning.acquire(blocking=False)
    source.after_fork_in_child()
    cache.tell(True, failing=True)
    assert management.service.get_access_token().value == "own-1"
    until_landed()
    assert len(caplog.records) == 1
    cache.log.clear()
    management.service.get_access_token(parameters=TokenRequestParameters(force_renewal=True))
    until_landed()
    assert cache.log == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_amid_a_warning(management: AccessTokenManagement, cache: ToldCache, clock: ManualClock) -> None:
    """The child finds the store broken by itself, and leaves it alone."""
    source = management.service._source
    cache.tell(True, failing=True)

    def child() -> None:
        assert management.service.get_access_token().value == "own-1"
        until_landed()
        assert source._down_until == clock.monotonic() + CACHE_COOL_DOWN

    with source._warning:
        in_child(child)


def test_a_token_that_came_before_the_store_went_down_is_used(
    management: AccessTokenManagement, cache: ToldCache, server: ScriptedServer, clock: ManualClock
) -> None:
    """While this fetch waited for its turn, another call saw the store fail; what the wait has brought is here."""
    source = management.service._source

    def goes_down() -> None:
        source._down_until = clock.monotonic() + CACHE_COOL_DOWN

    cache.at_lease = goes_down
    cache.tell(False, stored(clock, "theirs"))
    assert management.service.get_access_token().value == "theirs"
    assert not server.requests


def test_a_store_that_gives_no_turn(
    management: AccessTokenManagement, cache: ToldCache, caplog: pytest.LogCaptureFixture
) -> None:
    """A lease is no mere reading: the warning says that the cache could not be used."""

    def refuse() -> None:
        raise TokenCacheError("the store is read-only")

    cache.at_lease = refuse
    assert management.service.get_access_token().value == "own-1"
    until_landed()
    assert [record.getMessage() for record in caplog.records] == [
        "token client 'w': could not use the token cache (the store is read-only); going on without it for 30 s"
    ]


@pytest.mark.parametrize("given", ["T41NT", b"T41NT", {"access_token": "T41NT"}, ("T41NT", 3600)])
@pytest.mark.parametrize("granted", [True, False], ids=["granted", "another one's turn"])
def test_a_lease_with_what_is_no_token(
    management: AccessTokenManagement, cache: ToldCache, caplog: pytest.LogCaptureFixture, granted: bool, given: Any
) -> None:
    """A store of somebody's own that gives something else does not work: no call fails, and the log says so."""
    cache.tell(granted, given)
    assert management.service.get_access_token().value == "own-1"
    until_landed()
    assert cache.log == ["lease", "release"][: 1 + granted]
    assert [record.getMessage() for record in caplog.records] == [
        "token client 'w': could not read the token cache (AttributeError); going on without it for 30 s"
    ]


def test_a_deletion_while_waiting_keeps_the_token_out(
    management: AccessTokenManagement, cache: ToldCache, server: ScriptedServer
) -> None:
    """A fetch whose key was deleted while it waited for its lease answers its caller and writes nothing."""
    cache.tell(True)
    cache.at_lease = management.service.delete_access_token
    assert management.service.get_access_token().value == "own-1"
    until_landed()
    assert cache.log == ["lease", "delete", "release"]


def test_a_failed_fetch_gives_its_lease_back(
    management: AccessTokenManagement, cache: ToldCache, server: ScriptedServer
) -> None:
    """Where no token can be had, the next process may try."""
    server.respond = lambda request: error_answer(400, "invalid_scope")
    cache.tell(True)
    with pytest.raises(TokenRequestError, match="invalid_scope"):
        management.service.get_access_token()
    until_landed()
    assert cache.log == ["lease", "release"]


def test_two_failures_at_once_are_one_warning(
    management: AccessTokenManagement, cache: ToldCache, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever fails while another thread is about to warn goes on without a word, and without waiting."""
    cache.tell(True, failing=True)
    source = management.service._source
    with source._warning:
        assert management.service.get_access_token().value == "own-1"
        until_landed()
    assert caplog.records == []


def test_a_cache_of_ones_own_in_memory_outlives_a_registration(server: ScriptedServer, clock: ManualClock) -> None:
    """What one client left there is of use to another one that proves the same; its refusal reaches the right slot."""

    class Kept(dict[str, AccessToken]):
        def set(self, key: str, token: AccessToken) -> None:
            self[key] = token

        def delete(self, key: str) -> None:
            self.pop(key, None)

    cache = Kept()
    for given in ("T41NT", {"env": "SAME_SECRET"}):
        with pytest.MonkeyPatch.context() as patch, AccessTokenManagement(cache=cache, clock=clock) as management:
            patch.setenv("SAME_SECRET", "T41NT")
            management.add_client("w", token_endpoint=server.token_endpoint, client_id="m", client_secret=given)
            token = management.service.get_access_token()
            assert token.value == "own-1"
    assert len(server.requests) == 1
    with AccessTokenManagement(cache=cache, clock=clock) as management:
        # Known here by another key than where the token was first kept.
        management.add_client("w", token_endpoint=server.token_endpoint, client_id="m", client_secret=lambda: "T41NT")
        management.service.token_rejected(management.service.get_access_token())
        assert management.service.get_access_token().value == "own-2"


@pytest.mark.parametrize("kind", ["file", "told"])
def test_a_token_from_a_clock_that_ran_ahead(
    server: ScriptedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Requested in the future, it ends nobody knows when: one request replaces it for all, and a warning says so."""
    ahead = ManualClock()
    ahead.step_wall_clock(7200)
    with managed(FileTokenCache(tmp_path, timeout=PATIENCE, clock=ahead), server, ahead) as before:
        first = before.service.get_access_token()
    clock = ManualClock()
    caches: dict[str, Callable[[], Any]] = {
        "file": lambda: FileTokenCache(tmp_path, timeout=PATIENCE, clock=clock),
        "told": ToldCache,
    }
    for number in range(3):
        cache = caches[kind]()
        if kind == "told":
            cache.token = AccessToken.from_record(first.to_record())
            cache.tell(True)
        with managed(cache, server, clock) as management:
            for _ in range(2):
                assert management.service.get_access_token().value != "own-1"
        if kind == "told":
            assert cache.log == ["lease", "set own-" + str(number + 2), "release"]
    assert len(server.requests) == (2 if kind == "file" else 4)
    said = (
        "token client 'w': a token in the cache was stored by a clock that was 7200 s ahead of this machine's "
        "and is not used; set the clocks of all that share the cache (NTP)"
    )
    assert caplog.messages == [said] * (1 if kind == "file" else 3)


def test_clocks_that_differ_a_little(server: ScriptedServer, tmp_path: Path) -> None:
    """One token for all, which is used no longer than its lifetime from when it was found."""
    ahead, clock = ManualClock(), ManualClock()
    ahead.step_wall_clock(50)
    with (
        managed(FileTokenCache(tmp_path, timeout=PATIENCE, clock=ahead), server, ahead) as one,
        managed(FileTokenCache(tmp_path, timeout=PATIENCE, clock=clock), server, clock) as other,
    ):
        assert one.service.get_access_token().value == other.service.get_access_token().value == "own-1"
        assert other.service.health()["seconds_to_expiry"] <= 3600
    assert len(server.requests) == 1

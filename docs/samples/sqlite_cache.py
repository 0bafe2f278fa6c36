"""A token cache over SQLite, for the processes of one host, and the test that it keeps the contract of shared ones."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token import AccessToken
from requests_cc_token.testing import ManualClock, SharedTokenCacheContract

LEASE = 10.0  # Seconds for which the others wait for a process that fetches: it may have been killed.


class SqliteTokenCache:
    def __init__(self, path: Path, clock: Any = time) -> None:
        self._path, self._clock = path, clock
        with self.transaction() as db:
            columns = "key PRIMARY KEY, record, number DEFAULT 0, written DEFAULT 0, lease_ends DEFAULT 0"
            db.execute(f"CREATE TABLE IF NOT EXISTS tokens ({columns})")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One at a time among all threads and processes. A connection is never taken into a fork or another thread."""
        with contextlib.closing(sqlite3.connect(self._path, timeout=5, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")  # A token that a power cut loses is asked for again.
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    def get(self, key: str) -> AccessToken | None:
        with self.transaction() as db:
            row = db.execute("SELECT record FROM tokens WHERE key = ?", (key,)).fetchone()
        return self._usable(row[0]) if row else None

    def set(self, key: str, token: AccessToken) -> None:
        self._write(key, json.dumps(token.to_record()))

    def delete(self, key: str) -> None:
        self._write(key, None)

    def lease(
        self, key: str, cancelled: Callable[[], bool], enough: Callable[[AccessToken], bool] | None = None
    ) -> SqliteLease | None:
        first_seen = None
        while True:
            with self.transaction() as db:
                db.execute("INSERT OR IGNORE INTO tokens (key) VALUES (?)", (key,))
                row = db.execute("SELECT record, number, written, lease_ends FROM tokens WHERE key = ?", (key,))
                record, number, written, lease_ends = row.fetchone()
                token = self._usable(record)
                first_seen = written if first_seen is None else first_seen
                if written != first_seen or (token is not None and enough is not None and enough(token)):
                    return SqliteLease(self, key, token, number=None)  # No turn: somebody else has written.
                if not 0 < lease_ends - time.time() <= LEASE:  # A clock that was set back ends it, too.
                    turn = (number + 1, time.time() + LEASE, key)
                    db.execute("UPDATE tokens SET number = ?, lease_ends = ? WHERE key = ?", turn)
                    return SqliteLease(self, key, token, number + 1)
            if cancelled():
                return None
            time.sleep(0.1)

    def _usable(self, record: str | None) -> AccessToken | None:
        try:
            token = AccessToken.from_record(json.loads(record or "null"))
        except ValueError:
            return None  # Nothing, or not of this version: a new token takes its place.
        return token if self._clock.time() < token.expires_at else None

    def _write(self, key: str, record: str | None) -> None:
        """Without a turn. It takes a number of its own, so that a process whose turn it is writes nothing later."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO tokens (key) VALUES (?)", (key,))
            db.execute("UPDATE tokens SET number = number + 1, lease_ends = 0 WHERE key = ?", (key,))
            db.execute("UPDATE tokens SET record = ?, written = number WHERE key = ?", (record, key))


class SqliteLease:
    def __init__(self, cache: SqliteTokenCache, key: str, token: AccessToken | None, number: int | None) -> None:
        self.token, self.granted = token, number is not None
        self._cache, self._key, self._number = cache, key, number

    def set(self, token: AccessToken) -> None:
        with self._cache.transaction() as db:
            new = (json.dumps(token.to_record()), self._number, self._key, self._number)
            db.execute("UPDATE tokens SET record = ?, written = ? WHERE key = ? AND written < ?", new)

    def release(self) -> None:
        if self.granted:
            with self._cache.transaction() as db:
                mine = (self._key, self._number)
                db.execute("UPDATE tokens SET lease_ends = 0 WHERE key = ? AND number = ?", mine)


class TestSqliteTokenCache(SharedTokenCacheContract):
    @pytest.fixture(autouse=True)
    def store(self, tmp_path: Path) -> None:
        self.path = tmp_path / "tokens.db"

    def make_cache(self, clock: ManualClock) -> SqliteTokenCache:
        return SqliteTokenCache(self.path, clock)

    def test_a_lease_of_a_clock_that_was_set_back_ends(self) -> None:
        cache = self.make_cache(self.clock)
        assert cache.lease(self.key(), lambda: False)
        with cache.transaction() as db:
            db.execute("UPDATE tokens SET lease_ends = lease_ends + 3600")
        lease = cache.lease(self.key(), lambda: False)
        assert lease is not None
        assert lease.granted

    def test_what_is_no_record_is_none(self) -> None:
        cache = self.make_cache(self.clock)
        cache.set(self.key(), self.token("t"))
        with cache.transaction() as db:
            db.execute("UPDATE tokens SET record = '{}'")
        assert cache.get(self.key()) is None

    def test_a_holder_that_died_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The contract does not end a lease, since only the store knows its clock: that test is yours."""
        monkeypatch.setattr(f"{__name__}.LEASE", 0.0)
        for _ in range(2):
            lease = self.make_cache(self.clock).lease(self.key(), lambda: False)
            assert lease is not None
            assert lease.granted

"""A token cache over SQLite, for the processes of one host, and the test that it keeps the contract of shared ones."""

import contextlib
import json
import sqlite3
import time

import pytest

from requests_cc_token import AccessToken
from requests_cc_token.testing import SharedTokenCacheContract

LEASE = 10.0  # Seconds for which the others wait for a process that fetches: it may have been killed.


class SqliteTokenCache:
    def __init__(self, path, clock=time):
        self._path, self._clock = path, clock
        with self.transaction() as db:
            columns = "key PRIMARY KEY, record, number DEFAULT 0, written DEFAULT 0, lease_ends DEFAULT 0"
            db.execute(f"CREATE TABLE IF NOT EXISTS tokens ({columns})")

    @contextlib.contextmanager
    def transaction(self):
        """One at a time among all threads and processes. A connection is never taken into a fork or another thread."""
        with contextlib.closing(sqlite3.connect(self._path, timeout=5, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    def get(self, key):
        with self.transaction() as db:
            row = db.execute("SELECT record FROM tokens WHERE key = ?", (key,)).fetchone()
        return self._usable(row[0]) if row else None

    def set(self, key, token):
        self._write(key, json.dumps(token.to_record()))

    def delete(self, key):
        self._write(key, None)

    def lease(self, key, cancelled, enough=None):
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
                if lease_ends <= time.time():
                    turn = (number + 1, time.time() + LEASE, key)
                    db.execute("UPDATE tokens SET number = ?, lease_ends = ? WHERE key = ?", turn)
                    return SqliteLease(self, key, token, number + 1)
            if cancelled():
                return None
            time.sleep(0.1)

    def _usable(self, record):
        token = None if record is None else AccessToken.from_record(json.loads(record))
        return token if token is not None and self._clock.time() < token.expires_at else None

    def _write(self, key, record):
        """Without a turn. It takes a number of its own, so that a process whose turn it is writes nothing later."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO tokens (key) VALUES (?)", (key,))
            db.execute("UPDATE tokens SET number = number + 1, lease_ends = 0 WHERE key = ?", (key,))
            db.execute("UPDATE tokens SET record = ?, written = number WHERE key = ?", (record, key))


class SqliteLease:
    def __init__(self, cache, key, token, number):
        self.token, self.granted = token, number is not None
        self._cache, self._key, self._number = cache, key, number

    def set(self, token):
        with self._cache.transaction() as db:
            new = (json.dumps(token.to_record()), self._number, self._key, self._number)
            db.execute("UPDATE tokens SET record = ?, written = ? WHERE key = ? AND written < ?", new)

    def release(self):
        if self.granted:
            with self._cache.transaction() as db:
                mine = (self._key, self._number)
                db.execute("UPDATE tokens SET lease_ends = 0 WHERE key = ? AND number = ?", mine)


class TestSqliteTokenCache(SharedTokenCacheContract):
    @pytest.fixture(autouse=True)
    def store(self, tmp_path):
        self.path = tmp_path / "tokens.db"

    def make_cache(self, clock):
        return SqliteTokenCache(self.path, clock)

    def test_a_holder_that_died_is_not_waited_for(self, monkeypatch):
        """The contract does not end a lease, since only the store knows its clock: that test is yours."""
        monkeypatch.setattr(f"{__name__}.LEASE", 0.0)
        assert self.make_cache(self.clock).lease(self.key(), lambda: False).granted
        assert self.make_cache(self.clock).lease(self.key(), lambda: False).granted

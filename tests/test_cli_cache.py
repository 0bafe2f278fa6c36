"""``cache``: what a store holds for the clients of a configuration, and emptying it; never a token."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from requests_cc_token import AccessToken, AccessTokenManagement
from requests_cc_token.caches.file import FileTokenCache
from requests_cc_token.caches.folder import make_private
from requests_cc_token.caches.redis import RedisTokenCache
from requests_cc_token.caches.store import Holder, Kept, StoreTokenCache
from requests_cc_token.cli.app import run
from requests_cc_token.cli.cache import _entry, _told
from requests_cc_token.testing import ManualClock

from .redis_server import RedisServer, clients_end_with_their_test  # noqa: F401 - each test has it
from .scripted_server import PATIENCE, ScriptedServer, token_answer

SECRET = "s3cret-of-the-test"


@pytest.fixture
def server(server: ScriptedServer) -> ScriptedServer:
    server.respond = lambda request: token_answer("t0ken-of-the-test", scope="api")
    return server


@pytest.fixture
def config(tmp_path: Path, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two clients; the first one's token is in the store."""
    path = tmp_path / "config.toml"
    path.write_text(
        "".join(
            f"""
            [clients.{name}]
            token_endpoint = "{server.token_endpoint}"
            client_id = "{name}"
            client_secret = "{SECRET}"
            """
            for name in ("used", "unused")
        )
        + f'[cache]\nurl = "{(tmp_path / "tokens").as_uri()}"\ntimeout = 30'
    )
    with AccessTokenManagement.from_config(path) as management:
        management.service.get_access_token("used")
    monkeypatch.setenv("REQUESTS_CC_TOKEN_CONFIG", str(path))
    return path


def test_what_is_there(config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each client: scope and expiry; nothing is sent, and no token or secret is shown."""
    assert run(["cache", "list"]) == 0
    used, unused = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"used: a token, scope api, \d+ s old, expires in 3[56]\d\d s", used)
    assert unused == "unused: nothing"
    assert len(server.requests) == 1
    assert SECRET not in used
    assert "t0ken" not in used


def test_a_token_without_a_scope(config: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Says so."""
    server.respond = lambda request: token_answer("t0ken-of-the-test")
    with AccessTokenManagement.from_config(config) as management:
        management.service.get_access_token("unused")
    assert run(["cache", "list", "unused"]) == 0
    assert "no scope said" in capsys.readouterr().out


def test_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With documented keys."""
    assert run(["cache", "list", "--json"]) == 0
    out = capsys.readouterr().out
    assert "t0ken" not in out
    used, unused = json.loads(out)
    assert set(used) == {"client", "key", "token", "unreadable", "scope", "age", "expires_at", "expires_in", "lease"}
    assert (used["client"], used["token"], used["scope"], used["lease"]) == ("used", True, "api", None)
    assert 0 <= used["age"] < 60
    assert (unused["token"], unused["age"], unused["expires_at"]) == (False, None, None)


@pytest.fixture(params=["file", "redis", "redis that decodes"])
def store(request: pytest.FixtureRequest, config: Path, redis_server: RedisServer) -> StoreTokenCache[Any]:
    """The store of the configuration, as a worker has it: files, or a real Redis."""
    if request.param == "file":
        return FileTokenCache(config.parent / "tokens", timeout=PATIENCE)
    prefix = f"{uuid.uuid4()}:"
    text, _, _ = config.read_text().partition("[cache]")
    config.write_text(f'{text}[cache]\nurl = "{redis_server.url}"\nprefix = "{prefix}"\ntimeout = 30')
    if request.param == "redis":
        return RedisTokenCache(redis_server.url, prefix=prefix, lease=2 * PATIENCE, timeout=PATIENCE)
    return RedisTokenCache(
        redis_server.client(decode_responses=True), prefix=prefix, lease=2 * PATIENCE, timeout=PATIENCE
    )


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def listed(capsys: pytest.CaptureFixture[str], client: str = "unused") -> tuple[str, Any]:
    """What is told of a client, as a line and as JSON."""
    assert run(["cache", "list", client]) == 0
    line = capsys.readouterr().out.rstrip()
    assert run(["cache", "list", client, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    return line, entry


def test_who_is_asking_now(store: StoreTokenCache[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """A process that holds the lease is named: by host and for how long in Redis, by its number in files.

    Before, nobody is; afterwards there is a token, with its age, and nobody.
    """
    line, entry = listed(capsys)
    assert (line, entry["lease"]) == ("unused: nothing", None)
    lease = store.lease(entry["key"], lambda: False)
    assert lease is not None
    line, entry = listed(capsys)
    if isinstance(store, FileTokenCache):
        assert line == f"unused: nothing, asked for now by process {os.getpid()}"
        assert entry["lease"] == {"holder": f"process {os.getpid()}", "expires_in": None}
    else:
        name = f"{socket.gethostname()}, process {os.getpid()}"
        assert re.fullmatch(rf"unused: nothing, asked for now by {re.escape(name)}, for \d+ s at most", line)
        assert entry["lease"]["holder"] == name
        assert 0 < entry["lease"]["expires_in"] <= 2 * PATIENCE
    token = AccessToken("t0ken-of-the-test", scope="api", expires_at=time.time() + 3600, key=entry["key"])
    lease.set(token)
    line, entry = listed(capsys)
    assert re.fullmatch(r"unused: a token, scope api, \d+ s old, expires in 3[56]\d\d s", line)
    assert (entry["token"], entry["lease"]) == (True, None)
    assert 0 <= entry["age"] < 60


def test_a_token_that_has_expired_is_none(store: StoreTokenCache[Any]) -> None:
    """Nor has it an age: the store may keep it for a while, and nobody uses it."""
    key = "0" * 64
    clock = ManualClock(time=time.time())
    store._clock = clock
    store.set(key, AccessToken("t0ken-of-the-test", expires_at=clock.time() + 3600, key=key))
    assert store.inspect(key).token is not None
    clock.advance(3601)
    assert store.inspect(key) == Kept(None, None, None)


def test_a_record_of_another_encryption_key(
    store: StoreTokenCache[Any], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is told apart from none: two programs that share a store and have two keys look like an empty store else."""
    line, entry = listed(capsys)
    assert (line, entry["unreadable"]) == ("unused: nothing", False)
    store.set(entry["key"], AccessToken("t0ken-of-the-test", expires_at=time.time() + 3600, key=entry["key"]))
    assert listed(capsys)[1]["unreadable"] is False
    config.write_text(f'{config.read_text()}\nkey = "{Fernet.generate_key().decode()}"')
    line, entry = listed(capsys)
    assert line == "unused: a record that cannot be read: stored with another key, or damaged"
    assert (entry["token"], entry["unreadable"], entry["expires_at"]) == (False, True, None)


def test_a_lease_of_an_earlier_version(config: Path, redis_server: RedisServer) -> None:
    """Says that somebody asks, and not who."""
    cache = RedisTokenCache(redis_server.url, prefix=f"{uuid.uuid4()}:", timeout=PATIENCE)
    key = "0" * 64
    redis_server.client().set(cache._names(key)[2], "0123456789abcdef", px=60_000)
    holder = cache.inspect(key).holder
    assert holder is not None
    assert holder.name is None
    assert 0 < (holder.seconds or 0) <= 60


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells of processes")
def test_processes_that_hold_nothing_any_more(tmp_path: Path) -> None:
    """In files, a process that has died is not named, and one that was stopped is said to be."""
    store = FileTokenCache(tmp_path / "tokens", timeout=PATIENCE)
    key = "0" * 64
    folder = tmp_path / "tokens" / key
    make_private(folder)
    (folder / "3.999999999-1.holder").touch(0o600)
    assert store.inspect(key).holder is None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        start = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        (folder / f"2.{process.pid}-{start}.holder").touch(0o600)
        assert store.inspect(key).holder == Holder(f"process {process.pid}, stopped", None)
        # What was written after it is by somebody else.
        (folder / "2.deleted").touch(0o600)
        assert store.inspect(key).holder is None
        process.kill()


def test_who_looks_leaves_no_folder_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither `cache list` nor `check` makes the folder of the tokens: it would be root's where root looks."""
    config = tmp_path / "worker.toml"
    config.write_text(
        '[clients.erp]\ntoken_endpoint = "https://login.example.com/token"\nclient_id = "worker"\n'
        'client_secret = { file = "secret" }\n[cache]\nurl = "file:tokens"\n'
    )
    (tmp_path / "secret").touch(0o600)
    (tmp_path / "secret").write_text("secret")
    assert run(["--config", str(config), "cache", "list"]) == 0
    assert run(["--config", str(config), "cache", "clear"]) == 0
    assert run(["--config", str(config), "check"]) == 0
    assert capsys.readouterr().out.startswith("erp: nothing\n")
    assert not (tmp_path / "tokens").exists()


def test_somebody_is_asking() -> None:
    """The line of a holder that the store has no name for."""
    kept = Kept(None, None, Holder(None, 4.2))
    assert _told(_entry("erp", "key", kept)) == "nothing, asked for now by somebody, for 4 s at most"


def test_a_store_of_ones_own_process(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Memory has nothing to show, and neither ages nor leases."""
    text, _, _ = config.read_text().partition("[cache]")
    config.write_text(text + '[cache]\nurl = "memory:"')
    line, entry = listed(capsys)
    assert line == "unused: nothing"
    assert (entry["age"], entry["lease"]) == (None, None)
    token = AccessToken("t0ken", expires_at=time.time() + 60)
    assert "a token, no scope said, expires in 60 s" in _told(_entry("erp", "key", Kept(token, None, None)))


def test_emptying_it_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was forgotten, with documented keys."""
    assert run(["cache", "clear", "used", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (set(entry), entry["client"]) == ({"client", "key"}, "used")


@pytest.mark.parametrize("names", [(), ("used",)])
def test_emptying_it(config: Path, server: ScriptedServer, names: tuple[str, ...]) -> None:
    """The next process asks for a token of its own."""
    assert run(["cache", "clear", *names]) == 0
    with AccessTokenManagement.from_config(config) as management:
        management.service.get_access_token("used")
    assert len(server.requests) == 2


def test_a_client_that_there_is_not(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is cleared then."""
    assert run(["cache", "clear", "used", "nobody"]) == 2
    assert "'nobody'; the configuration has 'unused', 'used'" in capsys.readouterr().err
    assert run(["cache", "list"]) == 0
    assert "used: a token" in capsys.readouterr().out


def test_without_a_store(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to look at."""
    config.write_text(config.read_text().partition("[cache]")[0])
    assert run(["cache", "list"]) == 2
    assert "there is no [cache]" in capsys.readouterr().err


def test_a_store_that_is_down(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 6."""
    text, _, _ = config.read_text().partition("[cache]")
    config.write_text(text + '[cache]\nurl = "redis://127.0.0.1:1/0"')
    assert run(["cache", "list"]) == 6
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_a_client_whose_secret_is_not_there(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is told, and the others are looked at all the same; exit code 2."""
    text = config.read_text()
    config.write_text(text.replace(f'client_secret = "{SECRET}"', 'client_secret = { env = "NOT_SET" }', 1))
    for command in (["list"], ["list", "--json"], ["clear"]):
        assert run(["cache", *command]) == 2
        out, err = capsys.readouterr()
        assert "unused" in out
        assert err == "used: the secret's environment variable NOT_SET is not set or empty\n"

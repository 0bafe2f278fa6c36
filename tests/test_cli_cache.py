"""``cache``: what a store holds for the clients of a configuration, and emptying it; never a token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from requests_cc_token import AccessTokenManagement
from requests_cc_token.cli.app import run

from .scripted_server import ScriptedServer, token_answer

SECRET = "s3cret-of-the-test"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        server.respond = lambda request: token_answer("t0ken-of-the-test", scope="api")
        yield server


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
    assert used.startswith("used: a token, scope api, expires in 3")
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
    assert set(used) == {"client", "key", "token", "scope", "expires_at", "expires_in"}
    assert (used["client"], used["token"], used["scope"]) == ("used", True, "api")
    assert (unused["token"], unused["expires_at"]) == (False, None)


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

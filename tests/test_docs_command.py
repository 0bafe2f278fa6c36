"""The page of the command: every option of every command, and every key of what it prints for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from requests_cc_token.caches.file import FileTokenCache
from requests_cc_token.cli.app import run
from requests_cc_token.demo.token_service import TokenService

from .command_reference import PAGE, rewritten
from .conftest import SECRET
from .scripted_server import PATIENCE

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_reference_is_that_of_the_command() -> None:
    """``python -m tests.command_reference`` writes it anew."""
    assert rewritten(TEXT) == TEXT


def documented() -> dict[str, set[str]]:
    """The keys of each command, as the table has them."""
    keys: dict[str, set[str]] = {}
    table = TEXT.partition("\n## What programs read\n")[2].partition("\n## ")[0]
    command = ""
    for named, cell in re.findall(r"^\| ([^|]*) \| (`[^|]+`) \|", table, re.MULTILINE):
        command = named.strip() or command
        keys.setdefault(command, set()).update(re.findall(r"`([^`]+)`", cell))
    return keys


def keys_of(value: Any, known: set[str], path: str = "") -> set[str]:
    """The keys of what was printed; not those of foreign documents, which are documented as a whole."""
    if isinstance(value, list):
        return {key for each in value for key in keys_of(each, known, f"{path}[]")}
    is_whole = path in known and not any(key.startswith(f"{path}.") for key in known)
    if not isinstance(value, dict) or is_whole:
        return {path} - {""}
    dotted = f"{path}." if path else ""
    found = {key for name, each in value.items() for key in keys_of(each, known, f"{dotted}{name}")}
    return found | ({path} & known)


@pytest.fixture
def config(tmp_path: Path, token_service: TokenService, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "worker.toml"
    path.write_text(
        f"""
        [clients.worker]
        token_endpoint = "{token_service.token_endpoint}"
        client_id = "worker"
        client_secret = "{SECRET}"
        [cache]
        url = "{(tmp_path / "tokens").as_uri()}"
        timeout = 30
        """,
        encoding="utf-8",
    )
    monkeypatch.setenv("REQUESTS_CC_TOKEN_CONFIG", str(path))
    return path


def test_every_key_of_json_is_documented(
    config: Path, token_service: TokenService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no other is; what each command prints has exactly the keys of its rows."""
    expected = documented()

    def printed(command: str, *arguments: str) -> set[str]:
        assert run([*arguments, "--json"]) == 0
        return keys_of(json.loads(capsys.readouterr().out), expected[command])

    key = str(tmp_path / "key.pem")
    found = {
        "`check`": printed("`check`", "check", "--live"),
        "`token`": printed("`token`", "token"),
        "`discover`": printed("`discover`", "discover", token_service.issuer),
        "`keys new`, `keys show`": printed("`keys new`, `keys show`", "keys", "new", key, "--certificate", "worker"),
    }
    assert printed("`keys new`, `keys show`", "keys", "show", key) == found["`keys new`, `keys show`"]
    assert run(["cache", "list", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    lease = FileTokenCache(tmp_path / "tokens", timeout=PATIENCE).lease(entry["key"], lambda: False)
    assert lease is not None
    found["`cache list`"] = printed("`cache list`", "cache", "list")
    lease.release()
    found["`cache clear`"] = printed("`cache clear`", "cache", "clear")
    assert run(["demo", "--calls", "1", "--json"]) == 0
    first, *_, last = map(json.loads, capsys.readouterr().out.splitlines())
    found["`demo`, each line"], found["`demo`, the last line"] = set(first), set(last)
    assert found == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The line of the page prints what the shell reads; asked by the shell, the program completes commands."""
    lines = TEXT.partition("\n## Completion\n")[2].partition("\n## ")[0]
    variable = "_REQUESTS_CC_TOKEN_COMPLETE"
    assert f"{variable}={shell}_source requests-cc-token" in lines

    def asked(**variables: str) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            run([])
        assert not end.value.code
        return capsys.readouterr().out

    assert f"{variable}={shell}_complete" in asked(**{variable: f"{shell}_source"})
    word = {"COMP_WORDS": "requests-cc-token che", "COMP_CWORD": "che" if shell == "fish" else "1"}
    assert "check" in asked(**{variable: f"{shell}_complete"}, **word)

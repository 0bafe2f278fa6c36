"""The module's default management."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import requests_cc_token
from requests_cc_token import AccessTokenManagement, ConfigurationError, TokenRequestParameters
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService


@pytest.fixture
def file(tmp_path: Path, token_service: TokenService, api: ProtectedApi) -> Iterator[Path]:
    """A configuration whose client ``m2m`` gets tokens."""
    token_service.add_client("m2m", "secret", scopes="api reports")
    path = tmp_path / "worker.toml"
    path.write_text(
        f"""
        [clients.identityserver]
        token_endpoint = "{token_service.token_endpoint}"
        client_id = "m2m"
        client_secret = "secret"
        [sessions.client]
        base_url = "{api.base_url}"
        """
    )
    yield path
    if requests_cc_token._default.management is not None:
        requests_cc_token._default.management.close()


def test_the_file_that_the_environment_names(
    file: Path, token_service: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``REQUESTS_CC_TOKEN_CONFIG`` is read when the default is first needed, once; both functions use it."""
    monkeypatch.setenv("REQUESTS_CC_TOKEN_CONFIG", str(file))
    token = requests_cc_token.get_access_token()
    file.unlink()
    assert requests_cc_token.get_access_token("identityserver") is token
    assert requests_cc_token.make_session("client").get("test").ok
    assert repr(requests_cc_token.make_auth("client")).startswith("<auth client=")
    write = requests_cc_token.get_access_token("identityserver", TokenRequestParameters(scope="reports"), timeout=30)
    assert write.scope == "reports"
    assert len(token_service.requests) == 2


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_configured(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    """The error says what to do."""
    if value is not None:
        monkeypatch.setenv("REQUESTS_CC_TOKEN_CONFIG", value)
    for call in (lambda: requests_cc_token.make_session("client"), requests_cc_token.get_access_token):
        with pytest.raises(ConfigurationError) as refusal:
            call()
        assert "call requests_cc_token.configure(...), or set REQUESTS_CC_TOKEN_CONFIG to the path" in str(
            refusal.value
        )


def test_a_file_that_cannot_work_is_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed attempt leaves nothing behind: once the file is right, the next call works."""
    content = file.read_text()
    file.write_text("[clients")
    monkeypatch.setenv("REQUESTS_CC_TOKEN_CONFIG", str(file))
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        requests_cc_token.make_session("client")
    file.write_text(content)
    assert requests_cc_token.make_session("client").get("test").ok


def test_configure_goes_before_the_environment(
    file: Path, management: AccessTokenManagement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a management, a path or a mapping; the newest one counts, and it is returned."""
    monkeypatch.setenv("REQUESTS_CC_TOKEN_CONFIG", "/no/such/file")
    assert requests_cc_token.configure(management) is management
    assert requests_cc_token.get_access_token("worker") is management.service.get_access_token("worker")
    by_path = requests_cc_token.configure(str(file))
    assert isinstance(by_path, AccessTokenManagement)
    assert requests_cc_token.make_session("client").get("test").ok
    assert repr(requests_cc_token.configure(file)) == repr(by_path)
    empty = requests_cc_token.configure({})
    assert repr(empty) == "<AccessTokenManagement clients=[] sessions=[]>"
    by_path.close()


def test_a_configuration_that_is_refused_changes_nothing(management: AccessTokenManagement) -> None:
    """The default stays what it was."""
    requests_cc_token.configure(management)
    with pytest.raises(ConfigurationError):
        requests_cc_token.configure({"x": 1})
    assert requests_cc_token.get_access_token("worker").scope == "api reports"


def test_threads_share_one_default(file: Path, token_service: TokenService, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask first, the file is read into one management and the token is requested once."""
    monkeypatch.setenv("REQUESTS_CC_TOKEN_CONFIG", str(file))
    barrier = threading.Barrier(20)
    found: list[object] = []

    def ask() -> None:
        barrier.wait(30)
        found.append(requests_cc_token.get_access_token())

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 20
    assert len(set(map(id, found))) == 1
    assert len(token_service.requests) == 1

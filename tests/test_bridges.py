"""The bridges to hosts, with stand-ins for these; ``tests/hosts`` has the real ones."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from requests_cc_token import ConfigurationError, UnknownClientError
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .conftest import SECRET


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plugin of HTTPie, which here is no more than the class that it is derived from."""
    plugins: Any = types.ModuleType("httpie.plugins")
    plugins.AuthPlugin = object
    monkeypatch.setitem(sys.modules, "httpie", types.ModuleType("httpie"))
    monkeypatch.setitem(sys.modules, "httpie.plugins", plugins)
    monkeypatch.delitem(sys.modules, "requests_cc_token.bridges.httpie", raising=False)
    yield importlib.import_module("requests_cc_token.bridges.httpie").ClientCredentialsPlugin()
    sys.modules.pop("requests_cc_token.bridges.httpie", None)


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token_service: TokenService, api: ProtectedApi) -> Path:
    """The file that the environment names."""
    path = tmp_path / "worker.toml"
    path.write_text(
        f"""
        [clients.worker]
        token_endpoint = "{token_service.token_endpoint}"
        client_id = "worker"
        client_secret = '{SECRET}'
        [sessions.erp]
        base_url = "{api.base_url}"
        """,
        encoding="utf-8",
    )
    monkeypatch.setenv("REQUESTS_CC_TOKEN_CONFIG", str(path))
    return path


def test_the_auth_object_of_a_session(plugin: Any, config: Path, api: ProtectedApi) -> None:
    """``-A cc -a erp:`` is the auth object for what the session ``erp`` is for, and for nothing else."""
    assert plugin.auth_type == "cc"
    assert requests.get(api.base_url + "test", auth=plugin.get_auth("erp", ""), timeout=30).status_code == 200
    assert requests.get(api.origin + "/open", auth=plugin.get_auth("erp"), timeout=30).status_code == 200
    assert api.requests[-1].scheme != "Bearer"


def test_a_session_that_there_is_not(plugin: Any, config: Path) -> None:
    """The error names the file and those that there are."""
    with pytest.raises(UnknownClientError, match=r"worker\.toml has no session 'other'; it has \['erp'\]"):
        plugin.get_auth("other")


def test_no_file(plugin: Any) -> None:
    """The error names the variable."""
    with pytest.raises(ConfigurationError, match="set REQUESTS_CC_TOKEN_CONFIG"):
        plugin.get_auth("erp")

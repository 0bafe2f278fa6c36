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

import requests_cc_token
from requests_cc_token import AccessTokenManagement, ConfigurationError, UnknownClientError
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


# Bridges to hosts that pass on a session's name at most


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, **names: Any) -> None:
    """A module that has these names, with the packages around it."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    vars(sys.modules[module]).update(names)


def bridge(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """The bridge, loaded anew and forgotten afterwards."""
    name = f"requests_cc_token.bridges.{name}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    monkeypatch.delitem(sys.modules, name)
    return module


@pytest.fixture
def default(management: AccessTokenManagement, api: ProtectedApi) -> Iterator[AccessTokenManagement]:
    """The default management, with a session of each name."""
    for name in ("mlflow", "openlineage", "prod", "other"):
        management.add_session(name, base_url=api.base_url, client="worker", renew_on=(401, 419))
    before = requests_cc_token._default.management
    yield requests_cc_token.configure(management)
    requests_cc_token._default.management = before


def test_the_auth_provider_of_mlflow(
    monkeypatch: pytest.MonkeyPatch, default: AccessTokenManagement, api: ProtectedApi
) -> None:
    """It is called ``cc``, and its auth object is that of the session ``mlflow``."""
    stand_in(monkeypatch, "mlflow.tracking.request_auth.abstract_request_auth_provider", RequestAuthProvider=object)
    provider = bridge(monkeypatch, "mlflow").ClientCredentialsProvider()
    assert provider.get_name() == "cc"
    assert requests.get(api.base_url + "test", auth=provider.get_auth(), timeout=30).status_code == 200


class HttpConfig:
    """OpenLineage's, as far as the bridge sees it."""

    session: requests.Session | None = None

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    def from_dict(cls, params: dict[str, Any]) -> HttpConfig:
        return cls(params["url"])


@pytest.mark.parametrize("name", [None, "other"])
def test_the_transport_of_openlineage(
    monkeypatch: pytest.MonkeyPatch, default: AccessTokenManagement, api: ProtectedApi, name: str | None
) -> None:
    """The session of its configuration has the token of the session that is named, ``openlineage`` without one."""
    stand_in(monkeypatch, "openlineage.client.transport.http", HttpConfig=HttpConfig, HttpTransport=object)
    transport = bridge(monkeypatch, "openlineage").ClientCredentialsTransport
    named = {} if name is None else {"token_session": name}
    config = transport.config_class.from_dict({"url": api.base_url, **named})
    assert (config.url, type(config)) == (api.base_url, HttpConfig)
    assert config.session.get(api.base_url + "test", timeout=30).status_code == 200
    with pytest.raises(UnknownClientError, match="no session is named 'x'"):
        transport.config_class.from_dict({"url": api.base_url, "token_session": "x"})


class RestCatalog:
    """pyiceberg's, as far as the bridge sees it."""

    def __init__(self, name: str, **properties: Any) -> None:
        self.name, self.properties = name, properties
        self.session = self._create_session()

    def _create_session(self) -> requests.Session:
        return requests.Session()


class AuthManagerAdapter:
    """Likewise."""

    def __init__(self, auth_manager: object) -> None:
        self.auth_manager = auth_manager


@pytest.mark.parametrize("named", [{}, {"token-session": "other"}], ids=str)
def test_the_rest_catalog_of_pyiceberg(
    monkeypatch: pytest.MonkeyPatch,
    default: AccessTokenManagement,
    token_service: TokenService,
    api: ProtectedApi,
    named: dict[str, str],
) -> None:
    """Its session has the token of the session of the catalog's name, or of another; its ``renew_on`` holds."""
    stand_in(monkeypatch, "pyiceberg.catalog.rest.auth", AuthManagerAdapter=AuthManagerAdapter, NoopAuthManager=object)
    monkeypatch.setattr(sys.modules["pyiceberg.catalog.rest"], "RestCatalog", RestCatalog, raising=False)
    catalog = bridge(monkeypatch, "pyiceberg").ClientCredentialsCatalog("prod", uri=api.base_url, **named)
    assert catalog.properties == {"uri": api.base_url, "auth": {"type": "noop"}, **named}
    api.fail_next(419)
    assert catalog.session.get(api.base_url + "test", timeout=30).status_code == 200
    assert len(token_service.requests) == 2

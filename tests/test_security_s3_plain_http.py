"""S3: plain http is refused off loopback, on both channels, unless it is allowed by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from requests_cc_token import AccessTokenAdapter, AccessTokenManagement, ClientCredentialsClient, ConfigurationError

from .internet import SECRET, TOKEN, Internet, internet
from .scripted_server import ScriptedServer, answer, token_answer

ENDPOINT = "http://token.example.com/token"
API = "http://api.example.com/v1/"


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Internet]:
    """An internet of our own."""
    with internet(monkeypatch, tmp_path) as net:
        net.pages[ENDPOINT] = token_answer(TOKEN)
        yield net


@pytest.fixture
def management(net: Internet) -> Iterator[AccessTokenManagement]:
    """A management of a client whose token service speaks plain http, which is allowed by name."""
    with AccessTokenManagement() as management:
        management.configure_backchannel(wait=(), verify=net.ca)
        management.add_client(
            "worker", token_endpoint=ENDPOINT, client_id="m2m", client_secret=SECRET, allow_http=True
        )
        yield management


CLIENT: dict[str, Any] = {"client_id": "m2m", "client_secret": SECRET}

REFUSED: dict[str, Callable[[AccessTokenManagement], Any]] = {
    "a token endpoint": lambda m: m.add_client("a", token_endpoint=ENDPOINT, **CLIENT),
    "an issuer": lambda m: m.add_client("a", issuer="http://token.example.com", **CLIENT),
    "a client of one's own": lambda m: ClientCredentialsClient("a", token_endpoint=ENDPOINT, **CLIENT),
    "a session": lambda m: m.add_session("a", base_url=API),
    "a mount": lambda m: m.mount(requests.Session(), API),
    "an adapter": lambda m: AccessTokenAdapter(m.service, prefix=API),
    "a configuration": lambda m: AccessTokenManagement.from_config({"sessions": {"a": {"base_url": API}}}),
    "a lookalike of loopback": lambda m: m.add_session("a", base_url="http://127.0.0.1.evil.test/"),
    "a private address": lambda m: m.add_session("a", base_url="http://10.0.0.1/"),
    "any address": lambda m: m.add_session("a", base_url="http://0.0.0.0/"),
}


@pytest.mark.conformance("C09")
@pytest.mark.conformance("C29")
@pytest.mark.parametrize("how", REFUSED)
def test_s3_plain_http_is_refused(management: AccessTokenManagement, net: Internet, how: str) -> None:
    """Nobody sends a secret or a token over plain http by accident: refused when it is configured, with the way out."""
    with pytest.raises(ConfigurationError, match=r"plain http.*use https, or pass allow_http=True"):
        REFUSED[how](management)
    assert net.seen == []


@pytest.mark.conformance("C09")
def test_s3_allowed_by_name(management: AccessTokenManagement, net: Internet) -> None:
    """What is allowed by name works, and only there."""
    management.add_session("api", base_url=API, allow_http=True)
    management.make_session("api").get("x")
    plain = requests.Session()
    plain.mount(API, AccessTokenAdapter(management.service, prefix=API, allow_http=True))
    plain.get(API + "x")
    assert net.carried == [API + "x"] * 2
    with pytest.raises(ConfigurationError, match="plain http"):
        management.add_client("b", token_endpoint=ENDPOINT, **CLIENT)


@pytest.mark.conformance("C29")
def test_s3_a_redirect_down_to_http(management: AccessTokenManagement, net: Internet) -> None:
    """A redirect from https to http of the same host takes no token along, allowed or not."""
    start = "https://api.example.com/v1/start"
    net.pages[start] = answer(302, b"", [("Location", API + "end")])
    session = requests.Session()
    session.verify = net.ca
    adapter = management.mount(session, "https://api.example.com/v1/", allow_http=True)
    session.mount("http://", adapter)
    session.get(start)
    assert net.carried == [start]
    assert len(net.requests_to("api.example.com")) == 2


def test_s3_loopback_needs_no_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine may be spoken to in plain http."""
    with ScriptedServer() as server, AccessTokenManagement() as management:
        server.respond = lambda request: token_answer(TOKEN) if request.target == "/token" else answer(200, b"ok")
        for host in ("127.0.0.1", "127.0.0.2", "localhost"):
            management.add_client(host, token_endpoint=f"http://{host}:{server.port}/token", **CLIENT)
            management.add_session(host, base_url=f"http://{host}:{server.port}/", client=host)
        assert management.make_session("127.0.0.1").get("x").text == "ok"
        assert server.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"


def test_s3_loopback_by_a_proxy_of_another_machine(net: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is let pass because it stays on this machine does not leave it by a proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com:8080")
    with ScriptedServer() as server, AccessTokenManagement() as management:
        server.respond = lambda request: token_answer(TOKEN) if request.target == "/token" else answer(200, b"ok")
        management.add_client("worker", token_endpoint=server.token_endpoint, **CLIENT)
        management.add_session("api", base_url=server.url + "api/")
        session = management.make_session("api")
        assert session.get("x").text == "ok"
        assert net.seen == []
        # Without a secret it goes where the environment says.
        session.get(server.url + "other")
        assert [seen.request.target for seen in net.seen] == [server.url + "other"]

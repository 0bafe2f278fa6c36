"""S2: `.netrc` wins on neither channel, and what belongs to one channel never reaches the other.

The environment's proxies and CA settings count on both.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from requests_cc_token import AccessTokenAdapter, AccessTokenManagement, TokenEndpointConnectionError

from .internet import API, SECRET, TOKEN, Door, Internet, by_make_session, internet, managing
from .scripted_server import ScriptedServer, answer, token_answer

BEARER = f"Bearer {TOKEN}"
OF_NETRC = "Basic " + base64.b64encode(b"T41NT-login:T41NT-password").decode()
OF_CLIENT = "Basic " + base64.b64encode(f"m2m:{SECRET}".encode()).decode()


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Internet]:
    """An internet of our own, trusted by way of the environment."""
    with internet(monkeypatch, tmp_path) as net:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", net.ca)
        yield net


@pytest.fixture
def netrc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A ``.netrc`` with credentials for every host there is."""
    path = tmp_path / "netrc"
    lines = [
        f"machine {host} login T41NT-login password T41NT-password"
        for host in ("api.example.com", "token.example.com", "other.example.com")
    ]
    path.write_text("\n".join([*lines, "default login T41NT-login password T41NT-password"]), encoding="utf-8")
    monkeypatch.setenv("NETRC", str(path))
    return path


@pytest.fixture
def management(net: Internet) -> Iterator[AccessTokenManagement]:
    """A management of one client and one session."""
    with managing(wait=()) as management:
        yield management


def by_management_mount(management: AccessTokenManagement) -> requests.Session:
    """``management.mount`` on a session that existed already."""
    session = requests.Session()
    management.mount(session, API)
    return session


def by_plain_mount(management: AccessTokenManagement) -> requests.Session:
    """``session.mount``."""
    session = requests.Session()
    session.mount(API, AccessTokenAdapter(management.service, prefix=API))
    return session


DOORS = [by_make_session, by_management_mount, by_plain_mount]


@pytest.mark.conformance("C31")
@pytest.mark.parametrize("door", DOORS)
def test_s2_netrc_does_not_win(net: Internet, netrc: Path, management: AccessTokenManagement, door: Door) -> None:
    """With an entry for every host in ``.netrc``, the API gets the token and the token service the client's secret."""
    door(management).get(API)
    assert [seen.authorization for seen in net.seen] == [OF_CLIENT, BEARER]
    assert netrc.exists()


@pytest.mark.conformance("C31")
@pytest.mark.parametrize("door", DOORS)
def test_s2_netrc_does_not_win_at_redirects(
    net: Internet, netrc: Path, management: AccessTokenManagement, door: Door
) -> None:
    """Where a redirect stays under the mount the token goes on; requests' question to ``.netrc`` changes nothing."""
    net.pages[API + "start"] = answer(302, b"", [("Location", "/v1/end")])
    door(management).get(API + "start")
    assert [seen.authorization for seen in net.requests_to("api.example.com")] == [BEARER, BEARER]
    assert netrc.exists()


def test_s2_netrc_is_not_read_for_other_hosts(net: Internet, netrc: Path, management: AccessTokenManagement) -> None:
    """A session of ``make_session`` takes nothing from ``.netrc`` for hosts that redirects or callers lead it to."""
    net.pages[API + "start"] = answer(302, b"", [("Location", "https://other.example.com/")])
    session = by_make_session(management)
    session.get(API + "start")
    session.get("https://other.example.com/")
    assert [seen.authorization for seen in net.requests_to("other.example.com")] == [None, None]
    assert netrc.exists()


def test_s2_a_plain_session_keeps_its_netrc_elsewhere(
    net: Internet, netrc: Path, management: AccessTokenManagement
) -> None:
    """A session that existed already goes on as before outside of the mount."""
    by_management_mount(management).get("https://other.example.com/")
    assert [seen.authorization for seen in net.seen] == [OF_NETRC]
    assert netrc.exists()


def test_s2_a_session_of_the_user_as_backchannel(net: Internet, netrc: Path, management: AccessTokenManagement) -> None:
    """A backchannel session of the user's brings neither ``.netrc`` nor its own auth, cookies, or parameters along."""
    session = requests.Session()
    session.auth = ("T41NT-user", "T41NT-password")
    session.cookies.set("T41NT", "cookie")
    session.headers["Authorization"] = "Basic T41NT"
    management.configure_backchannel(session=session)
    management.service.get_access_token()
    (seen,) = net.seen
    assert seen.authorization == OF_CLIENT
    assert "cookie" not in seen.request.headers
    assert seen.request.target == "/token"
    assert netrc.exists()


def test_s2_cookies_stay_on_their_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cookies of the API never reach the token service, nor the other way, even where both are one host."""
    with ScriptedServer() as server, AccessTokenManagement() as management:
        cookie = [("Set-Cookie", "who=api; Path=/")]
        server.respond = lambda request: (
            answer(200, {"access_token": TOKEN, "token_type": "Bearer"}, [("Set-Cookie", "who=token; Path=/")])
            if request.target == "/token"
            else answer(200, b"ok", cookie)
        )
        management.add_client("worker", token_endpoint=server.token_endpoint, client_id="m2m", client_secret=SECRET)
        management.add_session("api", base_url=server.url + "api/")
        session = management.make_session("api")
        for _ in range(2):
            session.get("x")
            management.service.delete_access_token()
        sent = [(request.target, request.headers.get("cookie")) for request in server.requests]
    assert sent == [("/token", None), ("/api/x", None), ("/token", None), ("/api/x", "who=api")]


@pytest.mark.parametrize("door", DOORS)
def test_s2_what_shapes_an_api_call_stays_there(net: Internet, management: AccessTokenManagement, door: Door) -> None:
    """Headers, parameters, cookies, hooks and auth of session and call never reach the token service."""
    session = door(management)
    session.headers["X-Api"] = "1"
    session.params = {"session": "1"}
    session.cookies.set("session", "1")
    hooked: list[str] = []
    session.hooks["response"].append(lambda response, **_: hooked.append(response.url))
    session.get(API, params={"call": "1"}, headers={"X-Call": "1"}, cookies={"call": "1"})
    asked, called = net.seen
    assert called.request.target == "/v1/?session=1&call=1"
    assert {"x-api", "x-call", "cookie"} <= set(called.request.headers)
    assert not {"x-api", "x-call", "cookie"} & set(asked.request.headers)
    assert asked.request.target == "/token"
    assert hooked == [called.scheme + "://" + called.host + called.request.target]


def test_s2_verify_of_an_api_call_stays_there(
    net: Internet, management: AccessTokenManagement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not verify the API still verifies the token service: the secret goes to nobody unknown."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    session = by_make_session(management)
    session.verify = False
    with pytest.raises(TokenEndpointConnectionError, match="the TLS connection failed"):
        session.get(API, verify=False)
    assert net.seen == []


def test_s2_ca_of_an_api_call_stays_there(
    net: Internet, management: AccessTokenManagement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CA bundle for the API is none for the token service, which has its own."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    session = by_make_session(management)
    with pytest.raises(TokenEndpointConnectionError, match="check its certificate and your CA settings"):
        session.get(API, verify=net.ca)
    management.configure_backchannel(verify=net.ca)
    assert session.get(API, verify=net.ca).text == "ok"
    with pytest.raises(requests.exceptions.SSLError):
        session.get(API)


def test_s2_proxies_of_an_api_call_stay_there(net: Internet, management: AccessTokenManagement) -> None:
    """A proxy for the API call is not used for the token request, nor is a client certificate."""
    session = by_make_session(management)
    with pytest.raises(requests.exceptions.ProxyError):
        session.get(API, proxies={"https": "http://127.0.0.1:1"})
    assert [seen.host for seen in net.seen] == ["token.example.com"]
    management.service.delete_access_token()
    with pytest.raises(OSError, match="TLS certificate"):
        session.get(API, cert="/nowhere.pem")
    assert [seen.host for seen in net.seen] == ["token.example.com"] * 2


@pytest.mark.parametrize("door", DOORS)
def test_s2_proxies_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, door: Door
) -> None:
    """The environment's proxies are used for both channels, but for the hosts that it exempts."""
    with internet(monkeypatch, tmp_path) as net, ScriptedServer() as proxy, AccessTokenManagement() as management:
        proxy.respond = lambda request: token_answer(TOKEN) if request.method == "POST" else answer(200, b"by proxy")
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        management.add_client(
            "worker",
            token_endpoint="http://token.example.com/token",
            client_id="m2m",
            client_secret=SECRET,
            allow_http=True,
        )
        url = "http://api.example.com/v1/"
        management.add_session("api", base_url=url, allow_http=True)
        session: requests.Session = management.make_session("api")
        if door is not by_make_session:
            session = requests.Session()
            session.mount(url, AccessTokenAdapter(management.service, prefix=url, allow_http=True))
        assert session.get(url).text == "by proxy"
        assert [request.target for request in proxy.requests] == ["http://token.example.com/token", url]
        assert proxy.requests[1].headers["authorization"] == BEARER
        monkeypatch.setenv("NO_PROXY", "api.example.com")
        assert session.get(url).text == "ok"
        assert len(net.seen) == 1


def test_s2_ca_of_the_environment(
    net: Internet, management: AccessTokenManagement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE`` count on both channels."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        monkeypatch.setenv(variable, net.ca)
        management.service.delete_access_token()
        assert by_make_session(management).get(API).text == "ok"
    assert [seen.host for seen in net.seen] == ["token.example.com", "api.example.com"] * 2

"""The session that ``make_session`` returns: a base address, a default timeout, and else a plain session."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from requests_cc_token import NO_TOKEN, AccessTokenManagement, ConfigurationError, TokenRequestTimeout, session_for
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.session import DEFAULT_TIMEOUT, AccessTokenSession, check_base_url, check_timeout
from requests_cc_token.shortcuts.adapter import DEFAULT_POOL_SIZE
from requests_cc_token.testing import FakeApi, FakeTokenService

from .scripted_server import ScriptedServer, answer, hang

BASE = "https://api.example.com/v1/"


class Recorder(BaseAdapter):
    """Answers 200 to everything and notes with what options it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[requests.PreparedRequest, dict[str, Any]]] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        options = dict(zip(["stream", "timeout", "verify", "cert", "proxies"], args, strict=False))
        self.sent.append((request, {**options, **kwargs}))
        response = requests.Response()
        response.status_code, response.url, response.request = 200, request.url or "", request
        response._content = b""
        return response

    def close(self) -> None:
        pass

    @property
    def timeout(self) -> Any:
        return self.sent[-1][1]["timeout"]

    @property
    def url(self) -> str | None:
        return self.sent[-1][0].url


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def session(recorder: Recorder) -> AccessTokenSession:
    session = AccessTokenSession(BASE)
    session.mount("https://", recorder)
    session.mount("http://", recorder)
    return session


@pytest.fixture
def factory(management: AccessTokenManagement, api: ProtectedApi) -> AccessTokenManagement:
    """A management with the session ``api``."""
    management.add_session("api", base_url=api.base_url)
    return management


# The base address


@pytest.mark.parametrize(
    ("url", "joined"),
    [
        ("test", BASE + "test"),
        ("a/b?c=d", BASE + "a/b?c=d"),
        ("?c=d", BASE + "?c=d"),
        ("", BASE),
        ("./test", BASE + "test"),
        ("../v2/test", "https://api.example.com/v2/test"),
        ("/test", "https://api.example.com/test"),
        ("//other.example.com/test", "https://other.example.com/test"),
        ("https://other.example.com/test", "https://other.example.com/test"),
        ("http://other.example.com/test", "http://other.example.com/test"),
        ("HTTPS://other.example.com/test", "https://other.example.com/test"),
        ("groups/7:archive", BASE + "groups/7:archive"),
        (b"test", BASE + "test"),
        ("t\u00e9st", BASE + "t%C3%A9st"),
        (Path("a") / "b", BASE + "a/b"),
    ],
)
def test_urls_are_joined(session: AccessTokenSession, recorder: Recorder, url: Any, joined: str) -> None:
    """Relative URLs by RFC 3986 section 5, absolute ones as they are; by ``get`` and by a request object alike."""
    session.get(url)
    assert recorder.url == joined
    session.send(session.prepare_request(requests.Request("GET", url)))
    assert recorder.url == joined


@pytest.mark.parametrize("url", [None, "//["])
def test_what_is_no_url(url: Any) -> None:
    """A path that was never set, or that no URL can have, is an error of requests, and nothing is sent."""
    errors = requests.exceptions.MissingSchema, requests.exceptions.InvalidURL
    session = AccessTokenSession(BASE)
    with pytest.raises(errors):
        session.get(url)
    with pytest.raises(errors):
        session.send(session.prepare_request(requests.Request("GET", url)))


def test_a_request_that_is_not_prepared(session: AccessTokenSession) -> None:
    """Is told so, as by ``requests``, whatever else is passed."""
    with pytest.raises(ValueError, match="You can only send PreparedRequests"):
        session.send(requests.Request("GET", BASE), proxies={})  # type: ignore[arg-type]


def test_a_request_object_is_not_changed(session: AccessTokenSession) -> None:
    """Preparing it joins the URL of a copy, so it may be prepared again by another session."""
    request = requests.Request("GET", "test", params={"a": "1"}, headers={"X-A": "b"})
    prepared = session.prepare_request(request)
    assert prepared.url == BASE + "test?a=1"
    assert prepared.headers["X-A"] == "b"
    assert request.url == "test"
    assert session.prepare_request(request).url == prepared.url


@pytest.mark.parametrize("method", ["get", "options", "head", "post", "put", "patch", "delete"])
def test_every_verb_takes_a_relative_url(session: AccessTokenSession, recorder: Recorder, method: str) -> None:
    """So do all of the session's methods."""
    getattr(session, method)("test")
    assert recorder.url == BASE + "test"
    assert recorder.sent[-1][0].method == method.upper()


def test_a_relative_url_that_leaves_the_base_address_is_told(
    management: AccessTokenManagement, api: ProtectedApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Once per session, and only where no token goes: a slash at the beginning is the usual reason."""
    management.add_session("deep", base_url=api.base_url + "deeper/")
    with management.make_session("deep") as session:
        for url in ("x", "/other?page=2", "../other", f"{api.base_url}absolute"):
            session.get(url)
        with pytest.raises(requests.exceptions.InvalidSchema):
            session.get("ftp:x")
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    origin = api.base_url.split("/api/")[0]
    assert warning == (
        f"a request to {origin}/other carries no token: it is relative, and outside of the session's base_url "
        f"{api.base_url}deeper/; without a slash at its beginning it would be under it"
    )


def test_a_relative_url_to_where_another_token_goes_is_not_told(
    management: AccessTokenManagement, api: ProtectedApi, caplog: pytest.LogCaptureFixture
) -> None:
    """The session may have a further mount."""
    management.add_session("deep", base_url=api.base_url + "deeper/")
    with management.make_session("deep") as session:
        management.mount(session, api.base_url)
        assert session.get("../test").ok
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_a_401_outside_of_the_base_address_is_told(
    management: AccessTokenManagement, api: ProtectedApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Once per session, and only at the API's own origin, without credentials, and where no token goes."""
    management.add_session("deep", base_url=api.base_url + "deeper/")
    with management.make_session("deep") as session:
        assert session.get(f"{api.base_url}test", auth=("user", "password")).status_code == 401
        assert session.get(f"{api.base_url}test".replace("127.0.0.1", "localhost")).status_code == 401
        assert caplog.messages == []
        for _ in range(2):
            assert session.get(f"{api.base_url}test?page=2").status_code == 401
    (warning,) = caplog.messages
    assert warning == (
        f"a request to {api.base_url}test carries no token, and the answer is 401: it is outside of the session's "
        f"base_url {api.base_url}deeper/"
    )


def test_a_401_after_a_redirect_is_told_of_as_such(caplog: pytest.LogCaptureFixture) -> None:
    """By the adapter, which sees the redirect leave the base address; once is enough."""
    with FakeTokenService() as tokens, FakeApi(tokens) as api:
        api.respond("deep/moved", "", status=302, headers={"Location": f"{api.base_url}test"})
        with session_for(
            f"{api.base_url}deep/",
            token_endpoint=tokens.token_endpoint,
            client_id=tokens.client_id,
            client_secret=tokens.client_secret,
        ) as session:
            answer = session.get("moved")
    assert (answer.status_code, len(answer.history)) == (401, 1)
    (warning,) = caplog.messages
    assert "the API redirects" in warning


def test_a_401_where_another_token_goes_is_not_told(
    management: AccessTokenManagement, api: ProtectedApi, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that goes without one on purpose, below the base address or a further mount of the session."""
    management.add_session("deep", base_url=api.base_url + "deeper/")
    management.add_session("all", base_url=api.base_url)
    with management.make_session("deep") as session, management.make_session("all") as other:
        management.mount(session, api.base_url)
        assert session.get(f"{api.base_url}test", auth=NO_TOKEN).status_code == 401
        assert other.get("test", auth=NO_TOKEN).status_code == 401
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://api.example.com", "https://api.example.com/"),
        ("https://api.example.com/v1", BASE),
        ("https://api.example.com:443/v1/", "https://api.example.com:443/v1/"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC/"),
    ],
)
def test_base_urls(given: str, used: str) -> None:
    """As requests prepares them, with the final slash that joining needs."""
    assert check_base_url(given, "x") == used


@pytest.mark.parametrize("given", [None, "", "api.example.com", BASE + "?a", BASE + "#a", "https://", 5], ids=repr)
def test_base_urls_that_are_refused(given: Any) -> None:
    """What is no absolute URL, and what joining would drop."""
    with pytest.raises(ConfigurationError, match=r"^x "):
        check_base_url(given, "x")


# The default timeout


def test_the_default_timeout(session: AccessTokenSession, recorder: Recorder) -> None:
    """A call that names none gets it, also for a prepared request; one that names one, None too, gets that."""
    session.get("test")
    assert recorder.timeout == DEFAULT_TIMEOUT
    session.get("test", timeout=3)
    assert recorder.timeout == 3
    session.get("test", timeout=None)
    assert recorder.sent[-1][1]["timeout"] is None
    prepared = session.prepare_request(requests.Request("GET", "test"))
    session.send(prepared)
    assert recorder.timeout == DEFAULT_TIMEOUT
    session.send(prepared, timeout=4)
    assert recorder.timeout == 4
    session.timeout = (1, 2)
    session.get("test")
    assert recorder.timeout == (1, 2)


def test_a_positional_timeout(session: AccessTokenSession, recorder: Recorder) -> None:
    """``request`` takes it as its ninth parameter, as in requests; fewer positional ones leave the default."""
    names = list(inspect.signature(requests.Session.request).parameters)
    assert names[9] == "timeout", "counted with self"
    session.request("GET", "test", None, None, None, None, None, None, 7)
    assert recorder.timeout == 7
    session.request("GET", "test", None, None, None, None, None, None, 7, False, {}, None, True)
    assert recorder.timeout == 7
    session.request("GET", "test", {"a": "1"}, None, None, None, None, None)
    assert recorder.timeout == DEFAULT_TIMEOUT
    assert recorder.url == BASE + "test?a=1"


@pytest.mark.parametrize("given", [None, 5, 0.1, (1, 2), (None, 2), (1, None), urllib3.Timeout(5)], ids=repr)
def test_timeouts_as_requests_takes_them(given: Any) -> None:
    """Seconds, a pair, urllib3's own, or none."""
    check_timeout(given, "x")


@pytest.mark.parametrize(
    "given", ["5", 0, -1, True, (1, 2, 3), (1,), (1, "2"), (0, 1), float("nan"), float("inf"), {}], ids=repr
)
def test_timeouts_that_are_none(given: Any) -> None:
    """Anything else is refused when it is configured, not at the first request."""
    with pytest.raises(ConfigurationError, match=r"^x must be seconds above 0, or \(connect, read\) seconds"):
        check_timeout(given, "x")


def test_a_call_that_names_no_timeout_ends(management: AccessTokenManagement, token_service: TokenService) -> None:
    """An API that never answers is given up after the session's timeout."""
    with ScriptedServer(default=hang) as server:
        management.add_session("api", base_url=server.url, timeout=(5, 0.05))
        session = management.make_session("api")
        management.service.get_access_token()
        with pytest.raises(requests.ReadTimeout):
            session.get("test")
        with pytest.raises(requests.ReadTimeout):
            session.send(session.prepare_request(requests.Request("GET", "test")))


def test_the_timeout_bounds_the_wait_for_a_token(
    management: AccessTokenManagement, api: ProtectedApi, token_service: TokenService
) -> None:
    """A token service that hangs costs the caller no more than the read timeout, and the API is not asked."""
    management.add_session("api", base_url=api.base_url, timeout=0.05)
    session = management.make_session("api")
    with token_service.hold(), pytest.raises(TokenRequestTimeout, match=r"no token within 0\.05 s") as failure:
        session.get("test")
    assert failure.value.request is not None
    assert failure.value.request.url == api.base_url + "test"
    assert api.requests == []


# What the factory sets


def test_the_session_works(factory: AccessTokenManagement, api: ProtectedApi) -> None:
    """A relative GET brings the API's answer; the token is nowhere on what the caller gets."""
    session = factory.make_session("api")
    response = session.get("test")
    assert {"type": "client_id", "value": "worker"} in response.json()
    assert "Authorization" not in response.request.headers
    assert "Authorization" not in session.headers


def test_each_call_of_the_factory_makes_a_session(factory: AccessTokenManagement, token_service: TokenService) -> None:
    """Sessions of one name have cookies and headers of their own, and share the token."""
    one, two = factory.make_session("api"), factory.make_session("api")
    one.headers["X-A"] = "b"
    one.cookies.set("a", "b")
    assert "X-A" not in two.headers
    assert not two.cookies
    assert one.get("test").ok
    assert two.get("test").ok
    assert len(token_service.requests) == 1


def test_options_of_the_registration(management: AccessTokenManagement, api: ProtectedApi) -> None:
    """Headers, timeout, pool, retries and further adapters are the session's; the token's prefix stays ours."""
    other = HTTPAdapter()
    retries = urllib3.Retry(2, status_forcelist=[503])
    management.add_session(
        "api",
        base_url=api.base_url,
        headers={"X-Tenant": "t"},
        timeout=3,
        pool_size=7,
        max_retries=retries,
        adapters={"https://other.example.com/": other},
    )
    session = management.make_session("api")
    adapter = session.get_adapter(api.base_url + "test")
    assert isinstance(adapter, HTTPAdapter)
    assert adapter.max_retries is retries
    assert vars(adapter)["_pool_maxsize"] == 7
    assert session.get_adapter("https://other.example.com/x") is other
    api.fail_next(503)
    response = session.get("echo")
    assert response.json()["headers"]["X-Tenant"] == "t"
    assert len(api.requests) == 2
    assert all(request.scheme == "Bearer" for request in api.requests)


def test_pools_are_sized_for_threads(factory: AccessTokenManagement, api: ProtectedApi) -> None:
    """As many threads as the pool has places reuse their connections: none is opened twice, none is discarded."""
    session = factory.make_session("api")
    threads = 32
    assert threads <= DEFAULT_POOL_SIZE
    barrier = threading.Barrier(threads)

    def work(_: int) -> None:
        for _ in range(5):
            barrier.wait(30)
            session.get("test").raise_for_status()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    assert api.connections <= threads
    assert len(api.requests) == threads * 5


def test_netrc_is_not_read(
    factory: AccessTokenManagement, api: ProtectedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for the API nor for the host that a redirect leads to; without a token nothing takes its place."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    session = factory.make_session("api")
    assert session.get("test").ok
    assert session.get("redirect", params={"to": api.origin + "/open"}, auth=NO_TOKEN).status_code == 401
    session.get("redirect", params={"to": api.origin + "/open"})
    assert [request.scheme for request in api.requests] == ["Bearer", None, "Bearer", None]
    with ScriptedServer(answer(302, headers=[("Location", api.origin + "/open")])) as server:
        assert session.get(server.url).ok
    assert api.requests[-1].scheme is None


def test_ones_own_credentials_are_dropped_where_requests_drops_them(api: ProtectedApi, recorder: Recorder) -> None:
    """A redirect to another host loses the caller's Authorization, one to the same host keeps it."""
    session = AccessTokenSession(api.base_url)
    for to, kept in ((api.origin + "/open", True), (api.origin.replace("127.0.0.1", "localhost") + "/open", False)):
        with ScriptedServer(answer(302, headers=[("Location", to)])) as server:
            session.get(server.url, auth=("u", "p"))
            assert "authorization" in server.requests[0].headers
        assert (api.requests[-1].scheme is not None) is False
        api.fail_next(302, b"", {"Location": to})
        session.get("test", auth=("u", "p"))
        assert (api.requests[-1].scheme == "Basic") is kept


def test_mounting_while_other_threads_send(session: AccessTokenSession, recorder: Recorder) -> None:
    """Adapters come and go while requests look for theirs: each finds one, the longest prefix first."""
    stop = threading.Event()
    errors: list[Exception] = []

    def look() -> None:
        while not stop.is_set():
            try:
                session.get_adapter(BASE + "test")
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2_000):
        session.mount(f"https://host{number % 50}.example.com/{'x' * (number % 7)}/", recorder)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    lengths = [len(prefix) for prefix in session.adapters]
    assert lengths == sorted(lengths, reverse=True)


def test_mounts_are_ordered_as_in_requests() -> None:
    """The same mounts, in the same order, lead to the same choices as with a plain session."""
    ours, plain = AccessTokenSession(BASE), requests.Session()
    for prefix in ("https://a/", "https://b/", "https://a/long/", "http", "https://c/", "https://b/"):
        adapter = HTTPAdapter()
        ours.mount(prefix, adapter)
        plain.mount(prefix, adapter)
    assert [p for p in ours.adapters if p not in ("https://", "http://")] == [
        p for p in plain.adapters if p not in ("https://", "http://")
    ]


@pytest.fixture
def mocked() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def test_the_responses_library(mocked: responses.RequestsMock) -> None:
    """Tests of workers that use ``responses`` see the real road: token request, authorized call, renewal on a 401."""
    tokens = iter(["one", "two"])
    mocked.add_callback(
        "POST",
        "https://login.example.com/token",
        lambda _: (200, {}, f'{{"access_token": "{next(tokens)}", "token_type": "Bearer", "expires_in": 60}}'),
    )
    mocked.add(
        "GET", BASE + "test", status=401, match=[responses.matchers.header_matcher({"Authorization": "Bearer one"})]
    )
    mocked.add(
        "GET", BASE + "test", json=["fine"], match=[responses.matchers.header_matcher({"Authorization": "Bearer two"})]
    )
    with AccessTokenManagement() as management:
        management.add_client(
            "a", token_endpoint="https://login.example.com/token", client_id="m2m", client_secret="secret"
        )
        management.add_session("api", base_url=BASE)
        response = management.make_session("api").get("test")
    assert response.json() == ["fine"]
    assert [call.request.url for call in mocked.calls] == [
        "https://login.example.com/token",
        BASE + "test",
        "https://login.example.com/token",
        BASE + "test",
    ]
    assert "Authorization" not in response.request.headers

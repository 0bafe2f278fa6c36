"""Sessions of ours where a test double has taken the place of ``requests.Session.send``, as requests-mock does.

``tests/neighbours`` has requests-mock itself, and the tracers that wrap ``send``.
"""

from __future__ import annotations

import email
import functools
import http.client
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import requests
import requests.sessions
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse

from requests_cc_token import NO_TOKEN, AccessTokenManagement, DPoPKey, TokenRequestError, TokenRequestParameters
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.session import AccessTokenSession

from .skipping_clock import SkippingClock

SHIPPED = requests.Session.send
LOGIN = "https://login.example.com/token"
API = "https://api.example.com/v1/"

Answer = tuple[int, dict[str, str]]


class Original:
    """What ``http.client`` has of an answer that sets a cookie."""

    msg = email.message_from_string("Set-Cookie: a=1\n\n", http.client.HTTPMessage)

    def isclosed(self) -> bool:
        return False


class Double(BaseAdapter):
    """Answers what a test says, to API and token request alike, and notes what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        #: What is answered to the API's URLs, in order; 200 after that.
        self.answers: list[Answer] = []
        self.tokens = iter("abcdefgh")
        self.token_requests: list[str] = []
        self.asked: list[tuple[str, Any]] = []
        self.proofs: list[Any] = []
        self.options: list[dict[str, Any]] = []
        self.token_type = "Bearer"

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        response = requests.Response()
        response.url, response.request = str(request.url), request
        vars(response)["connection"] = self
        response.status_code, body = 200, b""
        if request.url == LOGIN:
            self.token_requests.append(str(request.body))
            body = json.dumps({"access_token": next(self.tokens), "token_type": self.token_type}).encode()
        else:
            self.asked.append((str(request.url), request.headers.get("Authorization")))
            self.proofs.append(request.headers.get("DPoP"))
            self.options.append(options)
            if self.answers:
                response.status_code, headers = self.answers.pop(0)
                response.headers = CaseInsensitiveDict(headers)
        response.raw = io.BytesIO(body)
        return response

    def close(self) -> None:
        pass

    @property
    def carried(self) -> list[Any]:
        return [authorization for _, authorization in self.asked]


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Double:
    """In the place of ``send``: that of requests, to which the session's own adapters are lost."""
    double = Double()

    def send(session: Any, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        session.get_adapter = lambda url: double
        try:
            return SHIPPED(session, request, **options)
        finally:
            del session.get_adapter

    monkeypatch.setattr(requests.Session, "send", send)
    return double


def management_of(**options: Any) -> AccessTokenManagement:
    management = AccessTokenManagement()
    management.add_client("worker", token_endpoint=LOGIN, client_id="worker", client_secret="T41NT", **options)
    management.configure_backchannel(wait=())
    return management


@pytest.fixture
def session() -> Iterator[AccessTokenSession]:
    with management_of() as management:
        management.add_session("api", base_url=API)
        with management.make_session("api") as session:
            yield session


def test_the_double_sees_the_token(session: AccessTokenSession, double: Double) -> None:
    """One token request for all calls; the caller's own request, on the response, has no token."""
    prepared = session.prepare_request(requests.Request("GET", "test"))
    answered = session.send(prepared)
    assert answered.request is prepared
    assert "Authorization" not in prepared.headers
    assert session.get("test", stream=True).request.headers.get("Authorization") is None
    assert double.carried == ["Bearer a", "Bearer a"]
    assert len(double.token_requests) == 1


def test_a_refusal_renews_once(session: AccessTokenSession, double: Double) -> None:
    """As over the network: one further try with a new token, and the refusal is in the history; not for ever."""
    double.answers = [(401, {}), (200, {})]
    answered = session.post("test", data=b"body")
    assert [each.status_code for each in (*answered.history, answered)] == [401, 200]
    assert all("Authorization" not in each.request.headers for each in (*answered.history, answered))
    assert double.carried == ["Bearer a", "Bearer b"]
    double.answers = [(401, {}), (401, {})]
    assert session.get("test").status_code == 401
    assert len(double.asked) <= 4


@pytest.mark.parametrize(
    ("target", "carried"),
    [
        (API + "other", "Bearer a"),
        ("https://api.example.com/elsewhere", None),
        ("https://api.example.com/v1/../x", None),
        ("https://api.example.com.evil.test/v1/", None),
        ("https://evil.test/", None),
        ("http://api.example.com/v1/test", None),
    ],
)
def test_a_redirect_takes_no_token_out_of_the_prefix(
    session: AccessTokenSession, double: Double, target: str, carried: str | None
) -> None:
    """Each hop gets a token of its own, or none; and so does what ``response.next`` would be."""
    double.answers = [(302, {"Location": target}), (200, {})]
    followed = session.get("test")
    assert [each.status_code for each in (*followed.history, followed)] == [302, 200]
    assert double.carried == ["Bearer a", carried]
    double.answers = [(302, {"Location": target})]
    left = session.get("test", allow_redirects=False)
    assert left.history == []
    assert left.next is not None
    assert "Authorization" not in left.next.headers
    assert followed.history[0].next is None


def test_a_redirect_that_is_a_refusal(double: Double) -> None:
    """Where ``renew_on`` takes it for one, what it leads to is nobody's next request."""
    double.answers = [(302, {"Location": API + "login"}), (200, {})]
    with management_of() as management:
        management.add_session("api", base_url=API, renew_on=lambda response: response.status_code == 302)
        with management.make_session("api") as session:
            answered = session.get("test")
    assert [(each.status_code, each.next) for each in (*answered.history, answered)] == [(302, None), (200, None)]
    assert double.carried == ["Bearer a", "Bearer b"]


def test_back_under_the_prefix(session: AccessTokenSession, double: Double) -> None:
    """A chain that leaves it and comes back carries the token where it may, and renews it there."""
    double.answers = [
        (302, {"Location": "https://elsewhere.example.com/"}),
        (302, {"Location": API + "back"}),
        (401, {}),
        (200, {}),
    ]
    answered = session.get("test")
    assert answered.url == API + "back"
    assert double.carried == ["Bearer a", None, "Bearer a", "Bearer b"]


def test_hooks_are_called_once(session: AccessTokenSession, double: Double) -> None:
    """With the answer, as over the network, and not with a refusal that was renewed."""
    seen: list[tuple[int, bool]] = []
    double.answers = [(401, {}), (200, {})]
    session.get("test", hooks={"response": lambda r, **options: seen.append((r.status_code, options["stream"]))})
    assert seen == [(200, False)]


def test_what_a_request_asks_for(session: AccessTokenSession, double: Double) -> None:
    """Another scope, no token at all, or what the caller wrote."""
    session.get("test", auth=TokenRequestParameters(scope="write"))
    session.get("test", auth=NO_TOKEN)
    session.get("test", headers={"Authorization": "Basic abc"})
    session.get("https://elsewhere.example.com/")
    assert double.carried == ["Bearer a", None, "Basic abc", None]
    assert ["scope=write" in each for each in double.token_requests] == [True]


def test_each_try_has_a_proof_of_its_own(double: Double) -> None:
    """A token that is bound to a key is sent with a new proof each time (RFC 9449 section 7.3)."""
    double.token_type = "DPoP"
    double.answers = [(401, {}), (200, {})]
    with management_of(dpop=DPoPKey.generate()) as management:
        management.add_session("api", base_url=API)
        with management.make_session("api") as session:
            assert session.get("test").status_code == 200
    assert double.carried == ["DPoP a", "DPoP b"]
    assert None not in double.proofs
    assert len(set(double.proofs)) == 2


def test_a_proxy_that_would_see_the_token(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loopback API over plain http is not asked by a proxy elsewhere, whichever way the request is sent."""
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with management_of() as management:
        management.add_session("api", base_url="http://127.0.0.1:9/")
        with management.make_session("api") as session:
            session.get("test")
            session.send(session.prepare_request(requests.Request("GET", "test")))
    assert [options["proxies"] for options in double.options] == [{}, {}]


def test_an_error_of_the_double(session: AccessTokenSession, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for the token request names the client; one for the API's is the caller's, with the caller's own request."""
    assert session.get("test").status_code == 200
    monkeypatch.setattr(double, "send", _unanswered)
    with pytest.raises(requests.ConnectionError, match="nothing is registered") as failure:
        session.get("test")
    assert failure.value.request is not None
    assert "Authorization" not in failure.value.request.headers
    with pytest.raises(TokenRequestError, match=r"token client 'worker': the token endpoint https://login\.example\.com"):
        session.get("test", auth=TokenRequestParameters(scope="another"))


def _unanswered(request: requests.PreparedRequest, **options: Any) -> requests.Response:
    raise requests.ConnectionError(f"nothing is registered for {request.url}", request=request)


def test_get_adapter_alone(session: AccessTokenSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A double in the place of ``requests.Session.get_adapter`` sees the token as well."""
    double = Double()
    monkeypatch.setattr(requests.Session, "get_adapter", lambda session, url: double)
    assert session.get("test").status_code == 200
    assert double.carried == ["Bearer a"]


@pytest.mark.parametrize("autospec", [True, False])
def test_a_mock_of_the_standard_library(session: AccessTokenSession, autospec: bool) -> None:
    """``unittest.mock`` is handed the token request first, as it would be by a script without this package."""
    answers = [Double().send(requests.Request("GET", url).prepare()) for url in (LOGIN, API + "test")]
    with mock.patch.object(requests.Session, "send", autospec=autospec, side_effect=answers) as send:
        assert session.get("test").status_code == 200
    login, call = (sent.args[-1] for sent in send.mock_calls)
    assert login.url == LOGIN
    assert call.headers["Authorization"] == "Bearer a"


# What calls on: the adapter is reached after all


def calling_on(session: Any, request: requests.PreparedRequest, **options: Any) -> requests.Response:
    """A wrapper that does not say what it wraps."""
    return SHIPPED(session, request, **options)


@pytest.mark.parametrize("keep_authorization", [True, False])
def test_nothing_is_done_twice(
    management: AccessTokenManagement,
    token_service: TokenService,
    api: ProtectedApi,
    clock: SkippingClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    keep_authorization: bool,
) -> None:
    """One token request, one renewal after a refusal, each request of the API once; and nothing to warn of."""
    monkeypatch.setattr(requests.Session, "send", calling_on)
    management.add_session("api", base_url=api.base_url, keep_authorization=keep_authorization)
    with management.make_session("api") as session:
        assert session.get("test").status_code == 200
        token_service.revoke_all()
        renewed = session.get("test")
        assert [each.status_code for each in (*renewed.history, renewed)] == [401, 200]
        assert (len(token_service.requests), len(api.requests)) == (2, 3)
        clock.now += 61
        api.fail_next(401, times=9)
        refused = session.get("test")
        assert [each.status_code for each in (*refused.history, refused)] == [401, 401]
        assert (len(token_service.requests), len(api.requests)) == (3, 5)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_wrapper_that_names_what_it_wraps_changes_nothing(
    management: AccessTokenManagement, api: ProtectedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tracers do: they see the caller's request, without a token, and the adapter does its work within."""
    seen: list[Any] = []
    management.add_session("api", base_url=api.base_url)

    @functools.wraps(SHIPPED)
    def traced(session: Any, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if str(request.url).startswith(api.base_url):
            seen.append(request.headers.get("Authorization"))
        return SHIPPED(session, request, **options)

    monkeypatch.setattr(requests.Session, "send", traced)
    with management.make_session("api") as session:
        assert session.get("test").status_code == 200
    assert seen == [None]


def test_a_wrapper_that_names_itself(
    management: AccessTokenManagement, api: ProtectedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sends in the end cannot be seen then: it gets the request with the token, and the call works."""

    def endless(session: Any, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        return SHIPPED(session, request, **options)

    vars(endless)["__wrapped__"] = endless
    management.add_session("api", base_url=api.base_url)
    monkeypatch.setattr(requests.Session, "send", endless)
    with management.make_session("api") as session:
        response = session.get("test")
    assert response.status_code == 200
    assert "Authorization" not in response.request.headers


def test_another_class_by_the_name_of_session_changes_nothing(
    management: AccessTokenManagement, api: ProtectedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of a cache, for instance, by ``requests_cache.install_cache``: sessions of ours are not of that class."""

    class Session(requests.Session):
        def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            return super().send(request, **options)

    management.add_session("api", base_url=api.base_url)
    monkeypatch.setattr(requests, "Session", Session)
    monkeypatch.setattr(requests.sessions, "Session", Session)
    monkeypatch.setattr(AccessTokenSession, "_send_with_token_of", None)
    with management.make_session("api") as session:
        assert session.get("test").status_code == 200


def test_another_class_by_that_name_from_the_start_changes_nothing() -> None:
    """Sessions of ours are of that class then, which calls ``requests`` itself and needs to see no token."""
    program = """
import requests, requests.sessions
Shipped = requests.Session
class Cached(Shipped):
    def send(self, request, **options):
        return super().send(request, **options)
requests.Session = requests.sessions.Session = Cached
from requests_cc_token.session import AccessTokenSession, _ends_at_adapters
assert issubclass(AccessTokenSession, Cached)
assert _ends_at_adapters()
Shipped.send = lambda *_, **__: None
assert not _ends_at_adapters()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_what_a_hook_sends_once_more(session: AccessTokenSession, double: Double) -> None:
    """As without a double: the answer that a hook brings, as for digest authentication, is read, its cookies kept."""
    again = Double()
    again.answers = [(200, {})]

    def hook(response: requests.Response, **options: Any) -> requests.Response:
        answered = again.send(response.request, **options)
        original: Any = Original()
        answered.raw = HTTPResponse(io.BytesIO(b"again"), preload_content=False, original_response=original)
        answered.history.append(response)
        return answered

    answered = session.get("test", hooks={"response": hook})
    assert vars(answered)["_content_consumed"] is True
    assert answered.content == b"again"
    assert session.cookies.get_dict() == {"a": "1"}

"""The auth object gives what the adapter gives: the adapter's own tests, and those of S1, run against it too."""

from __future__ import annotations

import io
import pickle
import socket
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from requests_cc_token import (
    AccessTokenManagement,
    ConfigurationError,
    DPoPKey,
    TokenEndpointError,
    TokenRequestError,
    TokenRequestParameters,
    TokenRequestTimeout,
)
from requests_cc_token.authorized_headers import AuthorizedHeaders
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .internet import API, Internet, internet, managing
from .scripted_server import Action, ScriptedServer, answer, reset
from .strict_fixtures import add_with_secret
from .strict_service import StrictApi, StrictTokenService
from .test_adapter import (  # noqa: F401 - the same tests, with the fixture `mounted` of this module
    Mounted,
    bearers,
    refused_once,
    scripted,
    test_a_lookalike_is_warned_of_once,
    test_a_refusal_that_breaks_off_is_no_obstacle,
    test_a_renewal_that_fails_leaves_the_refusal,
    test_a_revoked_token_is_renewed_once,
    test_a_second_401_is_the_answer,
    test_a_session_that_exists_keeps_what_it_has,
    test_a_streamed_answer_stays_unread,
    test_a_text_file_is_sent_again,
    test_bodies_that_can_be_sent_again,
    test_bodies_that_cannot_be_sent_again,
    test_only_a_401_is_a_refusal,
    test_renewal_can_be_turned_off,
    test_the_connection_of_a_refusal,
    test_which_refusals_a_new_token_may_help,
)
from .test_security_s1_origin_and_path import (  # noqa: F401 - the same tests, with the fixtures of this module
    ELSEWHERE,
    get,
    test_s1_an_adapter_knows_its_mount_before_its_first_request,
    test_s1_following_redirects_by_hand,
    test_s1_redirects_out_of_the_mount,
    test_s1_redirects_within_the_mount,
    test_s1_the_refusal_before_a_renewal,
    test_s1_the_token_goes_nowhere_else,
    test_s1_the_token_goes_where_it_was_mounted,
)


@pytest.fixture
def mounted(management: AccessTokenManagement, api: ProtectedApi) -> Mounted:
    """Makes a plain session whose ``auth`` has the token for a prefix."""

    def make(prefix: str = api.base_url, **options: Any) -> requests.Session:
        session = requests.Session()
        session.auth = management.auth("worker", prefix, **options)
        return session

    return make


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Internet]:
    """An internet of our own."""
    with internet(monkeypatch, tmp_path) as net:
        yield net


@pytest.fixture
def new_session(net: Internet) -> Iterator[Callable[[], requests.Session]]:
    """Makes a session whose ``auth`` has the token."""
    with managing(verify=net.ca) as management:

        def new() -> requests.Session:
            session = requests.Session()
            session.auth = management.auth("worker", API)
            session.verify = net.ca
            return session

        yield new


@pytest.fixture
def session(new_session: Callable[[], requests.Session]) -> requests.Session:
    """A session whose ``auth`` has the token."""
    return new_session()


def only_with_the_token(net: Internet) -> Action:
    """Answers 401 without it."""

    def act(connection: socket.socket) -> bool:
        return answer(200 if net.seen[-1].holds_the_token else 401)(connection)

    return act


# Where the token goes


def test_one_request(management: AccessTokenManagement, api: ProtectedApi, token_service: TokenService) -> None:
    """``requests.get(url, auth=...)`` is all that it takes; the token is kept between calls."""
    auth = management.auth(None, api.base_url)
    assert repr(auth) == f"<auth client=None {api.base_url}>"
    for _ in range(2):
        answered = requests.get(api.base_url + "test", auth=auth, timeout=30)
        assert answered.status_code == 200
        assert "Authorization" not in answered.request.headers
    assert len(token_service.requests) == 1
    assert [request.scheme for request in api.requests] == ["Bearer"] * 2


def test_back_from_elsewhere(net: Internet, session: requests.Session) -> None:
    """A chain that leaves the mount and comes back: the API gets the token once it asks for it."""
    net.pages[API + "start"] = answer(302, b"", [("Location", "https://evil.test/bounce")])
    net.pages["https://evil.test/bounce"] = answer(302, b"", [("Location", API + "end")])
    net.pages[API + "end"] = only_with_the_token(net)
    answered = session.get(API + "start")
    assert [(seen.host, seen.holds_the_token) for seen in net.seen if seen.host != "token.example.com"] == [
        ("api.example.com", True),
        ("evil.test", False),
        ("api.example.com", False),
        ("api.example.com", True),
    ]
    assert answered.status_code == 200
    assert all("Authorization" not in r.request.headers for r in (*answered.history, answered))


def test_a_401_from_elsewhere_gets_nothing(net: Internet, session: requests.Session) -> None:
    """Only the API is answered when it asks for a token."""
    for status in (302, 307):
        net.pages[API + "start"] = answer(status, b"", [("Location", "https://evil.test/v1/")])
        net.pages["https://evil.test/"] = answer(401, b"", [("WWW-Authenticate", "Bearer")])
        assert session.post(API + "start", data=b"x").status_code == 401
    assert set(net.carried) == {API + "start"}
    net.pages["https://evil.test/"] = answer(401)
    assert session.get("https://evil.test/").status_code == 401
    assert set(net.carried) == {API + "start"}


def test_a_hop_whose_body_cannot_be_sent_again(net: Internet, session: requests.Session) -> None:
    """What came back from elsewhere with a file's body is answered to the caller."""
    net.pages[API + "start"] = answer(307, b"", [("Location", "https://evil.test/bounce")])
    net.pages["https://evil.test/bounce"] = answer(307, b"", [("Location", API + "end")])
    net.pages[API + "end"] = answer(401, b"no")
    answered = session.post(API + "start", data=io.BytesIO(b"body"))
    assert (answered.status_code, answered.text) == (401, "no")
    assert net.carried == [API + "start"]


def test_an_odd_location(net: Internet, session: requests.Session) -> None:
    """Requests cannot follow it, and the token does not stay on the request."""
    net.pages[API + "start"] = answer(302, b"", [("Location", "https://[v1")])
    prepared = session.prepare_request(requests.Request("GET", API + "start"))
    with pytest.raises(ValueError, match="Invalid"):
        session.send(prepared, verify=net.ca)
    assert "Authorization" not in prepared.headers


def test_the_environments_proxy_never_carries_what_stays_here(
    management: AccessTokenManagement, api: ProtectedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token for this machine does not leave it by a proxy: an auth object cannot choose the way, so it refuses."""
    auth = management.auth(None, api.base_url)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com:3128")
    with pytest.raises(ConfigurationError, match="add the host to NO_PROXY"):
        requests.get(api.base_url + "test", auth=auth, timeout=30)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert requests.get(api.base_url + "test", auth=auth, timeout=30).ok


def test_netrc_on_the_way(
    net: Internet, session: requests.Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What requests takes from ``.netrc`` for a redirect is overwritten once the API asks for the token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.example.com login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    net.pages[API + "start"] = answer(302, b"", [("Location", "/v1/end")])
    net.pages[API + "end"] = only_with_the_token(net)
    assert session.get(API + "start").status_code == 200


# The caller's request


def test_a_header_of_the_caller_gives_way(management: AccessTokenManagement, api: ProtectedApi) -> None:
    """As with any auth object of requests: ``auth=`` goes before a header."""
    auth = management.auth(None, api.base_url)
    headers = {"Authorization": "Bearer stale"}
    assert requests.get(api.base_url + "test", auth=auth, headers=headers, timeout=30).status_code == 200


def test_a_prepared_request_is_sent_as_often_as_one_likes(
    mounted: Mounted, api: ProtectedApi, token_service: TokenService
) -> None:
    """Each time with a token that works; it is shown and pickled without it."""
    session = mounted()
    prepared = session.prepare_request(requests.Request("POST", api.base_url + "upload", data=b"body"))
    assert session.send(prepared, timeout=30).status_code == 200
    token_service.revoke_all()
    for _ in range(2):
        assert session.send(prepared, timeout=30).status_code == 200
    assert [request.body for request in api.requests] == [b"body"] * 4
    token = token_service.tokens[-1].value
    assert isinstance(prepared.headers, AuthorizedHeaders)
    assert token not in repr(prepared.headers)
    assert token.encode() not in pickle.dumps(prepared.headers)


def test_an_answer_of_a_cache(management: AccessTokenManagement, api: ProtectedApi) -> None:
    """Its request is a record of some other one, which was not sent now: it is left alone."""

    class Remembering(requests.adapters.HTTPAdapter):
        """Answers in the manner of requests-cache."""

        def send(self, *args: Any, **kwargs: Any) -> requests.Response:
            answer = super().send(*args, **kwargs)
            answer.request = types.SimpleNamespace(method="GET", url=answer.url, headers={})  # type: ignore[assignment]
            return answer

    with requests.Session() as session:
        session.mount("http://", Remembering())
        session.auth = management.auth("worker", api.base_url)
        assert session.get(api.base_url + "test").status_code == 200


def test_an_error_of_the_connection(mounted: Mounted, scripted: ScriptedServer, token_service: TokenService) -> None:  # noqa: F811 - the fixture
    """It comes from requests; the request on it shows no token, nor does a pickle of the error."""
    for script in ([reset], [answer(401), reset]):
        scripted.script.extend(script)
        with pytest.raises(requests.ConnectionError) as failure:
            mounted(scripted.url).get(scripted.url, timeout=30)
        token = token_service.tokens[-1].value
        assert failure.value.request is not None
        assert token not in repr(failure.value.request.headers)
        assert token.encode() not in pickle.dumps(failure.value.request.headers)


def test_no_token_to_be_had(mounted: Mounted, api: ProtectedApi, token_service: TokenService) -> None:
    """Nothing is sent, and the error has the request on it."""
    token_service.fail_always(400, {"error": "invalid_scope"})
    with pytest.raises(TokenEndpointError, match="invalid_scope") as failure:
        mounted().get(api.base_url + "test", timeout=30)
    assert failure.value.request is not None
    assert failure.value.request.url == api.base_url + "test"
    assert api.requests == []


def test_token_timeout(mounted: Mounted, api: ProtectedApi, token_service: TokenService) -> None:
    """An auth object is not told the request's timeout, so it has one of its own; it is a number of seconds."""
    session = mounted(token_timeout=0.05)
    with token_service.hold(), pytest.raises(TokenRequestTimeout, match=r"no token within 0\.05 s"):
        session.get(api.base_url + "test", timeout=30)
    with pytest.raises(ConfigurationError, match=r"^auth: token_timeout must be a number of seconds"):
        mounted(token_timeout=0)


def test_parameters_of_an_auth_object(mounted: Mounted, api: ProtectedApi, token_service: TokenService) -> None:
    """They are for all requests that it is given to."""
    session = mounted(token_parameters=TokenRequestParameters(scope="reports"))
    assert session.get(api.base_url + "scope/reports", timeout=30).ok
    assert [request.form["scope"] for request in token_service.requests] == ["reports"]


@pytest.mark.parametrize(
    ("prefix", "sentence"),
    [
        ("https://api.example.com", r"^auth: the prefix .* write 'https://api\.example\.com/'"),
        ("http://api.example.com/", "is plain http"),
        ("https://", "must be an absolute https URL"),
    ],
)
def test_where_it_may_go_is_checked(management: AccessTokenManagement, prefix: str, sentence: str) -> None:
    """As the adapter's prefix is."""
    with pytest.raises(ConfigurationError, match=sentence):
        management.auth("worker", prefix)


# Bound tokens, other processes, threads


def test_dpop() -> None:
    """A proof for each send, nonces, a renewal, a redirect: as by the adapter."""
    with StrictTokenService() as service, StrictApi(service) as api, AccessTokenManagement() as management:
        add_with_secret(management, service, dpop=DPoPKey.generate())
        auth = management.auth("w", api.url)
        api.proofs.nonce = "rs-1"
        answered = requests.post(api.url + "x", data=io.BytesIO(b"body"), auth=auth, timeout=30)
        assert answered.json() == {"token": "token-1"}
        assert [r.status_code for r in answered.history] == [401]
        assert not {"Authorization", "DPoP"} & set(answered.request.headers)
        api.revoked.add("T41NT-token-1")
        api.proofs.nonce = "rs-2"
        answered = requests.post(api.url + "x", data=io.BytesIO(b"body"), auth=auth, timeout=30)
        assert answered.json() == {"token": "token-2"}
        assert {r.body for r in api.requests} == {b"body"}
        api.script.append(answer(302, b"", [("Location", api.url + "there")]))
        # Under way the proof would be for the wrong address, so the API is asked first whether it wants one.
        assert requests.get(api.url + "x", auth=auth, timeout=30).json() == {"token": "token-2"}
        assert [c.claims["htu"] for c in api.proofs.taken][-1] == api.url + "there"


def test_it_travels_by_reference(api: ProtectedApi, token_service: TokenService) -> None:
    """Pickled, it is found its management in the other process, and holds no token."""
    with AccessTokenManagement(name="auth-travels") as management:
        management.add_client(
            "worker", token_endpoint=token_service.token_endpoint, client_id="worker", client_secret="x"
        )
        auth = management.auth("worker", api.base_url)
        twin = pickle.loads(pickle.dumps(auth))
        assert repr(twin) == repr(auth)
        with pytest.raises(TokenRequestError):
            requests.get(api.base_url, auth=twin, timeout=30)


@pytest.mark.parametrize("way", ["adapter", "auth"])
def test_t8_a_burst_of_refusals(
    management: AccessTokenManagement, api: ProtectedApi, token_service: TokenService, way: str
) -> None:
    """Threads that hold a revoked token: one renewal for all of them, and each request is sent once more."""
    threads_at_once = 50
    with requests.Session() as session:
        if way == "adapter":
            management.mount(session, api.base_url, "worker", pool_maxsize=threads_at_once)
        else:
            session.auth = management.auth("worker", api.base_url)
        assert session.get(api.base_url + "test", timeout=30).ok
        token_service.revoke_all()
        api.requests.clear()
        barrier = threading.Barrier(threads_at_once)
        statuses: list[int] = []

        def call() -> None:
            barrier.wait(30)
            statuses.append(session.get(api.base_url + "test", timeout=30).status_code)

        threads = [threading.Thread(target=call) for _ in range(threads_at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert statuses == [200] * threads_at_once
    assert len(token_service.requests) == 2
    assert len(api.requests) <= 2 * threads_at_once


@pytest.mark.parametrize("way", ["adapter", "auth"])
def test_t9_an_api_that_refuses_every_token(
    management: AccessTokenManagement, api: ProtectedApi, token_service: TokenService, way: str
) -> None:
    """Not a renewal for each call: one for each step of a growing hold-off; the 401 goes to the caller."""
    api.fail_always(401)
    with requests.Session() as session:
        if way == "adapter":
            management.mount(session, api.base_url, "worker")
        else:
            session.auth = management.auth("worker", api.base_url)
        assert [session.get(api.base_url + "test", timeout=30).status_code for _ in range(20)] == [401] * 20
    assert len(token_service.requests) <= 3


def test_a_host_that_asks_twice_for_one_request(
    management: AccessTokenManagement, token_service: TokenService, api: ProtectedApi
) -> None:
    """With the same auth object or one like it, a refusal is still one renewal and one more try."""
    api.fail_next(401, times=5)
    session, auth, seen = requests.Session(), management.auth("worker", api.base_url), list[int]()

    def hook(response: requests.Response, **_: Any) -> None:
        seen.append(response.status_code)

    like_it = management.auth("worker", api.base_url)
    request = session.prepare_request(
        requests.Request("GET", api.base_url + "test", auth=like_it, hooks={"response": hook})
    )
    assert session.send(auth(auth(request)), timeout=30).status_code == 401
    assert (len(api.requests), len(token_service.requests)) == (2, 2)
    # Hooks of others stay.
    assert seen == [401]
    other = management.auth(None, api.origin + "/open/")
    assert len(other(auth(request)).hooks["response"]) == 3


def test_the_auth_object_of_a_session_that_was_described(
    management: AccessTokenManagement, token_service: TokenService, api: ProtectedApi
) -> None:
    """It has the session's base URL, client and what says that a token is dead."""
    management.add_session("catalog", base_url=api.base_url, client="worker", renew_on=(401, 419), pool_size=3)
    auth = management.make_auth("catalog")
    assert repr(auth) == f"<auth client='worker' {api.base_url}>"
    api.fail_next(419)
    assert requests.get(api.base_url + "test", auth=auth, timeout=30).status_code == 200
    assert (len(api.requests), len(token_service.requests)) == (2, 2)

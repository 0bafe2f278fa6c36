"""S1: the token goes only to the origin and path that it was mounted for.

Over real sockets: every host name leads to a server on this machine that notes what it was sent.
"""

from __future__ import annotations

import gc
import itertools
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from requests_cc_token import AccessTokenAdapter, AccessTokenManagement, ConfigurationError

from .internet import API, TOKEN, Door, Internet, by_make_session, internet, managing
from .scripted_server import answer, error_answer


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Internet]:
    """An internet of our own."""
    with internet(monkeypatch, tmp_path) as net:
        yield net


@pytest.fixture
def management(net: Internet) -> Iterator[AccessTokenManagement]:
    """A management of one client and one session."""
    with managing(verify=net.ca) as management:
        yield management


def by_management_mount(management: AccessTokenManagement) -> requests.Session:
    """``management.mount`` on a session that existed already."""
    session = requests.Session()
    management.mount(session, API, client="worker")
    return session


def by_plain_mount(management: AccessTokenManagement) -> requests.Session:
    """``session.mount`` of an adapter by hand."""
    session = requests.Session()
    session.mount(API, AccessTokenAdapter(management.service, "worker", prefix=API))
    return session


def by_mount_on_everything(management: AccessTokenManagement) -> requests.Session:
    """``session.mount`` of an adapter on all of https and http."""
    session = requests.Session()
    adapter = AccessTokenAdapter(management.service, "worker", prefix=API)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def by_sloppy_mount(management: AccessTokenManagement) -> requests.Session:
    """``session.mount`` on a prefix that lookalikes match, of an adapter with the right one."""
    session = requests.Session()
    adapter = AccessTokenAdapter(management.service, "worker", prefix=API)
    session.mount("https://api.example.com", adapter)
    return session


DOORS: list[Door] = [by_make_session, by_management_mount, by_plain_mount, by_mount_on_everything, by_sloppy_mount]


@pytest.fixture(params=DOORS, ids=lambda door: door.__name__)
def new_session(
    request: pytest.FixtureRequest, management: AccessTokenManagement, net: Internet
) -> Callable[[], requests.Session]:
    """Makes a session that has the token, by each way there is to give it one."""

    def new() -> requests.Session:
        session: requests.Session = request.param(management)
        session.verify = net.ca
        return session

    return new


@pytest.fixture
def session(new_session: Callable[[], requests.Session]) -> requests.Session:
    """A session that has the token."""
    return new_session()


UNDER_THE_MOUNT = [
    API,
    API + "things?next=https://evil.test/../",
    API + "a%20b/c;d",
    API + "a/../b",
    API + "a/%2e%2e/b",
    API + "%76%31",
    "HTTPS://API.EXAMPLE.COM/v1/things",
]

ELSEWHERE = [
    # hosts
    "https://api.example.com.evil.test/v1/things",
    "https://api.example.com.evil.test:8443/v1/things",
    "https://api.example.com@evil.test/v1/things",
    "https://api.example.com:443@evil.test/v1/things",
    "https://api.example.com%2f@evil.test/v1/things",
    "https://evil.test/https://api.example.com/v1/things",
    "https://evil.test/v1/things?https://api.example.com/v1/",
    "https://evil.test\\@api.example.com/v1/things",
    "https://evil.test#@api.example.com/v1/things",
    "https://api.example.com./v1/things",
    "https://other.example.com/v1/things",
    "https://user:password@api.example.com/v1/things",
    # ports and schemes
    "https://api.example.com:8443/v1/things",
    "https://api.example.com:80/v1/things",
    "http://api.example.com/v1/things",
    "http://api.example.com:443/v1/things",
    # paths
    "https://api.example.com/",
    "https://api.example.com/v1",
    "https://api.example.com//v1/things",
    "https://api.example.com/V1/things",
    "https://api.example.com/v1x/things",
    "https://api.example.com/v1/../admin",
    "https://api.example.com/v1/%2e%2e/admin",
    "https://api.example.com/v1/.%2e/admin",
    "https://api.example.com/v1/%2E%2E%2Fadmin",
    "https://api.example.com/v1/%252e%252e/admin",
    "https://api.example.com/v1/%25252e%25252e/admin",
    "https://api.example.com/v1/..%2fadmin",
    "https://api.example.com/v1/..\\admin",
    "https://api.example.com/v1/..%5cadmin",
    "https://api.example.com/v1/..;/admin",
    "https://api.example.com/v1/things/%2e%2e/%2e%2e/admin",
    "https://api.example.com/v1/things/..;a=b/..;c/admin",
]


def get(session: requests.Session, url: str, **options: Any) -> None:
    """Ask; a URL that requests or the server will not have is as good as one without a token."""
    try:
        session.get(url, **options)
    except (requests.RequestException, ValueError) as error:
        assert TOKEN not in str(error)  # noqa: PT017 - a leak is worse than an error


@pytest.mark.conformance("C28")
def test_s1_the_token_goes_where_it_was_mounted(net: Internet, session: requests.Session) -> None:
    """A request under the mounted origin and path carries the token, in its header and nowhere else."""
    for url in UNDER_THE_MOUNT:
        net.seen.clear()
        session.get(url)
        (seen,) = net.requests_to("api.example.com")
        assert seen.authorization == f"Bearer {TOKEN}", url
        assert TOKEN not in seen.request.target
        assert seen.request.body == b""


@pytest.mark.conformance("C30")
def test_s1_the_token_goes_nowhere_else(net: Internet, session: requests.Session) -> None:
    """A request to a lookalike host, another port or scheme, or out of the mounted path never carries the token."""
    session.get(API)
    for url in ELSEWHERE:
        get(session, url)
        assert net.carried == [API], url


@pytest.mark.conformance("C30")
def test_s1_an_adapter_knows_its_mount_before_its_first_request(
    net: Internet, new_session: Callable[[], requests.Session]
) -> None:
    """That holds for the very first request too: an adapter does not settle on wherever it is asked first."""
    for url in ELSEWHERE:
        session = new_session()
        get(session, url)
        assert net.carried == [], url
        session.get(API)
        assert net.carried == [API], url
        net.seen.clear()


@pytest.mark.conformance("C30")
def test_s1_redirects_out_of_the_mount(net: Internet, session: requests.Session) -> None:
    """A redirect to another host, port or scheme, or out of the mounted path never takes the token along."""
    start = API + "start"
    statuses = itertools.cycle([301, 302, 303, 307, 308])
    followed = 0
    for location in (*ELSEWHERE, "//evil.test/v1/", "/admin", "../admin"):
        status = next(statuses)
        net.pages[start] = answer(status, b"", [("Location", location)])
        get(session, start)
        assert net.carried == [start], f"{status} to {location}"
        followed += len(net.seen) > 1
        net.seen.clear()
    # Nobody answers at the wrong scheme for a port, nor at a host that is no host.
    assert followed >= len(ELSEWHERE) - 3


@pytest.mark.conformance("C30")
def test_s1_redirects_within_the_mount(net: Internet, session: requests.Session) -> None:
    """A redirect that stays under the mounted path carries the token on."""
    net.pages[API + "start"] = answer(302, b"", [("Location", "/v1/end")])
    response = session.get(API + "start")
    assert net.carried == [API + "start", API + "end"]
    assert [r.status_code for r in (*response.history, response)] == [302, 200]


@pytest.mark.conformance("C30")
def test_s1_back_from_elsewhere(net: Internet, session: requests.Session) -> None:
    """A chain that leaves the mount and comes back carries the token under the mount only."""
    net.pages[API + "start"] = answer(302, b"", [("Location", "https://evil.test/bounce")])
    net.pages["https://evil.test/bounce"] = answer(302, b"", [("Location", API + "end")])
    session.get(API + "start")
    assert [(seen.host, seen.holds_the_token) for seen in net.seen if seen.host != "token.example.com"] == [
        ("api.example.com", True),
        ("evil.test", False),
        ("api.example.com", True),
    ]


@pytest.mark.conformance("C30")
def test_s1_following_redirects_by_hand(net: Internet, session: requests.Session) -> None:
    """``response.next`` is the caller's own request to the next address, without the token."""
    net.pages[API + "start"] = answer(307, b"", [("Location", "/admin")])
    response = session.post(API + "start", data="body", allow_redirects=False)
    following = response.next
    assert following is not None
    assert "Authorization" not in following.headers
    session.send(following, verify=net.ca)
    assert net.carried == [API + "start"]


@pytest.mark.parametrize("door", [by_make_session, by_management_mount, by_mount_on_everything])
def test_s1_the_default_port_is_the_same_origin(net: Internet, management: AccessTokenManagement, door: Door) -> None:
    """``:443`` written out is the same origin, and gets the token by each way that knows the mount."""
    session = door(management)
    session.verify = net.ca
    session.get("https://api.example.com:443/v1/things")
    assert len(net.carried) == 1


def test_a2_an_adapter_is_told_where_its_token_may_go(net: Internet, management: AccessTokenManagement) -> None:
    """Nothing is guessed: an adapter without a prefix is none, nor is one whose prefix is no place."""
    with pytest.raises(TypeError, match="prefix"):
        AccessTokenAdapter(management.service, "worker")  # type: ignore[call-arg]
    for nowhere in ("https://", "HTTPS://", "http", "", None):
        with pytest.raises(ConfigurationError, match=r"^AccessTokenAdapter: the prefix "):
            AccessTokenAdapter(management.service, "worker", prefix=nowhere)  # type: ignore[arg-type]
    assert net.seen == []


def test_a2_a_frozen_heap_changes_nothing(net: Internet, management: AccessTokenManagement) -> None:
    """After ``gc.freeze()``, as before a fork, the first request may be to a lookalike: the token stays at home."""
    session = by_mount_on_everything(management)
    session.verify = net.ca
    gc.freeze()
    try:
        get(session, "https://api.example.com.evil.test/v1/things")
        assert net.carried == []
        session.get(API)
    finally:
        gc.unfreeze()
    assert net.carried == [API]


def test_s1_a_mount_without_a_final_slash_is_refused(net: Internet, management: AccessTokenManagement) -> None:
    """A prefix that lookalikes match too is refused with the fix."""
    with pytest.raises(ConfigurationError, match=r"write 'https://api\.example\.com/'"):
        management.mount(requests.Session(), "https://api.example.com")
    with pytest.raises(ConfigurationError, match=r"write 'https://api\.example\.com/v1/'"):
        AccessTokenAdapter(management.service, prefix="https://api.example.com/v1")
    assert net.seen == []


def test_s1_a_near_miss_is_told_once(
    net: Internet, management: AccessTokenManagement, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that somebody may have expected to carry the token is logged at WARNING, once and without its query."""
    session = by_mount_on_everything(management)
    session.verify = net.ca
    session.get("https://other.example.com/")
    for _ in range(3):
        session.get("https://api.example.com/v2/things?key=T41NT-key")
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warnings == [
        (
            "token client 'worker': a request to https://api.example.com/v2/things carries no token, "
            "it is not under https://api.example.com/v1/"
        )
    ]


@pytest.mark.conformance("C28")
def test_s1_the_response_holds_the_callers_own_request(net: Internet, session: requests.Session) -> None:
    """The request on response, on its history and on an error is the caller's, who never held the token."""
    net.pages[API + "start"] = answer(302, b"", [("Location", "/v1/end")])
    prepared = session.prepare_request(requests.Request("GET", API + "start"))
    response = session.send(prepared, verify=net.ca)
    assert response.history[0].request is prepared
    for request in (prepared, response.request, *(r.request for r in response.history)):
        assert "Authorization" not in request.headers
    assert TOKEN.encode() not in pickle.dumps(response)


def test_s1_the_refusal_before_a_renewal(net: Internet, session: requests.Session) -> None:
    """Neither the refused response in the history nor the pickled answer holds a token."""
    net.pages[API] = error_answer(401, "no", [("WWW-Authenticate", 'Bearer error="invalid_token"')])
    response = session.get(API)
    for request in (response.request, *(r.request for r in response.history)):
        assert "Authorization" not in request.headers
    assert TOKEN.encode() not in pickle.dumps(response)

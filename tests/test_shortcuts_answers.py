"""Any answer is given as requests gives it."""

from __future__ import annotations

import base64
import http.cookiejar
import os
import pickle
import socket
import threading
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from requests_cc_token.shortcuts import session as session_module
from requests_cc_token.shortcuts.adapter import ShortcutAdapter
from requests_cc_token.shortcuts.session import ShortcutSession

from .replay import (  # noqa: F401 - fixtures among them
    LARGE,
    OK,
    PATIENCE,
    Authority,
    ReplayServer,
    answers,
    certificate_authority,
    long_and_short,
    long_session,
    no_foreign_environment,
    outcome,
    replay_server,
    replaying,
    short_session,
    stalling,
)
from .scripted_server import Action, ScriptedServer, answer, half_a_body

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    """Bodies of some bytes are long ones, by which they are read in one piece, in several, or as compressed ones."""
    with mock.patch.multiple(session_module, PIECE=32, CONTENT_CHUNK_SIZE=16):
        yield


def shown(response: requests.Response, session: requests.Session) -> Any:
    assert type(response) is requests.Response
    assert type(response.headers) is CaseInsensitiveDict
    assert type(response.request) is requests.PreparedRequest
    return {
        "status": response.status_code,
        "reason": response.reason,
        "headers": list(response.headers.items()),
        "lower headers": list(response.headers.lower_items()),
        "encoding": response.encoding,
        "url": response.url,
        "content": outcome(lambda: response.content),
        "text": outcome(lambda: response.text),
        "cookies": sorted((c.name, c.value, c.domain, c.path) for c in response.cookies),
        "session cookies": sorted((c.name, c.value) for c in session.cookies),
        "history": [(r.status_code, r.url) for r in response.history],
        "next": None if response.next is None else (response.next.method, response.next.url),
        "redirect": response.is_redirect,
        "links": outcome(lambda: response.links),
        "fields": sorted(vars(response)),
        "elapsed": response.elapsed.total_seconds() > 0,
        "connection": isinstance(response.connection, HTTPAdapter),
    }


@given(
    answer=answers(),
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    stream=st.booleans(),
    follow=st.booleans(),
    hooked=st.sampled_from(["no", "same", "read", "peek", "cookies"]),
)
@LARGE
def test_any_answer_is_given_as_requests_gives_it(
    server: ReplayServer,
    pair: tuple[requests.Session, requests.Session],
    answer: tuple[bytes, bool],
    method: str,
    stream: bool,
    follow: bool,
    hooked: str,
) -> None:
    """Status, headers, body, cookies, history, or the error: all as by ``requests.Session``, off a real socket."""
    data, close = answer
    if method == "HEAD":
        data = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    headers = replaying(data)
    if close:
        headers["Close"] = "1"

    def look(response: requests.Response, **_: Any) -> None:
        if hooked == "read":
            outcome(lambda: response.content)
        elif hooked == "peek":
            outcome(lambda: response.raw.read(1))
        elif hooked == "cookies":
            list(response.cookies)

    def call(session: requests.Session) -> Any:
        session.cookies.clear()
        session.max_redirects = 3
        return shown(
            session.request(
                method,
                server.origin + "/start",
                headers=headers,
                stream=stream,
                allow_redirects=follow,
                hooks=None if hooked == "no" else {"response": look},
                timeout=PATIENCE,
            ),
            session,
        )

    long, short = pair
    assert outcome(lambda: call(short)) == outcome(lambda: call(long))


def test_the_connection_is_used_again(server: ReplayServer) -> None:
    """Bodies read in one call leave the connection fit for the next request, empty bodies and HEAD too."""
    session = short_session()
    before = server.connections
    for data in (OK, OK, b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", OK):
        assert session.get(server.origin, headers=replaying(data)).ok
    assert session.head(server.origin, headers=replaying(OK[:-2])).ok
    assert session.get(server.origin).text == "ok"
    assert server.connections == before + 1


def without_tls(connection: socket.socket) -> bool:
    """Promise ten bytes, send four, and go on as if there were no TLS."""
    stalling(connection)
    with socket.socket(fileno=os.dup(connection.fileno())) as bare:
        bare.sendall(b"sixsix")
    return False


@pytest.mark.parametrize(
    ("action", "tls", "error"),
    [
        (stalling, False, requests.exceptions.ConnectionError),
        (half_a_body(), False, requests.exceptions.ChunkedEncodingError),
        (without_tls, True, requests.exceptions.SSLError),
    ],
)
def test_a_body_that_breaks_off_is_the_error_of_requests(
    action: Action, tls: bool, error: type[Exception], authority: Authority, tmp_path: Path
) -> None:
    """A body that stalls, ends early or leaves TLS raises what ``requests.Session`` raises."""
    bundle = str(authority.bundle(tmp_path / "ca.pem"))
    with ScriptedServer(default=action, tls=authority.context if tls else None) as server:
        for session in (long_session(), short_session()):
            with session, pytest.raises(requests.RequestException) as caught:
                # The stalling server is not waited for: the wait is what is tested.
                session.get(server.url, timeout=(PATIENCE, 0.2 if action is stalling else PATIENCE), verify=bundle)
            assert type(caught.value) is error


def test_redirects_are_followed_or_left() -> None:
    """A redirect is followed, or is what comes next; without an address it is the answer."""
    moved, nowhere = answer(302, b"moved", [("Location", "/other")]), answer(302, b"nowhere")
    with ScriptedServer() as server:
        for session in (long_session(), short_session()):
            server.script.extend([moved, answer(200, b"there"), moved, nowhere, nowhere])
            followed = session.get(server.url)
            assert (followed.text, [r.text for r in followed.history]) == ("there", ["moved"])
            left = session.get(server.url, allow_redirects=False)
            assert (left.text, left.history) == ("moved", [])
            assert left.next is not None and left.next.url == server.url + "other"
            for follow in (True, False):
                ended = session.get(server.url, allow_redirects=follow)
                assert (ended.text, ended.history, ended.next) == ("nowhere", [], None)
            session.close()


def test_cookies_persist_between_calls(server: ReplayServer) -> None:
    """A cookie that was set is sent with the next request, and can be taken away."""
    session = short_session()
    setting = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    assert dict(session.get(server.origin, headers=replaying(setting)).cookies) == {"a": "1"}
    session.get(server.origin)
    assert b"Cookie: a=1" in server.heads[-1]
    session.cookies.clear()
    session.get(server.origin)
    assert b"Cookie:" not in server.heads[-1]


def test_a_stream_is_not_read_ahead(server: ReplayServer) -> None:
    """With ``stream=True`` the body is left on the connection until it is asked for."""
    with short_session().get(server.origin, stream=True) as response:
        assert response._content is False
        assert list(response.iter_content(1)) == [b"o", b"k"]


def test_a_response_pickles(server: ReplayServer) -> None:
    """A response travels as one of requests does, with plain cookie jars on the other side."""
    response = pickle.loads(pickle.dumps(short_session().get(server.origin)))
    assert response.text == "ok"
    assert type(response.cookies) is RequestsCookieJar
    assert type(response.request._cookies) is RequestsCookieJar


def test_sessions_and_adapters_pickle(server: ReplayServer) -> None:
    """A session that was used travels with its settings and works on the other side."""
    session = short_session()
    session.headers["X"] = "1"
    session.get(server.origin)
    other = pickle.loads(pickle.dumps(session))
    assert type(other) is ShortcutSession
    assert other.headers == session.headers
    assert other.get(server.origin).text == "ok"
    assert b"X: 1" in server.heads[-1]
    assert isinstance(other.get_adapter(server.origin), ShortcutAdapter)


def test_threads_may_share_a_session(server: ReplayServer) -> None:
    """Sixteen threads get their own answers from one session, each connection opened once."""
    session = short_session()
    before = server.connections
    failures: list[Any] = []
    start = threading.Barrier(16)

    def work(number: int) -> None:
        body = str(number).encode()
        data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        start.wait(PATIENCE)
        for _ in range(20):
            answer = session.get(server.origin, headers=replaying(data))
            if answer.content != body:
                failures.append((number, answer.content))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert not failures
    assert server.connections - before <= 16


def test_a_method_overridden_in_a_subclass_of_the_session_is_called(server: ReplayServer) -> None:
    """A subclass that follows redirects in its own way does."""

    class Own(ShortcutSession):
        def get_redirect_target(self, resp: requests.Response) -> str | None:
            return "/other" if not resp.history and not resp.url.endswith("/other") else None

    response = Own().get(server.origin + "/start")
    assert response.url == server.origin + "/other"
    assert [r.url for r in response.history] == [server.origin + "/start"]


def test_a_subclass_may_follow_nothing(server: ReplayServer) -> None:
    """Asked for each answer, it may say that there is nowhere to go: then the answer is that, without a history."""
    asked: list[str] = []

    class Own(ShortcutSession):
        def get_redirect_target(self, resp: requests.Response) -> str | None:
            asked.append(resp.url)
            return None

    response = Own().get(server.origin + "/start")
    assert asked == [response.url] == [server.origin + "/start"]
    assert response.history == []


def test_a_session_may_have_any_cookie_jar(server: ReplayServer) -> None:
    """A jar of another class is asked for each answer and each request."""

    class Jar(http.cookiejar.CookieJar):
        extracted = 0

        def extract_cookies(self, response: Any, request: Any) -> None:
            type(self).extracted += 1
            super().extract_cookies(response, request)

    session = short_session()
    session.cookies = Jar()  # type: ignore[assignment]
    session.get(server.origin)
    assert Jar.extracted == 1


def test_a_hook_may_give_another_response(server: ReplayServer) -> None:
    """The cookies, the redirect and the body that count are those of the response that the hook gave."""
    session = short_session()
    setting = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 5\r\n\r\nother"

    def other(response: requests.Response, **kwargs: Any) -> requests.Response:
        request = response.request.copy()
        request.headers["Replay"] = base64.b64encode(setting).decode()
        again = response.connection.send(request, **kwargs)
        again.history.append(response)
        return again

    response = session.get(server.origin, hooks={"response": other})
    assert response.text == "other"
    assert dict(session.cookies) == {"a": "1"}


def test_a_hook_may_change_the_raw_answer(server: ReplayServer) -> None:
    """Cookies are taken from the raw answer that is on the response in the end, not from the one that came."""
    session = short_session()
    setting = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 5\r\n\r\nother"
    later = session.get(server.origin, headers=replaying(setting), stream=True).raw
    session.cookies.clear()

    def swap(response: requests.Response, **_: Any) -> None:
        response.content  # noqa: B018 - to free the connection
        response.raw = later

    session.get(server.origin, hooks={"response": swap})
    assert dict(session.cookies) == {"a": "1"}

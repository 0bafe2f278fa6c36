"""Any request is prepared as requests prepares it."""

from __future__ import annotations

import contextlib
import copy
import http.cookiejar
import io
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import requests
import requests.utils
from hypothesis import given
from hypothesis import strategies as st
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from requests_cc_token.netrc import NoNetrc
from requests_cc_token.shortcuts.session import ShortcutSession
from requests_cc_token.shortcuts.urls import canonical

from .replay import LARGE, no_foreign_environment, outcome  # noqa: F401 - a fixture among them

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch

HOSTS = st.sampled_from(
    [
        "api.example.com",
        "localhost",
        "127.0.0.1",
        "0x7f.1",
        "API.Example.com",
        "[::1]",
        "a.b.",
        "a..b",
        "*.example.com",
        ".example.com",
        "bücher.example",
        "xn--bcher-kva.example",
        "a_b.example",
        "user:pw@api.example.com",
        "user@api.example.com",
        "",
        "-",
        "a%41.example",
    ]
)
PORTS = st.sampled_from(["", ":80", ":443", ":8080", ":080", ":0", ":65535", ":65536", ":99999", ":", ":x", ":64999"])
CHARACTERS = st.sampled_from(
    [*"abz019-._~!$&'()*+,;=:@/?#[]%^|\\\"<> {}`\t\né€", "%41", "%2F", "%2f", "%25", "%zz", "/."]
)
PATHS = st.one_of(
    st.sampled_from(
        ["", "/", "/v1/items", "/v1/../admin", "/v1/./x", "//v1", "/%2e%2e/", "/a?", "/a?b", "/a#", "?q", "#f"]
    ),
    st.lists(CHARACTERS, max_size=8).map(lambda parts: "/" + "".join(parts)),
)
URLS = st.one_of(
    st.builds(
        lambda scheme, host, port, path: f"{scheme}{host}{port}{path}",
        st.sampled_from(
            ["http://", "https://", "HTTP://", "https:", "ftp://", "mailto:", "", "//", " http://", "http+unix://"]
        ),
        HOSTS,
        PORTS,
        PATHS,
    ),
    st.builds(lambda port, path: f"https://api.example.com:{port}{path}", st.integers(-1, 70_000), PATHS),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.just(b"http://api.example.com/bytes"),
)
NAMES = st.one_of(
    st.sampled_from(
        ["Accept", "accept", "X-One", "X-Two", "Authorization", "User-Agent", "Content-Type", "Host", "Cookie"]
    ),
    st.text(max_size=5),
)
VALUES = st.one_of(st.sampled_from(["a", "b c", "", " leading", "line\nbreak", None, b"bytes", 5]), st.text(max_size=5))
HEADERS = st.dictionaries(NAMES, VALUES, max_size=4)
PARAMETERS = st.one_of(
    st.none(),
    st.just(""),
    st.just("a=b"),
    st.just(b"a=b"),
    st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=3),
    st.dictionaries(st.text(max_size=3), st.one_of(st.text(max_size=3), st.integers(), st.none()), max_size=3),
)
BODIES = st.one_of(
    st.none(),
    st.just({}),
    st.just([]),
    st.just(()),
    st.just(0),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
    st.just(io.BytesIO(b"file")),
    st.just(iter([b"one", b"two"])),
)
COOKIES = st.one_of(
    st.none(),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", '"2"', ""]), max_size=2),
    st.builds(RequestsCookieJar),
    st.builds(http.cookiejar.CookieJar),
)


def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Authenticate by a header, and look at everything the way a signing scheme does."""
    shown = [request.method, str(request.url), str(request.body), *sorted(map(str, request.headers))]
    request.headers["Signature"] = str(len("".join(map(str, shown))))
    return request


def hook(response: requests.Response, **_: Any) -> requests.Response:
    return response


AUTHS = st.sampled_from([None, ("user", "password"), NoNetrc(), sign, (), "", ["user", "password"]])
HOOKS = st.sampled_from([None, {}, {"response": []}, {"response": hook}, {"response": [hook, hook]}, {"unknown": hook}])


class SessionSettings:
    """What may be set on a session."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def __repr__(self) -> str:
        return repr(self.values)

    def on(self, session: requests.Session) -> requests.Session:
        for name, value in self.values.items():
            if name == "headers":
                for header, content in value.items():
                    session.headers[header] = content
            elif name == "cookies":
                session.cookies.update(value)
            else:
                setattr(session, name, copy.copy(value))
        return session


SESSIONS = st.builds(
    SessionSettings,
    headers=st.dictionaries(st.sampled_from(["X-One", "accept", "User-Agent", "X-Bad"]), VALUES, max_size=2),
    cookies=st.dictionaries(st.sampled_from(["a", "s"]), st.sampled_from(["1", "2"]), max_size=1),
    params=st.one_of(st.just({}), PARAMETERS),
    auth=AUTHS,
    hooks=st.sampled_from([{"response": []}, {"response": [hook]}]),
    trust_env=st.booleans(),
)
SIMPLE_SESSIONS = st.builds(SessionSettings, headers=st.just({"Authorization": "Bearer x"}))


def prepared(session: requests.Session, values: dict[str, Any]) -> Any:
    values = {**values}
    if isinstance(values.get("data"), io.BytesIO):
        values["data"] = io.BytesIO(b"file")
    p = session.prepare_request(requests.Request(**values))
    jar = p._cookies
    assert type(p) is requests.PreparedRequest
    assert type(p.headers) is CaseInsensitiveDict
    assert type(jar) is RequestsCookieJar
    return {
        "method": p.method,
        "url": p.url,
        "url type": type(p.url),
        "headers": list(p.headers.items()),
        "lower headers": list(p.headers.lower_items()),
        "body": p.body.getvalue() if isinstance(p.body, io.BytesIO) else p.body,
        "hooks": p.hooks,
        "cookies": sorted((c.name, c.value, c.domain, c.path) for c in jar),
        "position": p._body_position if isinstance(p._body_position, (int, type(None))) else "unknown",
        "fields": sorted(vars(p)),
    }


@given(
    configured=SESSIONS,
    values=st.fixed_dictionaries(
        {"method": st.sampled_from(["GET", "get", "POST", "HEAD", "DELETE", "PuT", "Ü"]), "url": URLS},
        optional={
            "headers": HEADERS,
            "params": PARAMETERS,
            "data": BODIES,
            "json": st.sampled_from([None, {}, {"a": 1}, [], float("nan")]),
            "cookies": COOKIES,
            "auth": AUTHS,
            "hooks": HOOKS,
            "files": st.sampled_from([None, {}, {"f": b"content"}]),
        },
    ),
)
@LARGE
def test_any_request_is_prepared_as_requests_does(configured: SessionSettings, values: dict[str, Any]) -> None:
    """The prepared request, or the error, is that of ``requests.Session``, whatever is asked for."""
    with mock.patch("urllib3.filepost.choose_boundary", return_value="boundary"):
        long = outcome(lambda: prepared(configured.on(requests.Session()), values))
        short = outcome(lambda: prepared(configured.on(ShortcutSession()), values))
    assert short == long


@given(url=URLS, params=PARAMETERS)
@LARGE
def test_any_url_is_prepared_as_requests_does(url: Any, params: Any) -> None:
    """A URL is left alone only where requests would leave it alone."""
    values = {"method": "GET", "url": url, "params": params}
    assert outcome(lambda: prepared(ShortcutSession(), values)) == outcome(lambda: prepared(requests.Session(), values))


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30))
@LARGE
def test_what_counts_as_canonical_is_what_requests_leaves_alone(tail: str) -> None:
    """Each URL taken for canonical comes back from requests' own preparation as it was, cut where it is parsed."""
    url = "https://api.example.com" + tail
    found = canonical(url)
    if found is not None:
        p = requests.PreparedRequest()
        p.prepare_url(url, None)
        assert p.url == url
        assert found[1] == p.path_url
        assert found[0] + found[1] == url
        assert requests.utils.get_auth_from_url(url) == ("", "")


@pytest.mark.parametrize("byte", range(256))
def test_each_escape_is_left_alone_only_if_requests_leaves_it_alone(byte: int) -> None:
    """Of the 256 percent escapes those of unreserved characters are not canonical, in path and query."""
    for url in (f"http://a/%{byte:02X}", f"http://a/?%{byte:02X}"):
        p = requests.PreparedRequest()
        p.prepare_url(url, None)
        assert (canonical(url) is not None) == (p.url == url)


def test_an_ordinary_url_is_canonical() -> None:
    """The short way is taken for the URLs that people use; otherwise it would save nothing."""
    for url in ("http://127.0.0.1:8080/", "https://api.example.com/v1/items?page=2&q=a%20b", "https://a.test:64999/x"):
        assert canonical(url) is not None


class Text(str):
    """Equals its text and reads otherwise."""

    __slots__ = ()

    def __str__(self) -> str:
        return "http://read.test/"


class Unhashable:
    """A URL object that cannot be a key."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True

    def __str__(self) -> str:
        return "http://read.test/"


@pytest.mark.parametrize("url", [Text("http://equal.test/"), Unhashable(), bytearray(b"http://a.test/")])
def test_a_url_object_is_read_as_requests_reads_it(url: Any) -> None:
    """What only equals a URL, or cannot be remembered, is read as requests reads it."""
    ShortcutSession().prepare_request(requests.Request("GET", "http://equal.test/"))
    values = {"method": "GET", "url": url}
    assert outcome(lambda: prepared(ShortcutSession(), values)) == outcome(lambda: prepared(requests.Session(), values))
    for session in (ShortcutSession(), requests.Session()):
        with contextlib.suppress(Exception):
            session.merge_environment_settings(url, {}, None, None, None)


def test_headers_changed_between_calls_count() -> None:
    """A header of the session that is set, replaced or deleted later is in the next request, or is not."""
    session = ShortcutSession()
    request = requests.Request("GET", "http://a.test/")
    assert "X" not in session.prepare_request(request).headers
    session.headers["X"] = "1"
    assert session.prepare_request(request).headers["X"] == "1"
    session.headers["x"] = "2"
    assert list(session.prepare_request(request).headers.items())[-1] == ("x", "2")
    del session.headers["X"]
    assert "X" not in session.prepare_request(request).headers
    session.headers = {"Plain": "dict"}  # type: ignore[assignment]
    assert list(session.prepare_request(request).headers) == ["Plain"]


class HeaderName(str):
    """The name of a header that does something once, while it is read: what another thread might do then."""

    __slots__ = ("meanwhile",)

    meanwhile: Callable[[], object] | None

    def lower(self) -> str:
        meanwhile, self.meanwhile = getattr(self, "meanwhile", None), None
        if meanwhile is not None:
            meanwhile()
        return super().lower()


def test_headers_changed_while_they_are_read_leave_nothing_behind() -> None:
    """A header that was another one for a moment, while a request was prepared, is the old one in the next request."""
    session = ShortcutSession()
    request = requests.Request("GET", "http://a.test/")
    name = HeaderName("First")
    session.headers.update({name: "1", "X": "before"})
    done: list[str] = []

    def meanwhile() -> None:
        session.headers["X"] = "for a moment"
        done.append("changed")

    name.meanwhile = meanwhile
    session.prepare_request(request)
    assert done == ["changed"]
    session.headers["X"] = "before"
    assert session.prepare_request(request).headers["X"] == "before"


@pytest.mark.parametrize("value", [None, "line\nbreak", 5])
def test_a_header_that_is_none_or_wrong_is_left_to_requests(value: Any) -> None:
    """A header of the session without a value is not sent, a wrong one is the error of ``requests.Session``."""
    values = {"method": "GET", "url": "http://a.test/"}

    def with_header(session: requests.Session) -> Any:
        session.headers["X"] = value
        return prepared(session, values)

    assert outcome(lambda: with_header(ShortcutSession())) == outcome(lambda: with_header(requests.Session()))


def test_prepared_requests_share_nothing() -> None:
    """What is changed on one prepared request is not in the next one, nor in the session."""
    session = ShortcutSession()
    request = requests.Request("GET", "http://a.test/")
    one, two = session.prepare_request(request), session.prepare_request(request)
    one.headers["X"] = "1"
    one.hooks["response"].append(hook)
    one._cookies.set("a", "1")  # type: ignore[union-attr]
    assert "X" not in two.headers
    assert "X" not in session.headers
    assert two.hooks == {"response": []}
    assert not two._cookies
    assert not session.cookies


def test_the_signature_of_an_auth_object_sees_the_whole_request() -> None:
    """An auth object that is called sees method, URL, headers and body, and what it changes counts."""
    p = ShortcutSession().prepare_request(requests.Request("POST", "http://a.test/", auth=sign, data=b"x"))
    assert p.headers["Signature"]
    assert p.headers["Content-Length"] == "1"


def test_netrc_is_asked_as_before(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    """A plain session takes Basic from netrc; one whose auth adds nothing does not."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine a.test login user password pw\n")
    monkeypatch.setenv("NETRC", str(netrc))
    request = requests.Request("GET", "http://a.test/")
    session = ShortcutSession()
    assert str(session.prepare_request(request).headers["Authorization"]).startswith("Basic ")
    session.auth = NoNetrc()
    assert "Authorization" not in session.prepare_request(request).headers


def test_cookies_of_a_request_are_sent_with_those_of_the_session() -> None:
    """Cookies given as a dict or as a jar go with that request, beside the session's, and stay out of the session."""
    jar = RequestsCookieJar()
    jar.set("a", "1")
    for cookies in ({"a": "1"}, jar):
        for session in (requests.Session(), ShortcutSession()):
            session.cookies.set("s", "2")
            p = session.prepare_request(requests.Request("GET", "http://a.test/", cookies=cookies))
            assert p.headers["Cookie"] == "s=2; a=1"
            assert dict(session.cookies) == {"s": "2"}

"""The short ways give what the long ways give, and step aside where they could not."""

from __future__ import annotations

import base64
import contextlib
import copy
import http.cookiejar
import io
import os
import pickle
import socket
import ssl
import threading
import time
import urllib.request
from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import requests
import requests.utils
import responses
import urllib3
import urllib3.connection
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

from requests_cc_token import shortcuts
from requests_cc_token.netrc import NoNetrc
from requests_cc_token.shortcuts import (
    ShortcutAdapter,
    ShortcutSession,
    connections,
    environment,
    ground,
    messages,
    urls,
)

from .replay import (  # noqa: F401 - fixtures among them
    LARGE,
    OK,
    PATIENCE,
    PROPERTY,
    ReplayServer,
    answers,
    long_and_short,
    no_foreign_environment,
    outcome,
    replay_server,
    replaying,
    short_session,
    stalling,
)
from .scripted_server import Action, ScriptedServer, answer, half_a_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch

# Requests: what prepare_request makes of them

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
    assert isinstance(jar, RequestsCookieJar)
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
    found = urls.canonical(url)
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
        assert (urls.canonical(url) is not None) == (p.url == url)


def test_an_ordinary_url_is_canonical() -> None:
    """The short way is taken for the URLs that people use; otherwise it would save nothing."""
    for url in ("http://127.0.0.1:8080/", "https://api.example.com/v1/items?page=2&q=a%20b", "https://a.test:64999/x"):
        assert urls.canonical(url) is not None


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


# Settings: what the environment adds

VARIABLES = st.sampled_from(
    [
        *("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"),
        *("foo_proxy", "_proxy", "Ftp_Proxy", "REQUEST_METHOD", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("UNRELATED", "OTHER", "_", "X"),
    ]
)
CONTENTS = st.sampled_from(
    [
        "",
        "1",
        "http://proxy.test:3128",
        "http://other.test",
        "*",
        "a.test",
        ".test",
        "a.test,10.0.0.0/8",
        "10.1.2.3:80",
        "GET",
    ]
)
CHANGES = st.lists(st.tuples(VARIABLES, st.one_of(st.none(), CONTENTS)), min_size=1, max_size=6)
ASKED = st.sampled_from(
    [
        "http://a.test/x",
        "https://a.test/",
        "http://10.1.2.3:80/",
        "http://b.test:8080/x?y",
        "HTTP://A.test",
        "ftp://a.test/",
    ]
)


def merged(session: requests.Session, url: str, arguments: dict[str, Any]) -> Any:
    given = copy.deepcopy(arguments)
    try:
        found = session.merge_environment_settings(url, **given)
    except AttributeError as error:  # requests before 2.33, for proxies=None
        return str(error), given
    return [(name, type(value), value) for name, value in found.items()], given


@given(
    changes=CHANGES,
    url=ASKED,
    arguments=st.fixed_dictionaries(
        {
            "proxies": st.sampled_from([None, {}, {"http": "http://own.test"}, {"no_proxy": "a.test"}, {"http": None}]),
            "stream": st.sampled_from([None, True, False]),
            "verify": st.sampled_from([None, True, False, "/ca.pem"]),
            "cert": st.sampled_from([None, "/cert.pem", ("/cert.pem", "/key.pem")]),
        }
    ),
    of_session=st.fixed_dictionaries(
        {
            "proxies": st.sampled_from([{}, {"https": "http://session.test"}, {"http": None}]),
            "stream": st.sampled_from([False, True, None]),
            "verify": st.sampled_from([True, False, None, "/session.pem"]),
            "cert": st.sampled_from([None, "/session.pem"]),
            "trust_env": st.booleans(),
        }
    ),
)
@LARGE
def test_settings_follow_every_change_of_the_environment(
    changes: list[tuple[str, str | None]], url: str, arguments: dict[str, Any], of_session: dict[str, Any]
) -> None:
    """After each variable that is set, replaced or deleted the merged settings are those of ``requests.Session``."""
    long = SessionSettings(**of_session).on(requests.Session())
    short = SessionSettings(**of_session).on(ShortcutSession())
    with mock.patch.dict(os.environ):
        assert merged(short, url, arguments) == merged(long, url, arguments)
        for name, value in changes:
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
            for asked in (url, "http://a.test/x"):
                assert merged(short, asked, arguments) == merged(long, asked, arguments)


def test_a_variable_that_takes_another_ones_place_is_seen() -> None:
    """One name goes and another comes, the number stays, the last one stays or is set again: the proxy counts."""
    session = ShortcutSession()
    for last in ("ZZ_LAST", "_"):
        with mock.patch.dict(os.environ, {"AA_FIRST": "1"}):
            os.environ.pop(last, None)
            os.environ[last] = "v"
            assert "foo" not in session.merge_environment_settings("http://a.test/", {}, None, None, None)["proxies"]
            del os.environ[last]
            del os.environ["AA_FIRST"]
            os.environ["FOO_PROXY"] = "http://proxy.test"
            os.environ[last] = "v"
            found = session.merge_environment_settings("http://a.test/", {}, None, None, None)
            assert found["proxies"]["foo"] == "http://proxy.test"


def test_a_proxy_that_is_replaced_in_its_place_is_seen() -> None:
    """A variable that gets another value where it is counts, unless the session does not trust the environment."""
    session = ShortcutSession()
    with mock.patch.dict(os.environ, {"https_proxy": "http://one.test", "LAST_ONE": "long enough"}):
        for proxy in ("http://one.test", "http://two.test"):
            os.environ["https_proxy"] = proxy
            found = session.merge_environment_settings("https://a.test/", {}, None, None, None)
            assert found["proxies"] == {"https": proxy}
        session.trust_env = False
        assert not session.merge_environment_settings("https://a.test/", {}, None, None, None)["proxies"]


def test_the_environment_is_not_read_again_while_it_stays() -> None:
    """Settings of an unchanged environment cost no reading of it, proxies or not."""
    session = ShortcutSession()
    for proxies in ({}, {"https_proxy": "http://proxy.test"}):
        with mock.patch.dict(os.environ, {**proxies, "LAST_ONE": "long enough"}):
            first = session.merge_environment_settings("http://a.test/", {}, None, None, None)
            with (
                mock.patch.object(os.environ, "keys", side_effect=AssertionError),
                mock.patch.object(type(os.environ), "__iter__", side_effect=AssertionError),
            ):
                assert session.merge_environment_settings("http://a.test/", {}, None, None, None) == first


def test_an_environment_that_is_reloaded_is_read_again() -> None:
    """``os.reload_environ`` of Python 3.14, which fills the same dict anew, is seen though number and end are equal."""
    session = ShortcutSession()
    with mock.patch.dict(os.environ, {"AA_FIRST": "1", "ZZ_LAST": "1"}):
        assert "foo" not in session.merge_environment_settings("http://a.test/", {}, None, None, None)["proxies"]
        data: Any = vars(os.environ)["_data"]
        renamed = {(b"FOO_PROXY" if name == b"AA_FIRST" else name): value for name, value in data.items()}
        fresh = {bytes(bytearray(name)): bytes(bytearray(value)) for name, value in renamed.items()}
        data.clear()
        data.update(fresh)
        found = session.merge_environment_settings("http://a.test/", {}, None, None, None)
    assert found["proxies"]["foo"] == "1"


def test_an_environment_that_cannot_be_told_apart_is_not_kept() -> None:
    """Where the last variable is one byte with one byte, which Python shares, requests' own way is taken."""
    with mock.patch.dict(os.environ, {"https_proxy": "http://proxy.test"}):
        os.environ.pop("_", None)
        os.environ["_"] = "x"
        assert environment.current_environment() is None
        found = ShortcutSession().merge_environment_settings("https://a.test/", {}, None, None, None)
        assert found["proxies"]["https"] == "http://proxy.test"


def test_an_environment_in_another_place_is_looked_at(monkeypatch: MonkeyPatch) -> None:
    """``os.environ`` replaced by something else is asked as requests asks it."""
    session = ShortcutSession()
    session.merge_environment_settings("https://a.test/", {}, None, None, None)
    monkeypatch.setattr(os, "environ", {"https_proxy": "http://proxy.test"})
    assert session.merge_environment_settings("https://a.test/", {}, None, None, None)["proxies"]["https"]


class Restless(dict[bytes, bytes]):
    """An environment that another thread changes while its last variable is looked at."""

    change: Callable[[dict[bytes, bytes]], object]
    #: Whether the change comes before the look begins or within it.
    before: bool

    def items(self) -> Any:
        return RestlessItems(self)


class RestlessItems:
    def __init__(self, of: Restless) -> None:
        self._of = of

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(dict.items(self._of))

    def __reversed__(self) -> Iterator[tuple[bytes, bytes]]:
        if self._of.before:
            self._of.change(self._of)
        found = reversed(dict.items(self._of))
        if not self._of.before:
            self._of.change(self._of)
        return found


@pytest.mark.parametrize(
    ("change", "before"), [(dict.clear, True), (lambda data: data.update({b"NEW": b"variable"}), False)]
)
def test_an_environment_that_changes_during_the_look_has_changed(
    change: Callable[[dict[bytes, bytes]], object], before: bool
) -> None:
    """An environment that another thread empties or adds to at that moment counts as changed, and is no error."""
    data = Restless({b"ONE": b"first", b"TWO": b"second"})
    data.change, data.before = change, before
    assert not environment._Environment(data, list(dict.items(data))).is_unchanged(data)


def test_an_empty_environment_is_left_to_requests(monkeypatch: MonkeyPatch) -> None:
    """Of an environment without any variable nothing is known beforehand, and the settings are those of requests."""
    monkeypatch.setattr(os.environ, "_data", {})
    assert environment.current_environment() is None
    given: Any = ("https://a.test/", {}, None, None, None)
    found = [session.merge_environment_settings(*given) for session in (ShortcutSession(), requests.Session())]
    assert found[0] == found[1]


def test_proxies_of_a_changed_environment_are_not_kept() -> None:
    """What is asked while the environment changes is answered as it is then, and not remembered as it was before."""
    with mock.patch.dict(os.environ, {"https_proxy": "http://proxy.test", "LAST_ONE": "long enough"}):
        known = environment.current_environment()
        assert known is not None
        assert known.proxies_for("https://a.test/") == {"https": "http://proxy.test"}
        os.environ["no_proxy"] = "b.test"
        assert known.proxies_for("https://b.test/") == {}
        assert known._proxies.keys() == {"https://a.test"}


def test_the_proxies_kept_are_bounded() -> None:
    """Of many origins only so many are remembered."""
    with mock.patch.dict(os.environ, {"https_proxy": "http://proxy.test", "LAST_ONE": "long enough"}):
        known = environment.current_environment()
        assert known is not None
        for number in range(ground.REMEMBERED + 1):
            assert known.proxies_for(f"https://h{number}.test/") == {"https": "http://proxy.test"}
        assert len(known._proxies) == 1


# Answers: what send makes of them

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
        for session in (requests.Session(), short_session()):
            with session, pytest.raises(requests.RequestException) as caught:
                # The stalling server is not waited for: the wait is what is tested.
                session.get(server.url, timeout=(PATIENCE, 0.2 if action is stalling else PATIENCE), verify=bundle)
            assert type(caught.value) is error


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


def test_redirects_are_followed_or_left() -> None:
    """A redirect is followed, or is what comes next; without an address it is the answer."""
    moved, nowhere = answer(302, b"moved", [("Location", "/other")]), answer(302, b"nowhere")
    with ScriptedServer() as server:
        for session in (requests.Session(), short_session()):
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
    assert dict(session.get(server.origin, headers=replaying(setting)).cookies) == {
        "a": "1"
    }
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


def test_a_plain_session_takes_the_short_ways_when_asked(server: ReplayServer) -> None:
    """A ``requests.Session`` in use goes on with its settings; one of another class is not touched."""

    class Own(requests.Session):
        pass

    plain, own = requests.Session(), Own()
    plain.headers["X"] = "1"
    plain.get(server.origin)
    for session in (plain, own):
        shortcuts.take_shortcuts(session)
    assert type(plain) is ShortcutSession
    assert type(own) is Own
    assert plain.get(server.origin).text == "ok"
    assert b"X: 1" in server.heads[-1]
    assert type(pickle.loads(pickle.dumps(plain))) is ShortcutSession


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


# Jars that are filled in late


def test_a_late_jar_is_a_plain_jar_once_looked_at() -> None:
    """Whatever is done first with it, it then is an empty ``RequestsCookieJar`` and nothing else."""
    looks: list[Callable[[Any], Any]] = [
        len,
        list,
        bool,
        dict,
        repr,
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
        lambda jar: jar.get("a"),
        lambda jar: jar.get_policy(),
        lambda jar: jar.copy(),
        lambda jar: jar.set("a", "1"),
        lambda jar: jar.__getstate__(),
        lambda jar: jar == RequestsCookieJar(),
        lambda jar: jar.clear_expired_cookies(),
        lambda jar: jar.update({"a": "1"}),
    ]
    for look in looks:
        jar = messages.late_jar()
        look(jar)
        assert type(jar) is RequestsCookieJar
        assert vars(jar).keys() == vars(RequestsCookieJar()).keys()


def test_a_late_jar_keeps_what_was_set_before_the_first_look() -> None:
    """A policy given to a jar that nobody looked at yet stays."""
    jar = messages.late_jar()
    policy = http.cookiejar.DefaultCookiePolicy()
    jar.set_policy(policy)
    assert jar.get_policy() is policy
    assert not isinstance(copy.copy(jar), messages.LateJar)


def test_threads_that_look_at_once_see_one_jar() -> None:
    """No cookie is lost when several threads are the first to look."""
    jar = messages.late_jar()
    start = threading.Barrier(8)

    def look(number: int) -> None:
        start.wait(PATIENCE)
        jar.set(f"c{number}", "1")

    threads = [threading.Thread(target=look, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(jar) == 8


def test_who_looks_just_after_another_thread_sees_the_same_jar() -> None:
    """A look that began at the late jar and goes on at the plain one, another thread having been first, finds it."""
    late = messages.late_jar()
    attribute, state, reduced = late.__getattr__, late.__getstate__, late.__reduce_ex__
    late.set("a", "1")
    cookies = vars(late)["_cookies"]
    assert attribute("_cookies") is cookies
    assert state()["_cookies"] is cookies
    assert reduced(2)[2]["_cookies"] is cookies


# Headers of other classes


class OwnHeaders(CaseInsensitiveDict[Any]):
    """Headers of a class of somebody else's."""


class OwnRequest(requests.PreparedRequest):
    """A request of a class of somebody else's."""


@pytest.mark.parametrize("kind", [CaseInsensitiveDict, OwnHeaders])
def test_a_header_is_found_in_any_headers(kind: type[CaseInsensitiveDict[Any]]) -> None:
    """A header is found by its name in lower case, whatever class the headers are of."""
    headers = kind({"Authorization": "Basic x"})
    assert shortcuts.header_of(headers, "authorization") == "Basic x"
    assert shortcuts.header_of(headers, "cookie") is None


@pytest.mark.parametrize("kind", [requests.PreparedRequest, OwnRequest])
@pytest.mark.parametrize("headers", [CaseInsensitiveDict, OwnHeaders])
def test_a_copy_with_a_header_leaves_the_request_alone(
    kind: type[requests.PreparedRequest], headers: type[CaseInsensitiveDict[Any]]
) -> None:
    """The copy is of the request's class and has the header; the request has not, whatever their classes are."""
    request = kind()
    request.prepare("GET", "http://a.test/", headers={"X": "1", "authorization": "theirs"})
    request.headers = headers(request.headers)
    copied = shortcuts.copy_with_header(request, "Authorization", "ours")
    assert type(copied) is kind
    assert dict(copied.headers.lower_items()) == {"x": "1", "authorization": "ours"}
    assert dict(request.headers.lower_items()) == {"x": "1", "authorization": "theirs"}
    assert copied.url == request.url


def test_headers_on_their_way_out_are_headers() -> None:
    """The headers of such a copy give names as they were written, and can be copied and changed."""
    request = requests.Request("GET", "http://a.test/", headers={"X-One": "1"}).prepare()
    sent = shortcuts.copy_with_header(request, "Authorization", "ours").headers
    assert list(sent) == ["X-One", "Authorization"]
    assert list(sent.items()) == [("X-One", "1"), ("Authorization", "ours")]
    other = sent.copy()
    other["x-one"] = "2"
    assert (sent["X-One"], other["X-One"]) == ("1", "2")


# Fallbacks: each private thing that is not as we know it


@pytest.mark.parametrize("field", ground.Ground._fields)
def test_each_short_way_that_is_closed_leaves_the_long_way(
    field: str, server: ReplayServer, monkeypatch: MonkeyPatch
) -> None:
    """With any one private thing unknown, and so its short way closed, requests still work the same."""
    monkeypatch.setattr(ground, "known", ground.known._replace(**{field: False}))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    session, plain = short_session(), requests.Session()
    setting = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 2\r\nX: 1\r\nx: 2\r\n\r\nok"
    for replayed in (OK, setting, OK):
        headers = replaying(replayed)
        found = [shown(s.get(server.origin + "/a", headers=headers), s) for s in (session, plain)]
        assert found[0] == found[1]
        sent = [head.partition(b"\r\n\r\n")[0] for head in server.heads[-2:]]
        assert sent[0] == sent[1]


@pytest.mark.parametrize(
    ("field", "closed"),
    [
        ("header_store", lambda s, r: s._header_template() is None),
        ("response_fields", lambda s, r: type(r.cookies) is RequestsCookieJar),
        ("prepared_fields", lambda s, r: type(r.request._cookies) is RequestsCookieJar),
        ("header_lines", lambda s, r: type(r.cookies) is RequestsCookieJar),
        ("jar_store", lambda s, r: type(r.cookies) is RequestsCookieJar),
        ("raw_fields", lambda s, r: type(r.raw) is urllib3.HTTPResponse),
        ("environment_data", lambda s, r: environment.current_environment() is None),
    ],
)
def test_what_is_not_known_is_not_touched(
    field: str, closed: Callable[[Any, Any], bool], server: ReplayServer, monkeypatch: MonkeyPatch
) -> None:
    """A closed short way is seen not to be taken; open, it is seen to be taken."""
    session = short_session()
    assert not closed(session, session.get(server.origin))
    monkeypatch.setattr(ground, "known", ground.known._replace(**{field: False}))
    assert closed(session, session.get(server.origin))


def test_everything_private_is_known_in_the_installed_versions() -> None:
    """On the versions of this environment all short ways are open."""
    assert ground.survey() == ground.Ground(*[True] * len(ground.Ground._fields))


def test_a_library_that_changed_is_noticed(monkeypatch: MonkeyPatch) -> None:
    """Each survey says no to a class whose private part is another one."""

    class Headers(CaseInsensitiveDict[Any]):
        def __init__(self, data: Any = None) -> None:
            super().__init__(data)
            self._order: list[str] = []

    class Answer(requests.Response):
        def __init__(self) -> None:
            super().__init__()
            self._trailers = None

    class Prepared(requests.PreparedRequest):
        def __init__(self) -> None:
            super().__init__()
            self.hooks = {"response": [], "sent": []}

    class Lines(urllib3.HTTPHeaderDict):
        def __init__(self, headers: Any = None) -> None:
            super().__init__(headers)
            self._container = OrderedDict(self._container)

    class Jar(RequestsCookieJar):
        def __init__(self) -> None:
            super().__init__()
            self._cookies = None

    assert not ground._header_store_is_known(Headers)
    assert not ground._response_fields_are_known(Answer)
    assert not ground._prepared_fields_are_known(Prepared)
    assert not ground._header_lines_are_known(Lines)
    assert not ground._jar_store_is_known(Jar)
    assert not ground._environment_data_is_known({})
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    assert not ground._environment_data_is_known(os.environ)


# Whoever replaces something is called


class Seen(Exception):
    """Raised by a replacement, to show that it was called."""


def _seen(*_: Any, **__: Any) -> Any:
    raise Seen


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (requests.Session, "prepare_request"),
        (requests.Session, "merge_environment_settings"),
        (requests.Session, "send"),
        (requests.Session, "get_adapter"),
        (requests.Session, "resolve_redirects"),
        (requests.Session, "get_redirect_target"),
        (requests.sessions, "get_environ_proxies"),
        (requests.sessions, "get_netrc_auth"),
        (requests.cookies, "extract_cookies_to_jar"),
        (requests.utils, "should_bypass_proxies"),
        (HTTPAdapter, "send"),
        (HTTPAdapter, "get_connection_with_tls_context"),
        (HTTPAdapter, "build_connection_pool_key_attributes"),
        (HTTPAdapter, "request_url"),
        (HTTPAdapter, "build_response"),
        (HTTPAdapter, "cert_verify"),
        (HTTPAdapter, "add_headers"),
        (requests.PreparedRequest, "prepare"),
        (requests.PreparedRequest, "prepare_url"),
        (requests.PreparedRequest, "prepare_headers"),
        (requests.PreparedRequest, "prepare_cookies"),
        (requests.PreparedRequest, "prepare_body"),
        (requests.PreparedRequest, "prepare_auth"),
        (requests.PreparedRequest, "prepare_hooks"),
        (requests.Response, "__init__"),
        (requests.Response, "iter_content"),
        (requests.Response, "content"),
    ],
)
def test_who_replaces_a_function_of_requests_is_called(
    owner: Any, name: str, server: ReplayServer, monkeypatch: MonkeyPatch
) -> None:
    """A test double or tracer that replaces a function of the library is called, as with ``requests.Session``."""
    if not hasattr(owner, name):
        pytest.skip(f"this version of requests has no {name}")
    session = short_session()
    session.get(server.origin)
    if owner is requests.cookies:
        # requests took this name into its own modules; replace it where it is used, too.
        for module in (requests.sessions, requests.adapters):
            monkeypatch.setattr(module, name, _seen)
    monkeypatch.setattr(owner, name, property(_seen) if name == "content" else _seen)
    with pytest.raises(Seen):
        session.get(server.origin)


@pytest.mark.parametrize("name", ["resolve_redirects", "get_redirect_target", "get_adapter", "send", "prepare_request"])
def test_a_method_replaced_on_one_session_is_called(name: str, server: ReplayServer) -> None:
    """A method set on a session object is called."""
    session: Any = short_session()
    setattr(session, name, _seen)
    with pytest.raises(Seen):
        session.get(server.origin)


@pytest.mark.parametrize(
    "name", ["build_connection_pool_key_attributes", "get_connection_with_tls_context", "request_url", "build_response"]
)
def test_a_method_overridden_in_a_subclass_of_the_adapter_is_called(name: str, server: ReplayServer) -> None:
    """A subclass may override what ``HTTPAdapter`` lets its subclasses override."""
    if not hasattr(HTTPAdapter, name):
        pytest.skip(f"this version of requests has no {name}")
    session = requests.Session()
    session.mount("http://", type("Own", (ShortcutAdapter,), {name: _seen})())
    with pytest.raises(Seen):
        session.get(server.origin)


def test_a_method_overridden_in_a_subclass_of_the_session_is_called(server: ReplayServer) -> None:
    """A subclass that follows redirects in its own way does."""

    class Own(ShortcutSession):
        def get_redirect_target(self, resp: requests.Response) -> str | None:
            return "/other" if not resp.history and not resp.url.endswith("/other") else None

    response = Own().get(server.origin + "/start")
    assert response.url == server.origin + "/other"
    assert [r.url for r in response.history] == [server.origin + "/start"]


def test_responses_still_replaces_the_network() -> None:
    """The ``responses`` library answers in the place of our adapter."""
    with responses.RequestsMock() as fake:
        fake.get("http://unreachable.test/x", body="faked", headers={"Set-Cookie": "a=1"})
        session = short_session()
        response = session.get("http://unreachable.test/x")
        assert response.text == "faked"
        assert dict(response.cookies) == dict(session.cookies) == {"a": "1"}


def test_what_was_replaced_before_the_import_is_never_passed_by() -> None:
    """A function that is not the library's own when it is looked up counts as replaced for good."""

    class Patched:
        __module__ = requests.Session.__module__
        send = staticmethod(lambda: None)

    assert ground.shipped(Patched, "send") is not Patched.send
    assert ground.shipped(Patched, "missing") is not None
    assert ground.shipped(requests.Session, "send") is requests.Session.send


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


# Pools


def test_a_pool_is_found_where_requests_keeps_it(server: ReplayServer) -> None:
    """The pool found shortly is the pool that the long way finds, for each scheme, port, verify and certificate."""
    adapter = ShortcutAdapter()
    for url in ("http://a.test/", "http://a.test:8080/x", "https://a.test/y?z", "https://b.test/", server.origin + "/"):
        for verify in (True, False, os.devnull, os.curdir):
            for cert in (None, "/cert.pem", ("/cert.pem", "/key.pem")):
                request = requests.Request("GET", url).prepare()
                first = adapter.get_connection_with_tls_context(request, verify, {}, cert)
                second = adapter.get_connection_with_tls_context(request, verify, {}, cert)
                long = HTTPAdapter.get_connection_with_tls_context(adapter, request, verify, {}, cert)
                # Ten pools are kept, so an older one may have gone; the one just used has not.
                assert first is second is long


def test_a_pool_that_was_closed_is_not_used_again(server: ReplayServer) -> None:
    """After ``close`` a new pool is made, as in requests."""
    adapter = ShortcutAdapter()
    request = requests.Request("GET", server.origin + "/").prepare()
    first = adapter.get_connection_with_tls_context(request, True)
    adapter.close()
    assert adapter.get_connection_with_tls_context(request, True) is not first


def test_settings_of_the_pool_manager_changed_later_count(server: ReplayServer) -> None:
    """A setting changed on the pool manager, or another manager, leads to another pool, as in requests."""
    adapter = ShortcutAdapter()
    request = requests.Request("GET", server.origin + "/").prepare()
    first = adapter.get_connection_with_tls_context(request, True)
    adapter.poolmanager.connection_pool_kw["timeout"] = 5
    second = adapter.get_connection_with_tls_context(request, True)
    assert second is not first
    assert second.timeout.read_timeout == 5
    adapter.init_poolmanager(1, 1)
    assert adapter.get_connection_with_tls_context(request, True) is not second


def test_the_least_recently_used_pool_goes_first() -> None:
    """A pool that is found shortly counts as used."""
    adapter = ShortcutAdapter(pool_connections=2)
    a, b, c = (requests.Request("GET", f"http://{host}.test/").prepare() for host in "abc")
    find = adapter.get_connection_with_tls_context
    pool_a, pool_b = find(a, True), find(b, True)
    assert find(a, True) is pool_a
    find(c, True)
    assert find(a, True) is pool_a
    assert find(b, True) is not pool_b


def test_pools_that_are_not_kept_are_not_looked_for() -> None:
    """An adapter that keeps no pool makes one for each request, as in requests."""
    adapter = ShortcutAdapter(pool_connections=0)
    request = requests.Request("GET", "http://a.test/").prepare()
    first = adapter.get_connection_with_tls_context(request, True)
    assert adapter.get_connection_with_tls_context(request, True) is not first


def test_the_pool_keys_kept_are_bounded() -> None:
    """Of many origins only so many are remembered."""
    adapter = ShortcutAdapter(pool_connections=2 * ground.REMEMBERED)
    for number in range(ground.REMEMBERED + 1):
        request = requests.Request("GET", f"http://h{number}.test/").prepare()
        first = adapter.get_connection_with_tls_context(request, True)
        assert adapter.get_connection_with_tls_context(request, True) is first
    assert adapter._pool_keys is not None
    assert len(adapter._pool_keys._keys) == 1


def test_a_pool_manager_of_another_class_keeps_its_pools(monkeypatch: MonkeyPatch) -> None:
    """Who puts a pool manager of another class into requests, as a tracer may, gets the pools of that class."""

    class Other(urllib3.PoolManager):
        pass

    monkeypatch.setattr(requests.adapters, "PoolManager", Other)
    manager = ShortcutAdapter().poolmanager
    assert type(manager) is Other
    assert manager.pool_classes_by_scheme["https"] is urllib3.HTTPSConnectionPool


def test_a_pool_of_another_class_is_kept(monkeypatch: MonkeyPatch) -> None:
    """Who puts another class of TLS pools into urllib3 gets pools of that class."""

    class Other(urllib3.HTTPSConnectionPool):
        pass

    monkeypatch.setitem(urllib3.poolmanager.pool_classes_by_scheme, "https", Other)
    request = requests.Request("GET", "https://a.test/").prepare()
    assert type(ShortcutAdapter().get_connection_with_tls_context(request, True)) is Other


def test_what_an_adapter_leaves_to_the_parent(server: ReplayServer) -> None:
    """After a fork an adapter begins with empty pools, its proxies' too; one that was just being made stays so."""
    adapter = ShortcutAdapter()
    request = requests.Request("GET", server.origin + "/").prepare()
    behind = adapter.proxy_manager_for("http://proxy.test:3128")
    theirs = adapter.get_connection_with_tls_context(request, True), behind.connection_from_host("a.test", 80)
    adapter.after_fork_in_child()
    assert len(adapter.poolmanager.pools) == len(behind.pools) == 0
    assert adapter.get_connection_with_tls_context(request, True) not in theirs
    assert not any(pool.pool is None for pool in theirs), "closing them would wait for a lock"
    half_made = HTTPAdapter.__new__(HTTPAdapter)
    shortcuts.leave_to_parent(half_made)
    assert vars(half_made) == {}


def test_a_proxy_is_used_where_one_is_set(server: ReplayServer) -> None:
    """A request through a proxy goes to the proxy with its whole URL."""
    session = short_session()
    session.get("http://behind.test/x?y", proxies={"http": server.origin})
    assert server.heads[-1].startswith(b"GET http://behind.test/x?y HTTP/1.1\r\n")


def test_more_threads_than_urllib3_expects_keep_their_connections() -> None:
    """Thirty-two connections given back are all kept."""
    pool = ShortcutAdapter().get_connection_with_tls_context(requests.Request("GET", "http://a.test/").prepare(), True)
    connections = [pool._get_conn() for _ in range(32)]
    for connection in connections:
        pool._put_conn(connection)
    assert {pool._get_conn() for _ in range(32)} == set(connections)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_connections_of_its_own(server: ReplayServer) -> None:
    """Parent and child use one session after a fork, and no socket of the parent is used by the child."""
    session = short_session()
    session.get(server.origin)
    before = server.connections
    child = os.fork()
    if child == 0:
        good = session.get(server.origin).text == "ok" and not connections._tls_contexts._contexts
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert server.connections == before + 1
    assert session.get(server.origin).text == "ok"
    assert server.connections == before + 1


# TLS contexts


class Authority:
    """A certificate authority of the test, and what it has issued."""

    def __init__(self, folder: Path, name: str) -> None:
        import datetime
        import ipaddress

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(
            self.certificate
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.file)

    def bundle(self, path: Path, *, age: float = 3600) -> Path:
        """Write a CA file that was last changed so many seconds ago."""
        path.write_bytes(self.certificate)
        os.utime(path, (time.time() - age, time.time() - age))
        return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "one")


@pytest.fixture(scope="module")
def tls_server(authority: Authority) -> Iterator[ReplayServer]:
    replay = ReplayServer(authority.context)
    yield replay
    replay.stop()


@pytest.fixture(autouse=True)
def no_kept_contexts(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_tls_contexts", connections._TLSContexts())


@contextlib.contextmanager
def counted(method: str) -> Iterator[list[Any]]:
    """How often a context loads certificates."""
    loads: list[Any] = []
    load = getattr(ssl.SSLContext, method)

    def counting(self: ssl.SSLContext, *args: Any, **kwargs: Any) -> None:
        loads.append(args)
        load(self, *args, **kwargs)

    with mock.patch.object(ssl.SSLContext, method, counting):
        yield loads


def get_anew(origin: str, session: requests.Session | None = None, **options: Any) -> requests.Response:
    """A GET on a connection of its own."""
    with session or short_session() as used:
        return used.get(origin, timeout=PATIENCE, **options)


def test_one_context_serves_all_connections(tls_server: ReplayServer, authority: Authority, tmp_path: Path) -> None:
    """Ten sessions with the same CA file load it once."""
    bundle = str(authority.bundle(tmp_path / "ca.pem"))
    before = tls_server.connections
    with counted("load_verify_locations") as loads:
        for _ in range(10):
            assert get_anew(tls_server.origin, verify=bundle).text == "ok"
    assert len(loads) == 1
    assert tls_server.connections == before + 10


def test_a_replaced_ca_file_counts(tls_server: ReplayServer, authority: Authority, tmp_path: Path) -> None:
    """A CA file that no longer holds the server's authority ends the trust at the next connection, and back."""
    other = Authority(tmp_path, "two")
    path = tmp_path / "ca.pem"
    bundle = str(authority.bundle(path))
    assert get_anew(tls_server.origin, verify=bundle).ok
    other.bundle(path)
    with pytest.raises(requests.exceptions.SSLError):
        get_anew(tls_server.origin, verify=bundle)
    authority.bundle(path, age=1800)
    assert get_anew(tls_server.origin, verify=bundle).ok


def test_a_ca_file_just_written_is_read_each_time(
    tls_server: ReplayServer, authority: Authority, tmp_path: Path
) -> None:
    """While a second change could not be seen by its time, nothing is kept."""
    bundle = str(authority.bundle(tmp_path / "ca.pem", age=0))
    with counted("load_verify_locations") as loads:
        for _ in range(2):
            assert get_anew(tls_server.origin, verify=bundle).ok
    assert len(loads) == 2


def test_a_connection_that_checks_nothing_opens_no_door(
    tls_server: ReplayServer, authority: Authority, tmp_path: Path
) -> None:
    """What ``verify=False`` accepted is still refused with ``verify=True`` or another CA file, in any order."""
    other = str(Authority(tmp_path, "two").bundle(tmp_path / "two-ca.pem"))
    mine = str(authority.bundle(tmp_path / "ca.pem"))
    for _ in range(2):
        with pytest.warns(urllib3.exceptions.InsecureRequestWarning):
            assert get_anew(tls_server.origin, verify=False).ok
        assert get_anew(tls_server.origin, verify=mine).ok
        for refusing in (True, other):
            with pytest.raises(requests.exceptions.SSLError):
                get_anew(tls_server.origin, verify=refusing)


def test_the_host_name_is_checked_with_a_kept_context(
    tls_server: ReplayServer, authority: Authority, tmp_path: Path
) -> None:
    """A certificate for another name is refused, although its authority is trusted and the context was used before."""
    bundle = str(authority.bundle(tmp_path / "ca.pem"))
    assert get_anew(tls_server.origin, verify=bundle).ok
    with pytest.raises(requests.exceptions.SSLError, match=r"(?i)hostname|localhost"):
        get_anew(f"https://localhost:{tls_server.port}", verify=bundle)


def test_client_certificates_are_loaded_once_and_kept_apart(authority: Authority, tmp_path: Path) -> None:
    """With a client certificate the connection shows it, and without it does not."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    asking.load_cert_chain(authority.file)
    asking.load_verify_locations(cadata=authority.certificate.decode())
    asking.verify_mode = ssl.CERT_REQUIRED
    replay = ReplayServer(asking)
    bundle = str(authority.bundle(tmp_path / "ca.pem"))
    os.utime(authority.file, (time.time() - 3600, time.time() - 3600))
    try:
        with counted("load_cert_chain") as loads:
            for _ in range(3):
                assert get_anew(replay.origin, verify=bundle, cert=str(authority.file)).ok
        assert len(loads) == 1
        with pytest.raises(requests.exceptions.ConnectionError):
            get_anew(replay.origin, verify=bundle)
    finally:
        replay.stop()


@pytest.mark.parametrize(
    "given",
    [
        {"ssl_context": ssl.create_default_context()},
        {"assert_hostname": "a.test"},
        {"assert_fingerprint": "00"},
        {"ca_cert_dir": "."},
        {"ca_cert_data": "x"},
        {"key_password": "x"},
        {"ca_certs": "/missing.pem"},
        {"ca_certs": "."},
    ],
)
def test_connections_with_settings_of_their_own_share_nothing(given: dict[str, Any]) -> None:
    """A context of the user's own, or settings that urllib3 writes into the context, are left to urllib3."""
    assert connections.HTTPSConnection("a.test", **given)._context_key() is None
    assert connections.HTTPSConnection("a.test")._context_key() is not None


def test_connections_through_a_proxy_share_nothing() -> None:
    """A connection through a proxy may speak TLS twice; urllib3 makes its contexts."""
    proxy = urllib3.util.parse_url("http://proxy.test")
    assert connections.HTTPSConnection("a.test", proxy=proxy)._context_key() is None


def test_another_kind_of_tls_is_not_kept() -> None:
    """A context that is not urllib3's, as truststore or pyOpenSSL inject it, is not shared."""
    contexts = connections._TLSContexts()
    contexts.keep(("key",), object())
    assert contexts.get(("key",)) is None


def test_a_child_keeps_no_context() -> None:
    """After a fork nothing is kept, and a lock that was held is free."""
    contexts = connections._TLSContexts()
    contexts.keep(("key",), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    with contexts._lock:
        contexts.after_fork_in_child()
        assert contexts.get(("key",)) is None


def test_the_kept_contexts_are_bounded() -> None:
    """The context that was not used longest goes first."""
    contexts = connections._TLSContexts()
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for number in range(ground.REMEMBERED):
        contexts.keep((number,), made)
    assert contexts.get((0,)) is made
    contexts.keep(("one more",), made)
    assert contexts.get((0,)) is made
    assert contexts.get((1,)) is None


@pytest.mark.parametrize(
    ("scheme", "pools", "name"),
    [
        ("http", urllib3.HTTPConnectionPool, "HTTPConnection"),
        ("https", urllib3.HTTPSConnectionPool, "HTTPSConnection"),
    ],
)
def test_who_replaces_the_connection_class_is_used(
    scheme: str, pools: Any, name: str, monkeypatch: MonkeyPatch
) -> None:
    """VCR and others put a connection class into urllib3's pool; ours steps aside."""
    other = type("Other", (getattr(urllib3.connection, name),), {})
    request = requests.Request("GET", f"{scheme}://a.test/").prepare()
    pool: Any = ShortcutAdapter().get_connection_with_tls_context(request, True)
    ours: Any = pool.ConnectionCls
    monkeypatch.setattr(pools, "ConnectionCls", other)
    theirs: Any = pool.ConnectionCls
    assert ours is getattr(connections, name)
    assert theirs is other


def test_an_adapter_with_a_context_of_its_own_uses_it(tls_server: ReplayServer, authority: Authority) -> None:
    """The usual recipe, ``init_poolmanager`` with an ``ssl_context``, works where it works with ``HTTPAdapter``."""
    own = ssl.create_default_context(cadata=authority.certificate.decode())

    def trusting(adapter: Any) -> Any:
        class Own(adapter):  # type: ignore[misc]
            def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
                super().init_poolmanager(*args, ssl_context=own, **kwargs)

        session = requests.Session()
        session.mount("https://", Own())
        try:
            return session.get(tls_server.origin).text
        except requests.exceptions.SSLError:
            return "refused"  # requests 2.32.2 puts a context of its own in its place

    assert trusting(ShortcutAdapter) == trusting(HTTPAdapter)
    assert not connections._tls_contexts._contexts

"""The three rules of the short ways: only our own methods, one table, and each worth its lines."""

from __future__ import annotations

import ast
import itertools
import os
import subprocess
import sys
import types
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import urllib3
import urllib3.connection
from _pytest.monkeypatch import MonkeyPatch
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

import requests_cc_token.shortcuts
from requests_cc_token.netrc import NoNetrc
from requests_cc_token.shortcuts import as_shipped as table
from requests_cc_token.shortcuts.adapter import SentHeaders, ShortcutAdapter, copy_with_header
from requests_cc_token.shortcuts.session import ShortcutSession

from .replay import (  # noqa: F401 - fixtures among them
    ReplayServer,
    ShortAdapter,
    long_session,
    no_foreign_environment,
    replay_server,
    short_session,
)

FILES = sorted(Path(str(requests_cc_token.shortcuts.__file__)).parent.glob("*.py"))

#: What is left out of a GET, in the order in which a request comes to it: our class, theirs, the methods.
WAYS: dict[str, tuple[type, type, tuple[str, ...]]] = {
    "requests prepared in pieces": (ShortcutSession, requests.Session, ("prepare_request",)),
    "environment kept": (ShortcutSession, requests.Session, ("merge_environment_settings",)),
    "pool and path found": (ShortcutAdapter, HTTPAdapter, ("get_connection_with_tls_context", "request_url")),
    "answers made": (ShortcutAdapter, HTTPAdapter, ("build_response",)),
    "and taken": (ShortcutSession, requests.Session, ("send",)),
}


# Rule 1: only methods of our own classes


def test_nothing_of_requests_and_urllib3_is_replaced() -> None:
    """After a token request and an API request their modules and classes hold what they held before our import."""
    script = """
import sys
import requests, http.cookiejar, urllib.request, ssl

def held():
    found = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("requests", "urllib3", "http", "urllib", "ssl"):
            for key, value in list(vars(module).items()):
                found[name, key] = value
                if isinstance(value, (type, dict)) and not key.startswith("__"):
                    inside = vars(value) if isinstance(value, type) else value
                    found.update({(name, key, inner): kept for inner, kept in list(inside.items())})
    return found

before = held()
from requests_cc_token.demo.embedded import embedded
with embedded() as (management, _, api):
    plain = requests.Session()
    management.mount(plain, api.base_url)
    assert management.make_session("api").get("test").ok
    assert plain.get(api.base_url + "test").ok
after = held()
print([key for key, value in before.items() if after.get(key) is not value])
"""
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    # Python's own stores of what it has parsed, and what a module notes of its use, are no replacements.
    assert ran.stdout.strip() == "[]"


def test_no_object_changes_its_class() -> None:
    """Nothing in the package assigns to ``__class__``."""
    package = Path(str(requests_cc_token.__file__)).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "__class__":
                assert not isinstance(node.ctx, ast.Store), path


def test_no_class_goes_by_the_name_of_another() -> None:
    """Session, adapter and headers are all that is a subclass of theirs, and none has the name of one of theirs."""
    classes = {
        found
        for path in FILES
        for found in vars(sys.modules[f"requests_cc_token.shortcuts.{path.stem}".removesuffix(".__init__")]).values()
        if isinstance(found, type) and found.__module__.startswith("requests_cc_token.shortcuts")
    }
    theirs = {"requests", "urllib3", "http"}
    derived = {found for found in classes if theirs & {base.__module__.partition(".")[0] for base in found.__mro__}}
    assert derived == {ShortcutSession, ShortcutAdapter, SentHeaders}


def test_what_a_request_leaves_is_of_their_classes(server: ReplayServer) -> None:
    """Response, request, jars, headers, raw answer, pool and connection are what they are with requests."""

    def kinds(session: requests.Session) -> list[type]:
        response = session.get(server.origin, stream=True)
        adapter: Any = session.get_adapter(server.origin)
        (pool,) = (adapter.poolmanager.pools.get(key) for key in adapter.poolmanager.pools.keys())  # noqa: SIM118
        parts = [response, response.request, response.headers, response.request.headers, response.cookies]
        parts += [response.request._cookies, response.raw, response.raw.headers, response.raw._connection]
        response.content  # noqa: B018 - to free the connection
        return [type(part) for part in (*parts, pool, adapter.poolmanager, session.cookies)]

    with short_session() as short, long_session() as long:
        assert kinds(short) == kinds(long)


# Rule 2: one table


#: What requests itself does where nothing is left out, by the code of the methods that are overridden.
LONG = {getattr(theirs, name).__code__: name for _, theirs, names in WAYS.values() for name in names}


@contextmanager
def observed() -> Iterator[set[str]]:
    """The names of the overridden methods of requests that this thread runs meanwhile."""
    ran: set[str] = set()

    def note(frame: types.FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code in LONG:
            ran.add(LONG[frame.f_code])

    sys.setprofile(note)
    try:
        yield ran
    finally:
        sys.setprofile(None)


def test_everything_is_as_shipped_in_the_installed_versions(server: ReplayServer) -> None:
    """On the versions of this environment a GET leaves out everything that can be left out."""
    session = short_session()
    assert table.as_shipped()
    with observed() as ran:
        assert session.get(server.origin).text == "ok"
    assert ran == set()


@pytest.mark.parametrize(("owner", "name"), table.FUNCTIONS, ids=lambda part: getattr(part, "__name__", part))
def test_whoever_replaces_one_function_closes_everything(
    owner: Any, name: str, server: ReplayServer, monkeypatch: MonkeyPatch
) -> None:
    """While one function of the table is another one, requests does all of its work; afterwards no more."""
    session = short_session()
    shipped = getattr(owner, name)
    function: Any = shipped.fget if isinstance(shipped, property) else shipped
    calls: list[str] = []

    def replacement(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return function(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, property(replacement) if isinstance(shipped, property) else replacement)
        with observed() as ran:
            assert session.get(server.origin).text == "ok"
        assert ran >= set(LONG.values()) - {name}
        assert calls or name in NOT_FOR_A_GET
    with observed() as ran:
        session.get(server.origin)
    assert ran == set()


#: Functions of the table that requests does not call for a GET without proxies and cookies.
NOT_FOR_A_GET = {"should_bypass_proxies", "getproxies", "proxy_bypass"}


def test_a_function_replaced_before_the_import_counts_as_replaced_for_good() -> None:
    """What is not the library's own when the table is made is never passed by."""

    class Patched:
        send = staticmethod(lambda: None)

    assert table.shipped(Patched, "send") is not Patched.send
    assert table.shipped(Patched, "missing") is not None
    assert table.shipped(requests.Session, "send") is requests.Session.send
    assert table.shipped(requests.Response, "content") is requests.Response.content


class Wrapper:
    """A wrapper as those of wrapt, by which tracers see calls: it equals what it wraps, and says it is one of those."""

    def __init__(self, wrapped: Any, calls: list[str]) -> None:
        self.__wrapped__ = wrapped
        self._calls = calls

    __class__: Any = property(lambda self: type(self.__wrapped__))
    __globals__ = property(lambda self: self.__wrapped__.__globals__)

    def __eq__(self, other: object) -> bool:
        return bool(self.__wrapped__ == other)

    __hash__ = None  # type: ignore[assignment]

    def __get__(self, instance: Any, owner: Any) -> Any:
        return Wrapper(self.__wrapped__.__get__(instance, owner), self._calls)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._calls.append(self.__wrapped__.__name__)
        return self.__wrapped__(*args, **kwargs)


def test_a_function_that_was_taken_away(server: ReplayServer, monkeypatch: MonkeyPatch) -> None:
    """Where somebody has deleted a function that is relied on, nothing is left out, and requests says what it says."""
    monkeypatch.delattr(requests.Response, "content")
    assert not table.as_shipped()
    with pytest.raises(AttributeError, match="content"):
        short_session().get(server.origin)


def test_f43_a_wrapper_that_equals_what_it_wraps(server: ReplayServer, monkeypatch: MonkeyPatch) -> None:
    """It is called, whether it came before the table was made or after."""
    calls: list[str] = []
    wrapper: Any = Wrapper(requests.Session.send, calls)
    monkeypatch.setattr(requests.Session, "send", wrapper)
    assert requests.Session.send == wrapper.__wrapped__
    assert isinstance(wrapper, types.FunctionType)
    assert not table.as_shipped()
    assert table.shipped(requests.Session, "send") is not requests.Session.send
    assert type(table.shipped(requests.Session, "send")) is object
    assert short_session().get(server.origin).text == "ok"
    assert calls == ["send"]


@pytest.mark.parametrize(
    ("library", "version", "tested"),
    [
        (requests, "2.32.3", True),
        (requests, "2.34.2", True),
        (requests, "2.31.0", False),
        (requests, "2.35.0", False),
        (requests, "3.0.0", False),
        (requests, "unknown", False),
        (urllib3, "2.2.1", True),
        (urllib3, "2.8.0", True),
        (urllib3, "2.9.0", False),
        (urllib3, "2.1.0", False),
        (urllib3, "1.26.20", False),
    ],
)
def test_other_versions_are_left_to_themselves(
    library: Any, version: str, tested: bool, monkeypatch: MonkeyPatch
) -> None:
    """Only with versions that were compared is anything left out."""
    monkeypatch.setattr(library, "__version__", version)
    assert table.private_parts_as_shipped() is tested


class OtherConnection:
    """A connection that is none of ``http.client``, as urllib3-future has under the name of urllib3."""


def _with(kind: type, **attributes: Any) -> Callable[[MonkeyPatch], None]:
    """Let new objects of a class have other attributes."""

    def change(monkeypatch: MonkeyPatch) -> None:
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            shipped(self, *args, **kwargs)
            vars(self).update(attributes)

        shipped: Any = kind.__init__  # type: ignore[misc]
        monkeypatch.setattr(kind, "__init__", init)

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda patch: patch.setattr(urllib3.connection, "HTTPConnection", OtherConnection), id="urllib3"),
        pytest.param(_with(requests.PreparedRequest, sent=None), id="PreparedRequest"),
        pytest.param(_with(CaseInsensitiveDict, _order=[]), id="CaseInsensitiveDict"),
        pytest.param(lambda patch: patch.setattr(requests.Response, "__init__", lambda _: None), id="Response"),
        pytest.param(_with(requests.Response, _content=None), id="Response whose body is marked otherwise"),
        pytest.param(lambda patch: patch.setattr(os.environ, "_data", None), id="environ"),
        pytest.param(lambda patch: patch.setattr(urllib.request, "getproxies", dict), id="getproxies"),
        pytest.param(lambda patch: patch.setattr(urllib.request, "proxy_bypass", bool), id="proxy_bypass"),
    ],
)
def test_a_library_that_changed_inside_is_noticed(
    change: Callable[[MonkeyPatch], None], monkeypatch: MonkeyPatch
) -> None:
    """Each private part that is not as it was closes everything when the table is made."""
    assert table.private_parts_as_shipped()
    change(monkeypatch)
    found = table.private_parts_as_shipped()
    monkeypatch.undo()
    assert not found


def test_requests_does_everything_where_private_parts_are_not_known(
    server: ReplayServer, monkeypatch: MonkeyPatch
) -> None:
    """With libraries that were not compared a session works as one of requests."""
    monkeypatch.setattr(table, "_private_parts_are_known", False)
    with observed() as ran:
        response = short_session().get(server.origin)
    assert response.text == "ok"
    assert ran == set(LONG.values())


# Rule 3: each is worth its lines

#: Of the function calls of a GET with requests, what each way has to save.
WORTH = 0.04


def test_each_way_saves_work(server: ReplayServer, monkeypatch: MonkeyPatch) -> None:
    """Opened one after the other each saves at least 4 % of the function calls of a GET, Python's and C's.

    The last two are not judged here: what they save is time within calls, for cookies that are not looked for and
    bytes that are not copied piece by piece. ``python -m benchmarks savings`` and the rows of P6 measure that.
    """
    for name in list(os.environ)[10:]:  # of a large environment requests has more to read
        monkeypatch.delenv(name)
    ways = list(WAYS)
    counts = [calls_of_a_get(partly_open(ways[:opened]), server.origin) for opened in range(len(ways) - 1)]
    saved = [(before - after) / counts[0] for before, after in itertools.pairwise(counts)]
    assert min(saved) >= WORTH, saved


def partly_open(ways: list[str]) -> requests.Session:
    """A short session on which only some ways are open."""

    def partly(kind: type, ours: type) -> Any:
        closed = {
            name: getattr(theirs, name)
            for way, (of, theirs, names) in WAYS.items()
            for name in names
            if of is ours and way not in ways
        }
        return type("Partly", (kind,), closed)

    session: requests.Session = partly(ShortcutSession, ShortcutSession)()
    session.mount("http://", partly(ShortAdapter, ShortcutAdapter)())
    return session


def calls_of_a_get(session: requests.Session, url: str) -> int:
    """Function calls of a GET on a connection that is there; those of a collection that comes amid one do not count."""
    session.auth = NoNetrc()
    for _ in range(3):
        session.get(url + "/v1/items")
    counts: list[int] = []

    def note(_: Any, event: str, __: Any) -> None:
        counts[-1] += event in {"call", "c_call"}

    for _ in range(3):
        counts.append(0)
        sys.setprofile(note)
        try:
            session.get(url + "/v1/items")
        finally:
            sys.setprofile(None)
    session.close()
    return min(counts)


# Whoever replaces something is called


class Seen(Exception):
    """Raised by a replacement, to show that it was called."""


def _seen(*_: Any, **__: Any) -> Any:
    raise Seen


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        *((requests.Session, name) for name in ("get_adapter", "resolve_redirects", "get_redirect_target")),
        *((HTTPAdapter, name) for name in ("send", "add_headers", "build_connection_pool_key_attributes")),
        (requests.sessions, "get_netrc_auth"),
        (requests.Response, "__init__"),
    ],
)
def test_whoever_replaces_a_function_that_is_not_passed_by_is_called(
    owner: Any, name: str, server: ReplayServer, monkeypatch: MonkeyPatch
) -> None:
    """What is always called is not in the table, and its replacement is called too."""
    session = short_session()
    monkeypatch.setattr(owner, name, _seen)
    with pytest.raises(Seen):
        session.get(server.origin)


@pytest.mark.parametrize(
    "name",
    [
        *("resolve_redirects", "get_redirect_target", "get_adapter", "send", "prepare_request"),
        "merge_environment_settings",
    ],
)
def test_a_method_replaced_on_one_session_is_called(name: str, server: ReplayServer) -> None:
    """A method set on a session object is called."""
    session: Any = short_session()
    setattr(session, name, _seen)
    with pytest.raises(Seen):
        session.get(server.origin)


@pytest.mark.parametrize(
    "name",
    [
        *("build_connection_pool_key_attributes", "get_connection_with_tls_context", "cert_verify"),
        *("request_url", "build_response"),
    ],
)
def test_a_method_overridden_in_a_subclass_of_the_adapter_is_called(name: str, server: ReplayServer) -> None:
    """A subclass may override what ``HTTPAdapter`` lets its subclasses override, and is asked at each request."""
    shipped = getattr(ShortAdapter, name)
    calls: list[str] = []

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return shipped(*args, **kwargs)

    session = requests.Session()
    session.mount("http://", type("Own", (ShortAdapter,), {name: counting})())
    for _ in range(2):
        assert session.get(server.origin).ok
    assert len(calls) == 2


def test_responses_still_replaces_the_network() -> None:
    """The ``responses`` library answers in the place of our adapter."""
    with responses.RequestsMock() as fake:
        fake.get("http://unreachable.test/x", body="faked", headers={"Set-Cookie": "a=1"})
        session = short_session()
        response = session.get("http://unreachable.test/x")
        assert response.text == "faked"
        assert dict(response.cookies) == dict(session.cookies) == {"a": "1"}


# Headers of other classes


class OwnHeaders(CaseInsensitiveDict[Any]):
    """Headers of a class of somebody else's."""


class OwnRequest(requests.PreparedRequest):
    """A request of a class of somebody else's."""


@pytest.mark.parametrize("kind", [requests.PreparedRequest, OwnRequest])
@pytest.mark.parametrize("headers", [CaseInsensitiveDict, OwnHeaders])
def test_a_copy_with_a_header_leaves_the_request_alone(
    kind: type[requests.PreparedRequest], headers: type[CaseInsensitiveDict[Any]]
) -> None:
    """The copy is of the request's class and has the header; the request has not, whatever their classes are."""
    request = kind()
    request.prepare("GET", "http://a.test/", headers={"X": "1", "authorization": "theirs"})
    request.headers = headers(request.headers)
    copied = copy_with_header(request, "Authorization", "ours")
    assert type(copied) is kind
    assert dict(copied.headers.lower_items()) == {"x": "1", "authorization": "ours"}
    assert dict(request.headers.lower_items()) == {"x": "1", "authorization": "theirs"}
    assert copied.url == request.url


def test_headers_on_their_way_out_are_headers() -> None:
    """The headers of such a copy give names as they were written, and can be copied and changed."""
    request = requests.Request("GET", "http://a.test/", headers={"X-One": "1"}).prepare()
    sent = copy_with_header(request, "Authorization", "ours").headers
    assert list(sent) == ["X-One", "Authorization"]
    assert list(sent.items()) == [("X-One", "1"), ("Authorization", "ours")]
    other = sent.copy()
    other["x-one"] = "2"
    assert (sent["X-One"], other["X-One"]) == ("1", "2")

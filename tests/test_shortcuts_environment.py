"""Proxies and CA bundles of the environment are those that requests would read there, at every moment."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from requests_cc_token.shortcuts import environment
from requests_cc_token.shortcuts.session import ShortcutSession
from requests_cc_token.shortcuts.urls import REMEMBERED

from .replay import LARGE, no_foreign_environment  # noqa: F401 - a fixture among them
from .test_shortcuts_requests import SessionSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _pytest.monkeypatch import MonkeyPatch

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
        for number in range(REMEMBERED + 1):
            assert known.proxies_for(f"https://h{number}.test/") == {"https": "http://proxy.test"}
        assert len(known._proxies) == 1

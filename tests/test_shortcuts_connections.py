"""Pools and TLS contexts are those that requests and urllib3 would use."""

from __future__ import annotations

import contextlib
import os
import ssl
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import requests
import urllib3
import urllib3.connection
from requests.adapters import HTTPAdapter

from requests_cc_token.shortcuts import tls
from requests_cc_token.shortcuts.adapter import ShortcutAdapter, copy_with_header, leave_to_parent
from requests_cc_token.shortcuts.urls import REMEMBERED

from .replay import (  # noqa: F401 - fixtures among them
    PATIENCE,
    Authority,
    Authorizing,
    ReplayServer,
    ShortAdapter,
    certificate_authority,
    no_foreign_environment,
    replay_server,
    short_session,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch


def to(url: str) -> requests.PreparedRequest:
    """A request as ``AccessTokenAdapter`` sends it."""
    return copy_with_header(requests.Request("GET", url).prepare(), "Authorization", "Bearer x")


# Pools


def test_a_pool_is_found_where_requests_keeps_it(server: ReplayServer) -> None:
    """The pool found shortly is the pool that requests finds, for each host, port and block size without TLS."""
    adapter = ShortcutAdapter()
    for url in ("http://a.test/", "http://a.test:8080/x", "http://b.test/y?z", server.origin + "/"):
        for verify in (True, False, os.devnull, os.curdir):
            request = to(url)
            first = adapter.get_connection_with_tls_context(request, verify, {}, None)
            second = adapter.get_connection_with_tls_context(request, verify, {}, None)
            long = HTTPAdapter.get_connection_with_tls_context(adapter, request, verify, {}, None)
            assert first is second is long


@pytest.mark.parametrize("verify", [True, False, "bundle", "folder"])
def test_a_pool_with_tls_is_made_as_requests_makes_it(verify: bool | str, authority: Authority, tmp_path: Path) -> None:
    """But for its context the pool is as one of requests; the context has the settings of one of urllib3."""
    bundle = authority.bundle(tmp_path / "ca.pem")
    verify = {"bundle": str(bundle), "folder": str(tmp_path)}.get(str(verify), verify)
    adapter, request = ShortcutAdapter(), to("https://a.test/y?z")
    short: Any = adapter.get_connection_with_tls_context(request, verify)
    assert adapter.get_connection_with_tls_context(request, verify) is short
    long: Any = HTTPAdapter().get_connection_with_tls_context(request, verify)
    assert (type(short), short.host, short.port, short.scheme) == (type(long), long.host, long.port, long.scheme)
    assert short.cert_reqs == long.cert_reqs
    context = short.conn_kw["ssl_context"]
    made = urllib3.util.ssl_.create_urllib3_context(cert_reqs=urllib3.util.ssl_.resolve_cert_reqs(long.cert_reqs))
    for setting in ("verify_mode", "check_hostname", "verify_flags", "options", "minimum_version", "maximum_version"):
        assert getattr(context, setting) == getattr(made, setting)
    adapter.cert_verify(short, str(request.url), verify, None)
    assert (short.ca_certs, short.ca_cert_dir) == (None, None)


def test_a_client_certificate_is_left_to_requests(authority: Authority) -> None:
    """A certificate that is given to requests by its file is loaded as by requests, into no context of ours."""
    pools = [
        adapter.get_connection_with_tls_context(to("https://a.test/"), True, None, str(authority.file))
        for adapter in (ShortcutAdapter(), HTTPAdapter())
    ]
    # None, except with requests 2.32.3, which has one for all of a process.
    assert pools[0].conn_kw.get("ssl_context") is pools[1].conn_kw.get("ssl_context")


def test_a_bundle_that_is_missing_is_the_error_of_requests(tmp_path: Path) -> None:
    """Certificates that never were there are what ``requests`` says of them."""
    request = requests.Request("GET", "https://127.0.0.1:1/").prepare()
    for adapter in (ShortAdapter(), Authorizing()):
        with pytest.raises(OSError, match="Could not find a suitable TLS CA certificate bundle"):
            adapter.send(request, verify=str(tmp_path / "missing.pem"), timeout=PATIENCE)


def test_another_kind_of_tls_has_contexts_of_its_own(monkeypatch: MonkeyPatch) -> None:
    """What truststore puts into urllib3 makes the contexts from then on, also of a session in use."""

    class Other(ssl.SSLContext):
        pass

    adapter, request = ShortcutAdapter(), to("https://a.test/")
    assert type(adapter.get_connection_with_tls_context(request, True).conn_kw["ssl_context"]) is ssl.SSLContext
    monkeypatch.setattr(urllib3.util.ssl_, "SSLContext", Other)
    assert type(adapter.get_connection_with_tls_context(request, True).conn_kw["ssl_context"]) is Other


def test_contexts_that_are_not_pythons_are_not_shared(monkeypatch: MonkeyPatch) -> None:
    """Those of pyOpenSSL serve one connection each: requests and urllib3 make them."""

    class Foreign:
        pass

    request = to("https://a.test/")
    monkeypatch.setattr(urllib3.util.ssl_, "SSLContext", Foreign)
    pools = [a.get_connection_with_tls_context(request, True) for a in (ShortcutAdapter(), HTTPAdapter())]
    # None, except with requests 2.32.3, which has one for all of a process.
    assert pools[0].conn_kw.get("ssl_context") is pools[1].conn_kw.get("ssl_context")


@pytest.mark.parametrize(
    "options", [{"assert_hostname": "a.test"}, {"ssl_context": ssl.create_default_context()}, {"key_password": "x"}]
)
def test_an_adapter_with_tls_settings_of_its_own_shares_nothing(options: dict[str, Any]) -> None:
    """Whoever sets TLS settings in ``init_poolmanager`` has the contexts that requests and urllib3 make of them."""

    class Settings:
        def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
            super().init_poolmanager(connections, maxsize, block, **options, **kwargs)  # type: ignore[misc]

    class Own(Settings, ShortcutAdapter):
        pass

    class OwnOfRequests(Settings, HTTPAdapter):
        pass

    context, expected = (
        adapter.get_connection_with_tls_context(to("https://a.test/"), True).conn_kw.get("ssl_context")
        for adapter in (Own(), OwnOfRequests())
    )
    assert context is expected
    assert context is options.get("ssl_context", context)


def test_a_pool_that_was_closed_is_not_used_again(server: ReplayServer) -> None:
    """After ``close`` a new pool is made, as in requests."""
    adapter, request = ShortcutAdapter(), to(server.origin + "/")
    first = adapter.get_connection_with_tls_context(request, True)
    adapter.close()
    assert adapter.get_connection_with_tls_context(request, True) is not first


def test_settings_of_the_pool_manager_changed_later_count(server: ReplayServer) -> None:
    """A setting changed on the pool manager, or another manager, leads to another pool, as in requests."""
    adapter, request = ShortcutAdapter(), to(server.origin + "/")
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
    a, b, c = (to(f"http://{host}.test/") for host in "abc")
    find = adapter.get_connection_with_tls_context
    pool_a, pool_b = find(a, True), find(b, True)
    assert find(a, True) is pool_a
    find(c, True)
    assert find(a, True) is pool_a
    assert find(b, True) is not pool_b


def test_pools_that_are_not_kept_are_not_looked_for() -> None:
    """An adapter that keeps no pool makes one for each request, as in requests."""
    adapter, request = ShortcutAdapter(pool_connections=0), to("http://a.test/")
    first = adapter.get_connection_with_tls_context(request, True)
    assert adapter.get_connection_with_tls_context(request, True) is not first


def test_the_pool_keys_kept_are_bounded() -> None:
    """Of many origins only so many are remembered."""
    adapter = ShortcutAdapter(pool_connections=2 * REMEMBERED)
    for number in range(REMEMBERED + 1):
        request = to(f"http://h{number}.test/")
        first = adapter.get_connection_with_tls_context(request, True)
        assert adapter.get_connection_with_tls_context(request, True) is first
    assert len(adapter._pools[2]) <= REMEMBERED


def test_a_pool_manager_of_another_class_keeps_its_pools(monkeypatch: MonkeyPatch) -> None:
    """Who puts a pool manager of another class into requests, as a tracer may, has it asked for each request."""

    class Other(urllib3.PoolManager):
        asked = 0

        def connection_from_host(self, *args: Any, **kwargs: Any) -> Any:
            type(self).asked += 1
            return super().connection_from_host(*args, **kwargs)

    monkeypatch.setattr(requests.adapters, "PoolManager", Other)
    adapter = ShortcutAdapter()
    for _ in range(2):
        adapter.get_connection_with_tls_context(to("http://a.test/"), True)
    assert Other.asked == 2


@pytest.mark.parametrize(
    ("scheme", "pools", "name"),
    [
        ("http", urllib3.HTTPConnectionPool, "HTTPConnection"),
        ("https", urllib3.HTTPSConnectionPool, "HTTPSConnection"),
    ],
)
def test_a_connection_class_put_into_urllib3_is_used(
    scheme: str, pools: Any, name: str, monkeypatch: MonkeyPatch
) -> None:
    """VCR and others put a connection class into urllib3's pools; sessions that were used before have it, too."""
    other = type("Other", (getattr(urllib3.connection, name),), {})
    pool: Any = ShortcutAdapter().get_connection_with_tls_context(to(f"{scheme}://a.test/"), True)
    assert type(pool) is pools
    monkeypatch.setattr(pools, "ConnectionCls", other)
    assert type(pool._new_conn()) is other


def test_what_an_adapter_leaves_to_the_parent(server: ReplayServer) -> None:
    """After a fork an adapter begins with empty pools, its proxies' too; one that was just being made stays so."""
    adapter = ShortcutAdapter()
    request = to(server.origin + "/")
    behind = adapter.proxy_manager_for("http://proxy.test:3128")
    theirs = adapter.get_connection_with_tls_context(request, True), behind.connection_from_host("a.test", 80)
    adapter.after_fork_in_child()
    assert len(adapter.poolmanager.pools) == len(behind.pools) == 0
    assert adapter.get_connection_with_tls_context(request, True) not in theirs
    assert not any(pool.pool is None for pool in theirs), "closing them would wait for a lock"
    half_made = HTTPAdapter.__new__(HTTPAdapter)
    leave_to_parent(half_made)
    assert vars(half_made) == {}


def test_a_proxy_is_used_where_one_is_set(server: ReplayServer) -> None:
    """A request through a proxy goes to the proxy with its whole URL."""
    session = short_session()
    session.get("http://behind.test/x?y", proxies={"http": server.origin})
    assert server.heads[-1].startswith(b"GET http://behind.test/x?y HTTP/1.1\r\n")


def test_more_threads_than_urllib3_expects_keep_their_connections() -> None:
    """Thirty-two connections given back are all kept."""
    pool = ShortcutAdapter().get_connection_with_tls_context(to("http://a.test/"), True)
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
        good = session.get(server.origin).text == "ok"
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert server.connections == before + 1
    assert session.get(server.origin).text == "ok"
    assert server.connections == before + 1


# TLS contexts


@pytest.fixture(scope="module")
def tls_server(authority: Authority) -> Iterator[ReplayServer]:
    replay = ReplayServer(authority.context)
    yield replay
    replay.stop()


@pytest.fixture(autouse=True)
def no_kept_contexts() -> None:
    tls._contexts.cache_clear()


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


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a7_a_bundle_that_the_environment_names_is_followed(
    tls_server: ReplayServer, authority: Authority, tmp_path: Path, monkeypatch: MonkeyPatch, name: str
) -> None:
    """An authority that is withdrawn from it is trusted no more, by a session with an idle connection either."""
    other, path = Authority(tmp_path, "two"), tmp_path / "ca.pem"
    monkeypatch.setenv(name, str(authority.bundle(path)))
    with short_session() as session:
        assert session.get(tls_server.origin, timeout=PATIENCE).ok
        other.bundle(path)
        with pytest.raises(requests.exceptions.SSLError):
            session.get(tls_server.origin, timeout=PATIENCE)
        authority.bundle(path, age=1800)
        assert session.get(tls_server.origin, timeout=PATIENCE).ok


def test_a_ca_file_written_twice_in_a_moment_counts(
    tls_server: ReplayServer, authority: Authority, tmp_path: Path
) -> None:
    """A second change counts too where the file's time would not show it."""
    other, path = Authority(tmp_path, "two"), tmp_path / "ca.pem"
    for trusted in (authority, other, authority):
        bundle = str(trusted.bundle(path, age=0))
        if trusted is authority:
            assert get_anew(tls_server.origin, verify=bundle).ok
        else:
            with pytest.raises(requests.exceptions.SSLError):
                get_anew(tls_server.origin, verify=bundle)


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


def test_a_client_certificate_is_shown_where_it_is_given(authority: Authority, tmp_path: Path) -> None:
    """With a client certificate the connection shows it, and without it does not, in any order."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    asking.load_cert_chain(authority.file)
    asking.load_verify_locations(cadata=authority.certificate.decode())
    asking.verify_mode = ssl.CERT_REQUIRED
    replay = ReplayServer(asking)
    bundle = str(authority.bundle(tmp_path / "ca.pem"))
    try:
        for _ in range(2):
            with pytest.raises(requests.exceptions.ConnectionError):
                get_anew(replay.origin, verify=bundle)
            assert get_anew(replay.origin, verify=bundle, cert=str(authority.file)).ok
    finally:
        replay.stop()


def test_an_adapter_with_a_context_of_its_own_uses_it(tls_server: ReplayServer, authority: Authority) -> None:
    """The usual recipe, ``init_poolmanager`` with an ``ssl_context``, works where it works with ``Authorizing``."""
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

    assert trusting(ShortAdapter) == trusting(Authorizing)

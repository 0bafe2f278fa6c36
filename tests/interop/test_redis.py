"""The cache of a fleet on Redis and Valkey as the distribution packages them: TLS of their own, users with rights."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from requests_cc_token.caches.redis import DEFAULT_PREFIX, RedisTokenCache
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.exceptions import TokenCacheError
from requests_cc_token.testing import ManualClock, SharedTokenCacheContract
from tests.redis_server import RedisServer, free_port
from tests.scripted_server import PATIENCE
from tests.strict_service import Authority, ClientFiles
from tests.test_fleet import LEASE, test_a_cold_start_of_64_processes, tokens  # noqa: F401 - runs on this store too

from .servers import UnavailableError, redis_executable

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
KEY = SharedTokenCacheContract.key()
#: What a URL must not change: it is percent-encoded there.
PASSWORD = "T41NT-p:a/s@s?w#o%rd"
ENCODED = "T41NT-p%3Aa%2Fs%40s%3Fw%23o%25rd"


def documented_rights() -> list[str]:
    """The rights that docs/caches.md gives the user of the cache."""
    page = (ROOT / "docs" / "caches.md").read_text(encoding="utf-8")
    (rights,) = re.findall(r"^ACL SETUSER worker on >\S+ (.+)$", page, re.MULTILINE)
    return str(rights).split()


@dataclass(frozen=True)
class Store:
    """A server that takes anybody on one port, and clients with a certificate of ``authority`` on another."""

    server: RedisServer
    tls_port: int
    authority: Authority
    client: ClientFiles

    def tls_url(self, user: str = "", *, ca: str | None = None, certificate: bool = True) -> str:
        """A URL of the TLS port; ``user`` is what stands before the ``@``."""
        query = f"ssl_ca_certs={ca or self.authority.file}"
        if certificate:
            query += f"&ssl_certfile={self.client.cert}&ssl_keyfile={self.client.key}"
        return f"rediss://{user}{'@' if user else ''}127.0.0.1:{self.tls_port}?{query}"


@pytest.fixture(scope="module", params=["redis-server", "valkey-server"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The server, with the user ``worker`` of the docs; the test is skipped, with the reason, where there is none."""
    name: str = request.param
    try:
        executable = redis_executable(name)
    except UnavailableError as reason:
        pytest.skip(f"{name}: {reason}")
    authority = Authority(tmp_path_factory.mktemp(name))
    for_server = authority.ca.issue_cert("127.0.0.1")
    files = ClientFiles(authority.folder / "server.pem", authority.folder / "server.key", for_server)
    files.cert.write_bytes(files.cert_pem)
    files.key.write_bytes(files.key_pem)
    tls_port = free_port()
    options = {
        "--tls-port": str(tls_port),
        "--tls-cert-file": str(files.cert),
        "--tls-key-file": str(files.key),
        "--tls-ca-cert-file": authority.file,
    }
    with RedisServer(*(word for option in options.items() for word in option), executable=executable) as server:
        server.client().execute_command("ACL SETUSER", "worker", "on", f">{PASSWORD}", *documented_rights())
        yield Store(server, tls_port, authority, authority.issue("client"))


class OnTheStore(SharedTokenCacheContract):
    """A new prefix for each test, below the one that the user of the docs may use."""

    @pytest.fixture(autouse=True)
    def _store(self, store: Store) -> None:
        self.store = store
        self.prefix = f"{DEFAULT_PREFIX}{uuid.uuid4()}:"

    def cache(self, url: str, clock: ManualClock, key: bytes | None = None) -> RedisTokenCache:
        return RedisTokenCache(url, key=key, prefix=self.prefix, timeout=PATIENCE, clock=clock)


class TestPlain(OnTheStore):
    """The contract."""

    def make_cache(self, clock: ManualClock) -> RedisTokenCache:
        return self.cache(self.store.server.url, clock)


class TestEncrypted(OnTheStore):
    """The contract, encrypted."""

    key_of_records = Fernet.generate_key()

    def make_cache(self, clock: ManualClock) -> RedisTokenCache:
        return self.cache(self.store.server.url, clock, self.key_of_records)


class TestWithTls(OnTheStore):
    """The contract, over the server's own TLS, which wants a client certificate."""

    def make_cache(self, clock: ManualClock) -> RedisTokenCache:
        return self.cache(self.store.tls_url(), clock)

    def test_a_server_of_another_authority(self, tmp_path: Path) -> None:
        """A server whose certificate no known authority has issued is an error, and is told nothing."""
        cache = self.cache(self.store.tls_url(ca=Authority(tmp_path).file), self.clock)
        with pytest.raises(TokenCacheError, match=r"ConnectionError: .*certificate verify failed"):
            cache.set(KEY, self.token())
        assert self.make_cache(self.clock).get(KEY) is None

    def test_a_client_without_a_certificate(self) -> None:
        """The server ends the connection of a client without a certificate, which is an error and no miss."""
        self.make_cache(self.clock).set(KEY, self.token())
        # In TLS 1.3 the client learns it after its handshake: as an alert, or as the end of the connection.
        with pytest.raises(TokenCacheError, match="ConnectionError"):
            self.cache(self.store.tls_url(certificate=False), self.clock).get(KEY)


class TestWithAUser(OnTheStore):
    """The contract, over TLS as a user who has no rights but those of the docs."""

    def make_cache(self, clock: ManualClock) -> RedisTokenCache:
        return self.cache(self.store.tls_url(f"worker:{ENCODED}"), clock)

    def test_whose_right_ends_at_the_prefix(self) -> None:
        """The user may neither read nor write what begins with another prefix."""
        cache = RedisTokenCache(
            self.store.tls_url(f"worker:{ENCODED}"), prefix="other:", timeout=PATIENCE, clock=self.clock
        )
        for use in (lambda: cache.get(KEY), lambda: cache.set(KEY, self.token()), lambda: cache.lease(KEY, bool)):
            with pytest.raises(TokenCacheError, match="NoPermission"):
                use()

    def test_whose_password_is_wrong(self) -> None:
        """A wrong password is an error that quotes neither it nor the URL."""
        cache = self.cache(self.store.tls_url("worker:T41NT-wrong"), self.clock)
        with pytest.raises(TokenCacheError, match="Auth") as caught:
            cache.get(KEY)
        assert "T41NT" not in str(caught.value) and "rediss" not in str(caught.value)


@pytest.fixture(params=["plain", "as a user, with TLS"])
def config(
    request: pytest.FixtureRequest, store: Store, tmp_path: Path, tokens: TokenService  # noqa: F811 - a fixture
) -> dict[str, Any]:
    """What the processes of the fleet are told. They are told by argv, so a URL with a password stays in a file."""
    url = tmp_path / "url"
    url.write_text(store.server.url if request.param == "plain" else store.tls_url(f"worker:{ENCODED}"))
    cache = {"url": {"file": str(url)}, "prefix": f"{DEFAULT_PREFIX}{tmp_path.name}:"}
    return {"cache": {**cache, "lease": LEASE, "timeout": PATIENCE}, "token_endpoint": tokens.token_endpoint}

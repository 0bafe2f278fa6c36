"""Tokens bound to a key are shared by the processes that have it; the key itself never gets into the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from joserfc.jwk import ECKey

from requests_cc_token import AccessTokenManagement, DPoPKey, TlsClientAuth
from requests_cc_token.caches.from_url import cache_from_config

from .redis_server import RedisServer, clients_end_with_their_test  # noqa: F401 - each test has it
from .relay import Relay
from .scripted_server import PATIENCE
from .strict_service import Authority, ClientFiles, StrictApi, StrictTokenService

SECRET = "T41NT-s3cret"


@dataclass
class Store:
    """What the members are told of the fleet's store, and all that ever got to it or is in it."""

    config: dict[str, Any]
    content: Callable[[], bytes]


@pytest.fixture(params=["file", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "file":
        folder = tmp_path / "tokens"

        def content() -> bytes:
            return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())

        yield Store({"url": folder.as_uri(), "timeout": PATIENCE}, content)
    else:
        with RedisServer() as server, Relay(server.port) as tap:
            yield Store({"url": tap.url, "timeout": PATIENCE}, lambda: tap.seen)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@contextmanager
def members(store: Store, service: StrictTokenService, api: StrictApi, authority: Authority) -> Iterator[Any]:
    """Makes members of the fleet, each like a process of its own: what one calls the API with."""
    with ExitStack() as stack:

        def member(**options: Any) -> requests.Session:
            management = stack.enter_context(AccessTokenManagement(cache=cache_from_config(store.config)))
            management.configure_backchannel(verify=authority.file)
            management.add_client("w", token_endpoint=service.token_endpoint, client_id="worker", **options)
            management.add_session("api", base_url=api.url)
            session = stack.enter_context(management.make_session("api"))
            session.verify = authority.file
            return session

        yield member


def test_a_dpop_key(store: Store, authority: Authority) -> None:
    """Members with one DPoP key share a token and prove the key each; one with another key gets its own token."""
    ours, other = (ECKey.generate_key("P-256").as_dict(private=True) for _ in range(2))
    with (
        StrictTokenService() as service,
        StrictApi(service) as api,
        members(store, service, api, authority) as member,
    ):
        found = [
            member(client_secret=SECRET, dpop=DPoPKey(json.dumps(key))).get("x").json()["token"]
            for key in (ours, ours, other, ours)
        ]
    assert found == ["token-1", "token-1", "token-2", "token-1"]
    thumbprints = [proof.thumbprint for proof in api.proofs.taken]
    assert thumbprints[0] == thumbprints[1] == thumbprints[3] != thumbprints[2]
    content = store.content()
    assert b"T41NT-token-1" in content
    for secret in (ours["d"], other["d"], SECRET):
        assert str(secret).encode() not in content


def test_a_client_certificate(store: Store, authority: Authority) -> None:
    """Members with one certificate share a token and show it each; one with another gets its own token."""
    ours, other = (authority.issue(name) for name in ("ours", "other"))
    with (
        StrictTokenService(tls=authority.server_context()) as service,
        StrictApi(service, tls=authority.server_context()) as api,
        members(store, service, api, authority) as member,
    ):
        found = []
        for files in (ours, ours, other, ours):
            service.certificates["worker"] = files.thumbprint
            found.append(member(auth=TlsClientAuth(files.cert, files.key)).get("x").json()["token"])
    assert found == ["token-1", "token-1", "token-2", "token-1"]
    assert api.certificates == [files.thumbprint for files in (ours, ours, other, ours)]
    content = store.content()
    assert b"T41NT-token-1" in content
    for files in (ours, other):
        assert [line for line in lines_of_key(files) if line in content] == []


def lines_of_key(files: ClientFiles) -> list[bytes]:
    lines = [line for line in files.key_pem.splitlines() if b"-----" not in line]
    assert lines
    return lines

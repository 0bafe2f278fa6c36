"""Fixtures: the foreign servers, and an API that believes them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import servers
from .api import ProtectedApi, protected_api
from .pki import Authority
from .registrations import Identity
from .workloads import WorkloadAuthority, workload_authority

_START = {"oidc-provider": servers.oidc_provider, "Keycloak": servers.keycloak}


@pytest.fixture(autouse=True)
def no_ca_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where these are set, requests prefers them to ``session.verify``; the servers here have a CA of their own."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Keys, certificates and secrets of this run."""
    return Identity.make(Authority(tmp_path_factory.mktemp("pki")))


@pytest.fixture(scope="session")
def workloads(identity: Identity) -> Iterator[WorkloadAuthority]:
    """An authority that vouches for workloads."""
    with workload_authority(identity) as authority:
        yield authority


# One server at a time: pytest runs all tests of one parameter before it starts the next.
@pytest.fixture(scope="session", params=sorted(_START))
def server(
    request: pytest.FixtureRequest,
    identity: Identity,
    workloads: WorkloadAuthority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[servers.RunningServer]:
    """An authorization server that is up; the test is skipped, with the reason, where there can be none."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    try:
        with _START[name](identity, folder, workloads.address) as running:
            yield running
    except servers.UnavailableError as reason:
        pytest.skip(f"{name}: {reason}")


@pytest.fixture(scope="session")
def shared_api(server: servers.RunningServer, identity: Identity) -> Iterator[ProtectedApi]:
    """The protected API, on one port for all tests of a server."""
    with protected_api(server, identity) as api:
        yield api


@pytest.fixture
def api(shared_api: ProtectedApi) -> ProtectedApi:
    """The protected API with nothing seen yet."""
    shared_api.seen.clear()
    return shared_api

"""Fixtures for tests against the strict token service and API: plain, with a key that the service knows, or on TLS.

A module imports the functions that it needs; its tests ask for them by the names in the decorators.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from requests_cc_token import AccessTokenManagement
from requests_cc_token.authentication.signing_key import generated

from .skipping_clock import SkippingClock
from .strict_service import Authority, ClientFiles, StrictApi, StrictTokenService

KEY = generated("ES256", "a test")


@pytest.fixture(name="service")
def plain_service() -> Iterator[StrictTokenService]:
    """The token service, which knows no key."""
    with StrictTokenService() as service:
        yield service


@pytest.fixture(name="service")
def service_that_knows_the_key() -> Iterator[StrictTokenService]:
    """The token service, which knows ``KEY`` as that of ``worker``."""
    with StrictTokenService() as service:
        service.keys["worker"] = KEY.public_jwk
        yield service


@pytest.fixture(name="api")
def plain_api(service: StrictTokenService) -> Iterator[StrictApi]:
    """The API for the tokens of the service."""
    with StrictApi(service) as api:
        yield api


@pytest.fixture(name="management")
def empty_management(clock: SkippingClock) -> Iterator[AccessTokenManagement]:
    """A management that knows nobody yet; its waits between tries take no time."""
    with AccessTokenManagement(clock=clock) as management:
        clock.skip_waits_of(management)
        yield management


@pytest.fixture(name="session")
def session_of_the_api(management: AccessTokenManagement) -> Iterator[requests.Session]:
    """A session for what the management has registered as ``api``."""
    with management.make_session("api") as session:
        yield session


@pytest.fixture(scope="module", name="authority")
def authority_of_the_module(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for servers and clients."""
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(name="files")
def files_of_the_worker(authority: Authority) -> ClientFiles:
    """The client certificate of ``worker``."""
    return authority.issue("worker")


@pytest.fixture(name="service")
def service_on_tls(authority: Authority, files: ClientFiles) -> Iterator[StrictTokenService]:
    """The token service on TLS, which knows key and certificate of ``worker``."""
    with StrictTokenService(tls=authority.server_context()) as service:
        service.keys["worker"] = KEY.public_jwk
        service.certificates["worker"] = files.thumbprint
        yield service


def add_with_secret(
    management: AccessTokenManagement, service: StrictTokenService, name: str = "w", **options: Any
) -> None:
    """Register ``worker`` with a secret."""
    management.add_client(
        name, token_endpoint=service.token_endpoint, client_id="worker", client_secret="T41NT-s3cret", **options
    )


def fetch(management: AccessTokenManagement, name: str = "w") -> str:
    """The value of a token of the client."""
    return management.service.get_access_token(name).value

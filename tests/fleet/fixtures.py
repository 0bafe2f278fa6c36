"""Fixtures for tests of a fleet; a module imports the functions, its tests ask by the names in the decorators."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from requests_cc_token.demo.token_service import TokenService
from tests.fleet.outage import LIFETIME


@pytest.fixture(name="tokens")
def tokens_for_one_worker() -> Iterator[TokenService]:
    """A token service with one worker, whose tokens live as long as a store is left alone."""
    with TokenService(token_lifetime=LIFETIME) as tokens:
        tokens.add_client("worker", "secret", scopes="api")
        yield tokens

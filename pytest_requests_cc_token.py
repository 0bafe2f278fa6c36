"""The pytest plugin of requests_cc_token: the fixtures ``token_service``, ``token_clock`` and ``fake_api``.

It stands outside of the package, whose import would bring requests into every run of pytest. What a fixture needs is
imported by the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from requests_cc_token.testing import FakeApi, FakeTokenService, ManualClock


@pytest.fixture
def token_clock() -> ManualClock:
    """The clock of ``token_service``, which a test moves; for ``AccessTokenManagement(clock=...)`` too."""
    from requests_cc_token.testing import ManualClock

    return ManualClock()


@pytest.fixture
def token_service(token_clock: ManualClock) -> Iterator[FakeTokenService]:
    """A token service on loopback, without pauses between tries while it is there."""
    from requests_cc_token.testing import FakeTokenService, no_waiting

    with no_waiting(), FakeTokenService(clock=token_clock) as service:
        yield service


@pytest.fixture
def fake_api(token_service: FakeTokenService) -> Iterator[FakeApi]:
    """An API on loopback that takes the tokens of ``token_service``."""
    from requests_cc_token.testing import FakeApi

    with FakeApi(token_service) as api:
        yield api

"""CacheControl: its adapter is the inner one."""

from __future__ import annotations

import pytest

from .conftest import Services, needed
from .worker import by_mount

pytestmark = pytest.mark.neighbours


def test_as_the_inner_adapter(services: Services) -> None:
    """Each call goes through it, with the token; a renewal after a 401 too."""
    needed("CacheControl")
    import cachecontrol

    with by_mount(services.place, inner=cachecontrol.CacheControlAdapter()) as worker:
        assert worker.call().status_code == 200
        services.tokens.revoke_all()
        assert worker.call().status_code == 200
    assert services.counted == (2, 3)


def test_a_session_that_was_wrapped(services: Services) -> None:
    """``CacheControl(session)`` mounts on ``https://`` and ``http://``; ours is the longer prefix and wins."""
    needed("CacheControl")
    import cachecontrol
    import requests

    with by_mount(services.place, cachecontrol.CacheControl(requests.Session())) as worker:
        assert worker.call().status_code == 200
    assert services.counted == (1, 1)

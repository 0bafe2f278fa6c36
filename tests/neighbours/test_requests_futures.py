"""requests-futures: its session calls from a pool of threads."""

from __future__ import annotations

import pytest
import requests

from .conftest import Services, needed
from .worker import by_mount

pytestmark = pytest.mark.neighbours


def test_over_a_mounted_session(services: Services) -> None:
    """All futures are answered, with one token request."""
    needed("requests-futures")
    from requests_futures.sessions import FuturesSession

    with by_mount(services.place, requests.Session()) as worker, FuturesSession(session=worker.session) as futures:
        waiting = [futures.get(services.place.base_url + "test") for _ in range(8)]
        assert [future.result().status_code for future in waiting] == [200] * 8
    assert services.counted == (1, 8)


def test_a_mount_on_its_own_session(services: Services) -> None:
    """``management.mount`` on a ``FuturesSession`` itself."""
    needed("requests-futures")
    from requests_futures.sessions import FuturesSession

    with services.place.management() as management, FuturesSession() as futures:
        management.mount(futures, services.place.base_url)
        assert futures.get(services.place.base_url + "test").result().status_code == 200
    assert services.counted == (1, 1)

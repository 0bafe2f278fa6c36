"""requests-ratelimiter: as the inner adapter, and as a session."""

from __future__ import annotations

import pytest

from .conftest import Services, needed
from .worker import by_mount

pytestmark = pytest.mark.neighbours


def test_as_the_inner_adapter(services: Services) -> None:
    """Each call is counted by it, a renewal's second try too; the token request is not."""
    needed("requests-ratelimiter")
    from requests_ratelimiter import LimiterAdapter

    with by_mount(services.place, inner=LimiterAdapter(per_second=1000)) as worker:
        assert worker.call().status_code == 200
        services.tokens.revoke_all()
        assert worker.call().status_code == 200
    assert services.counted == (2, 3)


def test_its_session(services: Services) -> None:
    """Ours is the longer prefix and wins; the session's own limit is its adapter's, so give that as ``inner``."""
    needed("requests-ratelimiter")
    from requests_ratelimiter import LimiterSession

    session = LimiterSession(per_second=1000)
    with by_mount(services.place, session, inner=session.get_adapter(services.place.base_url)) as worker:
        assert worker.call().status_code == 200
    assert services.counted == (1, 1)

"""freezegun: with a frozen clock calls still work, and the clock that is moved expires the token."""

from __future__ import annotations

import pytest

from requests_cc_token.testing import ManualClock

from .conftest import Services, Way, needed

pytestmark = pytest.mark.neighbours


def test_a_frozen_clock(way: Way, services: Services) -> None:
    """Nobody waits for a clock that stands still."""
    needed("freezegun")
    import freezegun

    with freezegun.freeze_time("2026-01-01"), way(services.place) as worker:
        assert [worker.call().status_code for _ in range(3)] == [200] * 3
    assert services.counted == (1, 3)


def test_a_clock_that_is_moved(services: Services) -> None:
    """A token expires by the system's own clock, which freezegun does not move; ``ManualClock`` does."""
    needed("freezegun")
    import freezegun

    with freezegun.freeze_time("2026-01-01") as frozen, services.place.management() as management:
        first = management.service.get_access_token().value
        frozen.tick(5000)
        assert management.service.get_access_token().value == first


def test_the_clock_to_move_instead(services: Services) -> None:
    """With ``AccessTokenManagement(clock=ManualClock())`` time passes for tokens, frozen or not."""
    needed("freezegun")
    import freezegun

    clock = ManualClock()
    with freezegun.freeze_time("2026-01-01"), services.place.management(clock) as management:
        first = management.service.get_access_token().value
        clock.advance(5000)
        assert management.service.get_access_token().value != first

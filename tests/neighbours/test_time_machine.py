"""time-machine: with a travelled clock calls still work; a real passage of time is what expires a token."""

from __future__ import annotations

import datetime

import pytest

from requests_cc_token.testing import ManualClock

from .conftest import Services, Way, needed

pytestmark = pytest.mark.neighbours


@pytest.mark.parametrize("years", [-10, 10])
def test_another_time(way: Way, services: Services, years: int) -> None:
    """The wall clock may be anywhere: one token, several calls."""
    needed("time-machine")
    import time_machine

    then = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=365 * years)
    with time_machine.travel(then, tick=False), way(services.place) as worker:
        assert [worker.call().status_code for _ in range(3)] == [200] * 3
    assert services.counted == (1, 3)


def test_a_clock_that_is_moved(services: Services) -> None:
    """A token expires by the system's own clock, which time-machine does not move."""
    needed("time-machine")
    import time_machine

    with time_machine.travel(0, tick=False) as traveller, services.place.management() as management:
        first = management.service.get_access_token().value
        traveller.shift(5000)
        assert management.service.get_access_token().value == first


def test_the_clock_to_move_instead(services: Services) -> None:
    """With ``AccessTokenManagement(clock=ManualClock())`` time passes for tokens, travelled or not."""
    needed("time-machine")
    import time_machine

    clock = ManualClock()
    with time_machine.travel(0, tick=False), services.place.management(clock) as management:
        first = management.service.get_access_token().value
        clock.advance(5000)
        assert management.service.get_access_token().value != first

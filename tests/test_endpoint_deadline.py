"""Until when something may take; ``tests/test_endpoint_field.py`` has work that is given up, over sockets."""

from __future__ import annotations

import pytest

from requests_cc_token.endpoint.deadline import Deadline
from requests_cc_token.testing import ManualClock


@pytest.mark.parametrize(("passed", "left"), [(0.0, 2.5), (2.0, 0.5), (2.5, 0.0), (60.0, 0.0)])
def test_how_much_is_left(passed: float, left: float) -> None:
    """On the monotonic clock, and never less than nothing."""
    clock = ManualClock()
    deadline = Deadline(clock.monotonic() + 2.5, "a limit")
    clock.advance(passed)
    assert deadline.seconds_left(clock) == left


def test_an_earlier_one_has_the_same_limit() -> None:
    """What is later changes nothing."""
    deadline = Deadline(10.0, "a limit")
    assert deadline.no_later_than(7.0) == Deadline(7.0, "a limit")
    assert deadline.no_later_than(13.0) == deadline

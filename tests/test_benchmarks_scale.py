"""What a fleet costs, as benchmarks/scale.py replays it from the package's own decisions."""

from __future__ import annotations

import pytest

from benchmarks.scale import LIFETIME, alone, together


def test_a_process_alone_asks_once_for_most_of_a_life() -> None:
    """The seconds between two token requests are 80 to 85 % of a token's life, and the wait for the next call."""
    cost = alone(3)
    assert all(0.8 * LIFETIME <= interval <= 0.85 * LIFETIME + 1 for interval in cost.intervals)
    assert cost.per_second == pytest.approx(3 / (0.825 * LIFETIME), rel=0.05)


def test_a_shared_store_makes_a_fleet_cost_what_one_process_costs() -> None:
    """With it, token requests do not grow with the fleet; commands of the store do."""
    few, many = together(1), together(300)
    assert few.token_requests == many.token_requests
    assert many.per_second == pytest.approx(few.per_second, rel=0.05)
    assert few.busiest_second in (2, 3)  # a read, the lease, and in this second or the next one the write
    # Each looks when its renewal is due; those that come while one fetches look again, now and then.
    assert 100 < many.busiest_second < 300 * 15

"""A long outage of the token service, replayed in virtual time (T7)."""

from __future__ import annotations

import logging
import statistics

import pytest

from benchmarks.outage import END, OUTAGE, START, issued, replay
from requests_cc_token import AccessToken, TokenRequestError
from requests_cc_token.retry_delays import full_jitter, half_jitter


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of warnings are right here, and slow to keep."""
    caplog.set_level(logging.CRITICAL, "requests_cc_token")


def test_t7_a_hundred_processes_in_an_outage_of_thirty_minutes() -> None:
    """The fleet asks a few times a second in the outage, about 67 times each at most, and normally after it."""
    outcome = replay(100)
    begin, end = OUTAGE
    during = [sum(outcome.requests[s : s + 60]) / 60 for s in range(begin + START, end, 60)]
    # At the cap each process asks every 30 s on average: 3.3 a second for a hundred.
    assert statistics.mean(during) < 4
    assert max(outcome.requests) <= 20, "the fleet marches in step"
    assert max(outcome.per_process) <= 67 * 1.5
    assert sum(outcome.failed_calls[:3590]) == 0, "no call fails while its token lives"
    assert sum(outcome.failed_calls[end + 60 :]) == 0, "a minute after the outage everybody has a token"
    assert sum(outcome.requests[end + 120 : END]) < 60, "the load after the recovery is normal"


def test_t7_one_process_asks_about_67_times_in_thirty_minutes() -> None:
    """Full jitter from 1 s to 60 s: 67 token requests in 30 minutes on average over many replays."""
    counts = []
    for _ in range(1000):
        elapsed, failures = 0.0, 0
        while elapsed < 1800:
            failures += 1
            elapsed += full_jitter(failures)
        counts.append(failures)
    assert statistics.mean(counts) == pytest.approx(67, abs=2)


def test_t7_full_jitter_is_uniform() -> None:
    """The waits fill the range from 0 to the bound evenly (chi-squared over ten bins, one in 10^6 by chance)."""
    for failures, bound in ((1, 1.0), (3, 4.0), (7, 60.0), (1000, 60.0)):
        bins = [0] * 10
        for _ in range(10_000):
            wait = full_jitter(failures)
            assert 0 <= wait <= bound
            bins[min(int(wait / bound * 10), 9)] += 1
        assert sum((count - 1000) ** 2 / 1000 for count in bins) < 45


def test_half_jitter_keeps_half_of_the_bound() -> None:
    """Waits that must not vanish are at least half of the bound."""
    waits = [half_jitter(3) for _ in range(1000)]
    assert min(waits) >= 2
    assert max(waits) <= 4
    assert max(waits) - min(waits) > 1


def test_f31_a_service_that_refuses_early_renewals_costs_no_call_at_the_turn() -> None:
    """400 until the token has expired, however often it is asked: every call has a token, before the turn and after."""
    last: dict[int, float] = {}

    def no_new_one_before_the_end(process: int, now: float) -> AccessToken | TokenRequestError:
        if now < last.get(process, -END) + 595.0:
            return TokenRequestError("there is a token already", transient=False)
        last[process] = now
        return issued(f"{process}-{now}", now, 600.0)

    outcome = replay(20, no_new_one_before_the_end)
    assert sum(outcome.failed_calls) == 0
    assert sum(outcome.requests) < 20 * (END / 600 + 1) * 4, "a refused renewal is held off"


def test_f30_a_service_that_gives_one_token_until_its_end_costs_no_call_at_the_turn() -> None:
    """The same token with what is left of it, however often it is asked: every call has a token, also at the turn."""
    ends: dict[int, float] = {}

    def the_same_until_its_end(process: int, now: float) -> AccessToken | TokenRequestError:
        if now >= ends.get(process, -END):
            ends[process] = now + 600.0
        return issued(f"{process}-{ends[process]}", now, ends[process] - now)

    outcome = replay(20, the_same_until_its_end)
    assert sum(outcome.failed_calls) == 0
    assert sum(outcome.requests) < 20 * (END / 600 + 1) * 12, "what brings no more time is not asked for in each call"

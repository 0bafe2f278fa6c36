"""When a token is renewed, and when it may not be used any more."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requests_cc_token import AccessToken
from requests_cc_token.endpoint.token_answer import MAX_LIFETIME
from requests_cc_token.expiry import (
    EXPIRY_MARGIN,
    EXPIRY_MARGIN_SHARE,
    Moment,
    lifetime_bounds,
    localized,
    seconds_ahead,
)
from requests_cc_token.testing import ManualClock
from requests_cc_token.tokens import Binding


@given(st.floats(0.001, MAX_LIFETIME), st.none() | st.floats(0.001, MAX_LIFETIME))
def test_the_bounds_of_a_lifetime(lifetime: float, refresh_in: float | None) -> None:
    """Used for at least 95 % of its life, never after it, and renewed not before 80 % of it unless told so."""
    hard, soft = lifetime_bounds(lifetime, refresh_in)
    assert lifetime * 0.95 <= hard < lifetime
    assert hard >= lifetime - EXPIRY_MARGIN
    assert 0 < soft <= hard
    wanted = lifetime * 0.8 if refresh_in is None else refresh_in * 0.95
    assert soft >= min(wanted, hard) or math.isclose(soft, wanted)
    assert soft <= (lifetime * 0.85 if refresh_in is None else refresh_in), "a renewal may be earlier, never later"


def test_a_moment_is_read_off_both_clocks() -> None:
    """What is told of a moment is what each clock says then."""
    clock = ManualClock()
    assert Moment.now(clock) == Moment(clock.monotonic(), clock.time())


@given(st.floats(0, 1e9), st.floats(0, 2e9), st.floats(-1e6, 1e6))
def test_moments_of_the_wall_clock_on_the_monotonic_one(monotonic: float, wall: float, later: float) -> None:
    """So many seconds from now is so many seconds from now on either clock."""
    assert Moment(monotonic, wall).on_monotonic(wall + later) == pytest.approx(monotonic + later, abs=1e-3)


@pytest.mark.parametrize("left", [-10.0, 0.0, 5.0, 99.0, 3600.0])
def test_a_stored_token_keeps_the_margins(left: float) -> None:
    """A token of another process is used until as long before its expiry as one of our own, never after it."""
    now = Moment(500.0, 1_700_000_000.0)
    stored = AccessToken("t", scope="a", expires_at=now.wall + left, renew_at=now.wall + left / 2, extra={"x": 1})
    token = localized(stored, now, key="key", binding=None)
    assert token == stored
    assert (token.key, token.renew_at, token.expires_at) == ("key", stored.renew_at, stored.expires_at)
    margin = min(EXPIRY_MARGIN, max(left, 0) * EXPIRY_MARGIN_SHARE)
    assert token.hard_expiry == pytest.approx(now.monotonic + left - margin)
    assert token.soft_expiry == pytest.approx(min(now.monotonic + left / 2, now.monotonic + left - margin))


def test_a_stored_token_that_wants_its_renewal_too_late() -> None:
    """It is renewed when it may not be used any more, and stays bound to what it is asked for with."""
    now = Moment(500.0, 1_700_000_000.0)
    binding = Binding(None, None)
    stored = AccessToken("t", expires_at=now.wall + 60, renew_at=now.wall + 600)
    token = localized(stored, now, key="key", binding=binding)
    assert token.soft_expiry == token.hard_expiry == 557.0
    assert token.binding is binding


@given(st.floats(1, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_a_stored_token_lives_no_longer_than_its_lifetime(lifetime: float, ahead: float, age: float) -> None:
    """However far the clock was ahead by which it was dated: that much shows as its age does not hide."""
    now = Moment(500.0, 1_700_000_000.0)
    issued_at = now.wall - age + ahead
    stored = AccessToken("t", expires_at=issued_at + lifetime, issued_at=issued_at)
    assert seconds_ahead(stored, now) == pytest.approx(max(0.0, ahead - age), abs=1e-3)
    token = localized(stored, now, key="key", binding=None)
    assert token.issued_at == issued_at
    assert token.hard_expiry is not None
    assert token.hard_expiry - now.monotonic <= lifetime
    if ahead >= age:
        assert token.hard_expiry - now.monotonic == pytest.approx(lifetime_bounds(lifetime)[0], rel=1e-3, abs=1e-3)


def test_a_stored_token_is_renewed_before_it_expires() -> None:
    """By however much the clock was ahead by which it was dated: both moments are that much too late."""
    now = Moment(500.0, 1_700_000_000.0)
    for ahead in (0.0, 40.0):
        dated = now.wall + ahead
        stored = AccessToken("t", issued_at=dated, renew_at=dated + 255, expires_at=dated + 300)
        token = localized(stored, now, key="key", binding=None)
        assert (token.soft_expiry, token.hard_expiry) == (755.0, 795.0)


def test_a_token_that_does_not_say_when_it_was_requested() -> None:
    """Its expiry is taken for what it says: a record from before, or from a cache of somebody's own."""
    now = Moment(500.0, 1_700_000_000.0)
    stored = AccessToken("t", expires_at=now.wall + 1e6)
    assert seconds_ahead(stored, now) == 0.0
    assert localized(stored, now, key="key", binding=None).hard_expiry == pytest.approx(500.0 + 1e6 - EXPIRY_MARGIN)

"""``no_waiting``: within it, and only within it, nobody waits after a failure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import backoff
import pytest

from requests_cc_token import AccessTokenManagement, TokenEndpointError
from requests_cc_token.retry_delays import full_jitter, half_jitter, hold_off, taken
from requests_cc_token.testing import FakeApi, FakeTokenService, ManualClock, no_waiting

from .scripted_server import PATIENCE


@pytest.mark.parametrize(
    "wait",
    [
        lambda: full_jitter(8),
        lambda: half_jitter(8),
        lambda: taken(3.0),
        lambda: sum(hold_off(3, transient=True, retry_after=100.0)),
        lambda: sum(hold_off(3, transient=False, retry_after=0.0)),
    ],
)
def test_each_wait_is_nothing_within(wait: Callable[[], float]) -> None:
    """Blocks may be nested; after the last one, by an error too, waits are what they were."""
    assert wait() > 0
    with no_waiting():
        with no_waiting():
            assert wait() == 0
        assert wait() == 0
    with pytest.raises(ZeroDivisionError), no_waiting():
        raise ZeroDivisionError
    assert wait() > 0


def test_it_counts_for_every_thread() -> None:
    """A fetch runs in a thread of its own, which waits no more than the one with the block."""
    found: list[float] = []
    with no_waiting():
        thread = threading.Thread(target=lambda: found.append(taken(3.0)))
        thread.start()
        thread.join(PATIENCE)
    assert found == [0.0]


@pytest.mark.parametrize("wait", [(60, 60), [120.0], backoff.expo])
def test_tries_stay_as_they_are_configured(wait: Any) -> None:
    """Waits of the user's own and a ``Retry-After`` are skipped as well; there are as many tries as before."""
    clock = ManualClock()
    with FakeTokenService() as fake, AccessTokenManagement(clock=clock) as management, no_waiting():
        management.add_client("w", token_endpoint=fake.token_endpoint, client_id="worker", client_secret="secret")
        management.configure_backchannel(wait=wait)
        fake.fail_next(503, headers={"Retry-After": "100"})
        assert management.service.get_access_token().value == "fake-token-1"
        fake.assert_requests(2)
        assert clock.monotonic() == ManualClock().monotonic()


def test_nobody_is_held_off() -> None:
    """After a failure the next call asks at once; without the block it gets the error of the one before."""
    with FakeTokenService() as fake, AccessTokenManagement(clock=ManualClock()) as management:
        management.add_client("w", token_endpoint=fake.token_endpoint, client_id="worker", client_secret="wrong")
        for _ in range(2):
            with pytest.raises(TokenEndpointError):
                management.service.get_access_token()
        fake.assert_requests(1)
    with no_waiting(), FakeTokenService() as fake, AccessTokenManagement(clock=ManualClock()) as management:
        management.add_client("w", token_endpoint=fake.token_endpoint, client_id="worker", client_secret="wrong")
        for _ in range(2):
            with pytest.raises(TokenEndpointError):
                management.service.get_access_token()
        fake.assert_requests(2)


def test_each_refusal_of_the_api_renews() -> None:
    """Two tokens that are revoked one after the other are both renewed, though no time passes in between."""
    with no_waiting(), FakeTokenService() as fake, FakeApi(fake) as api:
        with AccessTokenManagement(clock=ManualClock()) as management:
            management.add_client("w", token_endpoint=fake.token_endpoint, client_id="worker", client_secret="secret")
            management.add_session("api", base_url=api.base_url)
            with management.make_session("api") as session:
                for _ in range(3):
                    assert session.get("orders").ok
                    fake.revoke_all()
        fake.assert_requests(3)

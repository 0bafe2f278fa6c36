"""What the package offers to tests: a clock moved by hand, and contracts that a wrong cache does not fulfil."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from requests_cc_token import AccessToken, MemoryTokenCache
from requests_cc_token.flights import Bell
from requests_cc_token.testing import ManualClock, SharedTokenCacheContract, TokenCacheContract

from .scripted_server import PATIENCE


class Waiting:
    """A thread that waits on the clock."""

    def __init__(self, clock: ManualClock, timeout: float | None) -> None:
        self.event = threading.Event()
        self.found: list[bool] = []
        self._thread = threading.Thread(target=lambda: self.found.append(clock.wait(self.event, timeout)), daemon=True)
        self._thread.start()

    def ended(self) -> bool:
        self._thread.join(PATIENCE)
        (found,) = self.found
        return found


class TestManualClock:
    def test_it_moves_by_hand(self) -> None:
        """Both clocks move together, but for a step of the wall clock."""
        clock = ManualClock(monotonic=10.0, time=1000.0)
        clock.advance(5.0)
        assert (clock.monotonic(), clock.time()) == (15.0, 1005.0)
        clock.step_wall_clock(-100.0)
        assert (clock.monotonic(), clock.time()) == (15.0, 905.0)

    def test_a_wait_ends_with_its_time(self) -> None:
        """A wait goes on until its time has passed on this clock, and then says that the event did not come."""
        clock = ManualClock()
        waiting = Waiting(clock, 10.0)
        clock.until_waiting([10.0].__eq__)
        clock.advance(4.0)
        assert clock.waiting() == [6.0]
        assert waiting.found == []
        assert clock.advance_to_next() == 6.0
        assert waiting.ended() is False
        assert clock.waiting() == []
        assert clock.waits == [10.0]

    @pytest.mark.parametrize("timeout", [None, 10.0])
    def test_a_wait_ends_with_its_event(self, timeout: float | None) -> None:
        """A wait ends when its event is set, timed or not; only timed ones are listed."""
        clock = ManualClock()
        waiting = Waiting(clock, timeout)
        clock.until_waiting(lambda left: left == ([] if timeout is None else [10.0]))
        waiting.event.set()
        assert waiting.ended() is True
        assert clock.wait(waiting.event, timeout)
        assert clock.waits == ([] if timeout is None else [10.0])

    def test_a_bell_is_woken_in_its_time(self) -> None:
        """One that waits for a bell, whom nothing else wakes, wakes when its time has come, and not before."""
        clock = ManualClock()
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.append(clock.wait(Bell(), 10.0)), daemon=True)
        thread.start()
        clock.until_waiting([10.0].__eq__)
        clock.advance(9.0)
        assert clock.waiting() == [1.0]
        clock.advance(1.0)
        thread.join(PATIENCE)
        assert found == [False]

    def test_who_waits_for_waits_is_not_patient_for_ever(self) -> None:
        """Waits that do not come are an error that lists those there are."""
        clock = ManualClock()
        waiting = Waiting(clock, 3.0)
        clock.until_waiting([3.0].__eq__)
        with pytest.raises(AssertionError, match=r"the waits are \[3.0\]"):
            clock.until_waiting([4.0].__eq__, patience=0.0)
        waiting.event.set()
        assert waiting.ended()


class Mixing(MemoryTokenCache):
    """Gives a token that was never set."""

    def get(self, key: str) -> AccessToken | None:
        return AccessToken("another", expires_at=self._clock.time() + 10.0)


class Failing(MemoryTokenCache):
    """Fails at each second key."""

    def set(self, key: str, token: AccessToken) -> None:
        if int(key, 16) % 2:
            raise OSError("full")
        super().set(key, token)


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (Mixing, "an_empty_cache_has_nothing"),
        (Mixing, "keys_are_kept_apart"),
        (Mixing, "threads_may_use_it_at_once"),
        (Failing, "threads_may_use_it_at_once"),
    ],
)
def test_a_wrong_cache_does_not_pass(kind: type[MemoryTokenCache], broken: str) -> None:
    """A cache that mixes tokens up, or raises, does not pass the test of the contract that is about it."""

    class Contract(TokenCacheContract):
        def make_cache(self, clock: ManualClock) -> Any:
            return kind(clock=clock)

    with pytest.raises(AssertionError):
        getattr(Contract(), f"test_{broken}")()


@pytest.mark.parametrize("contract", [TokenCacheContract, SharedTokenCacheContract])
def test_a_contract_needs_a_cache(contract: type[TokenCacheContract]) -> None:
    """A contract without ``make_cache`` says so."""
    with pytest.raises(NotImplementedError):
        contract().test_an_empty_cache_has_nothing()

"""The life of a token as values: a slot, a moment, a step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from requests_cc_token import AccessToken, FailureCount, TokenEndpointError, TokenRequestError
from requests_cc_token.expiry import lifetime_bounds
from requests_cc_token.flights import BEGIN_WITHIN
from requests_cc_token.retry_delays import PERMANENT_HOLD_OFF, hold_off
from requests_cc_token.slots import CALM, MAX_DEAD, MAX_HANGING, Failure, Slot, TokenFlight
from requests_cc_token.stats import MAX_CAUSES, Asked

BUSY = TokenRequestError("busy")
REFUSED = TokenEndpointError("refused", status_code=401, error="invalid_client", transient=False)


def token(value: str, now: float = 0.0, lifetime: float = 3600.0, **members: Any) -> AccessToken:
    hard, soft = lifetime_bounds(lifetime)
    return AccessToken(
        value, key="k", expires_at=now + lifetime, soft_expiry=now + soft, hard_expiry=now + hard, **members
    )


def started(slot: Slot, now: float, **options: Any) -> TokenFlight:
    """The flight that a caller starts at this moment, its thread there."""
    flight = slot.step(now, **options).start
    assert flight is not None
    assert slot.begin(flight)
    return flight


def fetched(slot: Slot, now: float, brought: AccessToken | TokenRequestError, **options: Any) -> None:
    """A fetch that begins and lands at this moment."""
    flight = started(slot, now, **options)
    slot.land(flight, brought, now, "stamp")
    slot.end(flight)
    flight.land()


@pytest.fixture
def slot() -> Slot:
    return Slot("k", Asked("worker"))


@pytest.fixture
def full(slot: Slot) -> Slot:
    """A slot that got a token of an hour at second 0."""
    fetched(slot, 0.0, token("one"))
    return slot


def outcome(slot: Slot, now: float, **options: Any) -> Any:
    return slot.step(now, **options).outcome


class TestColdStart:
    def test_t1_all_callers_wait_for_the_flight_that_the_first_one_starts(self, slot: Slot) -> None:
        """Two hundred steps without a token are one flight, and one of them starts it."""
        steps = [slot.step(0.0) for _ in range(200)]
        assert [step.start is not None for step in steps] == [True] + [False] * 199
        assert len({id(step.outcome) for step in steps}) == 1

    def test_a_token_that_is_there_is_the_outcome(self, full: Slot) -> None:
        """Until soft expiry nothing is started."""
        assert full.token is not None
        soft = full.token.soft_expiry or 0.0
        step = full.step(soft - 0.001)
        assert isinstance(step.outcome, AccessToken)
        assert step.start is None
        assert full.hits == 1
        flight = full.step(soft).start
        assert flight is not None
        assert (flight.reason, flight.background) == ("renewal", True)

    def test_hard_expiry_is_the_first_moment_without_a_token(self, full: Slot) -> None:
        """Whoever asks, reads the figures or has it from a cache at that moment has none."""
        brought = token("one")
        hard = brought.hard_expiry or 0.0
        assert outcome(full, hard - 0.001).value == "one"
        assert full.seconds_to_expiry(hard - 0.5) == 0.5
        assert full.seconds_to_expiry(hard) is None
        assert not isinstance(outcome(full, hard), AccessToken)
        assert Slot("k", Asked("worker")).news(brought, hard) is None

    def test_a_forced_caller_waits_although_a_token_is_there(self, full: Slot) -> None:
        """Its flight knows that it was forced, and replaces the token when it lands."""
        flight = started(full, 1.0, force=True)
        assert (flight.forced, flight.reason) == (True, "forced")
        (obtained,) = full.land(flight, token("two", 1.0), 3.0)
        assert flight.result is outcome(full, 3.0)
        assert outcome(full, 3.0).value == "two"
        assert (obtained.kind, obtained.duration, obtained.expires_in) == ("obtained", 2.0, 3_593.0)


class TestFailure:
    def test_t5_the_error_of_a_fetch_is_everybodys_until_the_next_try(self, slot: Slot) -> None:
        """Held off, callers get the failure; after it one of them starts the next try."""
        fetched(slot, 0.0, BUSY)
        failure = slot.failure
        assert failure is not None
        assert 0.0 <= failure.until <= 1.0
        if failure.until:
            assert outcome(slot, failure.until * 0.99) is failure
        assert slot.step(failure.until).start is not None

    def test_t7_the_bound_of_the_hold_off_doubles_up_to_a_minute(self, slot: Slot) -> None:
        """After n failures the next try comes within 2**(n-1) seconds, never later than in 60."""
        now = 0.0
        for failures in range(1, 12):
            fetched(slot, now, BUSY)
            assert slot.failure is not None
            assert now <= slot.failure.until <= now + min(60.0, 2.0 ** (failures - 1))
            now = slot.failure.until

    def test_t7_retry_after_is_obeyed_to_the_second(self, slot: Slot) -> None:
        """No try before it is over, a try when it is."""
        fetched(slot, 0.0, TokenRequestError("slow down", retry_after=120.0))
        assert isinstance(outcome(slot, 119.999), Failure)
        assert slot.step(120.0).start is not None

    @pytest.mark.parametrize("odd", ["120", math.nan, -1, True, [1], 1e300])
    def test_a21_an_odd_retry_after_ends_a_flight_like_any(self, slot: Slot, odd: Any) -> None:
        """Whatever somebody's authentication method says, the flight lands and the hold-off is the usual one."""
        fetched(slot, 0.0, TokenRequestError("odd", retry_after=odd))
        assert slot.failure is not None
        assert 0.0 <= slot.failure.until <= 1.0

    def test_permanent_errors_hold_off_for_longer(self, slot: Slot) -> None:
        """Fifteen to thirty seconds after the first one, ten minutes at most after many."""
        now = 0.0
        for _ in range(12):
            fetched(slot, now, REFUSED)
            assert slot.failure is not None
            assert 15.0 <= slot.failure.until - now <= PERMANENT_HOLD_OFF[1]
            now = slot.failure.until

    def test_f33_a_patient_caller_tries_a_permanent_error_again_soon(self, slot: Slot) -> None:
        """A secret that the service knows only seconds after it was made: who is patient asks on the usual schedule."""
        fetched(slot, 0.0, REFUSED)
        assert slot.failure is not None
        assert 0.0 <= slot.failure.patient_until <= 1.0
        assert isinstance(outcome(slot, 1.0), Failure)
        assert slot.step(1.0, patient=True).start is not None

    def test_a_changed_secret_ends_the_hold_off(self, slot: Slot) -> None:
        """The same stamp, or none that was looked at, keeps it; another one ends it."""
        fetched(slot, 0.0, REFUSED)
        assert isinstance(outcome(slot, 1.0), Failure)
        assert isinstance(outcome(slot, 1.0, stamp="stamp"), Failure)
        assert slot.step(1.0, stamp="another").start is not None

    def test_t7_every_try_of_a_fetch_counts(self, slot: Slot) -> None:
        """One that failed three times is followed by the hold-off of three failures."""
        flight = started(slot, 0.0)
        flight.tries = 3
        slot.land(flight, BUSY, 0.0)
        assert slot.failures == 3
        assert flight.error is BUSY

    def test_what_failed_is_counted_by_its_cause(self, slot: Slot) -> None:
        """Kind and code of the error, how often, and the last text."""
        fetched(slot, 0.0, REFUSED)
        fetched(slot, 100.0, BUSY)
        figures = slot.figures(100.0)
        assert figures.failures == (
            FailureCount(error="TokenEndpointError", code="invalid_client", count=1),
            FailureCount(error="TokenRequestError", count=1),
        )
        assert figures.last_error == "busy"
        assert slot.failure is not None
        assert figures.seconds_to_next_try == slot.failure.until - 100.0

    def test_a_service_with_a_new_code_each_time_takes_no_more_memory_each_time(self, slot: Slot) -> None:
        """Beyond so many causes a code is not told any more; what is not a text is no code."""
        for number in range(MAX_CAUSES + 10):
            fetched(slot, number * 1_000.0, TokenEndpointError("no", 400, f"code {number}"))
        fetched(slot, 1e6, TokenEndpointError("no", 400, ["odd"]))  # type: ignore[arg-type]
        failures = slot.figures(1e6).failures
        assert len(failures) == MAX_CAUSES + 1
        assert failures[-1] == FailureCount(error="TokenEndpointError", count=11)


def test_t7_what_a_hold_off_is_at_least_and_at_most() -> None:
    """Ten minutes after many permanent errors; whatever the error, what the server asks for is waited for by all."""
    everybodys, patient = hold_off(20, transient=False, retry_after=0.0)
    assert 300.0 <= everybodys <= 600.0
    assert patient <= 60.0
    for transient in (True, False):
        assert hold_off(1, transient=transient, retry_after=900.0) == (900.0, 900.0)


class TestRenewal:
    def test_t4_past_soft_expiry_the_old_token_is_used_while_one_flight_runs(self, full: Slot) -> None:
        """Nobody waits, and one caller starts the renewal."""
        steps = [full.step(3_200.0) for _ in range(10)]
        assert {step.outcome.value for step in steps if isinstance(step.outcome, AccessToken)} == {"one"}
        assert [step.start is not None for step in steps] == [True] + [False] * 9

    def test_t3_a_failing_renewal_costs_no_call_while_the_token_lives(self, full: Slot) -> None:
        """However often it fails, every caller has the old token until its hard expiry."""
        for now in range(3_100, 3_595):
            step = full.step(float(now))
            assert isinstance(step.outcome, AccessToken)
            if step.start is not None:
                full.land(step.start, BUSY, float(now))
        assert full.failures > 5

    def test_f31_refused_renewals_do_not_lengthen_what_follows_the_expiry(self, full: Slot) -> None:
        """A service that gives no new token before the old one expires is asked once more at that moment."""
        now = 3_100.0
        while now < 3_595.0:
            step = full.step(now)
            if step.start is not None:
                full.land(step.start, REFUSED, now)
            now += 1.0
        flight = full.step(3_600.0).start
        assert flight is not None
        assert full.failures == 0
        full.land(flight, BUSY, 3_600.0)
        assert full.failure is not None
        assert full.failure.until <= 3_601.0

    @given(lifetime=st.floats(1.0, 1e6))
    def test_t11_a_token_is_used_for_most_of_its_life(self, lifetime: float) -> None:
        """One flight gives a token that is used for 95 % of its life, and until soft expiry causes no other."""
        slot = Slot("k", Asked("worker"))
        fetched(slot, 0.0, token("one", lifetime=lifetime))
        assert slot.step(lifetime * 0.79).start is None
        assert isinstance(outcome(slot, lifetime * 0.949), AccessToken)
        assert not isinstance(outcome(slot, lifetime), AccessToken)

    def test_a_failed_renewal_is_told_with_what_is_left(self, full: Slot) -> None:
        """Two events: that it failed and for how long none is tried, and for how long the old token serves."""
        flight = started(full, 3_200.0)
        failed, stale = full.land(flight, BUSY, 3_200.0)
        assert full.failure is not None
        assert (failed.kind, failed.error, stale.kind) == ("failed", BUSY, "served_stale")
        assert failed.wait == pytest.approx(full.failure.until - 3_200.0)
        assert stale.expires_in == pytest.approx(395.0)

    def test_t7_a_renewal_is_held_off_too(self, full: Slot) -> None:
        """None is tried before its time, though every caller has a token that wants one; a forced one neither."""
        full.land(started(full, 3_200.0), TokenRequestError("later", retry_after=70.0), 3_200.0)
        assert full.step(3_269.9).start is None
        assert isinstance(outcome(full, 3_269.9, force=True), Failure)
        assert full.step(3_270.0).start is not None

    def test_a_renewal_that_somebody_waits_for_fails_for_all(self, full: Slot) -> None:
        """Its error is everybody's answer once the token is over: the hold-off is not only of the background."""
        flight = started(full, 3_590.0)
        flight.join()
        full.land(flight, TokenRequestError("later", retry_after=70.0), 3_590.0)
        assert isinstance(outcome(full, 3_600.0), Failure)


class TestOverdue:
    def test_a20_a_fetch_that_hangs_is_given_up_by_whoever_comes_after_its_time(self, slot: Slot) -> None:
        """The next caller starts anew, and what the late one brings changes nothing."""
        hanging = started(slot, 0.0, max_time=30.0)
        assert outcome(slot, 29.9) is hanging
        fetched(slot, 30.0, token("new", 30.0))
        late = token("late", 31.0)
        assert slot.land(hanging, late, 31.0) == []
        assert outcome(slot, 31.0).value == "new"
        assert hanging.result is late, "whoever still waits for it has it"

    def test_f34_the_failure_of_a_fetch_whose_time_is_over_holds_nobody_off(self, slot: Slot) -> None:
        """A process that was frozen for an hour gets a fresh fetch with its first call."""
        frozen = started(slot, 0.0, max_time=30.0)
        flight = started(slot, 3_600.0)
        assert slot.land(frozen, BUSY, 3_600.0) == []
        assert slot.failure is None
        slot.land(flight, token("fresh", 3_600.0), 3_600.1)
        assert outcome(slot, 3_601.0).value == "fresh"

    def test_f34_nor_does_a_failure_that_lands_long_after_its_time(self, slot: Slot) -> None:
        """The thread of the fetch is thawed before the first caller comes: that one starts anew."""
        frozen = started(slot, 0.0, max_time=30.0)
        (failed,) = slot.land(frozen, BUSY, 3_600.0)
        assert (failed.kind, failed.wait) == ("failed", 0.0)
        assert slot.step(3_600.0).start is not None

    def test_a23_a_thread_that_never_began_is_not_waited_for(self, slot: Slot) -> None:
        """After a few seconds the next caller starts another one, and those who waited are told at once."""
        never = slot.step(0.0, max_time=30.0).start
        assert never is not None
        bell = never.join()
        assert outcome(slot, BEGIN_WITHIN - 0.1) is never
        step = slot.step(BEGIN_WITHIN, max_time=30.0)
        assert step.start not in (None, never)
        assert never.epoch != step.epoch, "nobody takes it for an answer"
        assert bell.is_set()
        assert not slot.begin(never)

    def test_fetches_that_hang_for_ever_are_bounded(self, slot: Slot) -> None:
        """After so many that never end nobody starts one more; the error says what to look at."""
        hanging = [started(slot, number * 30.0, max_time=30.0) for number in range(MAX_HANGING)]
        now = MAX_HANGING * 30.0
        failure = outcome(slot, now)
        assert isinstance(failure, Failure)
        assert "look at what its secret's callable" in str(failure.error)
        assert failure.error.client == "worker"
        slot.end(hanging[0])
        assert slot.step(now).start is not None

    def test_a_renewal_is_not_started_either_while_so_many_hang(self, full: Slot) -> None:
        """The token is used as long as it lives."""
        full.hanging = MAX_HANGING
        step = full.step(3_500.0)
        assert (step.start, isinstance(step.outcome, AccessToken)) == (None, True)

    def test_a_fetch_that_ended_without_an_outcome_is_no_flight_any_more(self, slot: Slot) -> None:
        """Whatever ended its thread, the next caller starts another one."""
        flight = started(slot, 0.0)
        slot.end(flight)
        flight.land()
        assert slot.step(0.0).start is not None
        assert slot.hanging == 0


class TestRefusal:
    def test_t8_only_the_current_token_is_dropped(self, full: Slot) -> None:
        """A late refusal of an older token changes nothing, a second one for the same neither."""
        assert full.refuse(token("one"), 10.0)
        assert 10.5 <= full.next_renewal <= 11.0
        assert not full.refuse(token("one"), 10.0)
        flight = started(full, 10.0)
        assert flight.reason == "rejected"
        full.land(flight, token("two", 10.0), 10.0)
        assert not full.refuse(token("one"), 11.0)
        assert outcome(full, 11.0).value == "two"
        assert full.figures(11.0).rejections == 1
        full.forget()
        assert started(full, 11.0).reason == "cold"

    def test_t9_an_api_that_refuses_every_token_costs_one_per_step(self, slot: Slot) -> None:
        """A thousand refused calls in a minute drop a token on the schedule of the hold-off, not per call."""
        dropped = 0
        for number in range(1_000):
            now = number * 0.06
            step = slot.step(now)
            if step.start is not None:
                slot.land(step.start, token(f"t{number}", now), now)
            assert slot.token is not None
            dropped += slot.refuse(slot.token, now)
        assert 4 <= dropped <= 9

    @pytest.mark.parametrize("every", [0.01, 0.2, 2.0, 10.0])
    def test_a41_what_was_taken_in_between_makes_no_refusal_a_first_one(self, slot: Slot, every: float) -> None:
        """An API that refuses every other request, however often it is called, costs ever fewer tokens."""
        dropped = 0
        for number in range(200):
            now = number * every
            step = slot.step(now)
            if step.start is not None:
                slot.land(step.start, token(f"t{number}", now, 1e6), now)
            assert slot.token is not None
            if number % 2:
                slot.accept(slot.token)
            else:
                dropped += slot.refuse(slot.token, now)
        assert dropped <= 9 + 200 * every / 30

    @pytest.mark.parametrize(
        ("refused", "given", "repeated"), [(True, "one", True), (True, "two", None), (False, "one", None)]
    )
    def test_a_refused_token_that_comes_again_is_told(
        self, full: Slot, refused: bool, given: str, repeated: bool | None
    ) -> None:
        """Not another one, and not one that had only expired: some token services give the same until its very end."""
        now = 3_599.0
        if refused:
            now = 10.0
            assert full.refuse(token("one"), now)
        flight = started(full, now)
        (event,) = full.land(flight, token(given, now), now)
        assert (event.kind, event.repeated) == ("obtained", repeated)

    def test_a_token_that_worked_for_a_while_was_revoked(self, full: Slot) -> None:
        """Its refusal is a first one, whatever came before: the next token may be dropped after a second."""
        full.refusals, full.next_renewal = 8, 1_000.0
        full.accept(token("one"))
        assert full.refuse(token("one"), CALM)
        assert full.refusals == 1

    @pytest.mark.parametrize(("taken", "after"), [(None, CALM), ("one", CALM), ("two", CALM - 0.001)])
    def test_a_token_that_nobody_saw_work_was_not_revoked(self, full: Slot, taken: str | None, after: float) -> None:
        """Its refusal is one more in a row: nothing was taken, or only the token before, or this one just now."""
        full.accept(token(taken or "none"))
        fetched(full, 10.0, token("two", 10.0), force=True)
        full.accept(token(taken or "none"))
        full.next_renewal = 1_000.0
        assert not full.refuse(token("two"), 10.0 + after)
        assert full.refuse(token("two"), 1_000.0)

    def test_the_success_of_an_older_token_says_nothing_of_the_current_one(self, full: Slot) -> None:
        """Only the current token is noted as taken."""
        full.accept(token("older"))
        assert not full.accepted
        full.forget()
        full.accept(token("one"))
        assert not full.accepted, "nor does that of one that is forgotten"


class TestCaches:
    def test_a13_what_this_process_knows_to_be_dead_stays_dead(self, full: Slot) -> None:
        """An expired token that a store still has, its expiry put later by a stepped wall clock, is none."""
        assert not isinstance(outcome(full, 3_600.0), AccessToken)
        assert full.news(token("one", 3_600.0), 3_600.0) is None

    def test_a_refused_token_does_not_come_back_from_a_cache(self, full: Slot) -> None:
        """Nor do the few before it."""
        for number in range(MAX_DEAD):
            now = number * 100.0
            fetched(full, now, token(f"t{number}", now), force=True)
            assert full.refuse(token(f"t{number}"), now)
            assert full.news(token(f"t{number}", now), now) is None
        assert all(full.news(token(f"t{number}"), 1.0) is None for number in range(MAX_DEAD))

    def test_only_what_brings_more_time_is_news(self, full: Slot) -> None:
        """Another token that lives longer; not the same, not a shorter one, not an expired one, not none."""
        longer, shorter = token("two", 100.0), token("two", 0.0, 60.0)
        assert full.news(longer, 100.0) is longer
        assert Slot("k", Asked("worker")).news(shorter, 1.0) is shorter
        assert full.news(shorter, 1.0) is None
        assert full.news(token("two"), 1.0) is None
        assert full.news(token("one", 100.0), 100.0) is None
        assert full.news(longer, 4_000.0) is None
        assert full.news(None, 0.0) is None


class TestDelete:
    def test_a_fetch_under_way_does_not_outlive_a_delete(self, slot: Slot) -> None:
        """Its token goes to those only who waited before; whoever comes later sees that it is of an older epoch."""
        flight = started(slot, 0.0)
        slot.forget()
        step = slot.step(0.0)
        assert step.outcome is flight
        assert flight.epoch != step.epoch
        assert not slot.wants(flight)
        slot.land(flight, token("old"), 1.0)
        assert slot.token is None
        fetched(slot, 1.0, token("new", 1.0))
        assert outcome(slot, 1.0).value == "new"

    def test_a_delete_forgets_the_token_and_ends_the_hold_off(self, full: Slot) -> None:
        """The next caller starts a fetch, whatever there was."""
        full.land(started(full, 3_200.0), TokenRequestError("later", retry_after=70.0), 3_200.0)
        full.forget()
        assert full.step(3_200.0).start is not None

    def test_close_gives_back_the_flight_that_runs(self, full: Slot) -> None:
        """The token is forgotten, and what the flight brings then goes nowhere."""
        flight = started(full, 3_200.0)
        assert full.close() is flight
        flight.land()
        assert full.land(flight, token("late", 3_200.0), 3_201.0) == []
        assert (full.token, flight.result) == (None, None)
        assert full.close() is None


def test_what_is_told_of_a_slot(slot: Slot) -> None:
    """Fine, degraded while an old token serves, failing after it; why, what was fetched, and when the next try is."""
    assert slot.health(0.0) == {"status": "fine", "reason": None, "seconds_to_expiry": None}
    assert slot.figures(0.0).seconds_to_next_try == 0.0
    flight = started(slot, 0.0)
    slot.land(flight, token("one"), 2.0)
    slot.end(flight)
    assert slot.health(2.0) == {"status": "fine", "reason": None, "seconds_to_expiry": 3_593.0}
    slot.land(started(slot, 3_200.0), TokenRequestError("later", retry_after=70.0), 3_201.0)
    assert slot.health(3_201.0) == {"status": "degraded", "reason": "later", "seconds_to_expiry": 394.0}
    figures = slot.figures(3_595.0)
    assert (figures.status, figures.seconds_to_expiry, figures.seconds_to_next_try) == ("failing", None, 0.0)
    assert (figures.hits, figures.fetches, figures.fetch_seconds, figures.in_flight) == (1, 2, 3.0, 0)
    started(slot, 3_595.0, max_time=30.0)
    slot.step(3_625.0)
    assert slot.figures(3_625.0).in_flight == 2, "one that hangs counts too"


class SlotMachine(RuleBasedStateMachine):
    """Random histories of one slot: callers, a token service, an API, deletions and time."""

    LIFETIMES = st.sampled_from([5.0, 60.0, 300.0, 3_600.0, 86_400.0])
    ERRORS = st.sampled_from(
        [BUSY, REFUSED, TokenRequestError("later", retry_after=7.0), TokenEndpointError("500", status_code=500)]
    )

    @initialize()
    def begin(self) -> None:
        self.slot = Slot("k", Asked("worker"))
        self.now = 1_000.0
        self.flights: list[TokenFlight] = []
        self.numbers: Iterator[int] = iter(range(100_000))
        self.refused: set[str] = set()
        self.issued: dict[str, float] = {}

    @rule(force=st.booleans(), patient=st.booleans(), changed=st.booleans())
    def call(self, force: bool, patient: bool, changed: bool) -> None:
        slot, now = self.slot, self.now
        usable = slot.token is not None and now < (slot.token.hard_expiry or 0.0)
        failure, running = slot.failure, slot.flight
        step = slot.step(now, "new" if changed else "stamp", force=force, patient=patient, max_time=30.0)
        if isinstance(step.outcome, AccessToken):
            assert not force
            assert now < self.issued[step.outcome.value], "an expired token was handed out"
            assert step.outcome.value not in self.refused, "a refused token came back"
        else:
            assert force or not usable, "a valid token was withheld"
        if isinstance(step.outcome, Failure):
            assert step.outcome is failure or slot.hanging >= MAX_HANGING, "an error that nobody can explain"
            assert now < step.outcome.until or slot.hanging >= MAX_HANGING
        if step.start is not None:
            assert running is None or running.is_overdue(now), "two fetches of one key"
            if failure is not None and not changed and (force or not failure.background):
                assert now >= (failure.patient_until if patient else failure.until), "a request in the hold-off"
            self.flights.append(step.start)
            slot.begin(step.start)

    @rule(which=st.integers(0, 50), lifetime=LIFETIMES)
    def a_fetch_brings_a_token(self, which: int, lifetime: float) -> None:
        if self.flights:
            flight = self.flights.pop(which % len(self.flights))
            brought = token(f"t{next(self.numbers)}", self.now, lifetime)
            wanted = self.slot.wants(flight)
            self.slot.land(flight, brought, self.now, "stamp")
            assert (self.slot.token is brought) == wanted, "a late or deleted token came in, or a wanted one did not"
            self._end(flight)
            self.issued[brought.value] = self.now + lifetime

    @rule(which=st.integers(0, 50), error=ERRORS)
    def a_fetch_fails(self, which: int, error: TokenRequestError) -> None:
        if self.flights:
            flight = self.flights.pop(which % len(self.flights))
            before = self.slot.token
            self.slot.land(flight, error, self.now, "stamp")
            assert self.slot.token is before or before is None or self.now >= (before.hard_expiry or 0.0)
            self._end(flight)

    @rule(which=st.integers(0, 50))
    def a_fetch_dies(self, which: int) -> None:
        if self.flights:
            self._end(self.flights.pop(which % len(self.flights)))

    def _end(self, flight: TokenFlight) -> None:
        self.slot.end(flight)
        flight.land()

    @rule(late=st.booleans())
    def the_api_refuses(self, late: bool) -> None:
        current = self.slot.token
        if late or current is None:
            assert not self.slot.refuse(token("older"), self.now)
            assert self.slot.token is current
        elif self.slot.refuse(current, self.now):
            self.refused.add(current.value)

    @rule()
    def the_api_accepts(self) -> None:
        if self.slot.token is not None:
            self.slot.accept(self.slot.token)

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 31.0, 299.0, 3_000.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def delete(self) -> None:
        self.slot.forget()
        assert self.slot.token is None

    @invariant()
    def what_hangs_is_what_was_given_up(self) -> None:
        given_up = sum(flight.begun for flight in self.flights if flight.given_up)
        assert self.slot.hanging == given_up <= MAX_HANGING

    @invariant()
    def a_flight_that_runs_is_known(self) -> None:
        assert self.slot.flight is None or self.slot.flight in self.flights


def test_the_invariants_hold_over_random_histories() -> None:
    """No expired or refused token is handed out, no valid one withheld, one fetch per key, no try in the hold-off."""
    run_state_machine_as_test(SlotMachine, settings=settings(max_examples=150, stateful_step_count=50))

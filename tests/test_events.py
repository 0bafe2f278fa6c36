"""Events: what subscribers and the log are told."""

from __future__ import annotations

import contextvars
import logging
import traceback
from typing import Any

import pytest

from requests_cc_token import (
    AccessToken,
    AccessTokenManagement,
    Challenge,
    ConfigurationError,
    TokenEndpointError,
    TokenEvent,
    TokenRequestError,
    TokenRequestTimeout,
)
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService
from requests_cc_token.events import Events

from .conftest import SECRET
from .fetch_threads import FetchThreads

REPEATED = "it is a token that the API has refused: the token service gives it again, or a cache on the way does"


@pytest.fixture
def events() -> Events:
    return Events()


def test_subscribers_are_told_in_order_until_they_leave(events: Events) -> None:
    """Every subscriber gets each event, in the order of subscription, up to the moment at which it leaves."""
    seen: list[tuple[str, str]] = []
    leave = events.subscribe(lambda event: seen.append(("first", event.kind)))
    events.subscribe(lambda event: seen.append(("second", event.kind)))
    events.emit(TokenEvent("requested", "a", attempt=1))
    leave()
    leave()
    events.emit(TokenEvent("obtained", "a", expires_in=5.0))
    assert seen == [("first", "requested"), ("second", "requested"), ("second", "obtained")]


def test_who_subscribed_twice_leaves_once(events: Events) -> None:
    """The function that ``subscribe`` returned ends that subscription and no other."""
    seen: list[TokenEvent] = []
    leave = events.subscribe(seen.append)
    events.subscribe(seen.append)
    leave()
    events.emit(TokenEvent("rejected", "a"))
    assert len(seen) == 1


def test_what_cannot_be_called_is_no_subscriber(events: Events) -> None:
    """It is refused where it is given; each event would log an error otherwise."""
    nobody: Any = 5
    with pytest.raises(ConfigurationError, match="must be callable"):
        events.subscribe(nobody)


def test_a_subscriber_that_fails_does_no_harm(events: Events, caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged, and the others are told."""
    seen: list[TokenEvent] = []

    def fail(event: TokenEvent) -> None:
        raise LookupError("of the subscriber")

    events.subscribe(fail)
    events.subscribe(seen.append)
    event = TokenEvent("rejected", "a")
    events.emit(event)
    assert seen == [event]
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.getMessage() == "token client 'a': a subscriber failed on 'rejected'"
    assert "of the subscriber" in caplog.text


@pytest.mark.parametrize(
    ("event", "level", "sentence"),
    [
        (TokenEvent("requested", "a", attempt=2), "DEBUG", "token client 'a': requested; try 2"),
        (TokenEvent("obtained", "a", expires_in=99.6), "INFO", "token client 'a': obtained; usable for 100 s"),
        (TokenEvent("renewed", "a", expires_in=60.0), "INFO", "token client 'a': renewed; usable for 60 s"),
        (
            TokenEvent("obtained", "a", expires_in=9.0, source="service"),
            "INFO",
            "token client 'a': obtained from the token service; usable for 9 s",
        ),
        (
            TokenEvent("renewed", "a", expires_in=9.0, source="shared cache"),
            "INFO",
            "token client 'a': renewed from a shared cache; usable for 9 s",
        ),
        (
            TokenEvent("failed", "a", error=TokenRequestError("token client 'a': no"), source="service"),
            "WARNING",
            "token client 'a': failed; no",
        ),
        (
            TokenEvent("timed_out", "a", error=TokenRequestTimeout("token client 'a': no token within 2 s")),
            "WARNING",
            "token client 'a': timed out; no token within 2 s",
        ),
        (TokenEvent("served_stale", "a", expires_in=9.0), "WARNING", "token client 'a': served stale; usable for 9 s"),
        (
            TokenEvent("failed", "a", error=TokenEndpointError("it said no", status_code=400), wait=1.25),
            "WARNING",
            "token client 'a': failed; it said no; next try in 1.2 s",
        ),
        (TokenEvent("held_off", "a", wait=3.0), "DEBUG", "token client 'a': held off; next try in 3.0 s"),
        (TokenEvent("rejected", "a"), "INFO", "token client 'a': rejected; the API says no reason"),
        (
            TokenEvent("obtained", "a", source="service", expires_in=60, repeated=True),
            "WARNING",
            f"token client 'a': obtained from the token service; usable for 60 s; {REPEATED}",
        ),
        (
            TokenEvent("requested", "a", attempt=2, error=TokenRequestError("token client 'a': busy"), waited=0.75),
            "DEBUG",
            "token client 'a': requested; try 2 after 0.8 s; busy",
        ),
        (
            TokenEvent("rejected", "a", challenge=Challenge("bearer", {"error": "invalid_token"})),
            "INFO",
            "token client 'a': rejected; the API says invalid_token",
        ),
        (
            TokenEvent("rejected", "a", challenge=Challenge("bearer", {"error_description": "old"})),
            "INFO",
            "token client 'a': rejected; the API says old",
        ),
        (
            TokenEvent("rejected", "a", challenge=Challenge("bearer")),
            "INFO",
            "token client 'a': rejected; the API says no reason",
        ),
        (
            TokenEvent(
                "insufficient_scope", "a", challenge=Challenge("bearer", {"error": "insufficient_scope", "scope": "b"})
            ),
            "INFO",
            "token client 'a': insufficient scope; the API says insufficient_scope: it wants the scope b",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, TokenEvent) else "",
)
def test_each_event_is_one_log_record(
    events: Events, caplog: pytest.LogCaptureFixture, event: TokenEvent, level: str, sentence: str
) -> None:
    """The record says the event in one line, at a level of its own, with client and kind to filter by."""
    with caplog.at_level(logging.DEBUG, "requests_cc_token"):
        events.emit(event)
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("requests_cc_token", level, sentence)
    assert vars(record)["client"] == "a"
    assert vars(record)["event"] == event.kind


def test_the_fields_of_a_record(events: Events, caplog: pytest.LogCaptureFixture) -> None:
    """What an event says is in fields too: names, numbers and words, those only that it has."""
    plain = set(vars(logging.makeLogRecord({})))
    error = TokenEndpointError("no", 400, "invalid_scope")
    with caplog.at_level(logging.DEBUG, "requests_cc_token"):
        events.emit(TokenEvent("failed", "a", error=error, wait=1.0, duration=0.5, reason="cold", source="service"))
        events.emit(TokenEvent("held_off", "a", scope="b c", error=TokenRequestError("no"), wait=0.0))
        events.emit(TokenEvent("rejected", "a", challenge=Challenge("bearer", {"error": "invalid_token"})))
    said = [{k: v for k, v in vars(r).items() if k not in plain | {"message"}} for r in caplog.records]
    assert said == [
        {
            "client": "a",
            "event": "failed",
            "wait": 1.0,
            "duration": 0.5,
            "reason": "cold",
            "source": "service",
            "error": "TokenEndpointError",
            "error_code": "invalid_scope",
        },
        {
            "client": "a",
            "event": "held_off",
            "scope": "b c",
            "wait": 0.0,
            "error": "TokenRequestError",
            "error_code": None,
        },
        {"client": "a", "event": "rejected", "challenge_error": "invalid_token", "challenge_scope": None},
    ]


def test_a_record_factory_with_a_field_of_the_same_name(events: Events, caplog: pytest.LogCaptureFixture) -> None:
    """The program's own field stays, and the event is logged and told all the same."""
    seen: list[TokenEvent] = []
    events.subscribe(seen.append)
    plain = logging.getLogRecordFactory()

    def factory(*args: Any, **options: Any) -> logging.LogRecord:
        record = plain(*args, **options)
        vars(record)["scope"] = "of the program"
        return record

    logging.setLogRecordFactory(factory)
    try:
        with caplog.at_level(logging.INFO, "requests_cc_token"):
            events.emit(TokenEvent("rejected", "a", scope="api"))
    finally:
        logging.setLogRecordFactory(plain)
    (record,) = caplog.records
    assert record.getMessage() == "token client 'a': rejected; the API says no reason"
    assert vars(record)["scope"] == "of the program"
    assert len(seen) == 1


def test_what_is_not_logged_is_still_told(events: Events, caplog: pytest.LogCaptureFixture) -> None:
    """The level of the logger does not keep subscribers from their events."""
    seen: list[TokenEvent] = []
    events.subscribe(seen.append)
    with caplog.at_level(logging.CRITICAL, "requests_cc_token"):
        events.emit(TokenEvent("rejected", "a"))
    assert len(seen) == 1
    assert not caplog.records


def test_a_management_tells_what_happens(management: AccessTokenManagement, token_service: TokenService) -> None:
    """A fetch that fails once and then succeeds is told as two requests and a token, without its value."""
    seen: list[TokenEvent] = []
    leave = management.subscribe(seen.append)
    token_service.fail_next(503)
    token = management.service.get_access_token("worker")
    leave()
    management.service.delete_access_token("worker")
    management.service.get_access_token("worker")
    assert [(e.kind, e.client, e.attempt) for e in seen] == [
        ("requested", "worker", 1),
        ("requested", "worker", 2),
        ("obtained", "worker", None),
    ]
    assert seen[-1].expires_in == pytest.approx(3595)
    assert token.value not in repr(seen)


def test_each_try_says_how_the_one_before_failed(
    management: AccessTokenManagement, token_service: TokenService
) -> None:
    """And for how long nothing was done; the fetch's reason and the scope asked for are in each of its events."""
    seen: list[TokenEvent] = []
    management.add_client(
        "erp", token_endpoint=token_service.token_endpoint, client_id="worker", client_secret=SECRET, scope="api"
    )
    management.subscribe(seen.append)
    management.configure_backchannel(wait=(7,))
    token_service.fail_next(503)
    management.service.get_access_token("erp")
    first, second, obtained = seen
    assert (first.attempt, first.error, first.waited) == (1, None, None)
    assert second.attempt == 2
    assert "503" in str(second.error)
    assert second.waited == 7.0
    assert [event.duration for event in seen] == [0.0, 7.0, 7.0]
    assert (obtained.attempts, obtained.error, obtained.waited) == (2, None, None)
    assert {(event.scope, event.reason) for event in seen} == {("api", "cold")}


def test_what_the_api_demands_is_told(
    management: AccessTokenManagement, token_service: TokenService, api: ProtectedApi
) -> None:
    """A wider scope, by each call that needs it; why a token is refused. With the scope that was asked for."""
    seen: list[TokenEvent] = []
    management.add_client(
        "erp", token_endpoint=token_service.token_endpoint, client_id="worker", client_secret=SECRET, scope="api"
    )
    management.add_session("erp", base_url=api.base_url, client="erp")
    management.subscribe(seen.append)
    with management.make_session("erp") as session:
        assert [session.get("scope/pay").status_code for _ in range(2)] == [403, 403]
        token = management.service.get_access_token("erp")
        token_service.revoke_all()
        assert session.get("test").status_code == 200
    told = [(e.kind, e.scope, e.challenge.error, e.challenge.scope) for e in seen if e.challenge is not None]
    assert told == [
        ("insufficient_scope", "api", "insufficient_scope", "pay"),
        ("insufficient_scope", "api", "insufficient_scope", "pay"),
        ("rejected", "api", "invalid_token", None),
    ]
    assert token.value not in repr(seen)


def test_the_scope_of_a_token_that_is_forgotten(management: AccessTokenManagement) -> None:
    """A token of nobody any more changes nothing, and nothing is told of it."""
    seen: list[TokenEvent] = []
    management.subscribe(seen.append)
    token = AccessToken("T41NT", expires_at=0.0, key="none of ours")
    management.service.insufficient_scope(token, Challenge("bearer"))
    management.service.token_rejected(token)
    management.service.token_accepted(token)
    assert seen == []


def test_a_subscriber_that_ends_its_thread_leaves_nobody_waiting(
    management: AccessTokenManagement, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even ``SystemExit`` in the thread of a fetch keeps its result from those who wait for it."""

    def leave(event: TokenEvent) -> None:
        if event.kind == "obtained":
            raise SystemExit

    management.subscribe(leave)
    assert management.service.get_access_token("worker", timeout=30).scope == "api reports"


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_a_log_handler_that_raises_leaves_nobody_waiting(
    management: AccessTokenManagement, token_service: TokenService, level: int
) -> None:
    """Whether it fails on the request or on the token, callers get a token or an error, and the next fetch works."""

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise LookupError("of the handler")

    logger = logging.getLogger("requests_cc_token")
    before, handler = logger.level, Broken(level)
    FetchThreads.current.expect(LookupError)
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        if level == logging.INFO:
            assert management.service.get_access_token("worker", timeout=30).scope == "api reports"
        else:
            with pytest.raises(TokenRequestError, match="the fetch ended with LookupError"):
                management.service.get_access_token("worker", timeout=30)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    management.configure_backchannel()
    assert management.service.get_access_token("worker", timeout=30).scope == "api reports"
    assert FetchThreads.current.ended_with() == [LookupError]


def test_what_a_subscriber_does_to_an_error_changes_nothing(
    management: AccessTokenManagement, token_service: TokenService
) -> None:
    """It may raise the error again and write into it: callers get theirs as it was, and no traceback grows."""
    seen: list[TokenRequestError] = []

    def spoil(event: TokenEvent) -> None:
        if event.error is not None:
            seen.append(event.error)
            event.error.args = ("spoiled",)
            raise event.error

    management.subscribe(spoil)
    token_service.fail_next(503)
    management.configure_backchannel(wait=())
    for _ in range(5):
        with pytest.raises(TokenRequestError, match="answered 503"):
            management.service.get_access_token("worker", timeout=30)
    assert len({len(list(traceback.walk_tb(error.__traceback__))) for error in seen[1:]}) == 1


def test_what_a_subscriber_begins_is_not_deaf(events: Events) -> None:
    """Work that a subscriber hands to an event loop has the subscriber's context, also once the telling is over."""
    told: list[str] = []
    contexts: list[contextvars.Context] = []

    def subscriber(event: TokenEvent) -> None:
        told.append(event.client)
        contexts.append(contextvars.copy_context())
        events.emit(TokenEvent("obtained", event.client))  # itself amid the telling: no end otherwise

    events.subscribe(subscriber)
    events.emit(TokenEvent("obtained", "worker"))
    assert told == ["worker"]
    contexts[0].run(events.emit, TokenEvent("obtained", "worker"))
    assert told == ["worker"] * 2

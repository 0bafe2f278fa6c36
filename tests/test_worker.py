"""The worker of the demo, in this process and on a clock that is moved by hand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from requests_cc_token import AccessTokenManagement, UnknownClientError
from requests_cc_token.clock import Waitable
from requests_cc_token.demo.embedded import SESSION, embedded
from requests_cc_token.demo.worker import DEFAULT_CALLS, Line, Summary, Worker, printable
from requests_cc_token.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from requests_cc_token.demo.api import ProtectedApi
    from requests_cc_token.demo.token_service import TokenService
    from requests_cc_token.events import TokenEvent


class PacedClock(ManualClock):
    """A manual clock on which the worker's pauses take no real time; `on_pause` is called before each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.worker: Worker | None = None
        self.pauses = 0
        self.on_pause: Callable[[int], object] = lambda number: None

    def wait(self, event: Waitable, timeout: float | None) -> bool:
        """Pass the worker's pauses; wait for anything else as a manual clock does."""
        if self.worker is None or event is not self.worker.stop or timeout is None:
            return super().wait(event, timeout)
        self.pauses += 1
        self.on_pause(self.pauses)
        self.advance(timeout)
        return event.is_set()


Embedded = tuple[AccessTokenManagement, "TokenService", "ProtectedApi"]


@pytest.fixture
def clock() -> PacedClock:
    return PacedClock()


@pytest.fixture
def services(clock: PacedClock) -> Iterator[Embedded]:
    with embedded(clock=clock) as services:
        services[0].configure_backchannel(max_tries=1)
        yield services


@pytest.fixture
def lines() -> list[Line]:
    return []


@pytest.fixture
def worker(services: Embedded, clock: PacedClock, lines: list[Line]) -> Worker:
    clock.worker = Worker(services[0], SESSION, log=lines.append, clock=clock)
    return clock.worker


def texts(lines: list[Line], kind: str) -> list[str]:
    return [line.text for line in lines if line.kind == kind]


def test_ten_calls_show_a_renewal_in_the_background(
    services: Embedded, clock: PacedClock, worker: Worker, lines: list[Line]
) -> None:
    """With its defaults the demo's tenth call goes out with a token that was renewed while nobody waited."""
    management, tokens, api = services
    renewed = threading.Event()

    def told(event: TokenEvent) -> None:
        if event.kind == "renewed":
            renewed.set()

    def pause(number: int) -> None:
        if number == DEFAULT_CALLS - 1:
            assert renewed.wait(30), "the ninth call set off no renewal"
        else:
            assert not renewed.is_set()

    management.subscribe(told)
    clock.on_pause = pause

    assert worker.run() == Summary(calls=10, ok=10, failed=0, token_requests=2, obtained=1, renewed=1)
    assert len(tokens.requests) == 2
    carried = [request.fingerprint for request in api.requests]
    assert len(set(carried[:9])) == 1
    assert carried[9] not in carried[:9]
    said = texts(lines, "token")
    assert said[0] == "token of 'worker' requested"
    assert said[1].startswith("token of 'worker' obtained, usable for 4.")
    assert said[2] == "token of 'worker' requested"
    assert said[3].startswith("token of 'worker' renewed in the background, usable for 4.")


def test_each_call_is_logged_with_its_time_and_the_answer(
    clock: PacedClock, services: Embedded, lines: list[Line]
) -> None:
    """A call's line has the moment of the call and status and gist of the answer."""
    clock.worker = Worker(services[0], SESSION, log=lines.append, clock=clock, calls=2, interval=1.5)
    start = clock.time()
    clock.worker.run()

    calls = [line for line in lines if line.kind == "ok"]
    assert [line.time - start for line in calls] == [0.0, 1.5]
    assert calls[0].text.startswith('call 1: 200 {"client_id": "demo-worker", "scope": "api", "exp": ')


def test_no_line_holds_a_token_or_a_secret(services: Embedded, clock: PacedClock, lines: list[Line]) -> None:
    """The log tells of tokens, and never shows one."""
    management, tokens, _ = services
    clock.worker = Worker(management, SESSION, log=lines.append, clock=clock, calls=2)
    clock.worker.run()
    secret = management.clients["worker"].client_secret

    assert secret is not None
    assert secret.read() not in repr(lines)
    assert not any(token.value in repr(lines) for token in tokens.tokens)


def test_a_failing_api_does_not_stop_the_worker(
    services: Embedded, clock: PacedClock, lines: list[Line]
) -> None:
    """Errors of the API are logged and counted, and the next call is made; foreign text cannot steer a terminal."""
    management, _, api = services
    api.fail_next(500, "\x1b[2Jbroken\r\nhere " + "x" * 500)
    clock.worker = Worker(management, SESSION, log=lines.append, clock=clock, calls=2)

    assert clock.worker.run() == Summary(calls=2, ok=1, failed=1, token_requests=1, obtained=1, renewed=0)
    (text,) = texts(lines, "error")
    assert text.startswith("call 1: 500 \N{REPLACEMENT CHARACTER}[2Jbroken here xxx")
    assert text.endswith("x…")


def test_an_api_that_is_gone_does_not_stop_the_worker(
    services: Embedded, clock: PacedClock, lines: list[Line]
) -> None:
    """A refused connection is a failed call."""
    management, _, api = services
    api.stop()
    clock.worker = Worker(management, SESSION, log=lines.append, clock=clock, calls=1)

    assert clock.worker.run().failed == 1
    assert "ConnectionError" in texts(lines, "error")[0]


def test_a_failing_token_service_is_told(services: Embedded, clock: PacedClock, lines: list[Line]) -> None:
    """Without a token no call goes out; the log says why, and until when none is asked for."""
    management, tokens, api = services
    tokens.fail_always(503, "down", {"Retry-After": "60"})
    clock.worker = Worker(management, SESSION, log=lines.append, clock=clock, calls=2)

    summary = clock.worker.run()

    assert (summary.calls, summary.failed, summary.token_requests) == (2, 2, 1)
    assert api.requests == []
    said = texts(lines, "token")
    assert said[1].startswith("token of 'worker' not to be had: ")
    assert "; none is asked for within 60.0 s" in said[1]
    assert said[2].startswith("token of 'worker' not asked for, the last request failed: ")
    assert texts(lines, "error")[0].startswith("call 1: TokenEndpointError: ")


def test_a_token_service_that_is_gone_gets_no_request(services: Embedded, clock: PacedClock, lines: list[Line]) -> None:
    """The tries are told, and none is counted as sent."""
    management, tokens, _ = services
    tokens.stop()
    clock.worker = Worker(management, SESSION, log=lines.append, calls=1, clock=clock)
    summary = clock.worker.run()
    assert (summary.failed, summary.token_requests) == (1, 0)
    assert "token of 'worker' requested" in texts(lines, "token")


def test_a_retried_token_request_is_told_with_its_number(
    services: Embedded, clock: PacedClock, lines: list[Line]
) -> None:
    """Each try of a token request has its line."""
    management, tokens, _ = services
    management.configure_backchannel(max_tries=2, wait=(0,))
    tokens.fail_next(503)
    clock.worker = Worker(management, SESSION, log=lines.append, clock=clock, calls=1)

    assert clock.worker.run().token_requests == 2
    assert "token of 'worker' requested, try 2" in texts(lines, "token")


def test_any_answer_has_a_gist(services: Embedded, clock: PacedClock, lines: list[Line]) -> None:
    """An answer that is no list of claims is shown as it is, up to a length."""
    management, _, api = services
    for body in ("plain\ntext", "[]", '{"a": 1}', '[{"type": "other", "value": 1}]'):
        api.fail_next(200, body)
    clock.worker = Worker(management, SESSION, log=lines.append, clock=clock, calls=4)
    clock.worker.run()

    assert [text.partition(": 200 ")[2] for text in texts(lines, "ok")] == [
        "plain text",
        "[]",
        '{"a": 1}',
        '[{"type": "other", "value": 1}]',
    ]


def test_a_worker_without_end_stops_when_told(services: Embedded, clock: PacedClock, lines: list[Line]) -> None:
    """With calls=None it goes on until stop is set, and then tells what it did."""
    worker = clock.worker = Worker(services[0], SESSION, log=lines.append, clock=clock, calls=None, interval=0.01)
    clock.on_pause = lambda number: worker.stop.set() if number == 30 else None

    assert worker.run().calls == 30


def test_an_unknown_session_is_an_error_at_once(services: Embedded) -> None:
    """A worker for a session that nobody registered is not made."""
    with pytest.raises(UnknownClientError, match="'api'"):
        Worker(services[0], "nobody", log=print)


def test_printable_text_is_one_line() -> None:
    """Line breaks become spaces; what else is not printable becomes a replacement character."""
    assert printable("a\r\nb\tc \x1b[0m\x00 é\u202e") == "a b c \ufffd[0m\ufffd é\ufffd"

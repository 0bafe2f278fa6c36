"""The backchannel: its session, its tries, and the bounds that it keeps."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import ssl
import statistics
import sys
import threading
import zlib
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import backoff
import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from requests_cc_token import (
    AccessToken,
    AccessTokenManagement,
    ConfigurationError,
    InvalidTokenResponseError,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestError,
)
from requests_cc_token.endpoint.backchannel import Backchannel
from requests_cc_token.endpoint.backchannel_options import DEFAULT_MAX_TIME, DEFAULT_MAX_TRIES, BackchannelOptions
from requests_cc_token.endpoint.deadline import Deadline
from requests_cc_token.endpoint.failures import TooMuchError, came_after_sending
from requests_cc_token.endpoint.http_exchange import MAX_ANSWER
from requests_cc_token.endpoint.retry_after import MAX_RETRY_AFTER, parse_retry_after
from requests_cc_token.retry_delays import BACKOFF_CAP, full_jitter, half_jitter
from requests_cc_token.testing import ManualClock

from .forked import in_child
from .interop.pki import Authority
from .scripted_server import (
    ScriptedServer,
    answer,
    broken_off,
    drip,
    error_answer,
    half_a_body,
    hang,
    http_answer,
    reset,
    token_answer,
)
from .skipping_clock import SkippingClock

TAINT = "t41nted-s3cret"


def managed(server: ScriptedServer, clock: Any = None) -> AccessTokenManagement:
    management = AccessTokenManagement(clock=clock)
    if isinstance(clock, SkippingClock):
        clock.skip_waits_of(management)
    management.add_client("a", token_endpoint=server.token_endpoint, client_id="m2m", client_secret=TAINT)
    return management


@pytest.fixture
def worker(server: ScriptedServer, clock: SkippingClock) -> Iterator[AccessTokenManagement]:
    """A management whose waits between tries are skipped and noted by the clock."""
    with managed(server, clock) as management:
        yield management


def ask(management: AccessTokenManagement) -> AccessToken:
    return management.service.get_access_token("a")


# Waits between the tries


def test_waits_are_used_exactly(worker: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock) -> None:
    """``wait=(1, 2, 3)``: four tries with exactly these seconds between them, then the error."""
    worker.configure_backchannel(wait=(1, 2, 3))
    server.default = answer(503)
    with pytest.raises(TokenEndpointError, match="503"):
        ask(worker)
    assert clock.waits == [1, 2, 3]
    assert len(server.requests) == 4


def test_the_first_success_ends_the_tries(
    worker: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock
) -> None:
    """Whatever failed before, resets and refusals alike, the first token is the answer."""
    worker.configure_backchannel(wait=[0.5, 1.5, 30])
    server.script.extend([reset, error_answer(503, "temporarily_unavailable"), token_answer("third")])
    assert ask(worker).value == "third"
    assert clock.waits == [0.5, 1.5]


def test_no_waits_is_one_try(worker: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock) -> None:
    """``wait=()`` and ``max_tries=1`` each mean that nothing is tried again."""
    alternatives: list[dict[str, Any]] = [{"wait": ()}, {"wait": (1, 2), "max_tries": 1}]
    for options in alternatives:
        server.requests.clear()
        worker.configure_backchannel(**options)
        with pytest.raises(TokenEndpointError):
            ask(worker)
        assert len(server.requests) == 1
    assert clock.waits == []


@pytest.mark.parametrize(
    ("options", "waits"),
    [
        ({"wait": partial(backoff.constant, [1, 2, 3])}, [1, 2, 3]),
        ({"wait": partial(backoff.constant, [1, 2, 3]), "max_tries": 2}, [1]),
        ({"wait": partial(backoff.expo, factor=0.5), "max_tries": 4}, [0.5, 1, 2]),
        ({"wait": partial(backoff.expo, factor=2)}, [2, 4, 8]),  # 16 more would be too late
        ({"wait": backoff.fibo, "max_time": 5}, [1, 1, 2]),
        ({"wait": (1, 2, 3), "max_tries": 3}, [1, 2]),
    ],
)
def test_wait_generators_of_backoff(
    worker: AccessTokenManagement,
    server: ScriptedServer,
    clock: SkippingClock,
    options: dict[str, Any],
    waits: list[float],
) -> None:
    """Any of them works, endless ones too: tries and time are bounded."""
    worker.configure_backchannel(**options)
    with pytest.raises(TokenEndpointError):
        ask(worker)
    assert clock.waits == waits
    assert len(server.requests) == len(waits) + 1


def no_waits() -> Generator[float, Any, None]:
    """A wait generator that ends before it has begun."""
    yield from ()


def test_a_wait_generator_that_is_empty_is_one_try(clock: SkippingClock) -> None:
    """The error of that try is raised, not one about the generator."""
    assert failing(clock, wait=no_waits) == []


@pytest.mark.parametrize("wait", [lambda: [1, 2], lambda: iter((1, 2)), backoff.runtime, float, lambda n: n])
def test_what_is_no_wait_generator_is_refused(wait: Any) -> None:
    """It is told where it is given, and not in place of the first error of a token request."""
    with pytest.raises(ConfigurationError, match="wait must be a wait generator"):
        BackchannelOptions().changed(wait=wait)


def yielding(*seconds: Any) -> Callable[[], Generator[Any, Any, None]]:
    return partial(backoff.constant, seconds)


def breaks() -> Generator[Any, Any, None]:
    yield
    yield 1
    raise ValueError(TAINT)


def breaks_at_once() -> Generator[Any, Any, None]:
    yield from yielding(float(TAINT))()


@pytest.mark.parametrize(
    ("wait", "waits", "reason"),
    [
        (yielding("soon"), [], "backchannel: wait must be a number of seconds"),
        (yielding(2, float("nan")), [2], "backchannel: wait must be a number of seconds"),
        (yielding(2, None), [2], "backchannel: wait must be a number of seconds"),
        (breaks, [1], "its generator raised ValueError"),
        (breaks_at_once, [], "its generator raised ValueError"),
    ],
)
def test_a_wait_generator_that_fails_ends_the_tries(
    worker: AccessTokenManagement,
    server: ScriptedServer,
    clock: SkippingClock,
    wait: Any,
    waits: list[float],
    reason: str,
) -> None:
    """What the token service answered is raised all the same, and what is wrong with the wait is said."""
    worker.configure_backchannel(wait=wait)
    with pytest.raises(TokenEndpointError) as failed:
        ask(worker)
    assert f"answered 500; not tried again, since the wait cannot be told ({reason})" in str(failed.value)
    assert str(failed.value).startswith("token client 'a': ")
    assert (failed.value.status_code, failed.value.client, failed.value.transient) == (500, "a", True)
    assert TAINT not in str(failed.value)
    assert clock.waits == waits


@pytest.mark.parametrize(("wait", "waits"), [([-5, 1], [0, 1]), ([1, float("inf")], [1])])
def test_waits_of_a_generator_that_are_odd(
    worker: AccessTokenManagement, clock: SkippingClock, wait: list[float], waits: list[float]
) -> None:
    """Less than nothing is no wait, and without end is more than a fetch has."""
    worker.configure_backchannel(wait=yielding(*wait))
    with pytest.raises(TokenEndpointError) as failed:
        ask(worker)
    assert "cannot be told" not in str(failed.value)
    assert clock.waits == waits


def test_a_wait_generator_may_look_at_the_error(
    worker: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock
) -> None:
    """``backoff.runtime`` gets the error and says how long to wait for it."""
    worker.configure_backchannel(
        wait=partial(backoff.runtime, value=lambda error: error.status_code / 100), max_tries=3
    )
    server.script.extend([answer(502), answer(504), token_answer("third")])
    assert ask(worker).value == "third"
    assert clock.waits == [5.02, 5.04]


def failing(clock: SkippingClock, **options: Any) -> list[float]:
    """The waits of one fetch whose every try fails."""
    backchannel = Backchannel(clock)
    backchannel.configure(BackchannelOptions().changed(**options))
    clock.skip(backchannel.closed)
    clock.waits.clear()

    def attempt(deadline: Deadline) -> None:
        raise TokenRequestError("again")

    with pytest.raises(TokenRequestError, match="again"):
        backchannel.retrying(attempt, keep_trying=lambda: True)
    return list(clock.waits)


def test_by_default_the_waits_are_drawn_at_random(clock: SkippingClock) -> None:
    """Full jitter: four tries whose waits are uniform between 0 and 1, 2 and 4 seconds, and independent."""
    samples = [failing(clock) for _ in range(400)]
    assert {len(waits) for waits in samples} == {DEFAULT_MAX_TRIES - 1}
    for number, bound in enumerate((1.0, 2.0, 4.0)):
        shares = sorted(waits[number] / bound for waits in samples)
        assert shares[0] >= 0
        assert shares[-1] <= 1
        # Kolmogorov and Smirnov: of a million honest runs at most one goes further from the diagonal than 0.135.
        assert max(abs(share - i / len(shares)) for i, share in enumerate(shares)) < 0.135
    first, second = zip(*[(waits[0], waits[1]) for waits in samples], strict=True)
    assert abs(statistics.correlation(first, second)) < 0.25


@given(st.integers(-5, 2_000), st.floats(0.001, 10), st.floats(0.001, 1_000))
def test_the_bounds_of_jitter(failures: int, base: float, cap: float) -> None:
    """No wait exceeds base times two for each failure before, nor the cap; the half form keeps half of it."""
    bound = min(cap, base * 2 ** min(max(failures - 1, 0), 100))
    assert 0 <= full_jitter(failures, base=base, cap=cap) <= bound
    assert bound / 2 <= half_jitter(failures, base=base, cap=cap) <= bound
    assert full_jitter(failures) <= BACKOFF_CAP


def test_the_time_for_all_tries_is_bounded(clock: SkippingClock) -> None:
    """A wait that would end after ``max_time`` is not begun: the error comes at once."""
    assert failing(clock, wait=(5, 5, 5), max_time=10) == [5]
    assert failing(clock, wait=(5, 5, 5), max_time=10.1) == [5, 5]
    assert failing(clock, wait=(DEFAULT_MAX_TIME,)) == []


def test_nobody_waits_nothing_is_tried_again(clock: SkippingClock) -> None:
    """A fetch that nobody waits for any more, and one of a closed management, ends with its try."""
    backchannel = Backchannel(clock)
    backchannel.configure(BackchannelOptions().changed(wait=(1, 1, 1)))
    clock.skip(backchannel.closed)
    tries, start = 0, clock.monotonic()

    def attempt(deadline: Deadline) -> None:
        nonlocal tries
        tries += 1
        assert deadline.at == start + DEFAULT_MAX_TIME
        raise TokenRequestError("again")

    with pytest.raises(TokenRequestError):
        backchannel.retrying(attempt, keep_trying=lambda: tries < 2)
    assert tries == 2
    start = clock.monotonic()
    backchannel.close()
    with pytest.raises(TokenRequestError):
        backchannel.retrying(attempt, keep_trying=lambda: True)
    assert tries == 3


def test_closing_ends_a_wait_between_tries(server: ScriptedServer) -> None:
    """A caller who waits through tries is let go at once, with the last error or one that says closed."""
    clock = ManualClock()
    management = managed(server, clock)
    management.configure_backchannel(wait=(20,))
    errors: list[TokenRequestError] = []

    def call() -> None:
        try:
            ask(management)
        except TokenRequestError as error:
            errors.append(error)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    clock.until_waiting(lambda left: 20 in left)
    management.close()
    caller.join(30)
    assert len(errors) == 1
    assert len(server.requests) == 1


@pytest.mark.parametrize("error", ["invalid_client", "invalid_scope", "unauthorized_client", "unheard_of"])
def test_permanent_errors_are_not_tried_again(
    worker: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock, error: str
) -> None:
    """An OAuth error with a 4xx is the same the next time, so it is the answer."""
    worker.configure_backchannel(wait=(1, 2, 3))
    server.default = error_answer(400, error)
    with pytest.raises(TokenEndpointError) as refusal:
        ask(worker)
    assert refusal.value.error == error
    assert clock.waits == []
    assert len(server.requests) == 1


def test_an_answer_that_makes_no_sense_is_tried_again(
    worker: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock
) -> None:
    """A 200 of some proxy's login page may be gone the next time."""
    worker.configure_backchannel(wait=(1,))
    server.script.extend([answer(200, b"<html>"), token_answer("second")])
    assert ask(worker).value == "second"
    server.default = answer(200, b"<html>")
    worker.service.delete_access_token("a")
    with pytest.raises(InvalidTokenResponseError, match="answered 200, but its body is no JSON object"):
        ask(worker)
    assert clock.waits == [1, 1]


# Retry-After

#: 1994-11-06T08:49:37Z, the date of RFC 9110's examples.
EXAMPLE = 784_111_777.0


@pytest.mark.conformance("C26")
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("3600", 3600),
        ("3601", MAX_RETRY_AFTER),
        ("9" * 5000, MAX_RETRY_AFTER),
        ("0" * 30 + "7", 7),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 10),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 10),
        ("Sun Nov  6 08:49:37 1994", 10),
        ("Sun, 06 Nov 1994 08:49:27 GMT", 0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0),
        ("Mon, 07 Nov 1994 08:49:37 GMT", MAX_RETRY_AFTER),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("١٢", None),
        ("²", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
        ("Sun, 41 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_retry_after_in_every_form(value: str | None, seconds: float | None) -> None:
    """A number of seconds and the three date forms of RFC 9110; the past is now, garbage is nothing, more is capped."""
    assert parse_retry_after(value, EXAMPLE - 10) == seconds


@given(st.text() | st.text(alphabet="0123456789 :,-GMTSunNov", max_size=40), st.floats(0, 1e12))
def test_no_retry_after_breaks_the_reader(value: str, now: float) -> None:
    """Whatever the header says, the outcome is a bounded number of seconds or nothing."""
    seconds = parse_retry_after(value, now)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_respected(
    worker: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock, status: int
) -> None:
    """The next try is not made before the moment named, even where the wait would be shorter."""
    worker.configure_backchannel(wait=(1, 9, 1))
    server.script.extend(
        [
            answer(status, headers=[("Retry-After", "7")]),
            answer(status, headers=[("Retry-After", "2")]),
            answer(status, headers=[("Retry-After", "garbage")]),
            token_answer("fourth"),
        ]
    )
    assert ask(worker).value == "fourth"
    assert clock.waits == [7, 9, 1]


def test_retry_after_as_a_date(worker: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock) -> None:
    """A date counts from the wall clock of the moment at which the request was sent."""
    worker.configure_backchannel(wait=(1,))
    date = "Tue, 14 Nov 2023 22:30:11 GMT"  # 1_700_001_011
    server.script.extend([answer(503, headers=[("Retry-After", date)]), token_answer("second")])
    assert ask(worker).value == "second"
    assert clock.waits == [11]


def test_a_retry_after_beyond_the_budget_is_the_end(
    worker: AccessTokenManagement, server: ScriptedServer, clock: SkippingClock
) -> None:
    """Nobody waits for a moment that the time budget does not reach; the error says how long it would be."""
    server.default = answer(429, headers=[("Retry-After", "600")])
    with pytest.raises(TokenEndpointError) as refusal:
        ask(worker)
    assert refusal.value.retry_after == 600
    assert clock.waits == []
    with pytest.raises(TokenEndpointError):
        ask(worker)
    assert len(server.requests) == 1, "the moment holds for later callers too"


# What goes wrong on the way


def tainted(error: BaseException) -> bool:
    return TAINT in f"{error!r} {error} {vars(error)}"


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (reset, "could not be connected to, or the connection broke"),
        (broken_off(b""), "could not be connected to, or the connection broke"),
        (broken_off(b"SSH-2.0-OpenSSH\r\n"), "could not be connected to, or the connection broke"),
        (half_a_body(), "the connection broke before the answer was complete"),
        (broken_off(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "the connection broke before"),
        (answer(200, b" " * (MAX_ANSWER + 1)), "the answer is larger than 1024 KiB"),
        (
            answer(200, gzip.compress(b" " * (MAX_ANSWER + 1)), [("Content-Encoding", "gzip")]),
            "the answer is larger than 1024 KiB",
        ),
        (answer(200, b"no gzip", [("Content-Encoding", "gzip")]), "the answer is compressed, and broken"),
    ],
)
def test_broken_answers(
    worker: AccessTokenManagement, server: ScriptedServer, action: Callable[..., bool], reason: str
) -> None:
    """Each is a connection error in words of our own, tried again like any other."""
    worker.configure_backchannel(wait=(1,))
    server.script.extend([action, action])
    with pytest.raises(TokenEndpointConnectionError) as failure:
        ask(worker)
    assert str(failure.value).startswith(f"token client 'a': the token endpoint {server.token_endpoint}: {reason}")
    assert failure.value.transient
    assert not tainted(failure.value)
    assert len(server.requests) == 2
    server.script.append(token_answer("fine"))
    worker.configure_backchannel()
    assert ask(worker).value == "fine"


def test_nobody_listens(clock: SkippingClock) -> None:
    """A refused connection says so."""
    with ScriptedServer() as gone:
        pass
    with managed(gone, clock) as management:
        management.configure_backchannel(wait=())
        with pytest.raises(TokenEndpointConnectionError, match="Connection refused"):
            ask(management)


@pytest.mark.skipif(sys.platform != "linux", reason="what a full backlog does is up to the system")
def test_a_server_that_accepts_nobody(clock: SkippingClock) -> None:
    """The connect timeout ends a connection that is never made."""
    with socket.socket() as listener, contextlib.ExitStack() as clients:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):  # as many as the backlog takes, and more
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        with AccessTokenManagement(clock=clock) as management:
            management.configure_backchannel(wait=(), timeout=(0.05, 30))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/token"
            management.add_client("a", token_endpoint=url, client_id="m2m", client_secret=TAINT)
            with pytest.raises(TokenEndpointConnectionError, match="could not be connected to in time"):
                ask(management)


def test_a_session_that_cannot_send(worker: AccessTokenManagement) -> None:
    """What requests says of a URL that it has no adapter for is told, and it is not tried again."""
    session = requests.Session()
    session.adapters.clear()
    worker.configure_backchannel(wait=(), session=session)
    with pytest.raises(TokenEndpointConnectionError, match="No connection adapters were found for") as error:
        ask(worker)
    assert not error.value.transient


def test_a_server_that_does_not_answer(worker: AccessTokenManagement, server: ScriptedServer) -> None:
    """The read timeout ends each try, before the head of the answer and within its body."""
    worker.configure_backchannel(wait=(), timeout=(5, 0.05))
    head = http_answer(200, b"x" * 100)[:-100]
    for action in (hang, lambda connection: connection.sendall(head) or hang(connection)):
        server.script.append(action)
        with pytest.raises(TokenEndpointConnectionError, match="did not answer in time"):
            ask(worker)
        worker.configure_backchannel()


@pytest.mark.parametrize(("end", "own"), [("head", False), ("body", False), ("chunks", False), ("body", True)])
def test_a_server_that_drips(server: ScriptedServer, end: str, own: bool) -> None:
    """An answer byte by byte, each within the read timeout, is cut off when the time budget is over.

    On a session of one's own too, there between two reads.
    """
    clock = ManualClock()
    head = {
        "head": b"HTTP/1.1 200 OK\r\nX-Drip: ",
        "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    }[end]
    server.script.append(drip(head, b"1\r\nx\r\n" if end == "chunks" else b"x"))
    with managed(server, clock) as management:
        management.configure_backchannel(wait=(), session=requests.Session() if own else None)
        errors: list[TokenRequestError] = []

        def call() -> None:
            try:
                ask(management)
            except TokenRequestError as error:
                errors.append(error)

        caller = threading.Thread(target=call, daemon=True)
        caller.start()
        server.wait_for_requests(1)
        clock.until_waiting(lambda left: DEFAULT_MAX_TIME in left)
        assert caller.is_alive()
        clock.advance(DEFAULT_MAX_TIME)
        caller.join(30)
        assert not caller.is_alive()
    assert "did not answer in time" in str(errors[0])


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", " GZIP ", "identity"])
def test_a_compressed_answer_is_read_all_the_same(
    worker: AccessTokenManagement, server: ScriptedServer, encoding: str
) -> None:
    """We ask for none; a server that compresses is understood."""
    body = b'{"access_token": "t", "token_type": "Bearer"}'
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "x-gzip": gzip.compress,
        "deflate": zlib.compress,
        "identity": bytes,
    }
    packed = packers[encoding.strip().lower()](body)
    server.script.append(answer(200, packed, [("Content-Encoding", encoding)]))
    assert ask(worker).value == "t"
    assert server.requests[0].headers["accept-encoding"] == "identity"


# The session


def test_what_a_token_request_looks_like(worker: AccessTokenManagement, server: ScriptedServer) -> None:
    """A form by POST that asks for JSON, uncompressed."""
    server.default = token_answer("t")
    ask(worker)
    first = server.requests[0]
    assert (first.method, first.target) == ("POST", "/token")
    assert first.headers["content-type"] == "application/x-www-form-urlencoded"
    assert first.headers["accept"] == "application/json"
    assert first.form == {"grant_type": ["client_credentials"]}
    assert first.headers["authorization"].startswith("Basic ")


def test_f35_no_connection_lies_idle_until_the_next_request(
    worker: AccessTokenManagement, server: ScriptedServer
) -> None:
    """Each request has a connection of its own, which is closed after its answer: no firewall can forget it."""
    closed = threading.Event()

    def wait_for_the_end(connection: Any) -> bool:
        connection.sendall(http_answer(200, {"access_token": "t", "token_type": "Bearer"}))
        assert connection.recv(1) == b""
        closed.set()
        return False

    for _ in range(3):
        closed.clear()
        server.script.append(wait_for_the_end)
        ask(worker)
        assert closed.wait(30)
        worker.service.delete_access_token("a")
    assert server.connections == 3


def test_redirects_and_cookies_count_for_nothing(worker: AccessTokenManagement, server: ScriptedServer) -> None:
    """A redirect is an error that says so, with one request sent; a cookie is not sent back."""
    worker.configure_backchannel(wait=())
    with ScriptedServer(default=token_answer("stolen")) as elsewhere:
        for status in (301, 302, 303, 307, 308):
            server.script.append(
                answer(status, headers=[("Location", elsewhere.token_endpoint), ("Set-Cookie", "sid=1")])
            )
            with pytest.raises(TokenEndpointError, match=f"answered {status}; redirects are not followed"):
                ask(worker)
            worker.configure_backchannel()
        assert elsewhere.requests == []
    assert all("cookie" not in request.headers for request in server.requests)


def test_netrc_does_not_win(
    worker: AccessTokenManagement, server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials of ``.netrc`` for the token service's host are not sent, whatever the client's method."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth(server.token_endpoint) == ("somebody", "else")
    worker.add_client(
        "post", token_endpoint=server.token_endpoint, client_id="m2m", client_secret=TAINT, auth="client_secret_post"
    )
    server.default = token_answer("t")
    for session in (None, requests.Session()):
        worker.configure_backchannel(session=session)
        worker.service.delete_access_token("post")
        worker.service.get_access_token("post")
        assert "authorization" not in server.requests[-1].headers


def test_a_session_of_ones_own(worker: AccessTokenManagement, server: ScriptedServer) -> None:
    """Its headers travel; its credentials, cookies and hooks are for other requests and stay at home."""
    session = requests.Session()
    session.headers.update(
        {"X-Tenant": "t", "User-Agent": "mine/1", "Authorization": "Bearer other", "Content-Type": "text/plain"}
    )
    session.auth = ("somebody", "else")
    session.cookies.set("sid", "1", domain="127.0.0.1")
    session.hooks["response"].append(lambda *_, **__: pytest.fail("a hook of the session ran"))
    worker.configure_backchannel(session=session)
    server.script.append(answer(200, b'{"access_token": "t", "token_type": "Bearer"}', [("Set-Cookie", "a=b")]))
    assert ask(worker).value == "t"
    (request,) = server.requests
    assert (request.headers["x-tenant"], request.headers["user-agent"]) == ("t", "mine/1")
    assert request.headers["authorization"].startswith("Basic bTJtOn")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "cookie" not in request.headers
    assert session.cookies.keys() == ["sid"]


def test_a_session_of_ones_own_is_not_closed(worker: AccessTokenManagement, server: ScriptedServer) -> None:
    """Closing the management leaves the user's session and its connection usable."""
    session = requests.Session()
    worker.configure_backchannel(session=session)
    server.default = token_answer("t")
    ask(worker)
    worker.close()
    assert session.get(server.url, timeout=30).status_code == 200
    assert server.connections == 1


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def tls_server(authority: Authority) -> Iterator[ScriptedServer]:
    certificate = authority.issue("token service", server=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate.pair)
    with ScriptedServer(default=token_answer("t"), tls=context) as server:
        yield server


def test_an_unknown_authority_is_refused(tls_server: ScriptedServer, clock: SkippingClock) -> None:
    """The certificate is verified, and the error says what to look at."""
    with managed(tls_server, clock) as management:
        management.configure_backchannel(wait=())
        with pytest.raises(TokenEndpointConnectionError, match=r"TLS connection failed .*check its certificate and"):
            ask(management)
    assert tls_server.requests == []


@pytest.mark.parametrize("how", ["verify", "pathlib", "session", "environment", "off"])
def test_a_ca_of_ones_own(
    tls_server: ScriptedServer,
    authority: Authority,
    clock: SkippingClock,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """It is given as an option, on the session handed over, or in the environment; verification may be off."""
    session = requests.Session()
    session.verify = str(authority.file)
    options: dict[str, dict[str, Any]] = {
        "verify": {"verify": str(authority.file)},
        "pathlib": {"verify": authority.file},
        "session": {"session": session},
        "environment": {},
        "off": {"verify": False},
    }
    if how == "environment":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    warned = pytest.warns(Warning, match="Unverified HTTPS") if how == "off" else contextlib.nullcontext()
    with managed(tls_server, clock) as management, warned:
        management.configure_backchannel(wait=(), **options[how])
        assert ask(management).value == "t"


@pytest.mark.parametrize("how", ["option", "session", "environment"])
def test_a_proxy(server: ScriptedServer, clock: SkippingClock, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Token requests go by the proxy that option, session or environment name; a proxy that fails is named so."""
    with ScriptedServer(default=token_answer("by-proxy")) as proxy, managed(server, clock) as management:
        session = requests.Session()
        session.proxies = {"http": proxy.url}
        options: dict[str, Any] = {
            "option": {"proxies": {"http": proxy.url}},
            "session": {"session": session},
            "environment": {},
        }
        if how == "environment":
            monkeypatch.setenv("http_proxy", proxy.url)
        management.configure_backchannel(wait=(), **options[how])
        assert ask(management).value == "by-proxy"
        assert [request.target for request in proxy.requests] == [server.token_endpoint]
        assert server.requests == []
        management.service.delete_access_token("a")
        proxy.close()
        with pytest.raises(TokenEndpointConnectionError, match=rf"the proxy {proxy.url} failed \(Connection"):
            ask(management)


def test_a_new_configuration_holds_from_the_next_fetch_on(
    worker: AccessTokenManagement, server: ScriptedServer
) -> None:
    """What is left out stays, and a hold-off ends, since what caused it may have changed."""
    worker.configure_backchannel(wait=(), max_time=7, timeout=3)
    server.script.append(answer(500))
    with pytest.raises(TokenEndpointError):
        ask(worker)
    worker.configure_backchannel(max_tries=2)
    options = worker._backchannel.options
    assert (options.wait, options.max_time, options.timeout, options.max_tries) == ((), 7, (3, 3), 2)
    server.script.append(token_answer("t"))
    assert ask(worker).value == "t"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"wait": 5}, "wait must be the seconds between the tries, such as (1, 2, 3)"),
        ({"wait": "1, 2"}, "wait must be the seconds between the tries"),
        ({"wait": [1, "2"]}, "wait must be a number of seconds, 0 or more"),
        ({"wait": [-1]}, "wait must be"),
        ({"wait": [float("nan")]}, "wait must be a number of seconds"),
        ({"wait": [float("inf")]}, "wait must be a number of seconds"),
        ({"timeout": 0}, "timeout must be a number of seconds, more than 0"),
        ({"timeout": "5"}, "timeout must be a number of seconds, more than 0"),
        ({"timeout": (1, 2, 3)}, "timeout must be seconds, or (connect, read) seconds"),
        ({"timeout": True}, "timeout must be a number of seconds"),
        ({"max_time": 0}, "max_time must be a number of seconds, more than 0"),
        ({"max_tries": 0}, "max_tries must be a whole number above 0"),
        ({"max_tries": 1.5}, "max_tries must be a whole number above 0"),
        ({"max_tries": True}, "max_tries must be a whole number above 0"),
        ({"session": "https://"}, "session must be a requests.Session"),
        ({"verify": "/no/such/file"}, "verify must be a CA bundle's path, or False"),
        ({"verify": 0}, "verify must be a CA bundle's path, or False"),
        ({"proxies": "http://proxy"}, "proxies must be a mapping"),
        ({"proxies": {"http": 5}}, "proxies must be a mapping"),
        ({"session": requests.Session(), "verify": False}, "set them on the session you give"),
        ({"session": requests.Session(), "proxies": {}}, "set them on the session you give"),
    ],
)
def test_options_that_cannot_work(worker: AccessTokenManagement, options: dict[str, Any], sentence: str) -> None:
    """Each is refused when it is given, and nothing changes."""
    before = worker._backchannel.options
    with pytest.raises(ConfigurationError) as refusal:
        worker.configure_backchannel(**options)
    assert str(refusal.value).startswith("backchannel: ")
    assert sentence in str(refusal.value)
    assert worker._backchannel.options is before


def test_timeouts_may_differ_or_be_none(worker: AccessTokenManagement) -> None:
    """(connect, read) as requests has it, as tuple or list; None for one of them waits for ever."""
    for timeout, expected in ((5, (5, 5)), ((1, 2), (1, 2)), ([1, 2], (1, 2)), ((None, 2.5), (None, 2.5))):
        worker.configure_backchannel(timeout=timeout)  # type: ignore[arg-type]
        assert worker._backchannel.options.timeout == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("own", [True, False])
def test_a_forked_child_opens_a_connection_of_its_own(
    worker: AccessTokenManagement, server: ScriptedServer, own: bool
) -> None:
    """Parent and child never share a socket of the backchannel, not even that of a session handed over."""
    if own:
        worker.configure_backchannel(session=requests.Session())
    server.default = token_answer("t")
    ask(worker)
    worker.service.delete_access_token("a")
    in_child(lambda: ask(worker))
    ask(worker)
    assert len(server.requests) == 3
    assert server.connections == (2 if own else 3)


# What counts as sent


def urllib3_gave_up(reason: Exception) -> requests.ConnectionError:
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(cast("Any", None), "/", reason))


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (urllib3_gave_up(urllib3.exceptions.NewConnectionError(cast("Any", None), "refused")), False),
        (urllib3_gave_up(urllib3.exceptions.NameResolutionError("host", cast("Any", None), socket.gaierror())), False),
        (urllib3_gave_up(urllib3.exceptions.ProtocolError("aborted")), True),
        (requests.exceptions.ConnectTimeout(), False),
        (requests.exceptions.SSLError(), False),
        (requests.exceptions.ProxyError(), False),
        (requests.exceptions.InvalidSchema("SOCKS"), False),
        (requests.exceptions.InvalidHeader(), False),
        (requests.exceptions.ReadTimeout(), True),
        (requests.exceptions.RetryError(), True),
        (requests.ConnectionError(), True),
        (requests.ConnectionError(urllib3.exceptions.ProtocolError("aborted")), True),
        (urllib3.exceptions.ReadTimeoutError(cast("Any", None), "/", "late"), True),
        (urllib3.exceptions.IncompleteRead(1, 2), True),
        (TooMuchError(MAX_ANSWER), True),
        (zlib.error(), True),
        (FileNotFoundError("ca.pem"), False),
        (OSError("Could not find a suitable TLS CA certificate bundle"), False),
        (LookupError(), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_failed_after_it_was_sent(error: Exception, sent: bool) -> None:
    """A request was sent once there was a connection for it, whatever became of it then."""
    assert came_after_sending(error) is sent


def test_a_child_has_its_own_word_for_the_end() -> None:
    """What the parent had closed is closed in the child, what it had not is open; with no session there is no pool."""
    backchannel = Backchannel(ManualClock())
    inherited = backchannel.closed
    backchannel.after_fork_in_child()
    assert backchannel.closed is not inherited
    assert not backchannel.closed.is_set()
    backchannel.closed.set()
    backchannel.after_fork_in_child()
    assert backchannel.closed.is_set()

"""S5: a hostile token service costs a named error in bounded time and memory, and leaves nothing in the cache."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from requests_cc_token import (
    AccessTokenManagement,
    InvalidTokenResponseError,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestError,
    TokenRequestParameters,
)
from requests_cc_token.clock import Waitable
from requests_cc_token.endpoint.excerpt import MAX_RESPONSE_TEXT
from requests_cc_token.endpoint.http_exchange import MAX_ANSWER

from .fuzz.targets import SEEDS, TARGETS, check_message
from .internet import certificates
from .scripted_server import Action, ScriptedServer, answer, drip, http_answer, token_answer

SECRET = "T41NT-secret"
TOKEN = "T41NT-token"

#: Bytes: what reading the largest answer may take, with its copies.
MEMORY = 16 * MAX_ANSWER


#: Seconds for a fetch, which no test waits for.
MAX_TIME = 60.0


class Hasty:
    """A clock on which the deadline of an exchange is over as soon as the server says so."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self.over = threading.Event()

    def monotonic(self) -> float:
        """Seconds; the moment of the deadline once it is over."""
        return self._now + (MAX_TIME if self.over.is_set() else 0.0)

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.monotonic() + 1.7e9

    def wait(self, event: Waitable, timeout: float | None) -> bool:
        """Wait for the event or until the time is over, whichever is first; tell which."""
        if timeout is None:
            return event.wait(60)
        while not event.wait(0.005):
            if self.over.is_set():
                return False
        return True


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A token service in plain http."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def tls_server() -> Iterator[ScriptedServer]:
    """A token service over TLS."""
    with ScriptedServer(tls=certificates()[0]) as server:
        yield server


def refused(server: ScriptedServer, kind: type[TokenRequestError], **backchannel: Any) -> TokenRequestError:
    """The error of a token request to the server, with all that holds for any of them."""
    with AccessTokenManagement(clock=backchannel.pop("clock", None)) as management:
        management.configure_backchannel(wait=(), **backchannel)
        management.add_client("worker", token_endpoint=server.token_endpoint, client_id="m2m", client_secret=SECRET)
        with pytest.raises(TokenRequestError) as caught:
            management.service.get_access_token()
        assert type(caught.value) is kind
        check_message(caught.value)
        assert len(management._cache) == 0  # type: ignore[arg-type]
        assert [line.seconds_to_expiry for line in management.stats()] == [None]
        return caught.value


def gzipped(body: bytes) -> bytes:
    """An answer that is compressed though nobody asked for it."""
    return http_answer(200, gzip.compress(body), [("Content-Encoding", "gzip")])


def raw(data: bytes) -> Action:
    """Send these bytes, as far as the other side takes them, and close."""

    def act(connection: Any) -> bool:
        with contextlib.suppress(OSError):
            connection.sendall(data)
        return False

    return act


def endless(head: bytes, piece: bytes) -> Action:
    """Send the head, then the piece again and again until the other side gives up; at most 256 MiB."""

    def act(connection: Any) -> bool:
        with contextlib.suppress(OSError):
            connection.sendall(head)
            block = piece * (65_536 // len(piece) + 1)
            for _ in range(4_096):
                connection.sendall(block)
        return False

    return act


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

TOO_MUCH: dict[str, Action] = {
    "10 MB": raw(http_answer(200, b" " * 10_000_000)),
    "10 MB that are announced": raw(HEAD + b"Content-Length: 10000000\r\n\r\n" + b" " * 10_000_000),
    "no length": endless(HEAD + b"\r\n", b" "),
    "chunks without end": endless(CHUNKED, b"400\r\n" + b" " * 1024 + b"\r\n"),
    "chunks that are mostly frame": endless(CHUNKED, b"10;" + b"x" * 64 + b"\r\n" + b" " * 16 + b"\r\n"),
    "one endless chunk": endless(CHUNKED + b"fffffffffffff\r\n", b" "),
    "a redirect with an endless body": endless(b"HTTP/1.1 302 Found\r\nLocation: /other\r\n\r\n", b" "),
    "an error with an endless body": endless(b"HTTP/1.1 401 No\r\n\r\n", b" "),
}

#: Made by the test: each takes half a second, which every process of a run would pay that collects this file.
BOMBS: dict[str, Callable[[], Action]] = {
    "a gzip bomb": lambda: raw(gzipped(b" " * 100_000_000)),
    "a deflate bomb": lambda: raw(
        http_answer(200, zlib.compress(b" " * 100_000_000), [("Content-Encoding", "deflate")])
    ),
}

BROKEN: dict[str, Action] = {
    "an endless chunk size": endless(CHUNKED, b"0"),
    "an endless chunk extension": endless(CHUNKED + b"1;", b"x"),
    "an endless status line": endless(b"HTTP/1.1 200 ", b"x"),
    "an endless header": endless(HEAD + b"X: ", b"x"),
    "headers without end": endless(HEAD, b"X: y\r\n"),
    "an endless trailer": endless(CHUNKED + b"1\r\n \r\n0\r\nX: ", b"x"),
    "no gzip": raw(http_answer(200, b"plain", [("Content-Encoding", "gzip")])),
    "less than announced": raw(HEAD + b'Content-Length: 100\r\n\r\n{"access_token": "a", "token_type": "Bearer"}'),
}


@pytest.mark.conformance("C20")
@pytest.mark.parametrize("how", [*TOO_MUCH, *BOMBS, *BROKEN])
def test_s5_size(server: ScriptedServer, how: str) -> None:
    """However an answer is made large, no more than the bound is read of it, in bounded memory."""
    server.default = BOMBS[how]() if how in BOMBS else {**TOO_MUCH, **BROKEN}[how]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        error = refused(server, TokenEndpointConnectionError, timeout=60, max_time=600)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < MEMORY
    if how not in BROKEN:
        assert "the answer is larger than 1024 KiB" in str(error)


@pytest.mark.conformance("C20")
def test_s5_the_largest_answer_that_is_read(server: ScriptedServer) -> None:
    """One byte less than too much is read, and a token of 64 KiB is a token."""
    value = "a" * 65_536
    body = json.dumps({"access_token": value, "token_type": "Bearer", "expires_in": 3600}).encode()
    for data in (body.ljust(MAX_ANSWER), body):
        server.default = answer(200, data)
        with AccessTokenManagement() as management:
            management.add_client("worker", token_endpoint=server.token_endpoint, client_id="m", client_secret=SECRET)
            assert management.service.get_access_token().value == value
    server.default = answer(200, body.ljust(MAX_ANSWER + 1))
    refused(server, TokenEndpointConnectionError)


def dripping(clock: Hasty, head: bytes, drop: bytes, *, handshake: bool = False) -> Action:
    """Drip; the deadline is over once the first drop has been taken."""
    plain = drip(head, drop)

    def act(connection: Any) -> bool:
        if handshake:
            # The client is in the middle of it, and does not learn of the deadline before it has begun.
            connection.recv(1)
        clock.over.set()
        return plain(connection)

    return act


DRIPS: dict[str, tuple[bytes, bytes]] = {
    "status line": (b"H", b"T"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n", b" "),
    "body without length": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "body of a connection that closes": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{", b" "),
    "chunks": (CHUNKED, b"1\r\n \r\n"),
    "chunk size": (CHUNKED, b"0"),
}


@pytest.mark.parametrize("over", ["http", "https"])
@pytest.mark.parametrize("how", DRIPS)
def test_s5_a_drip_does_not_stretch_the_deadline(
    server: ScriptedServer, tls_server: ScriptedServer, how: str, over: str, tmp_path: Path
) -> None:
    """A byte every now and then, wherever in the answer, ends at the deadline."""
    clock = Hasty()
    used = server if over == "http" else tls_server
    used.default = dripping(clock, *DRIPS[how])
    options = verified(over, tmp_path)
    error = refused(used, TokenEndpointConnectionError, clock=clock, timeout=60, max_time=MAX_TIME, **options)
    assert "did not answer in time" in str(error)


def verified(over: str, folder: Path) -> dict[str, str]:
    """The option by which a server's certificate is trusted."""
    if over == "http":
        return {}
    bundle = folder / "ca.pem"
    bundle.write_bytes(certificates()[1])
    return {"verify": str(bundle)}


@pytest.mark.parametrize("over", ["http", "https"])
def test_s5_a_drip_into_a_session_of_the_user(
    server: ScriptedServer, tls_server: ScriptedServer, over: str, tmp_path: Path
) -> None:
    """The deadline holds for a backchannel session of the user's, too."""
    clock = Hasty()
    used = server if over == "http" else tls_server
    used.default = dripping(clock, *DRIPS["headers"])
    session = requests.Session()
    session.verify = verified(over, tmp_path).get("verify", True)
    error = refused(used, TokenEndpointConnectionError, clock=clock, timeout=60, max_time=MAX_TIME, session=session)
    assert "did not answer in time" in str(error)


def test_s5_a_drip_in_the_tls_handshake() -> None:
    """A handshake that never ends, byte by byte, ends at the deadline."""
    clock = Hasty()
    # The head of a TLS record that announces 16,000 bytes, which then come one by one.
    with ScriptedServer(handshake=dripping(clock, b"\x16\x03\x03\x3e\x80", b"\x00", handshake=True)) as server:
        endpoint = server.token_endpoint.replace("http:", "https:")
        with AccessTokenManagement(clock=clock) as management:
            management.configure_backchannel(wait=(), timeout=60, max_time=MAX_TIME)
            management.add_client("worker", token_endpoint=endpoint, client_id="m2m", client_secret=SECRET)
            with pytest.raises(TokenEndpointConnectionError, match="did not answer in time"):
                management.service.get_access_token()


INVALID: dict[str, bytes] = {
    "deep arrays": b"[" * 500_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a member twice": b'{"access_token": "a", "access_token": "b", "token_type": "Bearer"}',
    "a member twice, below": b'{"access_token": "a", "token_type": "Bearer", "x": {"y": 1, "y": 2}}',
    "NaN": b'{"access_token": "a", "token_type": "Bearer", "expires_in": NaN}',
    "Infinity": b'{"access_token": "a", "token_type": "Bearer", "expires_in": -Infinity}',
    "infinite by its exponent": b'{"access_token": "a", "token_type": "Bearer", "x": 1e999}',
    "many digits": b'{"access_token": "a", "token_type": "Bearer", "expires_in": -' + b"9" * 4_000 + b"}",
    "more digits": b'{"access_token": "a", "token_type": "Bearer", "expires_in": ' + b"9" * 900_000 + b"}",
    "an array": b'["access_token"]',
    "not UTF-8": b'{"access_token": "a\xff", "token_type": "Bearer"}',
    "NUL": b"\x00" * 1000,
    "nothing": b"",
    "CR LF in the token": b'{"access_token": "a\\r\\nX-Injected: 1", "token_type": "Bearer"}',
    "a space in the token": b'{"access_token": "a b", "token_type": "Bearer"}',
    "an escape in the token": b'{"access_token": "a\\u001b[31m", "token_type": "Bearer"}',
    "not ASCII in the token": b'{"access_token": "\xc3\xa9", "token_type": "Bearer"}',
    "a lone surrogate in the token": b'{"access_token": "\\ud800", "token_type": "Bearer"}',
    "an empty token": b'{"access_token": "", "token_type": "Bearer"}',
    "a token that is no text": b'{"access_token": ["a"], "token_type": "Bearer"}',
    "CR LF in the token type": b'{"access_token": "a", "token_type": "Bearer\\r\\nX-Injected: 1"}',
    "an escape in the token type": b'{"access_token": "a", "token_type": "\\u001b]0;x\\u0007"}',
    "a long token type": b'{"access_token": "a", "token_type": "' + b"x" * 500_000 + b'"}',
    "a scope that is no text": b'{"access_token": "a", "token_type": "Bearer", "scope": {}}',
}


@pytest.mark.conformance("C22")
@pytest.mark.parametrize("how", INVALID)
def test_s5_what_is_no_token(server: ScriptedServer, how: str) -> None:
    """What cannot be read as one sound token is refused by name, and never reaches a header."""
    server.default = answer(200, INVALID[how])
    refused(server, InvalidTokenResponseError)


DESCRIPTIONS = [
    "\x1b[31mred\x1b[0m",
    "a\r\nlevel=ERROR forged",
    "\x00\x07\x08\x7f\x9b",
    "\u202egnp.exe \u2066 \ufeff \u2028 \u2029",
    "\ud800",
    "x" * 900_000,
]


@pytest.mark.conformance("C23")
@pytest.mark.parametrize("member", ["error", "error_description", "error_uri"])
def test_s5_texts_of_the_server(server: ScriptedServer, member: str, caplog: pytest.LogCaptureFixture) -> None:
    """Control characters, escapes, bidirectional tricks and long texts of the server reach no message and no log."""
    for text in DESCRIPTIONS:
        server.default = answer(400, {"error": "invalid_request", member: text})
        error = refused(server, TokenEndpointError)
        for shown in (getattr(error, member), error.response_text):
            assert shown is not None
            assert shown.isprintable()
            assert len(shown) <= MAX_RESPONSE_TEXT + 1
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) < 2_000


@pytest.mark.conformance("C23")
def test_s5_a_redirect_is_not_followed(server: ScriptedServer) -> None:
    """The secret goes to no address that the server names."""
    for status in (301, 302, 303, 307, 308):
        server.requests.clear()
        server.default = answer(status, b"", [("Location", server.url + "elsewhere")])
        error = refused(server, TokenEndpointError)
        assert "redirects are not followed" in str(error)
        assert {request.target for request in server.requests} == {"/token"}


def test_s5_the_good_token_stays(server: ScriptedServer) -> None:
    """Garbage in the answer to a renewal replaces no token."""
    server.script.append(token_answer(TOKEN))
    with AccessTokenManagement() as management:
        management.configure_backchannel(wait=())
        management.add_client("worker", token_endpoint=server.token_endpoint, client_id="m2m", client_secret=SECRET)
        token = management.service.get_access_token()
        server.default = answer(200, INVALID["CR LF in the token"])
        with pytest.raises(InvalidTokenResponseError):
            management.service.get_access_token(parameters=TokenRequestParameters(force_renewal=True))
        assert management.service.get_access_token() == token


def inputs(name: str) -> st.SearchStrategy[bytes]:
    """Bytes, and the fuzzer's seeds with something changed."""
    seeds = st.sampled_from(SEEDS[name])
    places = st.integers(0, 200)
    changed = st.builds(lambda seed, at, new: seed[:at] + new + seed[at + len(new) :], seeds, places, st.binary())
    return st.one_of(st.binary(), seeds, changed)


@pytest.mark.conformance("C26")
@pytest.mark.conformance("C32")
@pytest.mark.parametrize("name", TARGETS)
def test_s5_any_input(name: str) -> None:
    """What the fuzz targets promise, for a few hundred inputs: no surprise, whatever comes in."""
    target: Callable[[bytes], None] = TARGETS[name]

    @settings(max_examples=300)
    @given(inputs(name))
    def check(data: bytes) -> None:
        target(data)

    check()


#: What the fuzzer found, so that it stays found.
FINDINGS: list[tuple[str, bytes]] = [
    ("token-answer", b'\x00\x00{"access_token": "abc", "token_type": "Bearer", "expires_in": ' + b"9" * 400 + b"}"),
    ("token-answer", b'\x00\x00{"access_token": "abc", "token_type": "Bearer", "other": 36001e999}'),
    ("token-answer", b'\x00\x00{"c": 1, "T41NT-fuzzed-secreta": 2}'),
    ("configuration", b"\x00\\e\x04"),
    ("configuration", b"\x00\x00a" + b"\xff" * 130 + b"\x00\x00"),
    ("configuration", b"\x00-\x01aph" + b"H" * 24 + b"proxiesHHH\x01\x00\x00\x00" + b"H" * 35 + b"a"),
]


@pytest.mark.parametrize(("name", "data"), FINDINGS)
def test_s5_what_the_fuzzer_found(name: str, data: bytes) -> None:
    """Each finding of the fuzzer is an input like any other now."""
    TARGETS[name](data)


def test_s5_a_form_of_too_many_fields(server: ScriptedServer) -> None:
    """It is named as what it is."""
    body = b"&".join(b"a%d=1" % number for number in range(1_001))
    server.default = answer(200, body, [("Content-Type", "application/x-www-form-urlencoded")])
    assert "more than 1000 fields" in str(refused(server, InvalidTokenResponseError))


@pytest.mark.parametrize("piece", [b"<title", b"<title ", b"eyJ", b"eyJaaaaaaaa", b"a.eyJ", b"token="])
def test_s5_texts_that_begin_again_and_again(server: ScriptedServer, piece: bytes) -> None:
    """What is looked for in a text is looked for once, however often it seems to begin: processor time stays small."""
    server.default = answer(400, b"<" + piece * (900_000 // len(piece)))
    refused(server, TokenEndpointError)
    server.default = answer(400, piece * (900_000 // len(piece)))
    before = time.process_time()
    refused(server, TokenEndpointError)
    assert time.process_time() - before < 2.0

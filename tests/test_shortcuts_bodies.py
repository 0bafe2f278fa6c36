"""Bodies come and go as with requests, whatever is done less for each of their pieces."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import io
import os
import random
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from requests_cc_token.shortcuts.adapter import ShortcutAdapter

from .replay import (  # noqa: F401 - fixtures among them
    LARGE,
    OK,
    PATIENCE,
    PROPERTY,
    ReplayServer,
    answers,
    long_and_short,
    long_session,
    no_foreign_environment,
    outcome,
    replay_server,
    replaying,
    short_session,
    stalling,
)
from .scripted_server import Action, ScriptedServer, answer, broken_off

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _pytest.monkeypatch import MonkeyPatch

#: Bytes of a body that is more than one block, whichever.
LONG = 100_000


def with_body(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


# Answers


def taken(response: requests.Response, size: int | None, pieces: int) -> list[Any]:
    """So many pieces of a body, or the error that comes in their place, and what is known of it after each."""
    found: list[Any] = []
    coming = response.iter_content(size)
    for _ in range(pieces):
        piece = outcome(lambda: next(coming, None))
        found += [piece, response.raw.tell(), response.raw.length_remaining]
        if not isinstance(piece, bytes):
            break
    return found


@given(
    answer=answers(),
    size=st.sampled_from([1, 2, 7, 63, 64, 1000, 8192, 19_999, 20_000, 30_000, None]),
    pieces=st.integers(1, 30),
    then=st.sampled_from(["nothing", "read", "stream", "content", "data", "raw stream"]),
    peeked=st.booleans(),
)
@LARGE
def test_any_body_streams_as_in_requests(
    server: ReplayServer,
    pair: tuple[requests.Session, requests.Session],
    answer: tuple[bytes, bool],
    size: int | None,
    pieces: int,
    then: str,
    peeked: bool,
) -> None:
    """The same pieces, the same errors at the same places, and the same for who reads on in another way."""
    data, close = answer
    headers = replaying(data) | ({"Close": "1"} if close else {})

    def call(session: requests.Session) -> Any:
        address, ways = server.origin + "/start", {"stream": True, "allow_redirects": False, "timeout": PATIENCE}
        with session.get(address, headers=headers, **ways) as response:  # type: ignore[arg-type]
            if peeked and b"chunked" not in data:  # urllib3 would wait for chunks that it has passed by
                outcome(lambda: response.raw.read(1))
            found = taken(response, size, pieces)
            after: dict[str, Callable[[], Any]] = {
                "nothing": lambda: None,
                "read": lambda: response.raw.read(5),
                "stream": lambda: list(response.iter_content(3)),
                "content": lambda: response.content,
                "data": lambda: response.raw.data,
                # Undecoded, urllib3 would go on for ever after some errors.
                "raw stream": lambda: list(response.raw.stream(4, decode_content=True)),
            }
            return [*found, outcome(after[then]), response.raw.tell(), response.raw.closed]

    long, short = pair
    assert outcome(lambda: call(short)) == outcome(lambda: call(long))


def test_a_streamed_body_frees_its_connection_at_its_end(server: ReplayServer) -> None:
    """Read to its end it leaves the connection to the next request; given up before, it does not."""
    session = short_session()
    before = server.connections
    for _ in range(3):
        with session.get(server.origin, headers=replaying(with_body(b"0123456789")), stream=True) as response:
            assert b"".join(response.iter_content(3)) == b"0123456789"
    assert server.connections == before + 1
    with session.get(server.origin, headers=replaying(with_body(b"0123456789")), stream=True) as response:
        assert next(response.iter_content(3)) == b"012"
    assert session.get(server.origin).text == "ok"
    assert server.connections == before + 2


@pytest.mark.parametrize(
    ("action", "error"),
    [
        (stalling, requests.exceptions.ConnectionError),
        (broken_off(with_body(b"0123456789")[:-5]), requests.exceptions.ChunkedEncodingError),
    ],
)
@pytest.mark.parametrize("size", [2, 3, 4, 5, 100])
def test_a_stream_that_breaks_off_is_the_error_of_requests(action: Action, error: type[Exception], size: int) -> None:
    """A body that stalls or ends early gives the pieces before, and then the error that ``requests.Session`` gives."""
    found = []
    with ScriptedServer(default=action) as server:
        for session in (long_session(), short_session()):
            pieces: list[bytes] = []
            with session, session.get(server.url, timeout=PATIENCE, stream=True) as response:
                if action is stalling:  # what it sends has come with the head, and the rest is not waited for
                    response.raw.connection.sock.settimeout(0.05)
                with pytest.raises(requests.RequestException) as caught:
                    pieces.extend(response.iter_content(size))
                assert type(caught.value) is error
                found.append((pieces, type(caught.value.__context__), response.raw.tell(), response.raw.closed))
    assert found[0] == found[1]


@pytest.fixture
def read(monkeypatch: MonkeyPatch) -> list[int | None]:
    """How much is asked for by each read of a body from here on."""
    amounts: list[int | None] = []
    shipped = http.client.HTTPResponse.read

    def recorded(response: Any, amount: int | None = None) -> bytes:
        amounts.append(amount)
        return shipped(response, amount)

    monkeypatch.setattr(http.client.HTTPResponse, "read", recorded)
    return amounts


def test_a_body_of_known_length_is_read_in_one_piece(server: ReplayServer, read: list[int | None]) -> None:
    """Whatever its length: it takes no more memory than itself, and no second look whether there is more."""
    for length in (3, LONG):
        assert short_session().get(server.origin, headers=replaying(with_body(b"x" * length))).content == b"x" * length
        assert read == [length]
        read.clear()


@pytest.mark.parametrize("length", [100, LONG])
def test_a_compressed_body_is_read_as_requests_does_or_in_larger_pieces(
    length: int, server: ReplayServer, read: list[int | None]
) -> None:
    """What is unpacked is not taken in pieces that are smaller than those of requests."""
    body = random.Random(length).randbytes(length)
    packed = gzip.compress(body)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    assert short_session().get(server.origin, headers=replaying(head + packed)).content == body
    assert read[0] == max(len(packed), requests.models.CONTENT_CHUNK_SIZE)


def test_a_length_that_is_a_lie_is_not_set_aside(server: ReplayServer) -> None:
    """A server that announces more than any memory holds, and sends little, is the error of requests."""
    lie = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nlittle" % 10**15
    for session in (long_session(), short_session()):
        with session, pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            session.get(server.origin, headers={**replaying(lie), "Close": "1"})


# Requests


class Sent:
    """The lengths of what is given to connections to be sent."""

    def __init__(self, monkeypatch: MonkeyPatch) -> None:
        self.lengths: list[int] = []
        send = http.client.HTTPConnection.send

        def recorded(connection: Any, data: Any) -> None:
            self.lengths.append(len(data))
            send(connection, data)

        monkeypatch.setattr(http.client.HTTPConnection, "send", recorded)

    def of_body(self) -> list[int]:
        """All but the head, which comes first."""
        return self.lengths[1:]


@pytest.fixture
def sent(monkeypatch: MonkeyPatch) -> Sent:
    """What is sent from here on."""
    return Sent(monkeypatch)


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedServer]:
    """A server that takes any body."""
    with ScriptedServer(default=answer(200)) as server:
        yield server


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each example writes its file."""
    return tmp_path_factory.mktemp("bodies") / "body"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of ``LONG`` bytes, no two blocks of it alike."""
    made = tmp_path / "body"
    made.write_bytes(content())
    return made


def content() -> bytes:
    return b"".join(b"%07d\n" % number for number in range(LONG // 8))


def temporary(_: Path) -> Any:
    opened = tempfile.TemporaryFile()  # noqa: SIM115 - the test closes it
    opened.write(content())
    opened.seek(0)
    return opened


def piped(_: Path) -> Any:
    out, into = os.pipe()

    def fill() -> None:
        with os.fdopen(into, "wb") as end:
            end.write(content())

    threading.Thread(target=fill, daemon=True).start()
    return os.fdopen(out, "rb")


def zipped(path: Path) -> Any:
    path.write_bytes(gzip.compress(content()))
    return gzip.open(path)


#: What may be sent of a file, by any number of examples.
BODIES: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda path: path.read_bytes(),
    "file": lambda path: path.open("rb"),
    "file to be changed": lambda path: path.open("r+b"),
    "unbuffered file": lambda path: path.open("rb", buffering=0),
    "file in memory": lambda path: io.BytesIO(path.read_bytes()),
    "lines": lambda path: iter(path.read_bytes().splitlines(keepends=True)),
}

WHOLE = [65_536, LONG - 65_536]
USUAL = [16_384] * 6 + [LONG - 6 * 16_384]


@pytest.mark.parametrize("kind", [*sorted(BODIES), "temporary file", "zipped file", "pipe"])
def test_a_file_arrives_whole_in_larger_blocks(kind: str, path: Path, sent: Sent) -> None:
    """Whatever can be read arrives as from requests; what has its bytes ready goes in blocks of 64 KiB."""
    opened = {**BODIES, "temporary file": temporary, "zipped file": zipped, "pipe": piped}[kind]
    lengths = []
    with ScriptedServer(default=answer(200)) as server:
        for session in (long_session(), short_session()):
            sent.lengths.clear()
            path.write_bytes(content())
            body = opened(path)
            with session, body if hasattr(body, "close") else contextlib.nullcontext():
                assert session.post(server.url, data=body, timeout=PATIENCE).ok
            lengths.append(sent.of_body())
        assert server.requests[0].body == server.requests[1].body
    if "file" in kind and kind != "zipped file":
        assert lengths == [USUAL, WHOLE]


def test_whoever_sets_a_block_size_means_it(path: Path, sent: Sent) -> None:
    """Blocks that are asked for are sent, small or large."""

    class Small(ShortcutAdapter):
        def init_poolmanager(self, *given: Any, **options: Any) -> None:
            super().init_poolmanager(*given, blocksize=30_000, **options)

    with ScriptedServer(default=answer(200)) as server, requests.Session() as session, path.open("rb") as body:
        session.mount("http://", Small())
        assert session.post(server.url, data=body, timeout=PATIENCE).ok
    assert sent.of_body() == [30_000, 30_000, 30_000, 10_000]


@given(
    kind=st.sampled_from(sorted(BODIES)),
    size=st.one_of(
        st.integers(0, 200_000),
        st.builds(int.__add__, st.sampled_from([16_384, 65_536, 131_072]), st.integers(-1, 1)),
    ),
    begin=st.one_of(st.just(0), st.integers(0, 200_000)),
    redirected=st.booleans(),
)
@PROPERTY
def test_any_body_arrives_as_from_requests(
    files: Path,
    scripted: ScriptedServer,
    pair: tuple[requests.Session, requests.Session],
    kind: str,
    size: int,
    begin: int,
    redirected: bool,
) -> None:
    """The same bytes under the same headers, again after a redirect, and the body is left where requests leaves it."""
    files.write_bytes(random.Random(size).randbytes(size))

    def call(session: requests.Session) -> Any:
        scripted.requests.clear()
        scripted.script.clear()
        if redirected:
            scripted.script.append(answer(307, b"moved", [("Location", "/other")]))
        body = BODIES[kind](files)
        with body if hasattr(body, "close") else contextlib.nullcontext():
            if hasattr(body, "seek"):
                body.seek(min(begin, size))
            got = outcome(lambda: session.put(scripted.url, data=body, timeout=PATIENCE))
            stands = body.tell() if hasattr(body, "tell") else None
        status = got.status_code if isinstance(got, requests.Response) else got
        return status, stands, [(r.target, r.body, dict(r.headers)) for r in scripted.requests]

    long, short = pair
    assert call(short) == call(long)


def test_a_file_is_sent_from_where_it_stands(path: Path) -> None:
    """The rest of a file that was read from goes, and with another try after a lost connection, the same again."""
    with (
        ScriptedServer(broken_off(b""), answer(200)) as server,
        requests.Session() as session,
        path.open("rb") as body,
    ):
        session.mount("http://", ShortcutAdapter(max_retries=urllib3.Retry(1, allowed_methods=None)))
        body.seek(80_000)
        assert session.post(server.url, data=body, timeout=PATIENCE).ok
        assert [request.body for request in server.requests] == [content()[80_000:]] * 2

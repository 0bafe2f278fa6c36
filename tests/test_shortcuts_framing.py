"""A10: answers whose framing is odd are what they are to plain requests, on fresh connections and on kept ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from requests_cc_token import AccessTokenManagement
from requests_cc_token.shortcuts import session as session_module

from .scripted_server import PATIENCE, Action, ScriptedServer, token_answer

#: Rows of answers in a usual run; ``SEQUENCES=5000`` runs more.
SEQUENCES = int(os.environ.get("SEQUENCES", "60"))

#: A server's bytes, and whether it keeps the connection.
Sent = tuple[bytes, bool]

LENGTHS = [
    "3",
    "10",
    "1000",
    "0",
    "-1",
    "+3",
    "0x3",
    " 3 ",
    "3;x",
    "1000, 1000",
    "3, 3",
    "3, 1000",
    "",
    "abc",
    "3.0",
    "9" * 30,
]
CODINGS = ["chunked", "Chunked", "chunked, chunked", "gzip, chunked", "identity", "x"]
BODIES = [
    *(b"", b"abc", b"0123456789", b"abc\r\n"),
    *(b"3\r\nabc\r\n0\r\n\r\n", b"3;x=1\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n", b"3\r\nab", b"3\nabc\n0\n\n"),
    *(
        b"zz\r\nabc",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"0\r\nTrailer: x\r\n\r\n",
        b"ffffffffffffffffff\r\nabc",
        b"3\r\nabcd\r\n0\r\n\r\n",
    ),
]
STATUSES = ["200 OK", "204 No Content", "304 Not Modified", "206 Partial Content", "500 Down", "200"]

headers = st.lists(
    st.one_of(
        st.sampled_from(LENGTHS).map(lambda length: f"Content-Length: {length}"),
        st.sampled_from(CODINGS).map(lambda coding: f"Transfer-Encoding: {coding}"),
        st.sampled_from(
            [" folded", "X: y", "Connection: close", "Connection: keep-alive", "no colon", "Content-Encoding: gzip"]
        ),
    ),
    max_size=3,
)


@st.composite
def odd_answers(draw: st.DrawFn) -> Sent:
    """Closed after it, for whoever believes a length that is too long waits for ever otherwise."""
    interim = draw(
        st.sampled_from(["", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])
    )
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.0"]))
    end = draw(st.sampled_from(["\r\n", "\r\n", "\n"]))
    lines = [f"{version} {draw(st.sampled_from(STATUSES))}", *draw(headers), "", ""]
    return interim.encode() + end.join(lines).encode() + draw(st.sampled_from(BODIES)), False


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
#: Proper ones on a connection that is kept, the last of which has more behind it than it says.
good_answers = st.sampled_from(
    [(GOOD + b"good", True), (GOOD + b"good", False), (GOOD + b"good" + GOOD + b"evil", True)]
)


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def action(sent: Sent) -> Action:
    def act(connection: object) -> bool:
        connection.sendall(sent[0])  # type: ignore[attr-defined]
        return sent[1]

    return act


def outcomes(session: requests.Session, server: ScriptedServer, answers: list[Sent], *, stream: bool) -> list[object]:
    """What each request of a row came to: the body with its status, or the kind of error."""
    server.script.clear()
    server.script.extend(map(action, answers))
    server.default = action((GOOD + b"last", False))
    found: list[object] = []
    with session:
        for _, kept in [*answers, (b"", True)]:
            try:
                with session.get(server.url, timeout=PATIENCE, stream=stream, allow_redirects=False) as response:
                    body = b"".join(response.iter_content(2)) if stream else response.content
                    found.append((response.status_code, body))
            except Exception as error:  # a chunk of a negative size is a ValueError of http.client
                found.append(type(error))
            if not kept:
                # Whether the next request notices in time that the server has closed is a matter of luck.
                session.close()
    return found


@pytest.fixture(scope="module")
def management(server: ScriptedServer) -> Iterator[AccessTokenManagement]:
    """Sessions as users have them; bodies of more than a few bytes are read in the larger pieces of long ones."""
    with (
        mock.patch.object(session_module, "PIECE", 2),
        ScriptedServer(default=token_answer("t")) as tokens,
        AccessTokenManagement() as management,
    ):
        management.add_client("worker", token_endpoint=tokens.token_endpoint, client_id="m2m", client_secret="s")
        management.add_session("api", base_url=server.url, client="worker")
        yield management


@settings(max_examples=SEQUENCES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=st.lists(st.one_of(odd_answers(), good_answers), min_size=1, max_size=5), stream=st.booleans())
@example(answers=[(b"HTTP/1.1 200 OK\r\nContent-Length: 1000, 1000\r\n\r\npart", False)], stream=False)
def test_a10_no_answer_is_whole_that_requests_refuses(
    server: ScriptedServer, management: AccessTokenManagement, answers: list[Sent], stream: bool
) -> None:
    """In a row of requests each gets the same body or the same error, and so does the one that comes after them.

    By a session of ours, and by one of the user's with our adapter.
    """
    plain = outcomes(requests.Session(), server, answers, stream=stream)
    users = requests.Session()
    management.mount(users, server.url, "worker")
    for session in (management.make_session("api"), users):
        assert outcomes(session, server, answers, stream=stream) == plain

"""``request``: an authenticated request from the shell, against the embedded API and servers that answer oddly."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from requests_cc_token.cli.app import run
from requests_cc_token.demo.api import ProtectedApi
from requests_cc_token.demo.token_service import TokenService

from .conftest import SECRET
from .scripted_server import ScriptedServer, answer, broken_off


@pytest.fixture
def odd() -> Iterator[ScriptedServer]:
    """An API that answers as the test says."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture(autouse=True)
def config(
    tmp_path: Path, token_service: TokenService, api: ProtectedApi, odd: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
        [clients.worker]
        token_endpoint = "{token_service.token_endpoint}"
        client_id = "worker"
        client_secret = "{SECRET}"
        scope = "api"
        [backchannel]
        max_tries = 1
        [sessions.main]
        base_url = "{api.base_url}"
        [sessions.odd]
        base_url = "{odd.url}"
        """
    )
    monkeypatch.setenv("REQUESTS_CC_TOKEN_CONFIG", str(path))


def test_the_body_is_printed_and_nothing_else(api: ProtectedApi, capfd: pytest.CaptureFixture[str]) -> None:
    """A GET with a token, whose answer is fit for a pipe."""
    assert run(["request", "main", "test"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert isinstance(json.loads(out), list)
    assert [request.method for request in api.requests] == ["GET"]


def test_status_and_headers_are_printed_where_asked(capfd: pytest.CaptureFixture[str]) -> None:
    """-i, as curl has it; never what was sent."""
    assert run(["request", "main", "test", "-i"]) == 0
    head, _, body = capfd.readouterr().out.partition("\n\n")
    assert head.splitlines()[0] == "200 OK"
    assert any(line.lower().startswith("content-type: application/json") for line in head.splitlines())
    assert json.loads(body)
    assert "Bearer" not in head


@pytest.mark.parametrize("arguments", [["-i"], []])
def test_what_an_api_says_steers_no_terminal(
    odd: ScriptedServer, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither by its reason nor by its headers."""
    odd.default = broken_off(b"HTTP/1.1 500 \x1b[2Jgone\r\nX: \x1b]0;title\x07\r\nContent-Length: 0\r\n\r\n")
    assert run(["request", "odd", "x", *arguments]) == 1
    said = "".join(capfd.readouterr())
    assert "gone" in said
    assert "\x1b" not in said


def test_a_body_makes_it_a_post(odd: ScriptedServer, capfd: pytest.CaptureFixture[str]) -> None:
    """-d, with headers of one's own, and --json for what says of itself that it is JSON."""
    odd.default = answer(201, b"made")
    headers = ["-H", "X-Mine: yes", "-H", "Accept:text/plain"]
    assert run(["request", "odd", "things", "-d", '{"a": 1}', "--json", *headers]) == 0
    (sent,) = odd.requests
    assert (sent.method, sent.body) == ("POST", b'{"a": 1}')
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["x-mine"] == "yes"
    assert sent.headers["accept"] == "text/plain"
    assert sent.headers["authorization"].startswith("Bearer ")
    assert capfd.readouterr().out == "made"


def test_headers_of_the_environment(odd: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a line, since their values may hold blanks."""
    odd.default = answer(200)
    monkeypatch.setenv("REQUESTS_CC_TOKEN_REQUEST_HEADERS", "X-Mine: yes and no\nX-Other:2")
    assert run(["request", "odd"]) == 0
    (sent,) = odd.requests
    assert (sent.headers["x-mine"], sent.headers["x-other"]) == ("yes and no", "2")


def test_the_method_may_be_named(odd: ScriptedServer) -> None:
    """-X, with a body or without."""
    odd.default = answer(204)
    assert run(["request", "odd", "things/1", "-X", "DELETE"]) == 0
    assert run(["request", "odd", "things/1", "-X", "PUT", "-d", "x"]) == 0
    assert [(sent.method, sent.body) for sent in odd.requests] == [("DELETE", b""), ("PUT", b"x")]


def test_the_body_may_be_a_file_or_standard_input(
    odd: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """@FILE and @-, streamed."""
    odd.default = answer(200)
    (tmp_path / "body").write_bytes(b"of the file")
    assert run(["request", "odd", "", "-d", f"@{tmp_path / 'body'}"]) == 0
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b"of the pipe")))
    assert run(["request", "odd", "", "-d", "@-"]) == 0
    assert [sent.body for sent in odd.requests] == [b"of the file", b"of the pipe"]


def test_a_standard_input_that_is_closed(
    odd: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Is wrong usage, as in a job that has none."""
    monkeypatch.setattr(sys, "stdin", None)
    assert run(["request", "odd", "", "-d", "@-"]) == 2
    assert "standard input is closed" in capfd.readouterr().err
    assert odd.requests == []


def test_a_file_that_is_not_there(odd: ScriptedServer, capfd: pytest.CaptureFixture[str]) -> None:
    """Is said in one line, and nothing is sent."""
    assert run(["request", "odd", "", "-d", "@no such file"]) == 1
    assert "no such file" in capfd.readouterr().err
    assert odd.requests == []


def test_what_is_not_ascii_is_sent_as_the_shell_gave_it(odd: ScriptedServer) -> None:
    """Byte for byte, be it UTF-8 or not: in the body, and in the values of headers."""
    odd.default = answer(200)
    typed = "\u017e\udcff"  # so Python shows a byte of the command line that is not UTF-8
    assert run(["request", "odd", "", "-d", typed, "-H", f"X-Name: {typed}"]) == 0
    (sent,) = odd.requests
    assert sent.body == b"\xc5\xbe\xff"
    assert sent.headers["x-name"].encode("latin-1") == b"\xc5\xbe\xff"


def test_a_path_that_is_not_utf_8(odd: ScriptedServer, capfd: pytest.CaptureFixture[str]) -> None:
    """Is wrong usage, and nothing is sent: a URL is quoted as UTF-8."""
    assert run(["request", "odd", "\udcff"]) == 2
    assert "PATH is not UTF-8" in capfd.readouterr().err
    assert odd.requests == []


def test_the_answer_may_go_to_a_file(odd: ScriptedServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """-o, byte for byte."""
    body = bytes(range(256)) * 1_000
    odd.default = answer(200, body)
    assert run(["request", "odd", "", "-o", str(tmp_path / "answer")]) == 0
    assert (tmp_path / "answer").read_bytes() == body
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("headers", ["Content-Length: 100000", "Connection: close"])
def test_on_a_terminal_a_bar_says_how_far_it_is(
    odd: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: str
) -> None:
    """With -o, where standard error is a terminal; an answer that does not say how long it is has one too."""
    odd.default = broken_off(f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n".encode() + b"x" * 100_000)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert run(["request", "odd", "", "-o", str(tmp_path / "answer")]) == 0
    assert (tmp_path / "answer").stat().st_size == 100_000


@pytest.mark.parametrize(("status", "code"), [(401, 5), (403, 5), (404, 1), (500, 1), (302, 0)])
def test_the_exit_code_says_what_the_api_said(
    odd: ScriptedServer, capfd: pytest.CaptureFixture[str], status: int, code: int
) -> None:
    """5 where it refused the token, 1 for any other failure; the body is there all the same, the status beside it."""
    odd.default = answer(status, b"the body")
    assert run(["request", "odd"]) == code
    out, err = capfd.readouterr()
    assert out == "the body"
    assert err.startswith(f"{status} ") == (status >= 400)


def test_an_api_that_breaks_off(odd: ScriptedServer, capfd: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 1."""
    odd.default = broken_off(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    assert run(["request", "odd"]) == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_a_token_service_that_refuses(token_service: TokenService, capfd: pytest.CaptureFixture[str]) -> None:
    """Is exit code 3, and the API is not called."""
    token_service.fail_always(400, {"error": "invalid_client"})
    assert run(["request", "main", "test"]) == 3
    assert "invalid_client" in capfd.readouterr().err


def test_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    """A header without colon or name, no method, a session that there is not: exit code 2, and what would do."""
    for header in ("no header", " : no name", "n\u00e1me: value"):
        assert run(["request", "main", "", "-H", header]) == 2
        assert "-H 'NAME: VALUE'" in capfd.readouterr().err
    for method in ("A B", "A\nB", "\u00e9"):
        assert run(["request", "main", "", "-X", method]) == 2
        assert "is no method; -X PUT" in capfd.readouterr().err
    assert run(["request", "nobody"]) == 2
    assert "'main'" in capfd.readouterr().err

"""Bodies that can be sent once more, and what is kept of a refusal; over sockets in ``tests/test_adapter.py``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import requests

from requests_cc_token.resend import body_position, drain, rewind


class Told:
    """A body that tells of itself what a test says."""

    def __init__(self, position: Any, **methods: Any) -> None:
        self.tell = lambda: position
        self.__dict__.update(methods)


def refuses(*_: Any) -> Any:
    raise OSError("no")


@pytest.mark.parametrize("body", [None, b"", b"x", "x", bytearray(b"x"), memoryview(b"x")])
def test_text_and_bytes_start_at_their_beginning(body: Any) -> None:
    """And can be sent again as they are, unless nobody noted where they started."""
    assert body_position(body) == 0
    assert rewind(body, 0) is True
    assert rewind(body, None) is False


def test_a_file_starts_where_it_is(tmp_path: Path) -> None:
    """Which need not be its beginning."""
    path = tmp_path / "file"
    path.write_bytes(b"headbody")
    with path.open("rb") as file:
        file.seek(4)
        position = body_position(file)
        assert position == 4
        assert file.read() == b"body"
        assert rewind(file, position) is True
        assert file.read() == b"body"
    assert rewind(file, position) is False, "it is closed"
    assert body_position(file) is None


@pytest.mark.parametrize(
    ("body", "position"),
    [
        (iter([b"x"]), None),
        ([b"x"], None),
        (Told(3), 3),
        (Told(3, seekable=lambda: True), 3),
        (Told(3, seekable=lambda: False), None),
        (Told(3, seekable=refuses), None),
        (Told(None), None),
        (Told(0, tell=refuses), None),
    ],
    ids=["iterator", "list", "tells", "seekable", "not seekable", "refuses to say", "has no position", "refuses"],
)
def test_where_other_bodies_start(body: Any, position: int | None) -> None:
    """Where they say, unless they say that they cannot go back, or fail."""
    assert body_position(body) == position


@pytest.mark.parametrize("body", [Told(3), Told(3, seek=refuses), Told(2, seek=lambda position: position)])
def test_what_does_not_go_back(body: Any) -> None:
    """Cannot be sent again: it has no such method, fails, or is elsewhere afterwards."""
    assert rewind(body, 3) is False


def test_a_refusal_that_came_over_no_wire() -> None:
    """Has an empty body afterwards, as one that was read to its end."""
    response = requests.Response()
    response.raw = io.BytesIO(b"no")
    drain(response)
    assert response.raw.closed
    assert (response.content, response._content_consumed) == (b"", True)
    assert list(response.iter_content(1)) == []


def test_a_refusal_that_was_read_already() -> None:
    """Keeps what was read."""
    response = requests.Response()
    response._content, response._content_consumed = b"read", True
    response.raw = io.BytesIO()
    drain(response)
    assert response.content == b"read"

"""What it takes to send a request once more: its body from where it started, and a connection that is free."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import requests

#: Bytes of a refused answer's body that are read to keep its connection; a longer one costs the connection.
MAX_DRAINED = 64 * 1024

#: Seconds that this may take: more than a connection costs, less than anybody notices.
DRAIN_TIME = 1.0

#: Bodies that have no position.
_WHOLE = (bytes, str, bytearray, memoryview)


def body_position(body: Any) -> int | None:
    """Where a body starts: 0 for text and bytes, a file's position, None for what cannot be sent again."""
    if body is None or isinstance(body, _WHOLE):
        return 0
    try:
        position = int(body.tell())
        # Whether another kind of object can go back shows when it has to.
        return position if not hasattr(body, "seekable") or body.seekable() else None
    except Exception:
        return None


def rewind(body: Any, position: int | None) -> bool:
    """Put the body back to where it started; whether that worked."""
    if position is None:
        return False
    if body is None or isinstance(body, _WHOLE):
        return True
    try:
        body.seek(position)
        return bool(body.tell() == position)
    except Exception:
        return False


def drain(response: requests.Response) -> None:
    """Free the connection for the next try, reading what little body a refusal has.

    A body that is large, slow or broken costs the connection, and at most ``DRAIN_TIME`` seconds.
    """
    content = response.content if _is_read(response) else _little_body(response.raw)
    # Closes the connection if the body is not at its end. If it went back to the pool instead, it might be used again:
    # urllib3 looks at the socket, and does not see a rest of the body in the buffer (128 KiB from Python 3.14 on).
    response.close()
    # As if requests had read it; its own way has no bound in time.
    response._content = content
    response._content_consumed = True


def _is_read(response: requests.Response) -> bool:
    """Whether the content is there already: a function of ``renew_on`` looked at it, or it came over no wire."""
    return response._content is not False


def _little_body(raw: Any) -> bytes:
    """The rest of the body, or nothing where that is not worth its time."""
    sock = getattr(getattr(raw, "connection", None), "sock", None)
    if sock is None:
        return b""  # the server ends the connection with the body: nothing can be kept by reading it
    if getattr(raw, "chunked", False):
        return b""  # the line with a chunk's size is read for as long as it drips, whatever the timeout
    content = b""
    deadline = time.monotonic() + DRAIN_TIME
    # Its body does not matter, so neither does its end.
    with contextlib.suppress(Exception):
        while len(content) <= MAX_DRAINED and (left := deadline - time.monotonic()) > 0:
            # urllib3 sets it anew for the next request of the connection.
            sock.settimeout(left)
            # One piece as it comes: read() would wait until it has all that was asked for.
            piece = raw.read1(8192, decode_content=True)
            if not piece:
                return content
            content += piece
    return b""

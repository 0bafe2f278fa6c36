"""What it takes to send a request once more: its body from where it started, and a connection that is free."""

from __future__ import annotations

from typing import Any

import requests

#: Bytes of a refused answer's body that are read to keep its connection; a longer one costs the connection.
MAX_DRAINED = 64 * 1024

#: Bodies that have no position.
_WHOLE = (bytes, str, bytearray, memoryview)


def body_position(body: Any) -> int | None:
    """Where a body starts: 0 for text and bytes, a file's position, None for what cannot be sent again."""
    if body is None or isinstance(body, _WHOLE):
        return 0
    try:
        position = body.tell()
        if not hasattr(body, "seek") or (hasattr(body, "seekable") and not body.seekable()):
            return None
        return int(position)
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
    """Free the connection for the next try, reading what little body a refusal has."""
    content = b""
    try:
        for chunk in response.iter_content(8192):
            content += chunk
            if len(content) > MAX_DRAINED:
                break
        # Where the body is not at its end, this closes the connection. Just given back it might be used again: a rest
        # that lies in its buffer (128 KiB from Python 3.14 on) is not seen by who looks at the socket.
        response.close()
    except Exception:
        content = b""
    response._content = content
    response._content_consumed = True
    response.close()

"""An HTTP server on a raw loopback socket that does what a test tells it: answer, reset, hang, drip, break off.

An action is a function of the connected socket; it returns whether the connection may take another request.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from typing_extensions import Self

Action = Callable[[socket.socket], bool]

#: Seconds: no test waits that long; a test that would hang fails instead.
PATIENCE = 30.0


@dataclass(frozen=True)
class Request:
    """One request as it came: header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, list[str]]:
        """The fields of a form-urlencoded body."""
        return parse_qs(self.body.decode("ascii"), keep_blank_values=True)


def http_answer(
    status: int = 200, body: bytes | Mapping[str, Any] = b"", headers: Iterable[tuple[str, str]] = ()
) -> bytes:
    """The bytes of an answer; a mapping becomes JSON."""
    if isinstance(body, Mapping):
        body = json.dumps(body).encode()
        headers = (("Content-Type", "application/json"), *headers)
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}", *(f"{n}: {v}" for n, v in headers)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def answer(
    status: int = 200, body: bytes | Mapping[str, Any] = b"", headers: Iterable[tuple[str, str]] = ()
) -> Action:
    """Answer properly and keep the connection."""
    data = http_answer(status, body, headers)

    def act(connection: socket.socket) -> bool:
        connection.sendall(data)
        return True

    return act


def token_answer(value: str, expires_in: Any = 3600, **members: Any) -> Action:
    """Answer with a token; ``expires_in=None`` leaves the member out."""
    body = {"access_token": value, "token_type": "Bearer", **members}
    if expires_in is not None:
        body["expires_in"] = expires_in
    return answer(200, body)


def error_answer(status: int, error: str, headers: Iterable[tuple[str, str]] = ()) -> Action:
    """Answer with an OAuth error."""
    return answer(status, {"error": error}, headers)


def reset(connection: socket.socket) -> bool:
    """Reset the connection without an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def broken_off(data: bytes) -> Action:
    """Send these bytes and close."""

    def act(connection: socket.socket) -> bool:
        connection.sendall(data)
        return False

    return act


def half_a_body(value: str = "half") -> Action:
    """Promise a whole answer, send half of its body, close."""
    data = http_answer(200, {"access_token": value, "token_type": "Bearer", "expires_in": 3600})
    return broken_off(data[:-30])


def gated(gate: threading.Event, then: Action) -> Action:
    """Wait for the gate, then act; the server's end opens every gate."""

    def act(connection: socket.socket) -> bool:
        gate.wait(PATIENCE)
        return then(connection)

    act.gate = gate  # type: ignore[attr-defined]
    return act


def hang(connection: socket.socket) -> bool:
    """Say nothing until the other side gives up."""
    with contextlib.suppress(OSError):
        while connection.recv(4096):
            pass
    return False


def drip(head: bytes, drop: bytes = b"x") -> Action:
    """Send the head, then drop after drop until the other side gives up."""

    def act(connection: socket.socket) -> bool:
        connection.sendall(head)
        connection.settimeout(0.02)
        with contextlib.suppress(OSError):
            while True:
                try:
                    if not connection.recv(1):
                        break
                except TimeoutError:
                    connection.sendall(drop)
        return False

    return act


def stop_listening(listener: socket.socket, accepting: threading.Thread) -> None:
    """End the thread that accepts, then close what it listens on.

    Its number may be another server's at once, where an ``accept()`` of this one that comes late has no place.
    """
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    if accepting.is_alive():
        accepting.join(PATIENCE)
    listener.close()


def cut(connection: socket.socket) -> None:
    """End a connection that another thread may be serving.

    Not by an ``SSLSocket``'s own ``shutdown``: that takes away what the other thread uses at this moment.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class ScriptedServer:
    """Serves the scripted actions in order, then the default one. A context manager."""

    def __init__(
        self,
        *script: Action,
        default: Action | None = None,
        tls: ssl.SSLContext | None = None,
        handshake: Action | None = None,
    ) -> None:
        self.script: deque[Action] = deque(script)
        self.default: Action = default if default is not None else answer(500)
        #: Asked first, where it is given: the action for a request, or None.
        self.respond: Callable[[Request], Action | None] | None = None
        self.requests: list[Request] = []
        self.connections = 0
        #: What a new connection gets before anything is read from it.
        self._handshake = handshake
        self._tls = tls
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._gates: list[threading.Event] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        """The root, with a final slash."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/"

    @property
    def token_endpoint(self) -> str:
        """The root's ``token``."""
        return self.url + "token"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, open every gate, close every connection."""
        stop_listening(self._listener, self._thread)
        with self._changed:
            still_open = list(self._open)
            for gate in self._gates:
                gate.set()
        for connection in still_open:
            cut(connection)

    def wait_for_requests(self, count: int) -> None:
        """Return once so many requests have come in; fail where they do not come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, PATIENCE), (
                f"{len(self.requests)} of {count} requests came"
            )

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._changed:
            self._open.add(connection)
            self.connections += 1
        try:
            buffered = b""
            if self._handshake is not None and not self._handshake(connection):
                return
            while True:
                request, buffered = _read_request(connection, buffered)
                if request is None or not self._next(request)(connection):
                    break
        except OSError:
            pass
        finally:
            with self._changed:
                self._open.discard(connection)
            connection.close()

    def _next(self, request: Request) -> Action:
        with self._changed:
            action = self.respond(request) if self.respond is not None else None
            if action is None:
                action = self.script.popleft() if self.script else self.default
            gate = getattr(action, "gate", None)
            if gate is not None:
                self._gates.append(gate)
            self.requests.append(request)
            self._changed.notify_all()
        return action


def _read_request(connection: socket.socket, buffered: bytes) -> tuple[Request | None, bytes]:
    while b"\r\n\r\n" not in buffered:
        data = connection.recv(65_536)
        # The first byte of a TLS handshake: somebody takes this for a TLS server and would wait for ever.
        if not data or (not buffered and data.startswith(b"\x16")):
            return None, b""
        buffered += data
    head, _, rest = buffered.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while not rest.endswith(b"0\r\n\r\n"):
            data = connection.recv(65_536)
            if not data:
                return None, b""
            rest += data
        return Request(method, target, headers, _unchunked(rest)), b""
    length = int(headers.get("content-length", "0"))
    while len(rest) < length:
        data = connection.recv(65_536)
        if not data:
            return None, b""
        rest += data
    return Request(method, target, headers, rest[:length]), rest[length:]


def _unchunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        body += data[:length]
        data = data[length + 2 :]
    return body

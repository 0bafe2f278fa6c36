"""A WSGI application served on loopback by threads of this process, with what tests need to steer it.

Not a server for anything else than demo and tests: it listens on 127.0.0.1 only.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.test import run_wsgi_app

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from _typeshed.wsgi import WSGIApplication
    from typing_extensions import Self

RecordT = TypeVar("RecordT")

#: Seconds after which a request that is held at the gate gets a 503: a test that forgot the gate fails, not hangs.
GATE_LIMIT = 60.0

#: Seconds between two looks at the stop flag; what `stop()` may take.
_POLL = 0.005


class LoopbackServer:
    """Serves ``app`` from the moment it is made until `stop`; `start` serves again on the same port.

    ``ssl_context`` (of the server side) makes it https. ``hostname`` is what its URLs say; it must lead to 127.0.0.1.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        port: int = 0,
        hostname: str = "127.0.0.1",
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._app = app
        self._ssl_context = ssl_context
        self._port = port
        self._server: _Server | None = None
        self.start()
        scheme = "http" if ssl_context is None else "https"
        #: Scheme, host and port, without a final slash.
        self.origin = f"{scheme}://{hostname}:{self._port}"

    @property
    def port(self) -> int:
        """The TCP port; it stays the same over `stop` and `start`."""
        return self._port

    @property
    def connections(self) -> int:
        """How many connections were accepted since the last `start`."""
        return 0 if self._server is None else self._server.accepted

    def start(self) -> None:
        """Listen and serve; nothing happens when it is serving already."""
        if self._server is not None:
            return
        server = _Server("127.0.0.1", self._port, self._app, _Handler, ssl_context=self._ssl_context)
        if self._ssl_context is not None:
            # The handshake belongs into the connection's thread: a client that hangs in it must not stop the others.
            server.socket.do_handshake_on_connect = False  # type: ignore[attr-defined]
        self._port = server.port
        self._server = server
        threading.Thread(target=server.serve_forever, args=(_POLL,), name="loopback server", daemon=True).start()

    def stop(self) -> None:
        """Stop listening and break every open connection, as a killed server would."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.break_connections()

    def close(self) -> None:
        """Stop; the same as `stop`."""
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _Server(ThreadedWSGIServer):
    # Two hundred threads on a cold cache connect at once; a full backlog would cost a second of retransmission.
    request_queue_size = 1024

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.accepted = 0
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(*args, **kwargs)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._connections_lock:
            self._connections.add(connection)
            self.accepted += 1
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def break_connections(self) -> None:
        with self._connections_lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):  # the peer was faster
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: only broken connections and handshakes come here, and tests cause them on purpose."""


class _Handler(WSGIRequestHandler):
    # Werkzeug's handler closes the connection after each answer; APIs do not, and pools are worth testing.
    protocol_version = "HTTP/1.1"
    # Head and body leave in one segment: two small writes on a kept connection wait 40 ms for a delayed ACK.
    wbufsize = -1
    disable_nagle_algorithm = True

    def run_wsgi(self) -> None:
        self.environ = environ = self.make_environ()
        # The whole body is read first, so that the next request on this connection starts where it should.
        if environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read()
            environ["CONTENT_LENGTH"] = str(len(body))
            del environ["HTTP_TRANSFER_ENCODING"]
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        content, status, headers = run_wsgi_app(self.server.app, environ, buffered=True)
        answer = b"".join(content)
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug named it
        """Keep no access log: what was asked is in the service's ``requests``."""


@dataclass(frozen=True)
class ScriptedAnswer:
    """An answer that a test dictates."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]


class SteeredService(Generic[RecordT]):
    """What the token service and the API have in common: a record of requests, a gate, scripted answers.

    Safe in threads.
    """

    def __init__(self) -> None:
        #: One record for each request, in the order of arrival.
        self.requests: list[RecordT] = []
        #: While it is clear, requests are recorded and then wait here. See `hold`.
        self.gate = threading.Event()
        self.gate.set()
        self._arrival = threading.Condition()
        self._script: deque[ScriptedAnswer] = deque()
        self._always: ScriptedAnswer | None = None

    def wait_for_requests(self, count: int, timeout: float = 30.0) -> None:
        """Return as soon as ``count`` requests have arrived in all; ``AssertionError`` after ``timeout`` seconds."""
        with self._arrival:
            if not self._arrival.wait_for(lambda: len(self.requests) >= count, timeout):
                raise AssertionError(f"{len(self.requests)} of {count} requests arrived within {timeout} s")

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Within the block every request that arrives waits; at its end all are answered."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()

    def fail_next(
        self,
        status: int = 503,
        body: Mapping[str, Any] | str | bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        times: int = 1,
    ) -> None:
        """Answer the next ``times`` requests with exactly this; a mapping is sent as JSON. Calls add up."""
        self._script.extend([_scripted(status, body, headers)] * times)

    def fail_always(
        self,
        status: int = 503,
        body: Mapping[str, Any] | str | bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer each request so, once the answers of `fail_next` are used up, until `recover`."""
        self._always = _scripted(status, body, headers)

    def recover(self) -> None:
        """Forget all scripted answers."""
        self._script.clear()
        self._always = None

    def _record(self, record: RecordT) -> None:
        with self._arrival:
            self.requests.append(record)
            self._arrival.notify_all()

    def _scripted_answer(self) -> ScriptedAnswer | None:
        """Wait at the gate; then the answer that was dictated, or None."""
        if not self.gate.wait(GATE_LIMIT):
            return _scripted(503, f"held for {GATE_LIMIT} s", None)
        try:
            return self._script.popleft()
        except IndexError:
            return self._always


def _scripted(
    status: int, body: Mapping[str, Any] | str | bytes, headers: Mapping[str, str] | None
) -> ScriptedAnswer:
    headers = dict(headers or {})
    if isinstance(body, Mapping):
        body = json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    if isinstance(body, str):
        body = body.encode()
    return ScriptedAnswer(status, body, tuple(headers.items()))

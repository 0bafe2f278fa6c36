"""HTTP servers on loopback, served by threads of this process; for tests and the demo, and for nothing else."""

from __future__ import annotations

import abc
import contextlib
import http.server
import os
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

#: Seconds between two looks at the stop flag, where `stop()` cannot wake who waits for a connection.
_POLL = 0.02
#: Bytes of a request's body: more than a test sends, and less than a machine has.
MAX_BODY = 2**30


class LoopbackHTTPServer(abc.ABC):
    """Serves from the moment it is made until `stop`; `start` serves again on the same port.

    It listens on 127.0.0.1 only. ``hostname`` is what its URLs say; it must lead there.
    """

    def __init__(self, *, port: int = 0, hostname: str = "127.0.0.1", scheme: str = "http") -> None:
        self._port = port
        self._server: Connections | None = None
        self._steps = threading.Lock()
        self.start()
        #: Scheme, host and port, without a final slash.
        self.origin = f"{scheme}://{hostname}:{self._port}"

    @abc.abstractmethod
    def _listen(self, port: int) -> Connections:
        """A server that listens on this port, on any for 0."""

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
        with self._steps:
            if self._server is not None:
                return
            self._server = server = self._listen(self._port)
            self._port = server.server_address[1]
            threading.Thread(target=server.serve_forever, args=(_POLL,), name="loopback server", daemon=True).start()

    def stop(self) -> None:
        """Stop listening and break every open connection, as a killed server would."""
        with self._steps:
            server, self._server = self._server, None
            if server is None:
                return
            if server.process != os.getpid():
                server.socket.close()  # in a forked child, which leaves the server to its parent
                return
            with contextlib.suppress(OSError):  # not every system can wake an `accept()` by this
                server.socket.shutdown(socket.SHUT_RDWR)
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


class Connections(socketserver.TCPServer):
    """A server that counts its connections and can break them; it comes before ``http.server``'s among the bases."""

    # Two hundred threads on a cold cache connect at once; a full backlog would cost a second of retransmission.
    request_queue_size = 1024
    server_address: tuple[str, int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.accepted = 0
        #: The process whose threads serve.
        self.process = os.getpid()
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(*args, **kwargs)

    def server_bind(self) -> None:
        """Bind, without asking a name server what 127.0.0.1 is called, as ``http.server`` does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and count it."""
        connection, address = super().get_request()
        with self._connections_lock:
            self._connections.add(connection)
            self.accepted += 1
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def break_connections(self) -> None:
        """Shut every open connection down."""
        with self._connections_lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):  # the peer was faster
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: only broken connections and handshakes come here, and tests cause them on purpose."""


class Handler(http.server.BaseHTTPRequestHandler):
    """What the servers of this package make of a connection; it comes first among the bases."""

    # Connections are kept, as by real services: pools are worth testing.
    protocol_version = "HTTP/1.1"
    # Head and body leave in one segment: two small writes on a kept connection wait 40 ms for a delayed ACK.
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle_expect_100(self) -> bool:
        """Tell a client that asks first that it may send its body (RFC 9110 section 10.1.1), at once."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def read_body(self) -> bytes:
        """The body, whole, so that the next request on this connection starts where it should.

        Raises ``ValueError`` where it breaks off, or says of its length what makes no sense.
        """
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self._read(int(self.headers.get("Content-Length") or 0))
        body = b""
        # Chunks, RFC 9112 section 7.1.
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self._read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return body

    def _read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_BODY:
            raise ValueError(f"a body of {size} bytes")
        body = self.rfile.read(size)
        if len(body) != size:
            raise ValueError("the body broke off")
        return body

    def refuse(self, error: ValueError) -> None:
        """Answer what is no HTTP request by saying so, and close: nobody knows where the next one begins."""
        body = f"no HTTP request: {error}".encode("utf-8", "replace")
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

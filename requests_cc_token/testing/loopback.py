"""HTTP servers on loopback, served by threads of this process; for tests and the demo, and for nothing else."""

from __future__ import annotations

import abc
import contextlib
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

#: Seconds between two looks at the stop flag, where `stop()` cannot wake who waits for a connection.
_POLL = 0.02


class LoopbackHTTPServer(abc.ABC):
    """Serves from the moment it is made until `stop`; `start` serves again on the same port.

    It listens on 127.0.0.1 only. ``hostname`` is what its URLs say; it must lead there.
    """

    def __init__(self, *, port: int = 0, hostname: str = "127.0.0.1", scheme: str = "http") -> None:
        self._port = port
        self._server: Connections | None = None
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
        if self._server is not None:
            return
        self._server = server = self._listen(self._port)
        self._port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(_POLL,), name="loopback server", daemon=True).start()

    def stop(self) -> None:
        """Stop listening and break every open connection, as a killed server would."""
        server, self._server = self._server, None
        if server is not None:
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

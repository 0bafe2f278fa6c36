"""A relay on loopback in front of a server: answers come late, TLS ends here, what passes is remembered."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from types import TracebackType

from .scripted_server import PATIENCE


class Relay:
    """Passes each connection on to ``port``, each answer ``delay`` seconds late.

    With a ``context`` (of the server side) it ends TLS. ``seen`` is all that passed, as who listens here reads it.
    """

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.delay = 0.0
        self._target = port
        self._context = context
        self._pieces: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="relay").start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def seen(self) -> bytes:
        return b"".join(self._pieces)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True, name="relayed connection").start()

    def _serve(self, near: socket.socket) -> None:
        try:
            with near:
                near.settimeout(PATIENCE)
                with self._encrypted(near) as plain, socket.create_connection(("127.0.0.1", self._target)) as far:
                    plain.settimeout(None)
                    self._pass_on(plain, far)
        except OSError:
            return  # one of the two is gone, or has refused the other's certificate

    def _encrypted(self, near: socket.socket) -> socket.socket:
        return near if self._context is None else self._context.wrap_socket(near, server_side=True)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        # One thread for both directions: an SSLSocket is not to be read and written at one time.
        other = {near: far, far: near}
        while True:
            # What lies decrypted in the socket already is not for select to see.
            waiting = isinstance(near, ssl.SSLSocket) and near.pending()
            for ready in [near] if waiting else select.select(list(other), [], [])[0]:
                piece = ready.recv(65536)
                if not piece:
                    return
                self._pieces.append(piece)
                if ready is far:
                    time.sleep(self.delay)
                other[ready].sendall(piece)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

"""Connections to a Redis over TLS that find the machine's authorities read already.

redis-py reads them anew for each connection. With the 140 or so of a usual machine that is some 20 ms of a processor,
and the processes of a fleet that starts cold would all pay it at one moment, in which the store has to answer. So they
are read when the cache is made, and again only once a file has changed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Hashable
from typing import Any, ClassVar

import redis

from requests_cc_token.watched_files import file_stamp


class PreparedConnection(redis.SSLConnection):
    """A connection of one pool, which shares with the others what redis-py made of the pool's TLS options."""

    #: What was made, and of which state of the files. Each pool has a subclass of its own.
    contexts: ClassVar[list[tuple[Hashable, ssl.SSLContext]]]

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> Any:
        # A version of redis-py that does not ask this method goes its own way: slower, no less safe.
        stamp = self._stamp()
        for seen, context in self.contexts:
            if seen == stamp and not self._asks_elsewhere():
                return context.wrap_socket(sock, server_hostname=self.host)
        wrapped = super()._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call]
        self.contexts[:] = [(stamp, wrapped.context)]
        return wrapped

    def prepare(self) -> None:
        """Make the context without a connection. What fails here will be told by the first call."""
        if self._asks_elsewhere():
            return
        with contextlib.suppress(Exception), socket.socket() as unconnected:
            # Nothing is sent: a socket that is not connected is wrapped without a handshake.
            self._wrap_socket_with_ssl(unconnected).close()

    def _asks_elsewhere(self) -> bool:
        """Whether the certificate is to be looked up by OCSP, which redis-py does for each connection."""
        return bool(self.ssl_validate_ocsp or self.ssl_validate_ocsp_stapled)

    def _stamp(self) -> Hashable:
        """The stamp of each file that the context is made of."""
        machine = ssl.get_default_verify_paths()
        named = (self.ca_certs, self.ca_path, self.certfile, self.keyfile)
        return tuple(file_stamp(path) if path else None for path in (*named, machine.cafile, machine.capath))


def prepared_connections() -> type[PreparedConnection]:
    """The kind of connection for a new pool."""
    return type("PreparedConnection", (PreparedConnection,), {"contexts": []})


def prepare(pool: redis.ConnectionPool) -> None:
    """Read what the connections of the pool will need."""
    with contextlib.suppress(Exception):
        pool.connection_class(**pool.connection_kwargs).prepare()

"""A WSGI application served on loopback by threads of this process.

Not a server for anything else than demo and tests: it listens on 127.0.0.1 only.
"""

from __future__ import annotations

import http.server
import io
from typing import TYPE_CHECKING, Any

from werkzeug.serving import WSGIRequestHandler
from werkzeug.test import run_wsgi_app

from requests_cc_token.testing.loopback import Connections, Handler, LoopbackHTTPServer

if TYPE_CHECKING:
    import ssl

    from _typeshed.wsgi import WSGIApplication


class LoopbackServer(LoopbackHTTPServer):
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
        super().__init__(port=port, hostname=hostname, scheme="http" if ssl_context is None else "https")

    def _listen(self, port: int) -> _Server:
        return _Server(port, self._app, self._ssl_context)


class _Server(Connections, http.server.ThreadingHTTPServer):
    """A server with what werkzeug's handler asks of it. Werkzeug's own reads a file each time that one is made."""

    multithread, multiprocess = True, False

    def __init__(self, port: int, app: WSGIApplication, ssl_context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.app = app
        self.ssl_context = ssl_context
        if ssl_context is not None:
            # The handshake belongs into the connection's thread: a client that hangs in it must not stop the others.
            self.socket = ssl_context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)


class _Handler(Handler, WSGIRequestHandler):
    server_version = "requests_cc_token demo"

    def run_wsgi(self) -> None:
        try:
            self._run()
        except ValueError as error:
            self.refuse(error)

    def _run(self) -> None:
        self.environ = environ = self.make_environ()
        # The whole body is read first, so that the next request on this connection starts where it should.
        # Not by werkzeug, which waits for ever for the rest of a chunk that breaks off.
        body = self.read_body()
        if environ.pop("HTTP_TRANSFER_ENCODING", None):
            environ["CONTENT_LENGTH"] = str(len(body))
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

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep no access log: what was asked is in the service's ``requests``."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug named it
        """Say nothing of connections that break: tests break them on purpose."""

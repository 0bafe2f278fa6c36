"""What the fakes have in common: ``http.server`` on loopback, each request read whole, steered and answered."""

from __future__ import annotations

import http.server
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from requests.structures import CaseInsensitiveDict

from .loopback import Connections, LoopbackHTTPServer
from .steering import Answer, SteeredService

RecordT = TypeVar("RecordT")


@dataclass(frozen=True)
class HttpRequest:
    """A request as it came."""

    method: str
    path: str
    #: The values of each name.
    query: dict[str, list[str]]
    headers: CaseInsensitiveDict[str] = field(repr=False)
    body: bytes = field(repr=False)


class FakeServer(SteeredService[RecordT], LoopbackHTTPServer):
    """Answers from the moment it is made until `close`. A context manager; safe in threads."""

    def __init__(self, *, port: int = 0) -> None:
        SteeredService.__init__(self)
        LoopbackHTTPServer.__init__(self, port=port)

    @abstractmethod
    def _answer(self, request: HttpRequest) -> Answer:
        """Record the request and answer it."""

    def close(self) -> None:
        """Stop, and let go whoever waits at the gate or for a delayed answer."""
        self.leave()
        super().close()

    def _listen(self, port: int) -> Connections:
        return _Server(port, self._answer)


class _Server(Connections, http.server.ThreadingHTTPServer):
    """The standard library's server, on whose connections this process has a hand."""

    def __init__(self, port: int, answer: Callable[[HttpRequest], Answer]) -> None:
        self.answer = answer
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    # Connections are kept, as by real services: pools are worth testing.
    protocol_version = "HTTP/1.1"
    # Head and body leave in one segment: two small writes on a kept connection wait 40 ms for a delayed ACK.
    wbufsize = -1
    disable_nagle_algorithm = True

    server: _Server

    def __getattr__(self, name: str) -> object:
        # http.server looks for a method per HTTP method; here all of them are one.
        if name.startswith("do_"):
            return lambda: self._send(self.server.answer(self._request()))
        raise AttributeError(name)

    def _request(self) -> HttpRequest:
        """The request; its body is read to the end, so that the next one on this connection starts where it should."""
        url = urlsplit(self.path)
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self._chunks()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = parse_qs(url.query, keep_blank_values=True)
        return HttpRequest(self.command, url.path, query, CaseInsensitiveDict(self.headers.items()), body)

    def _chunks(self) -> bytes:
        """A body in chunks (RFC 9112 section 7.1)."""
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return body

    def _send(self, answer: Answer) -> None:
        """Send an answer; one to HEAD without its body."""
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server named it
        """Keep no access log: what was asked is in ``requests``."""

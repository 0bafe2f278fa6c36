"""What the fakes have in common: ``http.server`` on loopback, each request read whole, steered and answered."""

from __future__ import annotations

import http.server
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from requests.structures import CaseInsensitiveDict

from .loopback import Connections, Handler, LoopbackHTTPServer
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


class _Handler(Handler):
    server: _Server

    def __getattr__(self, name: str) -> object:
        # http.server looks for a method per HTTP method; here all of them are one.
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        try:
            request = self._request()
        except ValueError as error:
            self.refuse(error)
        else:
            self._send(self.server.answer(request))

    def _request(self) -> HttpRequest:
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        return HttpRequest(
            self.command, url.path, query, CaseInsensitiveDict(self.headers.items()), self.read_body()
        )

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

"""Every host name there is, on loopback: names are resolved to scripted servers, and who was asked what is noted."""

from __future__ import annotations

import functools
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from requests_cc_token import AccessTokenManagement

from .scripted_server import Action, Request, ScriptedServer, answer, token_answer

#: Where the API of ``managing`` is.
API = "https://api.example.com/v1/"
#: What every secret of the tests contains; see `taint`.
TOKEN = "T41NT-token"
SECRET = "T41NT-secret"

_PLAIN_PORTS = frozenset({80, 8080})

_NAMES = (
    *("api.example.com", "api.example.com.evil.test", "evil.test", "token.example.com", "other.example.com"),
    *("localhost", "127.0.0.1", "127.0.0.2"),
)


@dataclass(frozen=True)
class Seen:
    """One request as it arrived at its host."""

    scheme: str
    host: str
    request: Request

    @property
    def authorization(self) -> str | None:
        """Its ``Authorization`` header."""
        return self.request.headers.get("authorization")

    @property
    def holds_the_token(self) -> bool:
        """Whether the token is anywhere in it."""
        request = self.request
        texts = request.target, str(dict(request.headers)), request.body.decode("latin-1")
        return any(TOKEN in text for text in texts)


class Internet:
    """Hosts of any name. ``https`` on every port but 80 and 8080, which speak plain http.

    ``pages`` says what a host answers: by scheme and host, or by the start of the target as well; the longest match
    counts, and what is not there answers 200.
    """

    def __init__(self, tls: ScriptedServer, plain: ScriptedServer, ca: Path) -> None:
        self.ca = str(ca)
        self.seen: list[Seen] = []
        self.pages: dict[str, Action] = {"https://token.example.com/": token_answer(TOKEN)}
        self._tls, self._plain = tls, plain
        tls.respond = lambda request: self._respond("https", request)
        plain.respond = lambda request: self._respond("http", request)

    def _respond(self, scheme: str, request: Request) -> Action:
        host = request.headers.get("host", "")
        self.seen.append(Seen(scheme, host, request))
        asked = f"{scheme}://{host}{request.target}"
        found = max((page for page in self.pages if asked.startswith(page)), key=len, default=None)
        return answer(200, b"ok") if found is None else self.pages[found]

    def address(self, port: int) -> tuple[str, int]:
        """Where a connection to the port of any host really goes."""
        return "127.0.0.1", (self._plain if port in _PLAIN_PORTS else self._tls).port

    def requests_to(self, host: str) -> list[Seen]:
        """What the host was asked."""
        return [seen for seen in self.seen if seen.host == host]

    @property
    def carried(self) -> list[str]:
        """The URL of each request that held the token, outside the token service."""
        return [
            f"{seen.scheme}://{seen.host}{seen.request.target}"
            for seen in self.seen
            if seen.holds_the_token and seen.host != "token.example.com"
        ]


@functools.cache
def certificates() -> tuple[ssl.SSLContext, bytes]:
    """A server's TLS context that is good for every name, and the CA to trust."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*_NAMES).configure_cert(context)
    return context, ca.cert_pem.bytes()


@contextmanager
def internet(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Internet]:
    """All names resolve to this machine while the block lasts."""
    context, ca = certificates()
    bundle = folder / "ca.pem"
    bundle.write_bytes(ca)
    with ScriptedServer(tls=context) as tls, ScriptedServer() as plain:
        net = Internet(tls, plain, bundle)

        def getaddrinfo(host: str, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
            address = (host, int(port)) if host.startswith("127.") else net.address(int(port))
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield net


@contextmanager
def managing(**backchannel: Any) -> Iterator[AccessTokenManagement]:
    """A management of the client ``worker`` and of the session ``api``."""
    with AccessTokenManagement() as management:
        management.configure_backchannel(**backchannel)
        management.add_client(
            "worker", token_endpoint="https://token.example.com/token", client_id="m2m", client_secret=SECRET
        )
        management.add_session("api", base_url=API)
        yield management


#: A way to a session for ``API``.
Door = Callable[[AccessTokenManagement], requests.Session]


def by_make_session(management: AccessTokenManagement) -> requests.Session:
    """``make_session``."""
    return management.make_session("api")

"""A server that sends back what its client asks for, any answer that it could be asked for, and sessions to compare.

A module imports the fixtures that it needs; its tests ask for them by the names in the decorators.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import gzip
import ipaddress
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from _pytest.monkeypatch import MonkeyPatch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from requests_cc_token.netrc import NoNetrc
from requests_cc_token.shortcuts.adapter import ShortcutAdapter, copy_with_header
from requests_cc_token.shortcuts.session import ShortcutSession

from .scripted_server import cut, stop_listening

#: Seconds: no test waits that long; one that would hang fails instead.
PATIENCE = 30.0

#: One example may start a connection. So many, because they reach hardly more
#: than half as many do: a quarter of them 528 steps from line to line of the short ways, half of them 534, all 535.
PROPERTY = settings(max_examples=100)
LARGE = settings(PROPERTY, max_examples=200)


# A server that sends back what its client asks for


class ReplayServer:
    """Sends the bytes that the request's ``Replay`` header holds in base64; closes if ``Close`` says so."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.origin = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"
        self.connections = 0
        self.heads: list[bytes] = []
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.append(connection)
            connection.settimeout(PATIENCE)
            with connection, connection.makefile("rb") as incoming:
                while self._answer(connection, incoming):
                    pass

    def _answer(self, connection: socket.socket, incoming: Any) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = incoming.readline()
            if not line:
                return False
            head += line
        self.heads.append(head)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:] if line)
        }
        incoming.read(int(headers.get(b"content-length", b"0")))
        connection.sendall(base64.b64decode(headers[b"replay"]) if b"replay" in headers else OK)
        return b"close" not in headers

    def stop(self) -> None:
        stop_listening(self._listener, self._accepting)
        for connection in list(self._open):
            cut(connection)


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module", name="server")
def replay_server() -> Iterator[ReplayServer]:
    replay = ReplayServer()
    yield replay
    replay.stop()


@pytest.fixture(autouse=True)
def no_foreign_environment(monkeypatch: MonkeyPatch) -> None:
    """No proxy or netrc of the machine takes part, unless a test sets one."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", os.devnull)


class Authorizing(HTTPAdapter):
    """Sends a copy with one more header, as ``AccessTokenAdapter`` does; the response gets the caller's request."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().send(self.authorized(request), *args, **kwargs)
        response.request = request
        return response

    def authorized(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        copied = request.copy()
        copied.headers["Authorization"] = "Bearer x"
        return copied


class ShortAdapter(Authorizing, ShortcutAdapter):
    """The same, leaving out what would change nothing."""

    def authorized(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return copy_with_header(request, "Authorization", "Bearer x")


def long_session() -> requests.Session:
    session = requests.Session()
    session.mount("http://", Authorizing())
    session.mount("https://", Authorizing())
    return session


def short_session() -> ShortcutSession:
    session = ShortcutSession()
    session.mount("http://", ShortAdapter())
    session.mount("https://", ShortAdapter())
    return session


def outcome(function: Callable[[], Any]) -> Any:
    """What a call comes to: its value, or its error's type and text."""
    try:
        return function()
    except Exception as error:
        return type(error), _without_addresses(str(error))


def _without_addresses(text: str) -> str:
    return " ".join(word for word in text.split() if "0x" not in word)


@pytest.fixture(scope="module", name="pair")
def long_and_short() -> Iterator[tuple[requests.Session, requests.Session]]:
    """A plain session and a short one."""
    long, short = long_session(), short_session()
    for session in (long, short):
        session.auth = NoNetrc()
    yield long, short
    long.close()
    short.close()


def replaying(data: bytes) -> dict[str, str]:
    return {"Replay": base64.b64encode(data).decode()}


def stalling(connection: socket.socket) -> bool:
    """Promise ten bytes, send four, and keep the connection."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour")
    return True


# TLS


class Authority:
    """A certificate authority of the test, and what it has issued."""

    def __init__(self, folder: Path, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(
            self.certificate
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.file)

    def bundle(self, path: Path, *, age: float = 3600) -> Path:
        """Write a CA file that was last changed so many seconds ago."""
        path.write_bytes(self.certificate)
        os.utime(path, (time.time() - age, time.time() - age))
        return path


@pytest.fixture(scope="module", name="authority")
def certificate_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "one")


# Answers

STATUSES = st.sampled_from([200, 201, 204, 301, 302, 303, 304, 307, 308, 401, 404, 500, 0, 999])
ANSWER_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("Set-Cookie", "set-cookie", "Set-Cookie2", "Content-Type", "content-type", "X-One", "x-one", "Link"),
                *("WWW-Authenticate", "Retry-After"),
            ]
        ),
        st.sampled_from(
            [
                *("a=1", "b=2; Path=/", 'c="3"; Version=1', "text/html", "application/json; charset=latin-1", "x" * 50),
                *("close", "", "1", "text/plain; charset"),
            ]
        ),
    ),
    max_size=5,
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bool]:
    """The bytes of an answer, proper or not, and whether the connection ends with it."""
    body = draw(st.one_of(st.just(b""), st.binary(max_size=64), st.just(b"x" * 20_000)))
    lines = [f"{n}: {v}".encode() for n, v in draw(ANSWER_HEADERS)]
    coding = draw(st.sampled_from([None, None, "gzip", "deflate", "gzip broken", "identity", "br"]))
    if coding is not None:
        lines.append(b"Content-Encoding: " + coding.split()[0].encode())
        codings: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
        body = codings.get(coding, bytes)(body)
    close = draw(st.booleans())
    framing = draw(st.sampled_from(["length", "length", "chunked", "none", "short", "two", "bad", "both"]))
    if framing in {"chunked", "both"}:
        lines.append(b"Transfer-Encoding: chunked")
        if framing == "both":
            lines.append(b"Content-Length: 1")
        body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        ending = draw(st.sampled_from([b"0\r\n\r\n", b"0\r\n\r\n", b"", b"zz\r\n"]))
        body += ending
        close = close or ending != b"0\r\n\r\n"
    elif framing == "none":
        close = True
    else:
        length = len(body) + (7 if framing == "short" else 0)
        lines.append(
            b"Content-Length: " + {"two": b"%d, %d" % (length, length), "bad": b"many"}.get(framing, b"%d" % length)
        )
        close = close or framing in {"short", "two", "bad"}
    status = draw(STATUSES)
    if status in {204, 304}:
        body = b""
        close = close or framing in {"chunked", "both"}  # urllib3 waits for chunks all the same
    if close:
        lines.append(b"Connection: close")  # unannounced, who is first would be a matter of luck
    if status in {301, 302, 303, 307, 308} and draw(st.booleans()):
        lines.append(
            b"Location: " + draw(st.sampled_from([b"/other", b"/other?x=1#f", b"http://[bad", b"mailto:x", b"//"]))
        )
    return b"HTTP/1.1 %03d Reason\r\n" % status + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body, close

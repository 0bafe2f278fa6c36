"""Name, connection, TLS: the way to a server, step by step, with times."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.utils import prepend_scheme_if_needed, select_proxy

from requests_cc_token.tls_contexts import TLSContexts
from requests_cc_token.urls import DEFAULT_PORTS

from .files import WARN_DAYS

#: Seconds that each step may take: what is slower than this is as good as not there.
STEP_TIMEOUT = 10.0

_AUTHORITY = 'give its authority by verify = "/path/ca.pem" in [backchannel], or by REQUESTS_CA_BUNDLE'
#: By OpenSSL's X509_V_ERR numbers.
_CERTIFICATE_ADVICE = {
    10: "the server's operator has to renew it; until then nothing here helps",
    18: _AUTHORITY,
    19: _AUTHORITY,
    20: _AUTHORITY,
    62: "it belongs to another host: check the host in the URL",
    64: "it belongs to another host: check the host in the URL",
}


@dataclass(frozen=True)
class Way:
    """What leads to a server: a proxy, or nothing, and the authorities that are trusted."""

    url: str
    proxies: Mapping[str, str] = field(default_factory=dict)
    verify: bool | str = True

    @classmethod
    def to(cls, url: str, backchannel: Mapping[str, Any]) -> Way:
        """The way that requests takes, with the options of ``[backchannel]``."""
        with requests.Session() as session:
            settings = session.merge_environment_settings(url, backchannel.get("proxies") or {}, None, None, None)
        return cls(url, settings["proxies"], backchannel.get("verify", settings["verify"]))


@contextlib.contextmanager
def asked(way: Way) -> Iterator[requests.Response]:
    """The answer to a GET without any credentials, its body not read yet. Raises what requests raises."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(
            way.url,
            allow_redirects=False,
            timeout=STEP_TIMEOUT,
            proxies=dict(way.proxies),
            verify=way.verify,
            stream=True,
        )
        try:
            yield answer
        finally:
            answer.close()


@dataclass(frozen=True)
class Step:
    """One step, done or failed."""

    text: str
    seconds: float
    failed: bool = False
    advice: str | None = None


class _Failed(Exception):
    """Why there is no further step; never leaves this module."""

    def __init__(self, text: str, advice: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.advice = advice


def steps(way: Way) -> Iterator[Step]:
    """Go the way to its end, or to the first step that fails. Nothing is sent but what proxy and TLS need."""
    parts = urlsplit(way.url)
    proxy = select_proxy(way.url, dict(way.proxies))
    nearest = urlsplit(prepend_scheme_if_needed(proxy, "http")) if proxy else parts
    what = "the proxy " if proxy else ""
    host, port = nearest.hostname or "", nearest.port or DEFAULT_PORTS.get(nearest.scheme, 80)
    with contextlib.ExitStack() as stack:
        begun = time.perf_counter()

        def done(text: str) -> Step:
            nonlocal begun
            begun, last = time.perf_counter(), begun
            return Step(text, begun - last)

        try:
            addresses = _resolved(host, port)
            yield done(f"{what}{host} is {', '.join(addresses)}")
            connection = stack.enter_context(_connected(host, port, what))
            yield done(f"connected to {what}{host} port {port}")
            if proxy and nearest.scheme != "http":
                return  # SOCKS, or TLS before a word is said: how it leads on, the token request tells
            if proxy and parts.scheme == "https":
                _tunnel(connection, nearest, parts.hostname or "", parts.port or 443)
                yield done(f"the proxy leads to {parts.hostname}")
            if parts.scheme == "https":
                secured = stack.enter_context(_secured(connection, parts.hostname or "", way.verify))
                yield done(_described(secured))
        except _Failed as failure:
            yield Step(failure.text, time.perf_counter() - begun, failed=True, advice=failure.advice)


def _resolved(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no host name"
        raise _Failed(
            f"the name {host} does not resolve ({reason})", "check the host in the URL, and this machine's DNS"
        ) from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _connected(host: str, port: int, what: str) -> socket.socket:
    try:
        return socket.create_connection((host, port), STEP_TIMEOUT)
    except OSError as error:
        reason = error.strerror or "it did not answer in time"
        raise _Failed(
            f"{what}{host} port {port} cannot be connected to ({reason})",
            "check host and port, firewalls, and whether a proxy is needed (HTTPS_PROXY)",
        ) from None


def _tunnel(connection: socket.socket, proxy: Any, host: str, port: int) -> None:
    """Have an HTTP proxy lead on (RFC 9110 section 9.3.6)."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.username is not None:
        password = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(password).decode()}")
    answer = b""
    try:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        # Byte by byte: what follows the answer belongs to TLS.
        while not answer.endswith(b"\r\n\r\n") and len(answer) < 65_536 and (piece := connection.recv(1)):
            answer += piece
    except OSError as error:
        raise _Failed(f"the proxy broke the connection ({error.strerror or 'time is over'})") from None
    status, _, reason = answer.partition(b"\r\n")[0].decode("latin-1").partition(" ")[2].partition(" ")
    if status == "407":
        given = "another user and password" if proxy.username is not None else "a user and password"
        itself = proxy.netloc.rpartition("@")[2]
        raise _Failed("the proxy asks for a password (407)", f"give {given}: HTTPS_PROXY=http://user:password@{itself}")
    if not status.startswith("2"):
        raise _Failed(
            f"the proxy refuses to lead to {host} port {port} ({status} {reason})".replace(" )", ")"),
            f"have {host} allowed there, or leave it out of the proxy's way by NO_PROXY",
        )


def _secured(connection: socket.socket, host: str, verify: bool | str) -> ssl.SSLSocket:
    try:
        return TLSContexts().get(verify).wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise _Failed(
            f"the certificate of {host} is not accepted: {error.verify_message}",
            _CERTIFICATE_ADVICE.get(error.verify_code),
        ) from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or str(error) or "time is over"
        raise _Failed(
            f"TLS with {host} failed ({reason})", "check that the port speaks TLS, and your CA settings"
        ) from None


def _described(secured: ssl.SSLSocket) -> str:
    certificate = secured.getpeercert() or {}
    text = f"{secured.version()}"
    if "notAfter" in certificate:
        days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86_400
        text += f", certificate good for {days:.0f} days"
        if days < WARN_DAYS:
            text += " ONLY"
    return text

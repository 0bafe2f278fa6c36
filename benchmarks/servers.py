"""The servers that are measured against, in a process of their own: ``python -m benchmarks.servers FOLDER``.

Prints the ports of the plain and the TLS listener, then serves until its standard input ends. One thread for each
connection, raw sockets: the client is what costs. So that it does with large bodies too, they are sent from a piece
that stays in the processor's cache, and received into nowhere where the system can. FOLDER gets ``ca.pem``, the CA
bundle of certifi with ours added.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: Bytes of the large bodies.
LARGE = 64 * 1024 * 1024
#: Seconds that the slow API takes.
SLOW = 0.010

BODY = b'{"value": "ok"}'
TOKEN = json.dumps({"access_token": "t" * 200, "token_type": "Bearer", "expires_in": 86_400}).encode()


#: Received and thrown away by the kernel, where it knows how.
DISCARDED = socket.MSG_TRUNC if sys.platform == "linux" else 0


def _head(length: int) -> bytes:
    return (
        "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


SMALL_ANSWER, TOKEN_ANSWER = _head(len(BODY)) + BODY, _head(len(TOKEN)) + TOKEN
LARGE_HEAD, LARGE_PART = _head(LARGE), bytes(256 * 1024)


def serve(connection: socket.socket) -> None:
    """Answer the requests of one connection until it ends."""
    received = bytearray()
    try:
        while True:
            while b"\r\n\r\n" not in received:
                data = connection.recv(65_536)
                if not data:
                    return
                received += data
            head, _, rest = bytes(received).partition(b"\r\n\r\n")
            _skip_body(connection, head.lower(), rest)
            received = bytearray()
            target = head.split(b" ", 2)[1]
            if target.endswith(b"/slow"):
                time.sleep(SLOW)
            if target.endswith(b"/large"):
                connection.sendall(LARGE_HEAD)
                for _ in range(LARGE // len(LARGE_PART)):
                    connection.sendall(LARGE_PART)
            else:
                connection.sendall(TOKEN_ANSWER if target == b"/token" else SMALL_ANSWER)
    except OSError:
        return
    finally:
        connection.close()


def _skip_body(connection: socket.socket, head: bytes, rest: bytes) -> None:
    _, found, after = head.partition(b"content-length:")
    missing = (int(after.split(b"\r\n", 1)[0]) if found else 0) - len(rest)
    if missing <= 0 and b"transfer-encoding: chunked" not in head:
        return
    buffer = bytearray(1 << 20)
    if b"transfer-encoding: chunked" in head:
        while not rest.endswith(b"0\r\n\r\n"):
            count = connection.recv_into(buffer)
            rest = rest[-8:] + bytes(buffer[max(0, count - 8) : count])
        return
    flags = 0 if isinstance(connection, ssl.SSLSocket) else DISCARDED
    while missing > 0:
        missing -= connection.recv_into(buffer, min(missing, len(buffer)), flags)


def listen(tls: ssl.SSLContext | None) -> int:
    """Serve on a free port of 127.0.0.1; the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def handle(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            serve(connection if tls is None else tls.wrap_socket(connection, server_side=True))
        except OSError:
            connection.close()

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


def certify(folder: Path) -> ssl.SSLContext:
    """A certificate for 127.0.0.1, and the bundle that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    pair = folder / "server.pem"
    pair.write_bytes(
        pem
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "ca.pem").write_bytes(Path(certifi.where()).read_bytes() + b"\n" + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    return context


if __name__ == "__main__":
    print(listen(None), listen(certify(Path(sys.argv[1]))), flush=True)
    sys.stdin.read()

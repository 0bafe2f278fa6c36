"""``keys``: key pairs for signed assertions (RFC 7523), DPoP (RFC 9449) and mutual TLS (RFC 8705)."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click

from requests_cc_token.watched_files import UnusableFileError

from .options import option, typed
from .report import json_of

_KINDS: dict[Any, Any] = {"EC": "P-256", "RSA": 2048, "OKP": "Ed25519"}


@click.group()
def keys() -> None:
    """Make and show key pairs for signed assertions, DPoP and mutual TLS."""


@keys.command()
@click.argument("file", type=click.Path(dir_okay=False))
@option("--kind", type=click.Choice(list(_KINDS)), default="EC", show_default=True, help="EC, RSA or OKP (Ed25519).")
@option("--certificate", metavar="NAME", help="Add a certificate of this name, which the key signs itself.")
@option("--days", type=click.IntRange(1, 36_500), default=365, show_default=True, help="How long it is good.")
@option("--json", is_flag=True, help="Print it as one JSON object.")
def new(file: str, kind: str, certificate: str | None, days: int, json: bool) -> None:
    """Write a new private key to FILE, for its owner only, and show its public part.

    With --certificate there is a certificate beside it in FILE, for token services that know keys by their certificates
    (Entra wants --kind RSA) and for mutual TLS with certificates that the client signs itself (RFC 8705 section 2.2).
    """
    if typed("days") and certificate is None:
        raise click.UsageError("--days goes with --certificate")
    from joserfc.jwk import generate_key

    chosen: Any = kind
    made: Any = generate_key(chosen, _KINDS[kind], private=True)
    content = made.as_pem(private=True)
    if certificate is not None:
        content += _self_signed(content, certificate, days)
    try:
        # Fails if it is there, and is closed to others from the beginning.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.UsageError(f"{file} is there already, and a key is not replaced") from None
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
    _show(made, content, as_json=json)


@keys.command()
@click.argument("file", type=click.Path(dir_okay=False, exists=True))
@option("--json", is_flag=True, help="Print it as one JSON object.")
def show(file: str, json: bool) -> None:
    """Show the public part of the key in FILE: JWKS with its kid, PEM, thumbprint; and of a certificate beside it."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    content = Path(file).read_bytes()
    for kind in _KINDS:
        try:
            _show(import_key(content, kind), content, as_json=json)
        except (JoseError, ValueError, TypeError):
            continue
        except UnusableFileError as error:
            raise click.UsageError(f"{file}: {error}") from None
        return
    raise click.UsageError(f"{file} holds no key that can be read without a password")


def _show(key: Any, content: bytes, *, as_json: bool) -> None:
    thumbprint = key.thumbprint()
    jwks = {"keys": [{**key.as_dict(private=False), "kid": thumbprint, "use": "sig"}]}
    pem = key.as_pem(private=False).decode()
    certificate = _certificate_of(key, content)
    if as_json:
        click.echo(json_of({"jwks": jwks, "pem": pem, "thumbprint": thumbprint, "certificate": certificate}))
        return
    click.echo(json_of(jwks))
    click.echo(pem, nl=False)
    click.echo(f"thumbprint (RFC 7638): {thumbprint}")
    if certificate is not None:
        click.echo(certificate["pem"], nl=False)
        for name, told in (("SHA-1", "sha1"), ("SHA-256", "sha256"), ("x5t#S256", "x5t#S256")):
            click.echo(f"certificate, {name}: {certificate[told]}")
        ends = datetime.fromtimestamp(certificate["expires_at"], timezone.utc)
        click.echo(f"certificate, ends: {ends:%Y-%m-%d %H:%M} UTC")


def _certificate_of(key: Any, content: bytes) -> dict[str, Any] | None:
    """The key's certificate in a PEM file, and by what token services know it; None where there is none.

    Raises ``UnusableFileError`` where those in it are none of this key.
    """
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    from requests_cc_token.authentication.signing_key import certificate_of, thumbprint_of

    certificate = certificate_of(key.public_key, content)
    if certificate is None:
        return None
    return {
        "pem": certificate.public_bytes(Encoding.PEM).decode(),
        "sha1": certificate.fingerprint(SHA1()).hex().upper(),  # noqa: S303 - it is how Entra names certificates
        "sha256": certificate.fingerprint(SHA256()).hex().upper(),
        "x5t#S256": thumbprint_of(certificate),
        "expires_at": round(certificate.not_valid_after_utc.timestamp()),
    }


def _self_signed(pem: bytes, name: str, days: int) -> bytes:
    """A certificate for the key, in PEM. Raises ``click.UsageError`` for a name that no certificate can have."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key: Any = load_pem_private_key(pem, None)
    try:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError:
        raise click.UsageError("--certificate: a name has 1 to 64 characters") from None
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(usage, critical=False)
    signed = builder.sign(key, None if isinstance(key, Ed25519PrivateKey) else SHA256())
    return signed.public_bytes(Encoding.PEM)

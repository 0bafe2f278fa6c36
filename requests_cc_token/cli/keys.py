"""``keys``: key pairs for signed assertions (RFC 7523), DPoP (RFC 9449) and mutual TLS (RFC 8705)."""

from __future__ import annotations

import os
from json import dumps
from pathlib import Path
from typing import Any

import click

from .options import option

_KINDS: dict[Any, Any] = {"EC": "P-256", "RSA": 2048, "OKP": "Ed25519"}


@click.group()
def keys() -> None:
    """Make and show key pairs for signed assertions, DPoP and mutual TLS."""


@keys.command()
@click.argument("file", type=click.Path(dir_okay=False))
@option("--kind", type=click.Choice(list(_KINDS)), default="EC", show_default=True, help="EC, RSA or OKP (Ed25519).")
@option("--json", is_flag=True, help="Print it as one JSON object.")
def new(file: str, kind: str, json: bool) -> None:
    """Write a new private key to FILE, for its owner only, and show its public part."""
    from joserfc.jwk import generate_key

    chosen: Any = kind
    made: Any = generate_key(chosen, _KINDS[kind], private=True)
    try:
        # Not there yet, and nobody else's at any moment.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.UsageError(f"{file} is there already, and a key is not replaced") from None
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(made.as_pem(private=True))
    _show(made, as_json=json)


@keys.command()
@click.argument("file", type=click.Path(dir_okay=False, exists=True))
@option("--json", is_flag=True, help="Print it as one JSON object.")
def show(file: str, json: bool) -> None:
    """Show the public part of the key in FILE: JWKS with its kid, PEM, thumbprint."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    content = Path(file).read_bytes()
    for kind in _KINDS:
        try:
            _show(import_key(content, kind), as_json=json)
        except (JoseError, ValueError, TypeError):
            continue
        return
    raise click.UsageError(f"{file} holds no key that can be read without a password")


def _show(key: Any, *, as_json: bool) -> None:
    thumbprint = key.thumbprint()
    jwks = {"keys": [{**key.as_dict(private=False), "kid": thumbprint, "use": "sig"}]}
    pem = key.as_pem(private=False).decode()
    if as_json:
        click.echo(dumps({"jwks": jwks, "pem": pem, "thumbprint": thumbprint}, indent=2))
        return
    click.echo(dumps(jwks, indent=2))
    click.echo(pem, nl=False)
    click.echo(f"thumbprint (RFC 7638): {thumbprint}")

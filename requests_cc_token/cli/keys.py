"""``keys``: key pairs for signed assertions (RFC 7523), DPoP (RFC 9449) and mutual TLS (RFC 8705)."""

from __future__ import annotations

import json
import os
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
@option("--kind", type=click.Choice(list(_KINDS)), default="EC", show_default=True, help="The kind of key.")
def new(file: str, kind: str) -> None:
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
    _show(made)


@keys.command()
@click.argument("file", type=click.Path(dir_okay=False, exists=True))
def show(file: str) -> None:
    """Show the public part of the key in FILE: JWKS with its kid, PEM, thumbprint."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    content = Path(file).read_bytes()
    for kind in _KINDS:
        try:
            _show(import_key(content, kind))
        except (JoseError, ValueError, TypeError):
            continue
        return
    raise click.UsageError(f"{file} holds no key that can be read without a password")


def _show(key: Any) -> None:
    thumbprint = key.thumbprint()
    public = {**key.as_dict(private=False), "kid": thumbprint, "use": "sig"}
    click.echo(json.dumps({"keys": [public]}, indent=2))
    click.echo(key.as_pem(private=False).decode(), nl=False)
    click.echo(f"thumbprint (RFC 7638): {thumbprint}")

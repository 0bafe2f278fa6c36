"""``token``: an access token for scripts, or what is known of it."""

from __future__ import annotations

import time

import click

from requests_cc_token.authentication.assertions import unverified_claims

from .options import Common, Seconds, config_option, option
from .outcome import Exit
from .report import json_of


@click.command()
@click.argument("client", required=False)
@option("--header", is_flag=True, help="Print the whole header line, for curl -H and the like.")
@option("--json", is_flag=True, help="Print what the token service said, as JSON, with the token in it.")
@option("--claims", is_flag=True, help="Print the claims of a JWT access token, unverified, instead of the token.")
@option("--timeout", type=Seconds(min=0, min_open=True), help="Seconds to wait for the token at most.")
@config_option
@click.pass_obj
def token(common: Common, client: str | None, header: bool, json: bool, claims: bool, timeout: float | None) -> int:
    """Print an access token of the token client CLIENT.

    CLIENT may be left out while there is one token client. Nothing else prints a token.
    """
    if header + json + claims > 1:
        raise click.UsageError("--header, --json and --claims exclude each other")
    with common.management() as management:
        issued = management.service.get_access_token(client, timeout=timeout)
    if claims:
        told = unverified_claims(issued.value)
        if told is None:
            click.echo("the token is no JWT: only its API and its token service can read it", err=True)
            return Exit.FAILED
        click.echo(json_of(told))
    elif json:
        about = {
            "access_token": issued.value,
            "token_type": issued.token_type,
            "scope": issued.scope,
            "expires_at": round(issued.expires_at),
            "expires_in": max(0, round(issued.expires_at - time.time())),
        }
        click.echo(json_of(about))
    else:
        click.echo(f"Authorization: {issued.authorization}" if header else issued.value)
    return Exit.FINE

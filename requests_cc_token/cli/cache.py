"""``cache``: what the store of tokens holds for each client of the configuration; never a token."""

from __future__ import annotations

import time
from json import dumps

import click

from requests_cc_token.caches.protocol import TokenCache
from requests_cc_token.clients import ClientCredentialsClient
from requests_cc_token.demand import Demand
from requests_cc_token.demo.worker import printable
from requests_cc_token.exceptions import ConfigurationError, TokenRequestError

from .check import Configuration
from .options import Common, config_option, option
from .outcome import Exit


@click.group()
def cache() -> None:
    """Look at the store of tokens, or empty it, for the clients of the configuration."""


@cache.command(name="list")
@option("--json", is_flag=True, help="Print it as JSON.")
@config_option
@click.argument("clients", nargs=-1, metavar="[CLIENT]...")
@click.pass_obj
def list_(common: Common, clients: tuple[str, ...], json: bool) -> int:
    """Tell for each client, or for those named, what the store holds: scope and expiry, never the token.

    Tokens that were asked for with parameters of their own are not among them.
    """
    store, keys, code = _opened(common, clients)
    found = []
    for name, key in keys.items():
        token = store.get(key)
        left = None if token is None else round(token.expires_at - time.time())
        found.append(
            {
                "client": name,
                "key": key,
                "token": token is not None,
                "scope": None if token is None else token.scope,
                "expires_at": None if token is None else round(token.expires_at),
                "expires_in": left,
            }
        )
        if not json:
            scope = "no scope said" if token is None or token.scope is None else f"scope {token.scope}"
            click.echo(f"{name}: " + ("nothing" if token is None else f"a token, {scope}, expires in {left} s"))
    if json:
        click.echo(dumps(found, indent=2))
    return code


@cache.command()
@config_option
@click.argument("clients", nargs=-1, metavar="[CLIENT]...")
@click.pass_obj
def clear(common: Common, clients: tuple[str, ...]) -> int:
    """Have the store forget the token of each client, or of those named.

    Running workers keep the token that they have until it is to be renewed.
    """
    store, keys, code = _opened(common, clients)
    for name, key in keys.items():
        store.delete(key)
        click.echo(f"{name}: forgotten")
    return code


def _opened(common: Common, names: tuple[str, ...]) -> tuple[TokenCache, dict[str, str], Exit]:
    """The store, what it keeps the tokens of each client by, and the exit code.

    A client that has nothing to prove itself with is told and left out. Raises ``ConfigurationError`` without a store,
    and ``UnknownClientError``.
    """
    configuration = Configuration.read(common.path())
    plan = configuration.plan()
    store: TokenCache | None = plan.management.options.get("cache")
    if store is None:
        raise ConfigurationError(
            f"{plan.management.where}: there is no [cache], so each process keeps its tokens in its own memory"
        )
    configuration.refuse_unknown_clients(names)
    keys: dict[str, str] = {}
    code = Exit.FINE
    for entry in plan.clients:
        if names and entry.name not in names:
            continue
        try:
            keys[entry.name] = Demand.of(ClientCredentialsClient(entry.name, **entry.options)).stored_key()
        except TokenRequestError as error:
            text = str(error).removeprefix(f"token client {entry.name!r}: ")
            click.echo(printable(f"{entry.name}: {text}"), err=True)
            code = Exit.CONFIGURATION
    return store, keys, code

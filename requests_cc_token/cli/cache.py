"""``cache``: what the store of tokens holds for each client of the configuration; never a token."""

from __future__ import annotations

import time
from collections.abc import Iterator
from json import dumps

import click

from requests_cc_token.caches.protocol import TokenCache
from requests_cc_token.clients import ClientCredentialsClient
from requests_cc_token.config import Plan
from requests_cc_token.demand import Demand
from requests_cc_token.demo.worker import printable
from requests_cc_token.exceptions import ConfigurationError, TokenRequestError, UnknownClientError
from requests_cc_token.registry import listed

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
    plan = Configuration.read(common.path()).plan()
    store = _store(plan)
    found = []
    code = Exit.FINE
    for name, client in _chosen(plan, clients):
        key = _key(name, client)
        if key is None:
            code = Exit.CONFIGURATION
            continue
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
    plan = Configuration.read(common.path()).plan()
    store = _store(plan)
    code = Exit.FINE
    for name, client in _chosen(plan, clients):
        key = _key(name, client)
        if key is None:
            code = Exit.CONFIGURATION
            continue
        store.delete(key)
        click.echo(f"{name}: forgotten")
    return code


def _store(plan: Plan) -> TokenCache:
    store: TokenCache | None = plan.management.options.get("cache")
    if store is None:
        raise ConfigurationError(
            f"{plan.management.where}: there is no [cache], so each process keeps its tokens in its own memory"
        )
    return store


def _chosen(plan: Plan, names: tuple[str, ...]) -> Iterator[tuple[str, ClientCredentialsClient]]:
    """The clients by name, all or those named. Raises ``UnknownClientError``."""
    entries = {entry.name: entry for entry in plan.clients}
    for name in names:
        if name not in entries:
            known = listed(entries)
            raise UnknownClientError(f"no token client is named {name!r}; the configuration has {known}", entries)
    for name in names or entries:
        yield name, ClientCredentialsClient(name, **entries[name].options)


def _key(name: str, client: ClientCredentialsClient) -> str | None:
    """What the store keeps the client's tokens by; None, told, where it has nothing to prove itself with."""
    try:
        return Demand.of(client).stored_key()
    except TokenRequestError as error:
        text = str(error).removeprefix(f"token client {name!r}: ")
        click.echo(printable(f"{name}: {text}"), err=True)
        return None

"""``cache``: what the store of tokens holds for each client of the configuration; never a token."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import click

from requests_cc_token.caches.protocol import TokenCache
from requests_cc_token.clients import ClientCredentialsClient
from requests_cc_token.config import Plan
from requests_cc_token.demand import Demand
from requests_cc_token.exceptions import ConfigurationError, UnknownClientError
from requests_cc_token.registry import listed

from .check import Configuration
from .options import Common, config_option, option
from .outcome import Exit


@click.group()
def cache() -> None:
    """Look at the store of tokens, or empty it, for the clients of the configuration."""


@cache.command(name="list")
@option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@config_option
@click.argument("clients", nargs=-1, metavar="[CLIENT]...")
@click.pass_obj
def list_(common: Common, clients: tuple[str, ...], as_json: bool) -> int:
    """Tell for each client, or for those named, what the store holds: scope and expiry, never the token.

    Tokens that were asked for with parameters of their own are not among them.
    """
    plan = Configuration.read(common.path()).plan()
    store = _store(plan)
    found = []
    for name, key in _keys(plan, clients):
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
        if not as_json:
            scope = "no scope said" if token is None or token.scope is None else f"scope {token.scope}"
            click.echo(f"{name}: " + ("nothing" if token is None else f"a token, {scope}, expires in {left} s"))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    return Exit.FINE


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
    for name, key in _keys(plan, clients):
        store.delete(key)
        click.echo(f"{name}: forgotten")
    return Exit.FINE


def _store(plan: Plan) -> TokenCache:
    store: TokenCache | None = plan.management.options.get("cache")
    if store is None:
        raise ConfigurationError(
            f"{plan.management.where}: there is no [cache], so each process keeps its tokens in its own memory"
        )
    return store


def _keys(plan: Plan, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The clients by name, with the key that the store keeps their tokens by."""
    entries = {entry.name: entry for entry in plan.clients}
    for name in names:
        if name not in entries:
            known = listed(entries)
            raise UnknownClientError(f"no token client is named {name!r}; the configuration has {known}", entries)
    for name in names or entries:
        yield name, Demand.of(ClientCredentialsClient(name, **entries[name].options)).stored_key()

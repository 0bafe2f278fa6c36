"""``cache``: what the store of tokens holds for each client of the configuration; never a token."""

from __future__ import annotations

import time
from typing import Any

import click

from requests_cc_token.caches.protocol import TokenCache
from requests_cc_token.caches.store import Kept, StoreTokenCache
from requests_cc_token.clients import ClientCredentialsClient
from requests_cc_token.demand import Demand
from requests_cc_token.demo.worker import printable
from requests_cc_token.exceptions import ConfigurationError, TokenRequestError

from .check import Configuration
from .options import Common, config_option, option
from .outcome import Exit
from .report import json_of


@click.group()
def cache() -> None:
    """Look at the store of tokens, or empty it, for the clients of the configuration."""


@cache.command(name="list")
@option("--json", is_flag=True, help="Print it as JSON.")
@config_option
@click.argument("clients", nargs=-1, metavar="[CLIENT]...")
@click.pass_obj
def list_(common: Common, clients: tuple[str, ...], json: bool) -> int:
    """Tell for each client, or for those named, what the store holds: scope, age and expiry, never the token.

    Also which process is asking for a token at this moment, where the store knows. Tokens that were asked for with
    parameters of their own are not among them.
    """
    store, keys, code = _opened(common, clients)
    entries = [_entry(name, key, _kept(store, key)) for name, key in keys.items()]
    if json:
        click.echo(json_of(entries))
    for entry in () if json else entries:
        click.echo(printable(f"{entry['client']}: {_told(entry)}"))
    return code


@cache.command()
@option("--json", is_flag=True, help="Print it as JSON.")
@config_option
@click.argument("clients", nargs=-1, metavar="[CLIENT]...")
@click.pass_obj
def clear(common: Common, clients: tuple[str, ...], json: bool) -> int:
    """Have the store forget the token of each client, or of those named.

    Running workers keep the token that they have until it is to be renewed.
    """
    store, keys, code = _opened(common, clients)
    for name, key in keys.items():
        store.delete(key)
        if not json:
            click.echo(f"{name}: forgotten")
    if json:
        click.echo(json_of([{"client": name, "key": key} for name, key in keys.items()]))
    return code


def _kept(store: TokenCache, key: str) -> Kept:
    """What the store has; a store that is no shared one has neither ages nor leases."""
    return store.inspect(key) if isinstance(store, StoreTokenCache) else Kept(store.get(key), None, None)


def _entry(client: str, key: str, kept: Kept) -> dict[str, Any]:
    """What is told of a client, as JSON has it."""
    token, lease = kept.token, kept.holder
    return {
        "client": client,
        "key": key,
        "token": token is not None,
        "unreadable": kept.unreadable,
        "scope": None if token is None else token.scope,
        "age": None if kept.age is None else round(kept.age),
        "expires_at": None if token is None else round(token.expires_at),
        "expires_in": None if token is None else round(token.expires_at - time.time()),
        "lease": None if lease is None else {"holder": lease.name, "expires_in": lease.seconds},
    }


def _told(entry: dict[str, Any]) -> str:
    """What is told of a client, as a line has it."""
    parts = ["nothing"]
    if entry["unreadable"]:
        parts = ["a record that cannot be read: stored with another key, or damaged"]
    elif entry["token"]:
        parts = ["a token", "no scope said" if entry["scope"] is None else f"scope {entry['scope']}"]
        parts += [] if entry["age"] is None else [f"{entry['age']} s old"]
        parts.append(f"expires in {entry['expires_in']} s")
    lease = entry["lease"]
    if lease is not None:
        limit = "" if lease["expires_in"] is None else f", for {lease['expires_in']:.0f} s at most"
        parts.append(f"asked for now by {lease['holder'] or 'somebody'}{limit}")
    return ", ".join(parts)


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

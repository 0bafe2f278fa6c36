"""``check``: a configuration, by itself; with ``--live`` its clients against their token services."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import click
from requests.utils import get_netrc_auth, select_proxy

from requests_cc_token.authentication.ambient import AmbientAssertion
from requests_cc_token.authentication.by_name import keys_beside_auth
from requests_cc_token.authentication.method import TokenRequest
from requests_cc_token.clients import ClientCredentialsClient
from requests_cc_token.config import Plan, plan_of, read_file
from requests_cc_token.demand import Demand
from requests_cc_token.exceptions import ConfigurationError, TokenRequestError, UnknownClientError
from requests_cc_token.management import AccessTokenManagement
from requests_cc_token.registry import listed
from requests_cc_token.urls import shown_url

from .connection import Way
from .files import judged_files
from .literals import literal_secrets
from .options import Common, config_option, option, typed
from .outcome import Exit
from .report import Finding, Report

#: Taken in the place of a faulty value that cannot be left out, so that the next fault is found too.
_STAND_INS: Mapping[str, Any] = {
    "token_endpoint": "https://stand-in.invalid/",
    "issuer": "https://stand-in.invalid/",
    "client_id": "stand-in",
    "client_secret": "stand-in",
    "base_url": "https://stand-in.invalid/",
    "client": "stand-in",
}
#: What an entry may lack although it needs it.
_NEEDED = ("token_endpoint", "client_id", "base_url")


@click.command()
@option("--live", is_flag=True, help="Ask the token services, step by step; no API, unless --session names one.")
@option("--session", metavar="NAME", help="With --live: send a GET to the API of this session too, with a token.")
@option("--path", default="", help="Where that GET goes, relative to the session's base URL; to that URL by default.")
@option("--json", is_flag=True, help="Print the findings as JSON.")
@config_option
@click.argument("clients", nargs=-1, metavar="[CLIENT]...")
@click.pass_obj
def check(common: Common, clients: tuple[str, ...], live: bool, session: str | None, path: str, json: bool) -> int:
    """Check a configuration: all problems of all token clients and sessions, or of those named.

    Without --live nothing is sent. With it, each token client has one token request, and the store of tokens gets
    an entry, which is removed again. With --session too, the API of that session gets one GET, which is a real call:
    name a --path where a GET changes nothing. Other APIs get none.

    Secrets are read, to see that they are there, and not shown.
    """
    configuration = Configuration.read(common.path())
    report = Report(json, common.verbosity < 0)
    configuration.refuse_unknown_clients(clients)
    if session is not None and not live:
        raise click.UsageError("--session goes with --live")
    if typed("path") and session is None:
        raise click.UsageError("--path goes with --session")
    configuration.check(report, clients)
    if live and report.worst is Exit.FINE:
        from .live import check_live

        check_live(configuration.plan(), report, clients, session, path)
    return report.end()


@dataclass(frozen=True)
class Configuration:
    """What a TOML file says."""

    path: Path
    content: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, path: str) -> Configuration:
        """The file's content. Raises ``ConfigurationError`` where it is none."""
        return cls(Path(path), read_file(Path(path)))

    def table(self, name: str) -> Mapping[str, Any]:
        """A table of the file; empty where it is missing or none."""
        table = self.content.get(name)
        return table if isinstance(table, Mapping) else {}

    def refuse_unknown_clients(self, clients: tuple[str, ...]) -> None:
        """Raise ``UnknownClientError`` for the first of these names that no token client has."""
        known = self.table("clients")
        for name in clients:
            if name not in known:
                raise UnknownClientError(
                    f"no token client is named {name!r}; the configuration has {listed(known)}", known
                )

    def plan(self, **tables: Any) -> Plan:
        """The plan of the whole file, or of these tables. Raises ``ConfigurationError``."""
        return plan_of(tables or self.content, str(self.path), self.path.parent, None)

    def check(self, report: Report, clients: tuple[str, ...]) -> None:
        """Find every problem of these clients, else of everything."""
        for name, table in {} if clients else self.content.items():
            is_table = isinstance(table, Mapping)
            if is_table and name in ("clients", "sessions"):
                continue
            attempt = partial(self._try_other, name)
            faults = list(_faults(attempt, table) if is_table else filter(None, [_fault(attempt, table)]))
            for fault in faults:
                report.add(_problem("configuration", fault))
            for finding in self._judged(name, table, faults) if is_table else ():
                report.add(finding)
        for name, entry in self.table("clients").items():
            if clients and name not in clients:
                continue
            self._check_entry(report, f"client {name}", entry, partial(self._try_client, name))
        for name, entry in {} if clients else self.table("sessions").items():
            self._check_entry(report, f"session {name}", entry, partial(self._try_session, name))

    def _check_entry(
        self, report: Report, about: str, entry: Any, attempt: Callable[[Mapping[str, Any]], tuple[str, list[str]]]
    ) -> None:
        entry = entry if isinstance(entry, Mapping) else {}
        faults = list(_faults(attempt, entry))
        for fault in faults:
            report.add(_problem(about, fault))
        for finding in self._judged(about, entry, faults):
            report.add(finding)
        if not faults:
            backchannel = self._backchannel() if about.startswith("client") else {}
            text, urls = attempt(entry)
            report.add(Finding("ok", about, text))
            for note in chain.from_iterable(_ways(url, backchannel) for url in urls):
                report.add(Finding("note", about, note))

    def _judged(self, about: str, entry: Mapping[str, Any], faults: list[str]) -> Iterator[Finding]:
        """What there is to say of its files and secrets beside these faults."""
        return chain(judged_files(about, entry, self.path.parent, faults), literal_secrets(about, entry, self.path))

    def _backchannel(self) -> Mapping[str, Any]:
        try:
            return self.plan(backchannel=self.table("backchannel")).backchannel.options
        except ConfigurationError:
            return {}  # told already

    def _try_other(self, name: str, content: Any) -> None:
        if name in ("clients", "sessions"):
            raise ConfigurationError(f"{self.path}: [{name}] must be a table")
        plan = self.plan(clients={}, **{name: content})
        with AccessTokenManagement(**plan.management.options) as management:
            management.configure_backchannel(**plan.backchannel.options)

    def _try_client(self, name: str, left: Mapping[str, Any]) -> tuple[str, list[str]]:
        (entry,) = self.plan(clients={name: left}).clients
        client = ClientCredentialsClient(name, **entry.options)
        place = client.token_endpoint or client.issuer or ""
        demand = Demand.of(client)
        request = TokenRequest(place, {}, audience=place, now=time.time(), cert=demand.certificate)
        # The platform's word for a workload is had by asking the platform, which is left to --live.
        if not isinstance(client.auth, AmbientAssertion):
            client.auth.authenticate(request, client)
        if client.grant is not None and not client.grant.clients:
            client.grant.add_to(request, client, None)
        return described(client), [place]

    def _try_session(self, name: str, left: Mapping[str, Any]) -> tuple[str, list[str]]:
        (entry,) = self.plan(sessions={name: left}).sessions
        with AccessTokenManagement() as management:
            names = set(self.table("clients"))
            if left.get("client") is _STAND_INS["client"]:
                names.add("stand-in")
            for client in names:
                management.add_client(
                    client,
                    token_endpoint=_STAND_INS["token_endpoint"],
                    client_id=_STAND_INS["client_id"],
                    client_secret=_STAND_INS["client_secret"],
                )
            management.add_session(name, **entry.options)
            management.make_session(name).close()
            base_url, client_name = management.sessions[name]
        uses = "the only client" if client_name is None else f"client {client_name}"
        return f"{base_url}, {uses}", [base_url]


def described(client: ClientCredentialsClient) -> str:
    """What a registration says, without its secrets."""
    facts = [str(client.token_endpoint or client.issuer), f"id {client.client_id}", client.auth.method]
    if client.grant is not None:
        facts.append(f"grant {client.grant.grant_type.rpartition(':')[2]}")
    if client.client_secret is not None:
        facts.append(f"secret from {client.client_secret.description}")
    facts.append(f"scope {' '.join(client.scope)}" if client.scope else "no scope")
    return ", ".join(facts)


def _faults(attempt: Callable[[Mapping[str, Any]], object], entry: Mapping[str, Any]) -> Iterator[str]:
    """Each reason for which an attempt fails: what causes one is put aside before the next is looked for."""
    left = dict(entry)
    while (fault := _fault(attempt, left)) is not None:
        yield fault
        given = [key for key in left if left[key] is not _STAND_INS.get(key)]
        causes = [key for key in given if _fault(attempt, _without(left, key)) != fault]
        missing = [key for key in _NEEDED if key in fault and key not in left]
        if not causes and not missing:
            return
        for key in causes or missing:
            left = _without(left, key)


def _without(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    left = {name: value for name, value in entry.items() if name != key}
    if key == "auth":
        # What belongs to the method goes with it.
        left = {name: value for name, value in left.items() if name not in keys_beside_auth()}
    if key in ("auth", "grant"):
        # Of a secret alone, the method and the grant that are left make a client.
        left.setdefault("client_secret", _STAND_INS["client_secret"])
    if key in _STAND_INS and entry.get(key) != _STAND_INS[key]:
        left[key] = _STAND_INS[key]
    return left


def _fault(attempt: Callable[[Any], object], entry: object) -> str | None:
    try:
        attempt(entry)
    except (ConfigurationError, TokenRequestError, UnknownClientError) as error:
        return str(error)
    return None


def _problem(about: str, fault: str) -> Finding:
    return Finding("problem", about, fault, exit_code=Exit.CONFIGURATION)


def _ways(url: str, backchannel: Mapping[str, Any]) -> Iterator[str]:
    """Which proxy and authorities apply to a URL, and whether a netrc file would."""
    way = Way.to(url, backchannel)
    proxy = select_proxy(url, dict(way.proxies))
    if proxy:
        yield f"{shown_url(url)} is reached by the proxy {shown_url(proxy)}"
    verify: bool | str | None = way.verify
    if not url.startswith("https:"):
        verify = None  # there are no certificates
    if verify is False:
        yield f"{shown_url(url)}: certificates are not verified"
    elif isinstance(verify, str):
        yield f"{shown_url(url)}: certificates are verified by {verify}"
    if get_netrc_auth(url):
        yield f"a netrc file has a password for {shown_url(url)}, which is never used here"

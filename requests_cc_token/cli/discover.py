"""``discover``: a configuration to start from, of what an issuer or an API publishes.

Only here, by hand: at run time nobody follows what an API says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from json import loads
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click
import requests
import urllib3

from requests_cc_token.urls import shown_url
from requests_cc_token.www_authenticate import parse_challenges

from .connection import Way, asked
from .options import option
from .outcome import Exit
from .report import json_of

#: Bytes of a metadata document that are read: real ones hold a few KiB.
MAX_DOCUMENT = 1024 * 1024

_ISSUER_PATHS = ("oauth-authorization-server", "openid-configuration")


@dataclass(frozen=True)
class Published:
    """A metadata document, and where it was found."""

    url: str
    document: Mapping[str, Any]

    def texts(self, name: str) -> list[str]:
        """The texts of a member that lists some."""
        found = self.document.get(name)
        return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


class Answer(NamedTuple):
    """An answer to a request without credentials."""

    ok: bool
    challenge: str
    body: bytes


@click.command()
@click.argument("url")
@option("--json", is_flag=True, help="Print what was found as JSON.")
def discover(url: str, json: bool) -> int:
    """Print a configuration to start from, for the issuer or the API at URL.

    An issuer is asked for its metadata (RFC 8414), an API for its own (RFC 9728) or for a challenge that names it.
    """
    if not _is_url(url):
        raise click.UsageError(f"{shown_url(url)} is no http or https URL")
    resource = None
    issuer = issuer_metadata(url, Way.to(url, {}))
    if issuer is None:
        resource = resource_metadata(url)
        for server in filter(_is_url, resource.texts("authorization_servers") if resource is not None else ()):
            issuer = issuer_metadata(server, Way.to(server, {}))
            if issuer is not None:
                break
    if issuer is None:
        click.echo(f"{shown_url(url)} publishes neither the metadata of an issuer nor that of an API", err=True)
        return Exit.FAILED
    if json:
        found = {"issuer": issuer.document, "resource": None if resource is None else resource.document}
        click.echo(json_of(found))
    else:
        click.echo(_configuration(issuer, resource), nl=False)
    return Exit.FINE


def issuer_metadata(url: str, way: Way) -> Published | None:
    """The metadata of an issuer (RFC 8414 section 3, OpenID Connect Discovery), or None."""
    parts = urlsplit(url)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    places = [f"{origin}/.well-known/{name}{path}" for name in _ISSUER_PATHS]
    if path:
        places.append(f"{origin}{path}/.well-known/{_ISSUER_PATHS[1]}")
    return _first_with("token_endpoint", places, way)


def resource_metadata(url: str) -> Published | None:
    """The metadata of an API (RFC 9728 section 3), where it is by default or where a challenge says, or None."""
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource{parts.path.rstrip('/')}"
    way = Way.to(url, {})
    found = _first_with("authorization_servers", [place], way)
    answer = None if found is not None else _get(url, way)
    if answer is None:
        return found
    for challenge in parse_challenges([answer.challenge]):
        named = challenge.parameters.get("resource_metadata", "")
        if _is_url(named):
            return _first_with("authorization_servers", [named], Way.to(named, {}))
    return None


def _is_url(text: str) -> bool:
    """Whether it is something to ask: an http or https URL, which stays one line where it is printed."""
    try:
        return urlsplit(text).scheme in ("https", "http") and text.isprintable()
    except ValueError:
        return False


def _first_with(member: str, places: list[str], way: Way) -> Published | None:
    for place in places:
        answer = _get(place, way)
        try:
            document = loads(answer.body) if answer is not None and answer.ok else None
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict) and member in document:
            return Published(place, document)
    return None


def _get(url: str, way: Way) -> Answer | None:
    """A public document, asked for without any credentials; None where there is no answer."""
    try:
        with asked(replace(way, url=url)) as answer:
            body = answer.raw.read(MAX_DOCUMENT, decode_content=True)
    except (requests.RequestException, OSError, urllib3.exceptions.HTTPError):
        return None
    return Answer(answer.status_code == 200, answer.headers.get("WWW-Authenticate", ""), body)


def _configuration(issuer: Published, resource: Published | None) -> str:
    """TOML; texts of the other side are strings of it, and add nothing else."""
    document = issuer.document
    lines = [
        f"# {shown_url(issuer.url)}",
        "[clients.main]",
        f"issuer = {_text(document.get('issuer'))}",
        f"# token_endpoint = {_text(document.get('token_endpoint'))}",
        'client_id = ""  # from the token service',
        'client_secret = { env = "CLIENT_SECRET" }',
    ]
    methods = issuer.texts("token_endpoint_auth_methods_supported")
    if methods:
        lines.append(f"# auth is one of {', '.join(map(_text, methods))}")
    grants = issuer.texts("grant_types_supported")
    if grants and "client_credentials" not in grants:
        lines.append(f"# it does not list the grant client_credentials, only {', '.join(map(_text, grants))}")
    scopes = (issuer if resource is None else resource).texts("scopes_supported")
    if scopes:
        lines.append(f"# scope is some of {', '.join(map(_text, scopes))}")
    if resource is not None:
        lines += [
            f"resource = {_text(resource.document.get('resource'))}",
            "",
            f"# {shown_url(resource.url)}",
            "[sessions.main]",
            f"base_url = {_text(resource.document.get('resource'))}",
            'client = "main"',
        ]
    return "\n".join(lines) + "\n"


def _text(value: object) -> str:
    """A string as TOML writes it; JSON would write what is beyond U+FFFF as two halves, which TOML refuses."""
    text = value if isinstance(value, str) else ""
    return '"' + "".join(c if _stays(c) else f"\\U{_scalar(c):08X}" for c in text) + '"'


def _stays(character: str) -> bool:
    return " " <= character <= "~" and character not in '"\\'


def _scalar(character: str) -> int:
    """Its code point; for half of a pair, which is no character, that of the replacement character."""
    return 0xFFFD if "\ud800" <= character <= "\udfff" else ord(character)

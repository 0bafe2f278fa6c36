"""Which method is meant: by an object, by its IANA name, by a table with its keywords, by keys of a TOML file.

A method's file is loaded when the method is meant, by the thread that configures the client.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple, Union

from requests_cc_token.exceptions import ConfigurationError
from requests_cc_token.keyword_arguments import did_you_mean, refuse_unknown_keys

from .dpop import DPoPKey
from .method import ClientAuthentication

#: What ``auth=`` may be given as.
ClientAuthLike = Union[str, ClientAuthentication, Mapping[str, Any]]
#: What ``dpop=`` may be given as.
DPoPLike = Union[DPoPKey, Mapping[str, Any]]


class Method(NamedTuple):
    """One method that has a name."""

    #: Its file in this folder, and its class there.
    file: str
    kind: str
    #: What it cannot do without.
    needed: str | None = None
    #: Its keywords that are called differently where they stand beside ``auth`` among the keys of a client.
    beside_auth: Mapping[str, str] = MappingProxyType({})
    #: Whether a server that supports it says so in its metadata, by the same name.
    in_metadata: bool = True
    #: Keywords that the name stands for.
    implied: Mapping[str, Any] = MappingProxyType({})

    @property
    def make(self) -> Callable[..., ClientAuthentication]:
        """What makes an object of it."""
        return partial(getattr(import_module(f".{self.file}", __package__), self.kind), **self.implied)

    @property
    def keywords(self) -> tuple[str, ...]:
        """What it can be told."""
        return tuple(name for name in inspect.signature(self.make).parameters if name not in self.implied)

    @property
    def keys(self) -> dict[str, str]:
        """What may stand beside ``auth`` in a file, and the keyword that each is."""
        # In a file, certificate and key are the client's own ``cert``.
        own = () if self.needed == "cert" else self.keywords
        return {self.beside_auth.get(name, name): name for name in (*own, "password") if name in self.keywords}


#: The methods of the IANA registry "OAuth Token Endpoint Authentication Methods" that are for this grant; the last
#: two have a name here only.
METHODS: Mapping[str, Method] = {
    "client_secret_basic": Method("client_secret", "ClientSecretBasic"),
    "client_secret_post": Method("client_secret", "ClientSecretPost"),
    "client_secret_jwt": Method(
        "assertions", "ClientSecretJwt", beside_auth={"audience": "assertion_audience"}
    ),
    "private_key_jwt": Method(
        "assertions", "PrivateKeyJwt", "key", beside_auth={"audience": "assertion_audience"}
    ),
    "tls_client_auth": Method("mutual_tls", "TlsClientAuth", "cert"),
    "self_signed_tls_client_auth": Method(
        "mutual_tls", "TlsClientAuth", "cert", implied={"self_signed": True}
    ),
    "client_assertion": Method(
        "assertions",
        "ClientAssertion",
        "source",
        beside_auth={"source": "assertion", "type": "assertion_type"},
        in_metadata=False,
    ),
    "ambient_assertion": Method(
        "ambient", "AmbientAssertion", "audience", beside_auth={"audience": "assertion_audience"}, in_metadata=False
    ),
}


def is_in_metadata(method: str) -> bool:
    """Whether servers that support the method say so by its name; a method of somebody's own they may not know."""
    known = METHODS.get(method)
    return known is not None and known.in_metadata


@cache
def keys_beside_auth() -> frozenset[str]:
    """Every key of a file that may stand beside ``auth`` and belongs to a method."""
    return frozenset(key for method in METHODS.values() for key in method.keys)


def client_authentication(given: object, what: str) -> ClientAuthentication:
    """The method that is meant by an object, a name, or a mapping: ``{"method": name, ...}`` with its keywords.

    Raises ``ConfigurationError``; ``what`` begins its message.
    """
    if isinstance(given, ClientAuthentication):
        return given
    options = dict(given) if isinstance(given, Mapping) else {"method": given}
    name = options.pop("method", None)
    method = METHODS.get(name) if isinstance(name, str) else None
    if method is None:
        shown, hint = ("", did_you_mean(name, METHODS)) if isinstance(name, str) else (f"={type(name).__name__}", "")
        raise ConfigurationError(
            f"{what}: auth{shown} is no known method; one of {', '.join(METHODS)}, a table with method=... and its "
            f"keywords, or an object such as PrivateKeyJwt(...){hint}"
        )
    if options:
        refuse_unknown_keys(options, method.keywords, f"{what}: {name}")
    # Mutual TLS may use the client's own ``cert``.
    if method.needed is not None and method.needed not in ("cert", *options):
        key = method.beside_auth.get(method.needed, method.needed)
        raise ConfigurationError(
            f"{what}: {name} needs {'an' if key[0] in 'aeiou' else 'a'} {key}: auth={method.kind}"
            f"({method.needed}, ...), or in a file {key} beside auth"
        )
    return method.make(**options)


def dpop_key(given: object, what: str) -> DPoPKey:
    """The key that is meant by an object, or by a mapping with its keywords. Raises ``ConfigurationError``."""
    if isinstance(given, DPoPKey):
        return given
    if isinstance(given, Mapping) and set(given) == {"generate"}:
        return DPoPKey.generate(given["generate"])
    if isinstance(given, Mapping) and "key" in given and set(given) <= {"key", "algorithm", "password"}:
        return DPoPKey(**given)
    raise ConfigurationError(
        f'{what}: dpop must be a DPoPKey, DPoPKey.generate() for example; or in a file a table: '
        '{key = {file = "..."}}, with algorithm and password where needed, or {generate = "ES256"}'
    )


def with_keys_in_auth(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a client, with what stands beside ``auth`` and belongs to the method in it.

    ``auth = "private_key_jwt"``, ``key = {file = "..."}`` is ``auth = {method = "private_key_jwt", key = ...}``.
    Raises ``ConfigurationError``.
    """
    options = {name: value for name, value in entry.items() if name not in keys_beside_auth()}
    beside = {name: value for name, value in entry.items() if name in keys_beside_auth()}
    if not beside:
        return options
    name = options.get("auth", "client_secret_basic")
    method = METHODS.get(name) if isinstance(name, str) else None
    if method is None and isinstance(name, str):
        return options  # `client_authentication` says that there is no such method
    keys = {} if method is None else method.keys
    unfit = sorted(set(beside) - set(keys))
    if unfit:
        where = f"auth = {name!r}" if method is not None else "this auth"
        fitting = [f'"{each}"' for each, other in METHODS.items() if set(beside) <= set(other.keys)]
        hint = f"; that is for auth = {' or '.join(fitting)}" if fitting else ""
        raise ConfigurationError(f"{', '.join(unfit)}: of no use with {where}{hint}")
    options["auth"] = {"method": name, **{keys[key]: value for key, value in beside.items()}}
    if "password" in beside and "cert" in options and method is not None and method.needed == "cert":
        cert = options.pop("cert")
        pair = cert if isinstance(cert, list) else [cert]
        options["auth"].update(zip(("cert", "key"), pair, strict=False))
    return options

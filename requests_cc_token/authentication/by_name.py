"""How a client authenticates, and what its tokens are bound to, in the words of a TOML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from requests_cc_token.exceptions import ConfigurationError

from .assertions import JWT_BEARER, ClientAssertion, ClientSecretJwt, PrivateKeyJwt
from .dpop import DPoPKey
from .method import ClientAuthentication, ClientSecretBasic
from .mutual_tls import TlsClientAuth


def _basic(encoding: Any = "form") -> ClientAuthentication:
    return ClientSecretBasic(encoding)


def _secret_jwt(algorithm: str = "HS256", assertion_audience: str | None = None) -> ClientAuthentication:
    return ClientSecretJwt(algorithm, audience=assertion_audience)


def _private_key(
    key: Any,
    algorithm: str = "RS256",
    key_id: str | None = None,
    password: Any = None,
    assertion_audience: str | None = None,
) -> ClientAuthentication:
    return PrivateKeyJwt(key, algorithm, key_id, assertion_audience, password=password)


def _assertion(assertion: Any, assertion_type: str = JWT_BEARER) -> ClientAuthentication:
    return ClientAssertion(assertion, assertion_type)


#: For each method the keys beside ``auth`` that are its own, and who makes it of them.
_METHODS: Mapping[str, tuple[frozenset[str], Callable[..., ClientAuthentication]]] = {
    "client_secret_basic": (frozenset({"encoding"}), _basic),
    "client_secret_jwt": (frozenset({"algorithm", "assertion_audience"}), _secret_jwt),
    "private_key_jwt": (frozenset("key algorithm key_id password assertion_audience".split()), _private_key),
    "client_assertion": (frozenset({"assertion", "assertion_type"}), _assertion),
}
_ALL_KEYS = frozenset().union(*(keys for keys, _ in _METHODS.values()))
_TLS = ("tls_client_auth", "self_signed_tls_client_auth")


def authenticated(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The options of ``add_client``, with ``auth`` and ``dpop`` as objects. Raises ``ConfigurationError``.

    The keys of a method stand beside ``auth``: ``auth = "private_key_jwt"``, ``key = {file = "..."}``.
    """
    options = {name: value for name, value in entry.items() if name not in _ALL_KEYS}
    given = {name: value for name, value in entry.items() if name in _ALL_KEYS}
    method = options.get("auth", "client_secret_basic")
    if method in _TLS and "password" in given:
        cert = options.pop("cert", None)
        files = cert if isinstance(cert, list) else [cert]
        password = given.pop("password")
        options["auth"] = TlsClientAuth(*files[:2], password=password, self_signed=method == _TLS[1])
    if given or method in ("private_key_jwt", "client_assertion"):
        known, make = _METHODS.get(method, (frozenset(), _basic)) if isinstance(method, str) else (frozenset(), _basic)
        unfit = sorted(set(given) - known)
        if unfit:
            raise ConfigurationError(f"{', '.join(unfit)}: of no use with auth = {method!r}")
        needed = {"private_key_jwt": "key", "client_assertion": "assertion"}.get(method)
        if needed is not None and needed not in given:
            raise ConfigurationError(f"auth = {method!r} needs {needed}")
        options["auth"] = make(**given)
    if "dpop" in options:
        options["dpop"] = _dpop(options["dpop"])
    return options


def _dpop(given: object) -> DPoPKey:
    if isinstance(given, Mapping) and set(given) == {"generate"}:
        return DPoPKey.generate(given["generate"])
    if isinstance(given, Mapping) and "key" in given and set(given) <= {"key", "algorithm", "password"}:
        return DPoPKey(given["key"], given.get("algorithm"), password=given.get("password"))
    raise ConfigurationError(
        'dpop must be a table: {key = {file = "..."}}, with algorithm and password where needed, '
        'or {generate = "ES256"} for a key of this process'
    )

"""OAuth 2.0 client-credentials access tokens for ``requests`` (RFC 6749 section 4.4).

The requests of a session to one API carry an access token, which is requested, cached, renewed and shared between
threads automatically::

    from requests_cc_token import session_for

    session = session_for(
        "https://api.example.com/",
        token_endpoint="https://login.example.com/token",
        client_id="worker",
        client_secret={"file": "/run/secrets/worker"},
        scope="orders",
    )
    session.get("orders")

For several APIs or token clients, create an ``AccessTokenManagement``. ``make_session``, ``make_auth`` and
``get_access_token`` use a default one, which is read from a TOML file or set by ``configure``.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from requests.auth import AuthBase

from .exceptions import (
    CCTokenError,
    ConfigurationError,
    InvalidTokenResponseError,
    TokenEndpointConnectionError,
    TokenEndpointError,
    TokenRequestError,
    TokenRequestTimeout,
    UnknownClientError,
)
from .forks import renew_after_fork
from .pickling import managements
from .tracebacks import sealed

if TYPE_CHECKING:
    from .adapter import AccessTokenAdapter
    from .authentication.ambient import AmbientAssertion
    from .authentication.assertions import ClientAssertion, ClientSecretJwt, PrivateKeyJwt
    from .authentication.client_secret import ClientSecretBasic, ClientSecretPost
    from .authentication.dpop import DPoPKey
    from .authentication.method import ClientAuthentication
    from .authentication.mutual_tls import TlsClientAuth
    from .caches.file import FileTokenCache
    from .caches.memory import MemoryTokenCache
    from .caches.protocol import Lease, SharedTokenCache, TokenCache
    from .caches.redis import RedisTokenCache
    from .clients import ClientCredentialsClient
    from .clock import Clock
    from .events import TokenEvent
    from .grants.jwt_bearer import JwtBearerGrant
    from .grants.token_exchange import TokenExchangeGrant
    from .management import AccessTokenManagement, session_for
    from .parameters import NO_TOKEN, TokenRequestParameters
    from .service import AccessTokenService
    from .session import AccessTokenSession
    from .stats import ClientStats, FailureCount
    from .tokens import AccessToken
    from .www_authenticate import Challenge

__all__ = [
    "NO_TOKEN",
    "AccessToken",
    "AccessTokenAdapter",
    "AccessTokenManagement",
    "AccessTokenService",
    "AccessTokenSession",
    "AmbientAssertion",
    "CCTokenError",
    "Challenge",
    "ClientAssertion",
    "ClientAuthentication",
    "ClientCredentialsClient",
    "ClientSecretBasic",
    "ClientSecretJwt",
    "ClientSecretPost",
    "ClientStats",
    "Clock",
    "ConfigurationError",
    "DPoPKey",
    "FailureCount",
    "FileTokenCache",
    "InvalidTokenResponseError",
    "JwtBearerGrant",
    "Lease",
    "MemoryTokenCache",
    "PrivateKeyJwt",
    "RedisTokenCache",
    "SharedTokenCache",
    "TlsClientAuth",
    "TokenCache",
    "TokenEndpointConnectionError",
    "TokenEndpointError",
    "TokenEvent",
    "TokenExchangeGrant",
    "TokenRequestError",
    "TokenRequestParameters",
    "TokenRequestTimeout",
    "UnknownClientError",
    "configure",
    "get_access_token",
    "make_auth",
    "make_session",
    "session_for",
]

__version__ = "0.1.0"

#: Where the names are that are loaded when they are first asked for. A program that prints its help and ends, or only
#: catches our errors, does not pay for the rest.
_ROOMS = {
    "NO_TOKEN": "parameters",
    "AccessToken": "tokens",
    "AccessTokenAdapter": "adapter",
    "AccessTokenManagement": "management",
    "AccessTokenService": "service",
    "AccessTokenSession": "session",
    "AmbientAssertion": "authentication.ambient",
    "Challenge": "www_authenticate",
    "ClientAssertion": "authentication.assertions",
    "ClientAuthentication": "authentication.method",
    "ClientCredentialsClient": "clients",
    "ClientSecretBasic": "authentication.client_secret",
    "ClientSecretJwt": "authentication.assertions",
    "ClientSecretPost": "authentication.client_secret",
    "ClientStats": "stats",
    "Clock": "clock",
    "DPoPKey": "authentication.dpop",
    "FailureCount": "stats",
    "FileTokenCache": "caches.file",
    "JwtBearerGrant": "grants.jwt_bearer",
    "Lease": "caches.protocol",
    "MemoryTokenCache": "caches.memory",
    "PrivateKeyJwt": "authentication.assertions",
    "RedisTokenCache": "caches.redis",
    "SharedTokenCache": "caches.protocol",
    "TlsClientAuth": "authentication.mutual_tls",
    "TokenCache": "caches.protocol",
    "TokenEvent": "events",
    "TokenExchangeGrant": "grants.token_exchange",
    "TokenRequestParameters": "parameters",
    "session_for": "management",
}


# Hidden from type checkers, which would accept any misspelt name.
if not TYPE_CHECKING:  # pragma: no branch - a checker's view is not run

    def __getattr__(name: str) -> Any:
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f".{_ROOMS[name]}", __name__), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})


class _Default:
    """The module's default management, made when it is first needed."""

    management: AccessTokenManagement | None = None

    def __init__(self) -> None:
        self.lock = threading.Lock()
        renew_after_fork(self)

    def get(self) -> AccessTokenManagement:
        """The management, made of the file that the environment names if need be."""
        from .config import CONFIG_VARIABLE

        with self.lock:
            if self.management is None:
                path = os.environ.get(CONFIG_VARIABLE)
                if not path:
                    raise ConfigurationError(
                        "the default management is not configured: call requests_cc_token.configure(...), "
                        f"or set {CONFIG_VARIABLE} to the path of a TOML file"
                    )
                self.management = _made_of(path)
            return self.management

    def after_fork_in_child(self) -> None:
        self.lock = threading.Lock()


def _made_of(path: str) -> AccessTokenManagement:
    """The management of a TOML file, for sessions and adapters that came by its path from another process."""
    from .management import AccessTokenManagement

    return AccessTokenManagement.from_config(path)


_default = managements.default = _Default()
managements.make = _made_of


@sealed
def configure(
    management: AccessTokenManagement | str | os.PathLike[str] | Mapping[str, Any],
) -> AccessTokenManagement:
    """Set the default management that ``make_session``, ``make_auth`` and ``get_access_token`` use; returns it.

    ``management`` is an ``AccessTokenManagement``, the path of a TOML file, or a mapping with the same structure as
    such a file. Without this call, the file that the environment variable ``REQUESTS_CC_TOKEN_CONFIG`` names is read
    when it is first needed.

    Raises ``ConfigurationError``.
    """
    from .management import AccessTokenManagement

    if not isinstance(management, AccessTokenManagement):
        management = AccessTokenManagement.from_config(management)
    with _default.lock:
        _default.management = management
    return management


def make_session(name: str) -> AccessTokenSession:
    """Create a session for the API that the default management has under this name.

    See ``AccessTokenManagement.make_session`` and ``configure``. Raises ``ConfigurationError`` if there is no default
    management, ``UnknownClientError`` if it has no session of that name.
    """
    return _default.get().make_session(name)


def make_auth(name: str) -> AuthBase:
    """Create a ``requests`` auth object for the API that the default management has under this name.

    See ``AccessTokenManagement.make_auth`` and ``configure``. Raises ``ConfigurationError`` if there is no default
    management, ``UnknownClientError`` if it has no session of that name.
    """
    return _default.get().make_auth(name)


def get_access_token(
    client: str | None = None,
    parameters: TokenRequestParameters | None = None,
    *,
    timeout: float | None = None,
) -> AccessToken:
    """Get a token from the default management that can be used now.

    The parameters and errors are those of ``AccessTokenService.get_access_token``; also raises ``ConfigurationError``
    if there is no default management (see ``configure``).
    """
    return _default.get().service.get_access_token(client, parameters, timeout=timeout)

"""A management from TOML, or from a mapping of the same shape."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .authentication.by_name import authenticated
from .caches.protocol import TokenCache
from .clock import Clock
from .exceptions import ConfigurationError
from .parameters import TokenRequestParameters
from .tracebacks import sealed

if TYPE_CHECKING:
    from .management import AccessTokenManagement

#: The environment variable that names the TOML file of the module's default management.
CONFIG_VARIABLE = "REQUESTS_CC_TOKEN_CONFIG"

_CLIENT_KEYS = frozenset(
    "token_endpoint issuer client_id client_secret scope resource audience parameters auth allow_http "
    "authorization_details default_lifetime strict_scope cert revocation_endpoint introspection_endpoint dpop "
    "encoding key key_id algorithm password assertion assertion_type assertion_audience".split()
)
_BACKCHANNEL_KEYS = frozenset("wait timeout max_time max_tries verify proxies".split())
_SESSION_KEYS = frozenset(
    "base_url client allow_http timeout pool_size retries headers renew_on keep_authorization "
    "token_patience token_parameters".split()
)
_PARAMETER_KEYS = frozenset("scope resource audience parameters force_renewal authorization_details".split())
_BARE_KEY = re.compile("[A-Za-z0-9_-]+")

_TABLES = frozenset({"clients", "backchannel", "sessions", "cache", "revoke_on_close"})


def configured(
    kind: type[AccessTokenManagement], config: str | os.PathLike[str] | Mapping[str, Any], clock: Clock | None
) -> AccessTokenManagement:
    """A management as the file or mapping describes it. Raises ``ConfigurationError``."""
    if isinstance(config, Mapping):
        return _build(kind, config, "the configuration", clock)
    path = Path(config)
    return _build(kind, _read(path), str(path), clock)


def _read(path: Path) -> Mapping[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:  # pragma: no cover - Python 3.10
        import tomli as tomllib
    try:
        with path.open("rb") as file:
            content: dict[str, Any] = tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    else:
        return content
    raise ConfigurationError(f"{path}: not valid TOML ({reason})")


def _build(
    kind: type[AccessTokenManagement], config: Mapping[str, Any], source: str, clock: Clock | None
) -> AccessTokenManagement:
    _check_keys(config, _TABLES, source)
    management = _made(kind, config, source, clock)

    @sealed
    def add_client(name: str, **options: Any) -> None:
        management.add_client(name, **authenticated(options))

    def add_session(name: str, *, token_parameters: Any = None, **options: Any) -> None:
        if token_parameters is not None:
            if not isinstance(token_parameters, Mapping):
                raise ConfigurationError("token_parameters must be a table")
            _check_keys(token_parameters, _PARAMETER_KEYS, "token_parameters")
            token_parameters = TokenRequestParameters(**token_parameters)
        management.add_session(name, token_parameters=token_parameters, **options)

    for name, entry in _table(config, "clients", source).items():
        _add(add_client, name, entry, _CLIENT_KEYS, {"client_id"}, f"{source}: [clients.{_key(name)}]")
    backchannel = _table(config, "backchannel", source)
    where = f"{source}: [backchannel]"
    _check_keys(backchannel, _BACKCHANNEL_KEYS, where)
    _call(management.configure_backchannel, where, **_converted(backchannel))
    for name, entry in _table(config, "sessions", source).items():
        _add(add_session, name, entry, _SESSION_KEYS, {"base_url"}, f"{source}: [sessions.{_key(name)}]")
    return management


def _made(
    kind: type[AccessTokenManagement], config: Mapping[str, Any], source: str, clock: Clock | None
) -> AccessTokenManagement:
    cache = _cache(_table(config, "cache", source), source, clock)
    try:
        return kind(cache=cache, clock=clock, revoke_on_close=config.get("revoke_on_close", False))
    except ConfigurationError as error:
        reason = str(error)
    raise ConfigurationError(f"{source}: {reason}")


def _table(config: Mapping[str, Any], name: str, source: str) -> Mapping[str, Any]:
    table = config.get(name, {})
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{source}: [{name}] must be a table")
    return table


def _add(add: Any, name: str, entry: Any, known: frozenset[str], needed: set[str], where: str) -> None:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} must be a table")
    _check_keys(entry, known, where)
    missing = needed - set(entry)
    if missing:
        raise ConfigurationError(f"{where}: {', '.join(sorted(missing))} is missing")
    _call(add, where, name, **_converted(entry))


def _check_keys(entry: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    unknown = sorted(_key(key) for key in entry if key not in known)
    if unknown:
        raise ConfigurationError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _key(name: object) -> str:
    """A key as TOML writes it; one that is not bare may hold anything, line breaks too."""
    return name if isinstance(name, str) and _BARE_KEY.fullmatch(name) else ascii(name)


def _converted(entry: Mapping[str, Any]) -> dict[str, Any]:
    # TOML has arrays where Python wants the (connect, read) tuple.
    return {
        key: tuple(value) if key == "timeout" and isinstance(value, list) else value for key, value in entry.items()
    }


def _call(function: Any, where: str, *args: Any, **kwargs: Any) -> None:
    try:
        function(*args, **kwargs)
    except ConfigurationError as error:
        reason = str(error)
    else:
        return
    raise ConfigurationError(f"{where}: {reason}")


def _cache(table: Mapping[str, Any], source: str, clock: Clock | None) -> TokenCache | None:
    if not table:
        return None
    from .caches.from_url import cache_from_config

    return cache_from_config(table, f"{source}: [cache]", clock=clock)

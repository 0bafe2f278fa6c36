"""What a TOML file, or a mapping of the same shape, says, read into a plan that a management is made of."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .authentication.by_name import METHODS, keys_beside_auth, with_keys_in_auth
from .clients import OPTIONS
from .clock import Clock
from .exceptions import ConfigurationError
from .keyword_arguments import did_you_mean
from .parameters import TokenRequestParameters
from .session_options import SessionOptions
from .watched_files import is_path

#: The environment variable that names the TOML file of the module's default management.
CONFIG_VARIABLE = "REQUESTS_CC_TOKEN_CONFIG"

#: What only code can say, since it is a function.
_IN_CODE_ONLY = frozenset({"customize_request", "read_answer"})
_CLIENT_KEYS = (OPTIONS - _IN_CODE_ONLY) | keys_beside_auth()
_BACKCHANNEL_KEYS = frozenset("wait timeout max_time max_tries verify proxies".split())
_SESSION_KEYS = (SessionOptions.__annotations__.keys() - {"adapters", "inner"}) | {"base_url"}
_PARAMETER_KEYS = frozenset(
    "scope resource audience parameters force_renewal authorization_details allow_any_resource".split()
)
_TABLES = frozenset({"clients", "backchannel", "sessions", "cache", "revoke_on_close", "name"})

#: Tables and lists within each other at most, in a file. A dotted key makes one for each dot.
_DEEPEST = 50

#: What is read each time that it is used, so that ``{env = ...}`` and ``{file = ...}`` stay what they are.
_READ_WHEN_USED = frozenset("client_secret password key assertion source url subject_token actor_token".split())
#: Options that are tables themselves: ``{env = ...}`` in their place is one of their entries.
_TABLES_OF_TEXTS = frozenset("parameters headers proxies claims".split())

_BARE_KEY = re.compile("[A-Za-z0-9_-]+")


class Entry(NamedTuple):
    """One table of a configuration."""

    #: The file and the table, for messages.
    where: str
    name: str
    options: Mapping[str, Any]

    def __repr__(self) -> str:
        # The options may hold secrets.
        return f"<Entry {self.where}>"


class Plan(NamedTuple):
    """What a management is to be made of, in this order.

    The names of the keys have been checked; their values are checked by what they are passed to.
    """

    management: Entry
    clients: tuple[Entry, ...]
    backchannel: Entry
    sessions: tuple[Entry, ...]


@contextlib.contextmanager
def said_of(entry: Entry) -> Iterator[None]:
    """Have each ``ConfigurationError`` begin with the file and the table that it is about."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{entry.where}: {error}") from None


def read_plan(config: str | os.PathLike[str] | Mapping[str, Any], clock: Clock | None = None) -> Plan:
    """The plan of a TOML file or of a mapping; files with relative paths count from the folder of the TOML file.

    Raises ``ConfigurationError``.
    """
    if isinstance(config, Mapping):
        return plan_of(config, "the configuration", None, clock)
    path = Path(config)
    return plan_of(read_file(path), str(path), path.parent, clock)


def read_file(path: Path) -> Mapping[str, Any]:
    """The content of a TOML file. Raises ``ConfigurationError``."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:  # pragma: no cover - Python 3.10
        import tomli as tomllib
    try:
        with path.open("rb") as file:
            content: dict[str, Any] = tomllib.load(file)
        if _is_deep(content):
            raise RecursionError
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        reasons = {UnicodeDecodeError: "it is not UTF-8", RecursionError: "it is nested too deeply"}
        reason = reasons.get(type(error)) or str(error)
        raise ConfigurationError(f"{path}: not valid TOML ({reason})") from None
    return content


def _is_deep(content: object) -> bool:
    """Whether there are more tables and lists within each other than code that calls itself can go through."""
    level = [content]
    for _ in range(_DEEPEST):
        inner = [each for each in level if isinstance(each, (dict, list))]
        if not inner:
            return False
        level = [each for table in inner for each in (table.values() if isinstance(table, dict) else table)]
    return True


def plan_of(config: Mapping[str, Any], source: str, folder: Path | None, clock: Clock | None) -> Plan:
    """The plan of a configuration whose messages begin with ``source``. Raises ``ConfigurationError``."""
    _check_keys(config, _TABLES, source)
    options = _resolved({key: config[key] for key in ("revoke_on_close", "name") if key in config}, source, folder)
    cache = _resolved(_table(config, "cache", source), f"{source}: [cache]", folder)
    if cache:
        from .caches.from_url import cache_from_config

        options["cache"] = cache_from_config(cache, f"{source}: [cache]", clock=clock, folder=folder)
    where = f"{source}: [backchannel]"
    backchannel = _table(config, "backchannel", source)
    _check_keys(backchannel, _BACKCHANNEL_KEYS, where)
    return Plan(
        Entry(source, "", options),
        tuple(_client(entry, folder) for entry in _entries(config, "clients", _CLIENT_KEYS, "client_id", source)),
        Entry(where, "", _with_tuples(_resolved(backchannel, where, folder))),
        tuple(_session(entry, folder) for entry in _entries(config, "sessions", _SESSION_KEYS, "base_url", source)),
    )


def _client(entry: Entry, folder: Path | None) -> Entry:
    with said_of(entry):
        options = with_keys_in_auth(_resolved(entry.options, "", folder))
    return Entry(entry.where, entry.name, options)


def _session(entry: Entry, folder: Path | None) -> Entry:
    with said_of(entry):
        options = _with_tuples(_resolved(entry.options, "", folder))
        parameters = options.get("token_parameters")
        if parameters is not None:
            if not isinstance(parameters, Mapping):
                raise ConfigurationError("token_parameters must be a table")
            _check_keys(parameters, _PARAMETER_KEYS, "token_parameters")
            options["token_parameters"] = TokenRequestParameters(**parameters)
    return Entry(entry.where, entry.name, options)


# The shape


def _table(config: Mapping[str, Any], name: str, source: str) -> Mapping[str, Any]:
    table = config.get(name, {})
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{source}: [{name}] must be a table")
    return table


def _entries(
    config: Mapping[str, Any], name: str, known: Collection[str], needed: str, source: str
) -> Iterator[Entry]:
    for key, options in _table(config, name, source).items():
        where = f"{source}: [{name}.{_key(key)}]"
        if not isinstance(options, Mapping):
            raise ConfigurationError(f"{where} must be a table")
        _check_keys(options, known, where)
        if needed not in options:
            raise ConfigurationError(f"{where}: {needed} is missing")
        yield Entry(where, key, options)


def _check_keys(entry: Mapping[str, Any], known: Collection[str], where: str) -> None:
    unknown = sorted((key for key in entry if key not in known), key=str)
    if unknown:
        hint = did_you_mean(str(unknown[0]), known)
        names = ", ".join(map(_key, unknown))
        raise ConfigurationError(f"{where}: unknown {names}; known are {', '.join(sorted(known))}{hint}")


def _key(name: object) -> str:
    """A key as TOML writes it; one that is not bare may hold anything, line breaks too."""
    return name if isinstance(name, str) and _BARE_KEY.fullmatch(name) else ascii(name)


def _with_tuples(options: dict[str, Any]) -> dict[str, Any]:
    # TOML has arrays where Python wants the (connect, read) tuple.
    if isinstance(options.get("timeout"), list):
        options["timeout"] = tuple(options["timeout"])
    return options


# The values: texts of the environment, files beside the configuration


def _resolved(entry: Mapping[str, Any], where: str, folder: Path | None) -> dict[str, Any]:
    """The entry with each ``{env = ...}`` replaced by its text, and relative paths counted from the folder."""
    prefix = f"{where}: " if where else ""
    return {key: _value(key, value, f"{prefix}{_key(key)}", folder) for key, value in entry.items()}


def _value(key: str, value: Any, where: str, folder: Path | None) -> Any:
    if key in _READ_WHEN_USED:
        return _secret(value, folder)
    if key == "auth" and isinstance(value, Mapping) and set(value) != {"env"}:
        method = METHODS.get(str(value.get("method")))
        if method is not None and method.needed == "cert":
            return _certificate(value, where, folder)
        return _resolved(value, where, folder)
    if key in ("dpop", "grant", "token_parameters") and isinstance(value, Mapping):
        return _resolved(value, where, folder)
    if key == "cert":
        return _certificate(_text(value, where), where, folder)
    if key == "verify" and isinstance(value := _text(value, where), str):
        return _path(value, folder)
    if key in _TABLES_OF_TEXTS and isinstance(value, Mapping):
        return {name: _text(inner, f"{where}: {_key(name)}") for name, inner in value.items()}
    return _text(value, where)


def _text(value: Any, where: str) -> Any:
    """The environment's text for ``{env = ...}``, within arrays and tables too; anything else as it is."""
    if isinstance(value, list):
        return [_text(each, where) for each in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) != {"env"} or not isinstance(value["env"], str):
        return {name: _text(each, f"{where}: {_key(name)}") for name, each in value.items()}
    name = value["env"]
    if not is_path(name) or "=" in name:
        raise ConfigurationError(f"{where}: env must be the name of an environment variable")
    found = os.environ.get(name)
    if not found:
        raise ConfigurationError(f"{where}: the environment variable {_key(name)} is not set or empty")
    return found


def _secret(value: Any, folder: Path | None) -> Any:
    if isinstance(value, list):
        return [_secret(each, folder) for each in value]
    if isinstance(value, Mapping) and set(value) == {"file"}:
        return {"file": _path(value["file"], folder)}
    return value


def _certificate(value: Any, where: str, folder: Path | None) -> Any:
    """The paths of a certificate and its key, in each of the ways in which they can be given."""
    if isinstance(value, Mapping):
        return {
            key: _secret(each, folder) if key == "password" else _path(_text(each, where), folder)
            if key in ("cert", "certificate", "key")
            else each
            for key, each in value.items()
        }
    return [_path(each, folder) for each in value] if isinstance(value, list) else _path(value, folder)


def _path(value: Any, folder: Path | None) -> Any:
    """The path, counted from the folder of the configuration file where it is relative."""
    return str(folder / value) if folder is not None and isinstance(value, str) and value else value

"""Which grant is meant: by an object, or by a table with its keywords.

A grant's file is loaded when the grant is meant, by the thread that configures the client.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Union

from requests_cc_token.exceptions import ConfigurationError
from requests_cc_token.keyword_arguments import did_you_mean, refuse_unknown_keys

from .grant import Grant

#: What ``grant=`` may be given as.
GrantLike = Union[Grant, Mapping[str, Any]]

#: The classes of the grants by the names that they have in tables, which are those of their files in this folder.
GRANTS: Mapping[str, str] = {"jwt_bearer": "JwtBearerGrant", "token_exchange": "TokenExchangeGrant"}


def grant_class(name: str) -> Callable[..., Grant]:
    """The class of the grant of this name."""
    found: Callable[..., Grant] = getattr(import_module(f".{name}", __package__), GRANTS[name])
    return found


def keywords_of(name: str) -> dict[str, bool]:
    """What a grant can be told, and whether it has to be."""
    parameters = inspect.signature(grant_class(name)).parameters
    return {keyword: parameter.default is parameter.empty for keyword, parameter in parameters.items()}


def grant_of(given: object, what: str) -> Grant | None:
    """The grant that is meant by an object, or a mapping: ``{"type": name, ...}`` with its keywords.

    None for None: the client's own credentials. Raises ``ConfigurationError``; ``what`` begins its message.
    """
    if given is None or isinstance(given, Grant):
        return given
    options = dict(given) if isinstance(given, Mapping) else {}
    name = options.pop("type", None)
    if not (isinstance(name, str) and name in GRANTS):
        hint = did_you_mean(name, GRANTS) if isinstance(name, str) else ""
        raise ConfigurationError(
            f"{what}: grant must be a JwtBearerGrant, a TokenExchangeGrant, or a table of its keywords with "
            f"type = one of {', '.join(GRANTS)}{hint}"
        )
    known = keywords_of(name)
    refuse_unknown_keys(options, known, f"{what}: the grant {name}")
    missing = [keyword for keyword, is_needed in known.items() if is_needed and keyword not in options]
    if missing:
        raise ConfigurationError(f"{what}: the grant {name} lacks {', '.join(missing)}")
    try:
        return grant_class(name)(**options)
    except ConfigurationError as error:
        raise ConfigurationError(f"{what}: {error}") from None

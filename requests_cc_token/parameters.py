"""What one request may ask for differently, as ``requests`` auth objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Union

import requests
from requests.auth import AuthBase

from .exceptions import ConfigurationError
from .urls import check_identifier
from .values import Value

#: A parameter's value: text, or several for a parameter that may be repeated.
Texts = Union[str, Iterable[str]]

#: What the package itself sends; further parameters cannot override it silently.
RESERVED_PARAMETERS = frozenset(
    {
        "grant_type",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "scope",
        "resource",
        "audience",
        "authorization_details",
    }
)

_SCOPE_CHARACTERS = frozenset(chr(c) for c in range(0x21, 0x7F)) - set('"\\')


def scope_tokens(given: Texts | None, what: str) -> tuple[str, ...]:
    """The scope tokens of a string or an iterable, in order, once each (RFC 6749 section 3.3)."""
    tokens = given.split(" ") if isinstance(given, str) else _several(given, f"{what}: scope")
    for token in tokens:
        if not isinstance(token, str) or not _SCOPE_CHARACTERS.issuperset(token):
            raise ConfigurationError(f"{what}: scope {token!r} holds a character that RFC 6749 section 3.3 forbids")
    return tuple(dict.fromkeys(token for token in tokens if token))


def resources(given: Texts | None, what: str) -> tuple[str, ...]:
    """The resource indicators, in order, once each (RFC 8707 section 2)."""
    values = _several(given, f"{what}: resource")
    return tuple(dict.fromkeys(check_identifier(value, f"{what}: resource") for value in values))


def checked_audience(given: object, what: str) -> str | None:
    """The audience, which is one text."""
    if given is not None and not isinstance(given, str):
        raise ConfigurationError(f"{what}: audience must be text, not {type(given).__name__}")
    return given


def further_parameters(given: Mapping[str, Texts] | None, what: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Vendor parameters, sorted by name; empty ones count as absent (RFC 6749 section 3.2)."""
    pairs = []
    for name, value in _named_values(given, what):
        if name in RESERVED_PARAMETERS:
            raise ConfigurationError(f"{what}: the parameter {name!r} is set by its own option, not by parameters=")
        values = tuple(v for v in _several(value, f"{what}: the parameter {name!r}") if v != "")
        if not all(isinstance(v, str) for v in values):
            raise ConfigurationError(f"{what}: the parameter {name!r} must be text")
        if len(values) > 1:
            raise ConfigurationError(f"{what}: the parameter {name!r} is given twice (RFC 6749 section 3.2)")
        if values:
            pairs.append((name, values))
    return tuple(pairs)


def _several(given: object, what: str) -> list[Any]:
    if given is None:
        return []
    if isinstance(given, str):
        return [given]
    if isinstance(given, Iterable) and not isinstance(given, (bytes, Mapping)):
        return list(given)
    raise ConfigurationError(f"{what} must be text, or several texts, not {type(given).__name__}")


def _named_values(given: object, what: str) -> list[tuple[str, Any]]:
    if given is None:
        return []
    if not isinstance(given, Mapping) or not all(isinstance(name, str) and name for name in given):
        raise ConfigurationError(f"{what}: parameters must be a mapping of names to texts")
    return sorted(given.items())


def authorization_details(given: Any, what: str) -> str | None:
    """Rich authorization requests as canonical JSON, so that equal ones share a token (RFC 9396 section 2)."""
    if given is None:
        return None
    try:
        details = json.loads(given) if isinstance(given, str) else given
        if isinstance(details, Mapping):
            details = [details]
        if not details or not all(isinstance(d, Mapping) and isinstance(d.get("type"), str) for d in details):
            raise ValueError
        return json.dumps(list(details), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"{what}: authorization_details must be a JSON array of objects, each with a type (RFC 9396 section 2)"
        ) from None


class TokenRequestParameters(Value, AuthBase, hidden=("parameters",)):
    """Overrides for one request: ``session.get(url, auth=TokenRequestParameters(scope="write"))``.

    What is left out is as the token client was registered. Each distinct set has its own token in the cache.
    ``force_renewal`` asks for a new token even where a usable one is there.
    """

    __slots__ = ("scope", "resource", "audience", "parameters", "authorization_details", "force_renewal")

    scope: tuple[str, ...] | None
    resource: tuple[str, ...] | None
    audience: str | None
    parameters: tuple[tuple[str, tuple[str, ...]], ...]
    authorization_details: str | None
    force_renewal: bool

    def __init__(
        self,
        scope: Texts | None = None,
        resource: Texts | None = None,
        audience: str | None = None,
        parameters: Mapping[str, Texts] | None = None,
        force_renewal: bool = False,
        *,
        authorization_details: Any = None,
    ) -> None:
        what = "TokenRequestParameters"
        put = object.__setattr__
        put(self, "scope", None if scope is None else scope_tokens(scope, what))
        put(self, "resource", None if resource is None else resources(resource, what))
        put(self, "audience", checked_audience(audience, what))
        put(self, "parameters", further_parameters(parameters, what))
        put(self, "authorization_details", _canonical_details(authorization_details, what))
        if not isinstance(force_renewal, bool):
            raise ConfigurationError(f"{what}: force_renewal must be true or false")
        put(self, "force_renewal", force_renewal)

    def over(self, others: TokenRequestParameters) -> TokenRequestParameters:
        """These, and those of the others that are left out here."""
        merged = object.__new__(TokenRequestParameters)
        put = object.__setattr__
        for name in ("scope", "resource", "audience", "authorization_details"):
            mine = getattr(self, name)
            put(merged, name, getattr(others, name) if mine is None else mine)
        put(merged, "parameters", tuple(sorted({**dict(others.parameters), **dict(self.parameters)}.items())))
        put(merged, "force_renewal", self.force_renewal or others.force_renewal)
        return merged

    def __call__(self, r: Any, **kwargs: Any) -> Any:
        """Called by ``requests`` with the request being prepared: leave a note on it for the adapter.

        The note is a response hook that does nothing, because hooks are what a prepared request keeps when it is
        copied for a redirect or pickled.
        """
        if isinstance(r, requests.PreparedRequest):
            r.register_hook("response", self)
            return r
        return None


_canonical_details = authorization_details


class _NoToken(AuthBase):
    """The auth object that sends one request without a token."""

    __slots__ = ()

    def __call__(self, r: Any, **kwargs: Any) -> Any:
        if isinstance(r, requests.PreparedRequest):
            r.register_hook("response", self)
            return r
        return None

    def __repr__(self) -> str:
        return "NO_TOKEN"

    def __reduce__(self) -> str:
        return "NO_TOKEN"


#: ``session.get(url, auth=NO_TOKEN)`` sends the request without a token, redirects included.
NO_TOKEN = _NoToken()


def parameters_of(request: requests.PreparedRequest) -> TokenRequestParameters | _NoToken | None:
    """What the request's auth object noted on it, or None."""
    for hook in request.hooks.get("response", ()):
        if isinstance(hook, (TokenRequestParameters, _NoToken)):
            return hook
    return None

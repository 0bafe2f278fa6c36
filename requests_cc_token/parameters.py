"""What one request may ask for differently, as ``requests`` auth objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

import requests
from requests.adapters import BaseAdapter
from requests.auth import AuthBase

from .exceptions import ConfigurationError
from .keyword_arguments import checked_flag, is_encodable
from .urls import check_identifier, shown_url

#: A parameter's value: text, or several for a parameter that may be repeated.
Texts = Union[str, Iterable[str]]
#: Whom a token is for, as it is kept: one text, or several, sorted; None where nothing was said.
Audience = Union[str, tuple[str, ...], None]

#: What the package itself sends; further parameters cannot override it silently.
RESERVED_PARAMETERS = frozenset(
    {
        "grant_type",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "scope",
        "resource",
        "audience",
        "authorization_details",
    }
)

#: Headers that the package or ``requests`` itself sets, in lower case.
RESERVED_HEADERS = frozenset(
    "authorization connection content-encoding content-length content-type cookie dpop expect host proxy-authorization "
    "te trailer transfer-encoding upgrade".split()
)

#: Why there is one audience.
ONE_AUDIENCE = "a token request has one audience, unless its grant is a TokenExchangeGrant (RFC 8693 section 2.1)"

#: What the name of a header consists of, and a method (RFC 9110 section 5.6.2).
TOKEN_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SCOPE_CHARACTERS = frozenset(chr(c) for c in range(0x21, 0x7F)) - set('"\\')


def scope_tokens(given: Texts | None, what: str) -> tuple[str, ...]:
    """The scope tokens of a string or an iterable, in order, once each (RFC 6749 section 3.3)."""
    tokens = given.split(" ") if isinstance(given, str) else _several(given, f"{what}: scope")
    for token in tokens:
        if not isinstance(token, str) or not _SCOPE_CHARACTERS.issuperset(token):
            raise ConfigurationError(f"{what}: scope holds a character that RFC 6749 section 3.3 forbids")
    return tuple(dict.fromkeys(token for token in tokens if token))


def resources(given: Texts | None, what: str, *, any_text: bool = False) -> tuple[str, ...]:
    """The resource indicators, in order, once each: URIs (RFC 8707 section 2), with ``any_text`` any texts."""
    what = f"{what}: resource"
    check = _text if any_text else _resource
    return tuple(dict.fromkeys(check(value, what) for value in _several(given, what)))


def _resource(given: object, what: str) -> str:
    try:
        return check_identifier(given, what)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; allow_any_resource=True permits other texts") from None


def _text(given: object, what: str) -> str:
    """Text that a form can carry: some, and not half of a character."""
    if not isinstance(given, str):
        raise ConfigurationError(f"{what} must be text, not {type(given).__name__}")
    if not given or not is_encodable(given):
        raise ConfigurationError(f"{what} must be text that UTF-8 can carry, and not empty")
    return given


def checked_audience(given: object, what: str, *, several: bool = False) -> Audience:
    """The audience, an empty one to ask for none; with ``several``, more than one, sorted (RFC 8693 section 2.1)."""
    what = f"{what}: audience"
    if given is None or given == "":
        return given
    if isinstance(given, (list, tuple)) and not several:
        raise ConfigurationError(f"{what} must be text, not {type(given).__name__}; {ONE_AUDIENCE}")
    if isinstance(given, str) or not several:
        return _text(given, what)
    texts = tuple(sorted({_text(each, what) for each in _several(given, what)}))
    return texts if len(texts) > 1 else "".join(texts)


def further_parameters(given: Mapping[str, Texts] | None, what: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Vendor parameters, sorted by name; empty ones count as absent (RFC 6749 section 3.2)."""
    pairs = []
    for name, value in _pairs(given, f"{what}: parameters"):
        if name in RESERVED_PARAMETERS:
            raise ConfigurationError(f"{what}: the parameter {name!r} is set by its own option, not by parameters=")
        values = tuple(v for v in _several(value, f"{what}: the parameter {name!r}") if v != "")
        values = tuple(_text(v, f"{what}: the parameter {name!r}") for v in values)
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


def _pairs(given: object, what: str) -> list[tuple[str, Any]]:
    """Names and values of a mapping, or of the pairs that a registration holds already."""
    if given is None:
        return []
    if isinstance(given, Mapping) and all(isinstance(name, str) and name for name in given):
        return sorted((_text(name, f"{what}: a name"), value) for name, value in given.items())
    if isinstance(given, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in given):
        return _pairs(dict(given), what)
    raise ConfigurationError(f"{what} must be a mapping of names to texts")


def checked_headers(given: Mapping[str, str] | None, what: str) -> tuple[tuple[str, str], ...]:
    """Headers that token requests carry beside the usual ones, sorted by name."""
    pairs = tuple(sorted(_pairs(given, f"{what}: headers")))
    for name, value in pairs:
        if not TOKEN_CHARACTERS.issuperset(name) or not isinstance(value, str) or not _is_header_value(value):
            raise ConfigurationError(f"{what}: headers must be such that HTTP can carry them (RFC 9110 section 5)")
        if name.lower() in RESERVED_HEADERS:
            raise ConfigurationError(f"{what}: the header {name.lower()!r} is set by the package, not by headers=")
    return pairs


def _is_header_value(value: str) -> bool:
    return value == value.strip() != "" and all(c == "\t" or " " <= c <= "~" or "\xa0" <= c <= "\xff" for c in value)


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


@dataclass(frozen=True, slots=True)
class _Overrides:
    """What one request wants instead, each in the one form in which it is used; None is as registered."""

    scope: tuple[str, ...] | None
    resource: tuple[str, ...] | None
    audience: Audience
    #: Further form fields, sorted by name.
    parameters: tuple[tuple[str, tuple[str, ...]], ...] = field(repr=False)
    authorization_details: str | None
    force_renewal: bool


class TokenRequestParameters(_Overrides, AuthBase):
    """What one request needs in its token instead of what the client is registered with; a ``requests`` auth object.

    ``session.get(url, auth=TokenRequestParameters(scope="write"))``, or the ``parameters`` of ``get_access_token``.
    Everything that is left out is as registered. Each combination has a token of its own in the cache.

    - ``scope``, ``resource``: a string or several; ``allow_any_resource=True`` permits a resource that is not a URI
    - ``audience``: a string; several only if the client's ``grant`` is a ``TokenExchangeGrant``
    - ``parameters``: further form fields, by name
    - ``authorization_details``: one object or several, or their JSON (RFC 9396)
    - ``force_renewal``: True requests a new token even if there is one that can be used

    Raises ``ConfigurationError``; and as an auth object, if the session it is used with has no adapter of this package.
    """

    __slots__ = ()

    def __init__(
        self,
        scope: Texts | None = None,
        resource: Texts | None = None,
        audience: Texts | None = None,
        parameters: Mapping[str, Texts] | None = None,
        force_renewal: bool = False,
        *,
        authorization_details: Any = None,
        allow_any_resource: bool = False,
    ) -> None:
        what = "TokenRequestParameters"
        checked_flag(force_renewal, f"{what}: force_renewal")
        checked_flag(allow_any_resource, f"{what}: allow_any_resource")
        super().__init__(
            None if scope is None else scope_tokens(scope, what),
            None if resource is None else resources(resource, what, any_text=allow_any_resource),
            checked_audience(audience, what, several=True),
            further_parameters(parameters, what),
            _canonical_details(authorization_details, what),
            force_renewal,
        )

    def over(self, others: TokenRequestParameters) -> TokenRequestParameters:
        """These parameters, with those of ``others`` for what is left out here."""
        merged = TokenRequestParameters.__new__(TokenRequestParameters)
        _Overrides.__init__(
            merged,
            others.scope if self.scope is None else self.scope,
            others.resource if self.resource is None else self.resource,
            others.audience if self.audience is None else self.audience,
            tuple(sorted({**dict(others.parameters), **dict(self.parameters)}.items())),
            others.authorization_details if self.authorization_details is None else self.authorization_details,
            self.force_renewal or others.force_renewal,
        )
        return merged

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Called by ``requests`` while it prepares a request; the adapter finds these parameters on it."""
        r.register_hook("response", _Note(self))
        return r


_canonical_details = authorization_details


class _Note:
    """What a request asks for, left on it as a response hook: those it keeps when it is copied, also for a redirect.

    Raises ``ConfigurationError`` for a response to a request whose note nobody has read: somebody asked for a token,
    and the request was sent without one.
    """

    __slots__ = ("is_read", "parameters")

    def __init__(self, parameters: TokenRequestParameters) -> None:
        self.parameters = parameters
        self.is_read = False

    def __call__(self, response: requests.Response, **options: Any) -> None:
        # The responses of caches and of test doubles have no adapter as their connection.
        if self.is_read or not isinstance(getattr(response, "connection", None), BaseAdapter):
            return
        response.close()
        raise ConfigurationError(
            f"auth=TokenRequestParameters(...) asked for a token, but the request to {shown_url(response.url)} carried "
            "none: no adapter of this package is mounted there. Call management.mount(session, prefix), use a session "
            "of make_session, or pass auth=management.auth(client, prefix, token_parameters=...)"
        )


class _NoToken(AuthBase):
    """A ``requests`` auth object that sends a request without a token: ``session.get(url, auth=NO_TOKEN)``."""

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
    """What the request's auth object noted on it, or None.

    The caller has to see to it that the note is obeyed: it is marked as read, and no longer complains.
    """
    for hook in request.hooks.get("response", ()):
        if isinstance(hook, _Note):
            hook.is_read = True
            return hook.parameters
        if isinstance(hook, _NoToken):
            return hook
    return None

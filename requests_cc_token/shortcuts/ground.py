"""What is private in the libraries below, and whether it is as we know it."""

from __future__ import annotations

import os
import sys
import types
import urllib.request
from collections import OrderedDict
from typing import Any, NamedTuple

import urllib3
from requests.cookies import RequestsCookieJar
from requests.models import PreparedRequest, Response
from requests.structures import CaseInsensitiveDict

# Names that this module uses but does not declare.
_urllib_request: Any = urllib.request

#: Pools, origins and TLS contexts remembered before a store starts anew: far more than one worker talks to.
REMEMBERED = 64


class Ground(NamedTuple):
    """What this room relies on beyond the documented interfaces; where one is not so, its short ways stay closed."""

    #: ``CaseInsensitiveDict._store`` is an ordered dict of lower-case name to (name, value), and all there is.
    header_store: bool
    #: A new ``Response`` holds exactly the attributes that we set.
    response_fields: bool
    #: A new ``PreparedRequest`` holds exactly the attributes that we set, ``_cookies`` among them.
    prepared_fields: bool
    #: ``HTTPHeaderDict._container`` is a dict of lower-case name to [name, value, another value ...].
    header_lines: bool
    #: ``RequestsCookieJar._cookies`` is a dict, empty in an empty jar.
    jar_store: bool
    #: ``urllib3.HTTPResponse`` counts what it read, keeps what it decoded and translates errors as we know it.
    raw_fields: bool
    #: ``os.environ._data`` is the dict behind the environment, and proxies come from nowhere else.
    environment_data: bool


def _header_store_is_known(headers: type[CaseInsensitiveDict[Any]]) -> bool:
    fields = vars(headers({"Name": "value"}))
    store = fields.get("_store")
    return (
        fields.keys() == {"_store"} and type(store) is OrderedDict and [*store.items()] == [("name", ("Name", "value"))]
    )


_RESPONSE_FIELDS = {
    *("_content", "_content_consumed", "_next", "cookies", "elapsed", "encoding", "headers", "history", "raw"),
    *("reason", "request", "status_code", "url"),
}
NEW_REQUEST = dict.fromkeys(("method", "url", "headers", "_cookies", "body", "hooks", "_body_position"))


def _prepared_fields_are_known(request: type[PreparedRequest]) -> bool:
    return vars(request()) == {**NEW_REQUEST, "hooks": {"response": []}}


def _response_fields_are_known(response: type[Response]) -> bool:
    return set(vars(response())) == _RESPONSE_FIELDS


def _header_lines_are_known(headers: type[urllib3.HTTPHeaderDict]) -> bool:
    lines: Any = vars(headers([("Name", "value"), ("name", "another")])).get("_container")
    return type(lines) is dict and lines == {"name": ["Name", "value", "another"]}


def _jar_store_is_known(jar: type[RequestsCookieJar]) -> bool:
    return vars(jar()).get("_cookies") == {}


def _raw_fields_are_known(raw: type[urllib3.HTTPResponse]) -> bool:
    fields = vars(raw())
    return (
        {"_fp", "_fp_bytes_read", "_decoder", "_decoded_buffer", "length_remaining"} <= fields.keys()
        and callable(getattr(fields["_decoded_buffer"], "put", None))
        and callable(getattr(raw, "_error_catcher", None))
    )


def _environment_data_is_known(environ: Any) -> bool:
    return (
        type(getattr(environ, "_data", None)) is dict
        and urllib.request.getproxies is urllib.request.getproxies_environment
        and _urllib_request.proxy_bypass is _urllib_request.proxy_bypass_environment
    )


def survey() -> Ground:
    """Look at the installed libraries."""
    return Ground(
        header_store=_header_store_is_known(CaseInsensitiveDict),
        response_fields=_response_fields_are_known(Response),
        prepared_fields=_prepared_fields_are_known(PreparedRequest),
        header_lines=_header_lines_are_known(urllib3.HTTPHeaderDict),
        jar_store=_jar_store_is_known(RequestsCookieJar),
        raw_fields=_raw_fields_are_known(urllib3.HTTPResponse),
        environment_data=_environment_data_is_known(os.environ),
    )


#: What was found when this room was imported.
known = survey()


def shipped(owner: Any, name: str) -> object:
    """The function that the library shipped, or an object like nothing else if it has been replaced already."""
    found = getattr(owner, name, None)
    function = found.fget if isinstance(found, property) else found
    module = owner if isinstance(owner, types.ModuleType) else sys.modules[owner.__module__]
    return found if getattr(function, "__globals__", None) is vars(module) else object()
